/** The grammar of vLLM's log, on lines of twenty versions. */

import { assertEquals } from "@std/assert";
import { VLLM_LOG } from "../lib/dialect_vllm_log.ts";
import type { LogEntry, LogMessage } from "../lib/log.ts";

interface ExpectedLine {
  readonly version: string;
  readonly line: string;
  // deno-lint-ignore no-explicit-any
  readonly expect: any;
}

const LINES: readonly ExpectedLine[] = Deno.readTextFileSync(
  new URL("fixtures/log/lines.jsonl", import.meta.url),
).trim().split("\n").map((line) => JSON.parse(line));

const parse = (line: string): { entry: LogEntry; message: LogMessage | null } => {
  const entry = VLLM_LOG.parseEntry(line);
  return { entry, message: VLLM_LOG.parseMessage(entry) };
};

/** Kinds and names of the fixture in those of the program. */
const SUBJECTS: Readonly<Record<string, string>> = {
  stats: "requests",
  prefix: "prefix_cache",
  spec: "drafts",
  "kv-transfer": "kv_transfer",
  mfu: "mfu",
  iteration: "iteration",
};
const NOTICES: Readonly<Record<string, string>> = {
  "stats-disabled-by-api-server-count": "statistics_off",
};

function flatten(values: Record<string, unknown> = {}): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([key, value]) =>
      typeof value !== "object" || value === null || Array.isArray(value)
        ? [[key, value]]
        : Object.entries(value).map(([part, one]) => [
          key + part[0].toUpperCase() + part.slice(1),
          one,
        ])
    ),
  );
}

function toExpected({ expect }: ExpectedLine): unknown {
  const { kind, values, engine = null, engines = null, phase, progress, fatal, notice } = expect;
  const all = flatten(values);
  if (kind === "noise") return null;
  if (kind === "ready") return { kind };
  if (kind === "fatal") return { kind, cause: fatal.replaceAll("-", "_") };
  if (kind === "notice") return { kind, notice: NOTICES[notice] ?? notice, values: all };
  if (kind === "loading") {
    const { done, total } = progress ?? {};
    return { kind, phase, progress: progress ? { done, total } : null, values: all };
  }
  return { kind: "statistics", subject: SUBJECTS[kind], engine, engines, values: all };
}

Deno.test("parseMessage() reads what every recorded and composed line says, and nothing else", () => {
  assertEquals(LINES.length, 110);
  for (const expected of LINES) {
    const { message } = parse(expected.line);
    const { isFirst: _, ...rest } = { isFirst: null, ...message };
    assertEquals(message === null ? null : rest, toExpected(expected), expected.line);
  }
});

Deno.test("parseEntry() reads level, clock, file, process and time of every line", () => {
  const toClock = (at: string | null | undefined) =>
    at?.match(/\d\d-\d\d \d\d:\d\d:\d\d/)?.[0] ?? null;
  for (const { line, expect } of LINES) {
    const { level, clock, file, process, pid, epoch } = parse(line).entry;
    // The fixture gives no file of a JSON line: here it is the logger's name.
    const isJson = line.startsWith("{");
    assertEquals([level, clock, process], [
      expect.level ?? null,
      toClock(expect.at),
      expect.process ?? null,
    ], line);
    if (!isJson) assertEquals([file, pid], [expect.file ?? null, expect.pid ?? null], line);
    if (expect.time !== undefined) assertEquals(epoch, Date.parse(expect.time) / 1000, line);
  }
});
