import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { listBlocks } from "../lib/record_file.ts";
import { DEFAULT_RULES } from "../lib/rules_table.ts";
import { runBriskly as run } from "./brisk_runs.ts";
import { openBytes } from "./memory_files.ts";

type Bytes = Uint8Array<ArrayBuffer>;

const DEMO = [
  "--demo",
  "vllm",
  "--output",
  "json",
  "--record",
  "r",
  "--slo",
  "ttft=200ms,itl=50ms@p99",
];
const REPLAY = ["replay", "r", "--output", "json"];

/** Restarts, alerts and GPUs are in the demo's first minutes. */
const RECORDED_LINES = 60;

async function recordDemo(maxLines: number, ...more: readonly string[]) {
  const files = new Map<string, Bytes>();
  const { code, lines, stderr } = await run([...DEMO, ...more], { files, maxLines });
  assertEquals([code, stderr], [143, ""]);
  assertEquals(lines.length, maxLines);
  return { files, lines, bytes: files.get("r") ?? new Uint8Array() };
}

const recorded = await recordDemo(RECORDED_LINES);

Deno.test("runApp() replays every document as it was when it was recorded", async () => {
  const { code, lines, stderr } = await run(REPLAY, recorded);
  assertEquals([code, stderr], [0, ""]);
  assertEquals(lines.length, recorded.lines.length);
  lines.forEach((line, i) => assertEquals(line, recorded.lines[i], `document ${i}`));
  const kinds = recorded.lines.map((line) => JSON.parse(line));
  assert(kinds.some(({ endpoints }) => endpoints.some(({ failure }: never) => failure)), "outage");
  assert(kinds.some(({ verdict }) => verdict.causes.length > 0), "alerts");
  assert(kinds.at(-1).hosts[0].gpus.length > 0, "GPUs");
});

Deno.test("runApp() replays any recording, document for document", async () => {
  const settings = fc.tuple(
    fc.nat(2 ** 32 - 1).map((seed) => ["--demo-seed", `${seed}`]),
    fc.constantFrom("0.5", "1", "2", "30", "300").map((interval) => ["--interval", interval]),
    fc.constantFrom([], ["--rule", "queuing.threshold=1"], ["--rule", "hot=off"]),
    fc.constantFrom([], ["--no-gpu"], ["--gpu-cost-hour", "2", "--cost-out", "1"]),
  );
  const property = fc.asyncProperty(settings, async (parts) => {
    const { files, lines } = await recordDemo(20, ...parts.flat());
    assertEquals((await run(REPLAY, { files })).lines, lines);
  });
  await fc.assert(property, { numRuns: 4 });
});

Deno.test("runApp() goes on with a recording in the file before", async () => {
  // A megabyte is the least that the user can give, and more than a test should write.
  const files = new Map<string, Bytes>();
  const { blocks } = await listBlocks([openBytes(recorded.bytes)]);
  assert(blocks.length > 3, `${blocks.length} blocks`);
  const more = await run([...DEMO, "--record-age", "1", "--interval", "60"], {
    files,
    maxLines: 40,
  });
  assertEquals([...files.keys()].sort(), ["r", "r.1"]);
  assertEquals((await run(REPLAY, { files })).lines, more.lines);
  // The newest file starts a recording of its own, with the same servers.
  files.delete("r.1");
  const rest = await run(REPLAY, { files });
  assertEquals([rest.code, rest.stderr], [0, ""]);
  assert(rest.lines.length > 0 && rest.lines.length < 40);
  const last = rest.lines.map((line) => JSON.parse(line)).at(-1);
  assertEquals(last.replicas.length, 5);
});

/** Local time of a document, as the user types it. */
function getTime(line: string): string {
  const { timeEpochSeconds } = JSON.parse(line);
  return new Date(1000 * (timeEpochSeconds + 3600)).toISOString().slice(0, 19);
}

Deno.test("runApp() replays from, to and at a time of the recording's own zone", async () => {
  const { lines } = recorded;
  const [from, at] = [getTime(lines[30]), getTime(lines[50])];
  const within = (line: string): boolean => getTime(line) >= from && getTime(line) <= at;
  const span = await run([...REPLAY, "--from", from, "--to", at], recorded);
  // Documents of the second in which it ends come after that second's beginning.
  const expected = lines.filter(within);
  const wanted = [expected, expected.slice(0, -1)];
  assert(wanted.some((some) => some.join() === span.lines.join()), `${span.lines.length}`);
  const once = await run([...REPLAY, "--once", "--at", at.slice(11)], recorded);
  assertEquals(once.lines, span.lines.slice(-1));
  const outside = await run(
    [...REPLAY, "--from", "1999-01-01T00:00", "--to", "1999-01-02T00:00"],
    recorded,
  );
  assertEquals(outside.code, 3);
  assertMatch(
    outside.stderr,
    /^vllm-htop: the recording "r" is of 2026-.*T.* to .*: there is nothing/,
  );
});

Deno.test("runApp() replays under other rules, objectives and prices where they are given", async () => {
  const { lines } = await run(
    [...REPLAY, "--once", "--slo", "e2e=1s", "--gpu-cost-hour", "3", "--rule", "hot=off"],
    recorded,
  );
  const [document] = lines.map((line) => JSON.parse(line));
  assertEquals(document.total.serviceLevels.map(({ latency }: never) => latency), ["e2e"]);
  assertEquals(document.cost.hosts[0].usdPerHour, 15);
  const listCauses = (line: string): string => JSON.stringify(JSON.parse(line).verdict);
  const isHot = (line: string): boolean => listCauses(line).includes('"signal":"hot"');
  assertEquals([...recorded.lines.slice(-1), ...lines].map(isHot), [true, false]);
});

Deno.test("runApp() shows the currency that was recorded, unless another is given", async () => {
  const { files } = await recordDemo(20, "--currency", "EUR");
  const show = async (...args: readonly string[]) =>
    (await run(["replay", "r", "--once", "--output", "table", ...args], { files })).lines
      .join();
  assertMatch(await show(), /EUR/);
  assertMatch(await show("--gpu-cost-hour", "3"), /EUR 15\.00/);
  const other = await show("--currency", "CHF");
  assertMatch(other, /CHF/);
  assert(!other.includes("EUR"), other);
});

Deno.test("runApp() reads a recording that is cut or damaged as far as it goes, and says so", async () => {
  const { bytes, lines } = recorded;
  for (const share of [0.4, 0.999]) {
    const files = new Map([["r", bytes.slice(0, Math.floor(share * bytes.length))]]);
    const cut = await run(REPLAY, { files });
    assertEquals(cut.lines, lines.slice(0, cut.lines.length), `cut at ${share}`);
    assert(cut.lines.length >= Math.floor(share * lines.length) - 20, `${cut.lines.length}`);
    assertMatch(
      cut.stderr,
      /^vllm-htop: the recording "r": \d+ bytes of it are cut off or damaged/,
    );
  }
  const damaged = bytes.slice();
  damaged[Math.floor(bytes.length / 2)] ^= 0xff;
  const rest = await run(REPLAY, { files: new Map([["r", damaged]]) });
  assertEquals(rest.code, 0);
  assertMatch(rest.stderr, /damaged, and left out\n$/);
  assert(rest.lines.length > 25 && rest.lines.length < lines.length, `${rest.lines.length}`);
});

Deno.test("runApp() refuses to replay a file that is not a recording, and to record over it", async () => {
  const text = new TextEncoder().encode("vllm:num_requests_running 1\n".repeat(99));
  const gzip = new Uint8Array(
    await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip")))
      .arrayBuffer(),
  );
  for (const other of [text, gzip, new Uint8Array()]) {
    const files = new Map([["r", other]]);
    const { code, stderr } = await run(REPLAY, { files });
    assertEquals(code, 3);
    assertMatch(stderr, /^vllm-htop: the recording "r" is not a recording: make one with/);
    if (other.length === 0) continue;
    const refused = await run(DEMO, { files });
    assertEquals(refused.code, 3);
    assertMatch(refused.stderr, /is not a recording: give another name/);
    assertEquals(files.get("r"), other);
  }
  const missing = await run(REPLAY, { files: new Map() });
  assertMatch(missing.stderr, /^vllm-htop: the recording "r" does not exist: check the path\n$/);
});

Deno.test("runApp() records on into a file that was cut, and replays both parts", async () => {
  const files = new Map([["r", recorded.bytes.slice(0, recorded.bytes.length - 5)]]);
  const { lines } = await run(DEMO, { files, maxLines: 5, startedAt: 1_795_310_000 });
  const both = await run(REPLAY, { files });
  assertEquals(both.lines.slice(-5), lines);
  assert(both.lines.length > 35, `${both.lines.length}`);
  assertMatch(both.stderr, /cut off or damaged/);
});

Deno.test("runApp() exports from a replay what it exported when it was recorded", async () => {
  const files = new Map<string, Bytes>();
  const args = ["--demo", "vllm", "--output", "csv", "--record", "r"];
  const live = await run(args, { files, maxLines: 40 });
  const again = await run(["replay", "r", "--output", "csv"], { files });
  assertEquals([again.code, again.stderr], [0, ""]);
  assertEquals(again.lines, live.lines);
  const at = getTime(recorded.lines[50]);
  const [document] = (await run([...REPLAY, "--once", "--at", at], recorded)).lines
    .map((line) => JSON.parse(line));
  const { lines } = await run(
    ["replay", "r", "--once", "--at", at, "--output", "prometheus"],
    recorded,
  );
  const { verdict: { status, causes } } = document;
  assert(lines.includes(`vllm_htop_verdict{verdict="${status}"} 1`), at);
  const told = lines.filter((line) => line.startsWith("vllm_htop_causes{")).join();
  assert(causes.length > 0);
  for (const { signal } of causes) assert(told.includes(`"${signal}"`), `${signal} in ${told}`);
});

Deno.test("runApp() checks a moment of a replay, with the exit code of its verdict", async () => {
  const at = getTime(recorded.lines[12]);
  const once = (...args: readonly string[]) =>
    run(["replay", "r", "--once", "--at", at, ...args], recorded);
  const [line] = (await once("--output", "json")).lines;
  assertEquals(JSON.parse(line).verdict.status, "CRITICAL");
  const change = (words: string) =>
    Object.keys(DEFAULT_RULES).flatMap((rule) => ["--rule", `${rule}${words}`]);
  const expected = [[[], 2, "CRITICAL"], [change(".level=degraded"), 1, "WARNING"], [
    ...[change("=off"), 0, "OK"],
  ]] as const;
  for (const [args, code, word] of expected) {
    const checked = await once("--check", ...args);
    assertEquals(checked.code, code, checked.lines.join());
    assert(checked.lines[0].startsWith(`VLLM-HTOP ${word} - `), checked.lines[0]);
    assertMatch(checked.lines[0], / \| replicas_up=5;/);
  }
});

Deno.test("runApp() calls no hook over a replay: what it tells is over", async () => {
  const posted: string[] = [];
  const replaced = {
    postJson: (_: unknown, { body }: { readonly body: string }) => {
      posted.push(body);
      return Promise.resolve(200);
    },
  };
  const path = await Deno.makeTempFile({ suffix: ".json" });
  try {
    const hooks = [{ webhook: "http://localhost/hook" }];
    await Deno.writeTextFile(path, JSON.stringify({ hooks }), { mode: 0o600 });
    const files = new Map<string, Bytes>();
    await run([...DEMO, "--config", path], { files, maxLines: 40, replaced });
    const { length } = posted;
    assert(length > 0, "rules fire in the demo's first minute");
    const { code, lines } = await run([...REPLAY, "--config", path], { files, replaced });
    assertEquals([code, lines.length, posted.length], [0, 40, length]);
  } finally {
    await Deno.remove(path);
  }
});
