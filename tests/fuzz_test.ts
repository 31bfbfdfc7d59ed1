import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { ENVIRONMENT_VARIABLES } from "../.ci/permissions.ts";
import { OPTION_ROWS } from "../lib/cli_option_table.ts";
import type { EngineExposition } from "../lib/dialect_reader.ts";
import { type EngineSample, listMetrics } from "../lib/model.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { parseExposition } from "../lib/prometheus.ts";
import { createKeyDecoder, decodeKeys, flushKeys, MAX_FLUSHES } from "../lib/terminal_keys.ts";
import { listScenarioBodies } from "./fixtures/bodies.ts";
import { encode, readGzip, writeEngine, writeHistogram } from "./fixtures/expositions.ts";
import { applyEdit, editArb, fuzz } from "./fixtures/fuzz.ts";
import { createEngineReader, parseEngineMetrics } from "./fixtures/readers.ts";

/** A body with a part of each kind, short enough to be tried in every way. */
const SMALL = encode([
  "# HELP vllm:num_requests_running Number of requests.",
  "# TYPE vllm:num_requests_running gauge",
  writeEngine([["num_requests_running", "3.0"], ["num_requests_waiting", "-1.0"]]),
  "# TYPE vllm:time_to_first_token_seconds histogram",
  ...["0", "1"].map((engine) =>
    writeEngine([
      ["prompt_tokens_total", "1.234567e+06"],
      ['request_success_total{finished_reason="stop"}', "12.0"],
      ...writeHistogram("time_to_first_token_seconds", [0.1, 1], {
        counts: [1, 2, 3],
        sum: 0.12345678901234567,
      }),
      ["generation_tokens_created", "1.7953000001234567e+09"],
      ['cache_config_info{block_size="16"}', "1.0"],
      ['lora_requests_info{running_lora_adapters="a,b",max_lora="4"}', "1795300000"],
    ], { engine })
  ),
  'http_requests_total{status="2xx"} 5.0 1795300000 # {id="x"} 1',
  "process_start_time_seconds NaN",
  "",
].join("\n"));

const scenarioBodies = await Promise.all(
  [...(await listScenarioBodies()).values()].flatMap((paths) => paths.slice(0, 1).map(readGzip)),
);

/** What holds of every exposition, whatever the body. */
function checkExposition(exposition: EngineExposition, body: Uint8Array): void {
  const lines = body.reduce((count, code) => count + (code === 10 ? 1 : 0), 1);
  assert(exposition.sampleCount + exposition.badLineCount <= lines);
  for (const { modelName, engine, gauges, counters } of exposition.engines) {
    assert(!/\p{Cc}/u.test(modelName + engine), JSON.stringify([modelName, engine]));
    for (const reading of [...Object.values(gauges), ...Object.values(counters)]) {
      assert(reading.value === null || Number.isFinite(reading.value));
    }
  }
}

Deno.test("parseEngineMetrics() accepts any bytes", () => {
  fuzz(fc.property(fc.uint8Array({ maxLength: 300 }), (body) => {
    checkExposition(parseEngineMetrics(body), body);
  }));
});

Deno.test("parseEngineMetrics() accepts real scrapes with random changes", () => {
  fuzz(
    fc.property(
      fc.nat(scenarioBodies.length - 1),
      fc.array(editArb, { minLength: 1, maxLength: 8 }),
      (index, edits) => {
        const body = edits.reduce(applyEdit, scenarioBodies[index]);
        checkExposition(parseEngineMetrics(body), body);
      },
    ),
  );
});

Deno.test("parseEngineMetrics() accepts a scrape cut at any byte, and parses all lines before", () => {
  const starts: number[] = [];
  parseExposition(SMALL, { onSample: (_name, _labels, _value, start) => starts.push(start) });
  for (let length = 0; length <= SMALL.length; length++) {
    const body = SMALL.subarray(0, length);
    const exposition = parseEngineMetrics(body);
    checkExposition(exposition, body);
    const whole = starts.filter((start) => SMALL.indexOf(10, start) < length).length;
    const { sampleCount } = exposition;
    assert(sampleCount === whole || sampleCount === whole + 1, `${length} bytes: ${sampleCount}`);
  }
});

// Found: the first two took time by the square of their length, hours for a body of the largest size.
const SLOW_BODIES: readonly (readonly [name: string, write: (length: number) => string])[] = [
  ["digits that are no number", (n) => `a ${"1".repeat(n)}x\n`],
  ["labels", (n) => `a{${Array.from({ length: n / 8 }, (_, i) => `l${i}="x"`).join(",")}} 1\n`],
  ["buckets that fall", (n) => {
    const name = "vllm:time_to_first_token_seconds_bucket";
    return Array.from({ length: n / 70 }, (_, i) => `${name}{model_name="m",le="${n - i}"} 1\n`)
      .join("");
  }],
  ["escapes", (n) => `a{b="${"\\\\".repeat(n / 2)}"} 1\n`],
  ["empty labels", (n) => `a{${'b="",'.repeat(n / 5)}} 1\n`],
  ["quotes", (n) => `a{${'"'.repeat(n)}} 1\n`],
  ["hashes", (n) => `a 1 ${"# ".repeat(n / 2)}\n`],
  ["blanks", (n) => `# HELP${" ".repeat(n)}x\na${" ".repeat(n)}1\n`],
  ["types", (n) => Array.from({ length: n / 16 }, (_, i) => `# TYPE a${i} gauge\n`).join("")],
  ["combining marks", (n) => `vllm:x{model_name="e${"\u0301".repeat(n / 2)}"} 1\n`],
];

for (const [name, write] of SLOW_BODIES) {
  Deno.test(`parseEngineMetrics() is not slowed down by ${name}`, () => {
    const body = encode(write(4_000_000));
    const startedAt = performance.now();
    checkExposition(parseEngineMetrics(body), body);
    // A tenth of a second; by the square it would be an hour.
    assert(performance.now() - startedAt < 30_000);
  });
}

/** The exposition with the metrics of its engines as a list: two arrays with NaN are never equal. */
function listAll(exposition: EngineExposition): unknown {
  const list = ({ metrics, ...sample }: EngineSample) => [sample, listMetrics(metrics)];
  const { engines, server, body: { values }, ...others } = exposition;
  return [others, [...values], engines.map(list), server === null ? null : list(server)];
}

Deno.test("createEngineReader() parses any sequence of bodies as if each were the first", () => {
  fuzz(
    fc.property(
      fc.array(editArb, { maxLength: 4 }),
      fc.array(editArb, { minLength: 1, maxLength: 4 }),
      (first, second) => {
        const reader = createEngineReader();
        const before = first.reduce(applyEdit, SMALL);
        const body = second.reduce(applyEdit, before);
        for (const next of [before, body, before, SMALL]) {
          assertEquals(listAll(reader(next)), listAll(parseEngineMetrics(next)));
        }
      },
    ),
  );
});

Deno.test("decodeKeys() accepts any bytes in any pieces, and terminates", () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 12 }),
    fc.array(
      fc.constantFrom(
        "\x1b",
        "[",
        "O",
        "M",
        "<",
        ";",
        "0",
        "9",
        "~",
        "A",
        "\x1b[200~",
        "\x1b[201~",
      ),
      { maxLength: 8 },
    ).map((parts) => encode(parts.join(""))),
  );
  fuzz(fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
    let decoder = createKeyDecoder();
    for (const bytes of pieces) ({ decoder } = decodeKeys(decoder, bytes));
    for (let i = 0; i <= MAX_FLUSHES; i++) ({ decoder } = flushKeys(decoder));
    assertEquals(decoder, createKeyDecoder());
  }));
});

Deno.test("parseArguments() accepts any arguments and variables", () => {
  const names = OPTION_ROWS.map(({ name }) => name);
  const text = fc.oneof(
    fc.string({ unit: "binary", maxLength: 12 }),
    fc.constantFrom(
      "",
      "0",
      "-1",
      "1e400",
      "1-2",
      "auto",
      "json",
      "http://a:b@c:1/d?e#f",
      "[::1]",
      "=",
    ),
  );
  const argument = fc.oneof(
    text,
    fc.tuple(fc.constantFrom(...names), text).map(([name, value]) => `--${name}=${value}`),
    fc.constantFrom(...names).map((name) => `--${name}`),
  );
  const variables = fc.dictionary(fc.constantFrom(...ENVIRONMENT_VARIABLES), text, { maxKeys: 4 });
  fuzz(fc.property(fc.array(argument, { maxLength: 6 }), variables, (argv, environment) => {
    const parsed = parseArguments(argv, (name) => environment[name]);
    if (parsed.kind !== "usage_error") return;
    assert(parsed.message !== "" && !/[^\P{Cc}\n]/u.test(parsed.message), parsed.message);
  }));
});
