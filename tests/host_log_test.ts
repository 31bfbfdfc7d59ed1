/** What the last lines of a log say of a server, on a recorded start and on composed lines. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { VLLM_LOG } from "../lib/dialect_vllm_log.ts";
import { parseServerLog } from "../lib/host_log.ts";
import type { ServerLog } from "../lib/log.ts";

const START: readonly string[] = Deno.readTextFileSync(
  new URL("fixtures/log/vllm-0.32.0-start.log", import.meta.url),
).split("\n");
const NOW = Date.parse("2026-11-28T17:20:00Z") / 1000;

function parse(
  lines: readonly string[],
  clock: { readonly nowEpoch?: number; readonly utcOffset?: number } = {},
): ServerLog {
  return parseServerLog(lines.join("\n"), {
    grammar: VLLM_LOG,
    nowEpoch: NOW,
    utcOffset: 0,
    ...clock,
  });
}

const at = (time: string): number => Date.parse(`2026-11-28T${time}Z`) / 1000;
const worker = (rank: string, text: string): string =>
  `(Worker_${rank} pid=7) INFO 11-28 17:10:38 [x.py:1] ${text}`;
const bar = (done: number, total: number): string =>
  `\rLoading safetensors checkpoint shards:  9% Completed | ${done}/${total} [00:03<00:08,  1.42it/s]`;

Deno.test("parseServerLog() follows a recorded start, phase by phase", () => {
  const phases = START.map((_, i) => parse(START.slice(0, i + 1)));
  const seen = phases.flatMap(({ load, isReady }, i) => {
    const now = isReady ? "ready" : load?.phase ?? null;
    const before = i === 0 ? null : phases[i - 1].isReady ? "ready" : phases[i - 1].load?.phase;
    return now === before || now === null ? [] : [[i, now]];
  });
  assertEquals(seen, [
    [3, "starting"],
    [36, "weights"],
    [48, "memory"],
    [49, "server"],
    [98, "ready"],
  ]);
  assertEquals(phases[40].load?.progress, { done: 0, total: 1 });
  assertEquals(phases[42].load?.progress, { done: 1, total: 1 });
  assertEquals(phases[48].load?.progress, null);
  const { load, death, lines } = phases[phases.length - 1];
  assertEquals(death, null);
  assertEquals(load?.values.version, "0.32.0");
  assertEquals(load?.values.kvCacheTokens, 25_600);
  assertEquals(load?.values["weights.seconds"], 0.29);
  assertEquals(load?.steps, [
    { phase: "starting", beganAtEpoch: at("17:09:57") },
    { phase: "weights", beganAtEpoch: at("17:10:38") },
    { phase: "memory", beganAtEpoch: at("17:10:39") },
    { phase: "server", beganAtEpoch: at("17:10:40") },
  ]);
  assertEquals(lines.at(-1), 'INFO:     127.0.0.1:41256 - "GET /metrics HTTP/1.1" 200 OK');
});

Deno.test("parseServerLog() reads times by the log's zone, and in the year before", () => {
  const [step] = parse(START, { utcOffset: 3600 }).load?.steps ?? [];
  assertEquals(step.beganAtEpoch, at("16:09:57"));
  const january = Date.parse("2027-01-02T00:00:00Z") / 1000;
  assertEquals(parse(START, { nowEpoch: january }).load?.steps[0].beganAtEpoch, at("17:09:57"));
  // A container's timestamp has a zone.
  const stamped = START.map((line) => `2026-11-28T20:00:00.5+02:00 ${line}`);
  assertEquals(
    parse(stamped, { utcOffset: 3600 }).load?.steps[0].beganAtEpoch,
    at("18:00:00") + 0.5,
  );
});

Deno.test("parseServerLog() shows the engine that is furthest behind", () => {
  const both = [
    worker("DP0_TP0", "Starting to load model m"),
    worker("DP1_TP0", "Starting to load model m"),
  ];
  const interleaved = parse([...both, bar(4, 7), bar(2, 7), bar(5, 7), bar(3, 7)]);
  assertEquals(interleaved.load?.progress, { done: 3, total: 7 });
  const ahead = [...both, bar(7, 7), worker("DP1_TP0", "Dynamo bytecode transform time: 5.67 s")];
  assertEquals(parse(ahead).load?.phase, "weights");
  const level = [...ahead, worker("DP0_TP0", "Dynamo bytecode transform time: 7 s")];
  assertEquals(parse(level).load?.phase, "compile");
  const one = parse([worker("TP0", "Starting to load model m"), bar(6, 7), bar(1, 3)]);
  assertEquals(one.load?.progress, { done: 1, total: 3 });
});

Deno.test("parseServerLog() takes the last state of a bar that is one line of any length", () => {
  const frames = Array.from(
    { length: 400 },
    (_, i) => `Capturing CUDA graph shapes:  ${i % 100}%|████ | ${i}/400 [00:08<00:12,  1.72it/s]`,
  );
  const { load, lines } = parse([frames.join("\r")]);
  assertEquals([load?.phase, load?.progress], ["graphs", { done: 399, total: 400 }]);
  assert(lines[0].startsWith("Capturing") && lines[0].includes("399/400"), lines[0]);
});

const failed = "(EngineCore pid=7) ERROR 11-28 17:10:38 [core.py:900] ";
const FAILED = `${failed}EngineCore failed to start.`;
const INITIALIZATION =
  "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}";

for (
  const [name, lines, cause, text] of [
    [
      "memory of the GPU",
      [FAILED, `${failed}torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB.`, INITIALIZATION],
      "out_of_memory",
      "torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB.",
    ],
    [
      "memory that others use",
      [
        FAILED,
        `${failed}ValueError: Free memory on device cuda:0 (3.2/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 71.2 GiB).`,
      ],
      "memory_taken",
      "ValueError: Free memory on device cuda:0 (3.2/79.1 GiB) on startup is less than desired GPU memory utilization (0.9, 71.2 GiB).",
    ],
    [
      "a model by its last name",
      [
        "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.",
        "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on the hub",
      ],
      "model_not_found",
      "OSError: nobody/nothing is not a local folder and is not a valid model identifier listed on the hub",
    ],
    [
      "a port",
      ["OSError: [Errno 98] Address already in use"],
      "port_taken",
      "OSError: [Errno 98] Address already in use",
    ],
    [
      "the first of unknown exceptions",
      [`${failed}ValueError: first`, "KeyError: 'second'", FAILED, INITIALIZATION],
      "exception",
      "ValueError: first",
    ],
    ["an end without a reason", [FAILED, INITIALIZATION], "failed_to_start", INITIALIZATION],
  ] as const
) {
  Deno.test(`parseServerLog() finds what it died of: ${name}`, () => {
    const { death } = parse([...START.slice(0, 40), ...lines]);
    assertEquals([death?.cause, death?.text], [cause, text]);
    assertEquals(death?.isEnd, lines.some((line) => line === FAILED));
  });
}

Deno.test("parseServerLog() forgets an earlier life at the next start", () => {
  const dead = [...START.slice(0, 40), FAILED];
  const again = parse([...dead, ...START.slice(0, 10)]);
  assertEquals([again.death, again.load?.phase, again.isReady], [null, "starting", false]);
  assertEquals(parse([...START, ...START.slice(0, 10)]).isReady, false);
  // The engine's own first line does not begin another.
  const begun = parse(START.slice(0, 20)).load?.steps[0].beganAtEpoch;
  assertEquals(begun, at("17:09:57"));
});

Deno.test("parseServerLog() keeps the newest figures of each engine, and of each subject", () => {
  const line = (engine: string, time: string, rate: number): string =>
    `(APIServer pid=1) INFO 11-28 ${time} [loggers.py:335] Engine ${engine}: Avg prompt throughput: ${rate} tokens/s, Running: 3 reqs, Waiting: 0 reqs`;
  const { statistics, isReady } = parse([
    line("000", "15:04:05", 1),
    line("001", "15:04:05", 2),
    line("000", "15:04:15", 3),
  ]);
  assertEquals(isReady, true);
  assertEquals(
    statistics.map(({ engine, values, atEpoch }) => [
      engine,
      values.promptTokensPerSecond,
      atEpoch,
    ]),
    [[0, 3, at("15:04:15")], [1, 2, at("15:04:05")]],
  );
});

Deno.test("parseServerLog() makes lines safe to print, and masks secrets", () => {
  const { lines } = parse([
    "non-default args: {'api_key': ['hunter2', 'hunter3'], 'hf_token': 'hunter4'}",
    "\x1b[32mINFO\x1b[0m \x1b]0;title\x07ok\u202e",
    "Authorization: Bearer hunter5",
  ]);
  assertEquals(lines, [
    "non-default args: {'api_key': ***, 'hf_token': ***}",
    "INFO ok\\u{202e}",
    "Authorization: ***",
  ]);
});

Deno.test("parseServerLog() only shows the lines of a server whose log it cannot read", () => {
  const { lines, ...rest } = parseServerLog("a\n\nb\n", {
    grammar: null,
    nowEpoch: NOW,
    utcOffset: 0,
  });
  assertEquals(lines, ["a", "b"]);
  assertEquals(rest, {
    ...{ load: null, isReady: false, death: null, statistics: [], statisticsAreOff: false },
  });
});

/** Pieces of lines, and what may stand between them. */
const anyPiece = fc.constantFrom(
  ...START,
  ...["\n", "\r", "\r\n", "\x1b[32m", "\x1b]0;", '{"', "nan%", "99/0 [", "Engine 000: ", "(", "] "],
  ...["2026-11-28T15:04:05.5Z ", "INFO 99-99 99:99:99 [loggers.py:1] ", "Running: 9", "\u202e"],
  "\nINFO 11-28 15:04:05 [metrics.py:1] KV Transfer metrics: a\x01b=1.2.3, \x07=4\n",
  "\nINFO 11-28 15:04:05 [loggers.py:1] Engine 000: Avg prompt throughput: 1.2.3 tokens/s\n",
  "\nvLLM API server version \x01\x07x\n",
);

Deno.test("parseServerLog() takes any text, shows it safely, and gives finite numbers", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(anyPiece, fc.string({ unit: "binary", maxLength: 20 })), { maxLength: 60 }),
      (pieces) => {
        const { lines, load, death, statistics } = parse([pieces.join("")]);
        const values = [load?.values ?? {}, ...statistics.map((one) => one.values)]
          .flatMap((one) => Object.entries(one).flat(2));
        const texts = [...lines, death?.text ?? "", ...values].join("");
        // deno-lint-ignore no-control-regex
        assertEquals(/[\x00-\x1f\x7f-\x9f\u202e]/.test(texts), false);
        for (const value of values) {
          if (typeof value === "number") assert(Number.isFinite(value));
        }
        const { done = 0, total = 0 } = load?.progress ?? {};
        assert(Number.isFinite(done) && Number.isFinite(total));
      },
    ),
    { numRuns: 300 },
  );
});
