import { assertEquals } from "@std/assert";
import type { GpuOutlier } from "../lib/gpu_model.ts";
import { absent, present } from "../lib/reading.ts";
import type { EventLine } from "../lib/rules_alerts.ts";
import type { Finding } from "../lib/rules_finding.ts";
import type { Limit } from "../lib/rules_limits.ts";
import { LOCAL_HOST } from "../lib/host.ts";
import { getHost } from "../lib/state_gpus.ts";
import {
  chooseTemperatureColor,
  formatAlert,
  formatEvent,
  formatFinding,
  formatLimit,
  formatMemory,
  formatOutlier,
  formatOwners,
  formatThrottleReasons,
  shortenGpuName,
} from "../lib/view_words.ts";
import { startState } from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { sampleGpus } from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";

const VERDICT: Finding = {
  rule: "slow_prefill",
  key: "k",
  level: "degraded",
  since: null,
  unit: "seconds",
  value: 1.68,
  baseline: 0.44,
  ratio: 1.68 / 0.44,
  samples: 212,
  span: 60,
  statistic: "p95",
  probability: 1e-9,
  conditions: [],
  objective: null,
};

Deno.test("formatLimit() says what limits an engine, in the words of its server", () => {
  const evidence = {
    ...{ running: 12, runningPeak: 16, waiting: 31, kvCacheUsageRatio: 0.93 },
    ...{ kvCacheUsagePeakRatio: 0.22, promptTokensPerSecond: 9800 },
    ...{ promptTokensPerSecondPeak: 10_200, gpuIndex: 3 },
  };
  const say = (kind: Limit["kind"], more: Limit["evidence"] = {}) =>
    formatLimit({ kind, span: 46, evidence: { ...evidence, ...more } }, {
      concurrentRequests: "--max-num-seqs",
    });
  assertEquals(
    say("concurrency"),
    "--max-num-seqs: running stands at 16 for 46s while 31 wait, KV at most 22 %",
  );
  assertEquals(say("kv_cache"), "KV cache: 93 % used (median) for 46s while 31 wait");
  assertEquals(
    say("prefill"),
    "prefill: prompt 9.80k of 10.2k tok/s at best, running 12.0 of 16 at most for 46s while 31 " +
      "wait, KV at most 22 %",
  );
  assertEquals(say("gpu"), "GPU 3 for 46s: throttled");
  assertEquals(say("demand"), "nothing: no request has waited for 46s");
  assertEquals(
    say("demand", { queuedRatio: 0.065 }),
    "nothing: requests waited in 7 % of the polls of 46s",
  );
  assertEquals([say("idle"), say("unknown")], ["nothing: idle for 46s", "unknown"]);
  const bare = formatLimit({ kind: "concurrency", span: 46, evidence }, {});
  assertEquals(bare.startsWith("concurrent requests: running stands at 16"), true);
});

Deno.test("formatFinding() formats the evidence of each rule with its unit", () => {
  const said = (more: Partial<Finding>) => formatFinding({ ...VERDICT, ...more });
  assertEquals(said({}), "TTFT P95 1.68 s vs 440 ms (≥3.8× · 212 samples)");
  assertEquals(said({ statistic: "mean" }), "TTFT mean 1.68 s vs 440 ms (3.8× · 212 samples)");
  assertEquals(
    said({ rule: "slow_decode", value: 0.25, baseline: 0.01, ratio: 25 }),
    "ITL P95 250 ms vs 10.0 ms (≥25× · 212 samples)",
  );
  const share = { value: 0.53, baseline: 0.25 };
  assertEquals(
    said({ rule: "sticky_skew", ...share }),
    "53 % of the requests, others 25 % (212 samples)",
  );
  assertEquals(
    said({ rule: "token_share", ...share, samples: 0 }),
    "53 % of the output tokens, others 25 %",
  );
  assertEquals(said({ rule: "kv_skew", ...share }), "KV 53 %, others 25 %");
  const running = { rule: "running_skew", value: 65.25, baseline: 12 } as const;
  assertEquals(said(running), "65.3 running, others 12.0");
  assertEquals(said({ rule: "stalled", value: 75 }), "no progress for 1m 15s");
  const conditions = [
    { signal: "kv_cache", value: 0.95, limit: 0.85 },
    { signal: "waiting", value: 12, limit: 5 },
    { signal: "preemptions", value: 1, limit: 0 },
    { signal: "ttft", value: 4.04, limit: 2 },
    { signal: "itl", value: Infinity, limit: 2 },
  ] as const;
  assertEquals(
    said({ rule: "hot", conditions }),
    "KV cache 95 %, 12 waiting, preempted 1×@1m, TTFT ≥4× its peers, ITL ≥∞× its peers",
  );
});

Deno.test("formatAlert() gives the age of evidence that is not current", () => {
  const say = (now: number) => formatAlert({ newest: VERDICT, lastAt: 10 }, { now, interval: 2 });
  assertEquals(say(12), formatFinding(VERDICT));
  assertEquals(say(18), `8s ago ${formatFinding(VERDICT)}`);
});

Deno.test("formatEvent() gives time, kind, name, duration and details", () => {
  const state = startState([]);
  const line: EventLine = {
    id: 1,
    kind: "SLOW",
    subject: {
      ...{ key: "k", endpointKey: "e", address: "gpu1:8000", name: "m gpu1:8000.e3" },
      ...{ modelName: "org/m", engine: "3" },
    },
    beganAt: 10,
    beganAtEpoch: 3610,
    endedAt: null,
    occurrences: 2,
    first: VERDICT,
    worst: VERDICT,
    amount: null,
  };
  const say = (more: Partial<EventLine>, now = 75) =>
    formatEvent({ ...line, ...more }, { fleet: state.fleet, now, utcOffset: 0 });
  // The replica is gone; the event remembers its name.
  assertEquals(say({}), [
    "01:00:10",
    "SLOW   ",
    "m gpu1:8000.e3",
    "for 1m 05s",
    "TTFT P95 1.68 s vs 440 ms (≥3.8× · 212 samples), 2 times",
  ]);
  const none = { first: null, worst: null, occurrences: 1 };
  const details = (more: Partial<EventLine>) => say({ ...none, endedAt: 10, ...more }).slice(3);
  assertEquals(details({ kind: "UP", amount: 34 }), ["", "after 34s down"]);
  assertEquals(details({ kind: "RESTART", amount: 1 }), ["", ""]);
  assertEquals(details({ kind: "RESTART", amount: 3 }), ["", "3 times"]);
  const message = "OOMKilled, exit code 137";
  assertEquals(details({ kind: "RESTART", amount: 1, message }), ["", message]);
  assertEquals(details({ kind: "RESTART", amount: 3, message }), ["", `3 times, ${message}`]);
  assertEquals(details({ kind: "REJECT", amount: 12 }), ["", "12 requests rejected"]);
  assertEquals(details({ kind: "REJECT", amount: 1 }), ["", "1 request rejected"]);
  assertEquals(details({ kind: "PREEMPT", amount: 7, endedAt: 44 }), ["lasted 34s", "7×"]);
  assertEquals(details({ kind: "DOWN", endedAt: 44 }), ["lasted 34s", ""]);
});

const GIB = 2 ** 30;

Deno.test("shortenGpuName() drops the vendor", () => {
  const names = [
    ["NVIDIA H100 80GB HBM3", "H100 80GB HBM3"],
    ["Tesla T4", "T4"],
    ["NVIDIA GeForce RTX 4090", "RTX 4090"],
    ["AMD Instinct MI300X", "MI300X"],
    ["NVIDIA", "NVIDIA"],
  ];
  for (const [name, short] of names) assertEquals(shortenGpuName(name), short);
});

Deno.test("formatMemory() shows n/a for missing values, and marks unified memory", () => {
  const [used, total] = [present(71.5 * GIB), present(80 * GIB)];
  const none = absent("unsupported");
  const tell = (
    memoryUsedBytes: typeof used | typeof none,
    memoryTotalBytes: typeof memoryUsedBytes,
  ) => formatMemory({ memoryUsedBytes, memoryTotalBytes });
  assertEquals(tell(used, total), "71.5/80.0 GiB");
  assertEquals(tell(used, none), "71.5/n/a GiB");
  assertEquals(tell(none, total), "n/a/80.0 GiB");
  assertEquals(tell(none, none), "n/a");
  const shared = { memoryUsedBytes: used, memoryTotalBytes: total, isMemoryUnified: true };
  assertEquals(formatMemory(shared), "71.5/80.0 GiB unified");
});

Deno.test("formatThrottleReasons() names each reason, except idle", () => {
  assertEquals(formatThrottleReasons(present(["idle"])), "");
  assertEquals(
    formatThrottleReasons(present(["power_cap", "idle", "thermal_hardware"])),
    "power cap, too hot (hardware)",
  );
  assertEquals(formatThrottleReasons(absent("unsupported")), "");
});

Deno.test("formatOutlier() shows the evidence that is known", () => {
  const outlier: GpuOutlier = {
    gpuIndex: 3,
    kind: "slow_clock",
    reasons: ["power_cap"],
    smClockHertz: present(1.2e9),
    peersClockHertz: present(1.98e9),
    peerCount: 1,
    temperatureCelsius: present(61),
  };
  assertEquals(
    formatOutlier(outlier),
    "slower than its peers, 1200 MHz vs 1980 MHz of 1 busy peer, 61 °C, power cap",
  );
  const none = absent("missing");
  assertEquals(
    formatOutlier({
      ...outlier,
      ...{ kind: "throttled", reasons: ["thermal_software"], smClockHertz: none },
      ...{ peersClockHertz: none, temperatureCelsius: none },
    }),
    "throttled: too hot (driver)",
  );
});

Deno.test("chooseTemperatureColor() depends on the margin to the throttling temperature", () => {
  const judge = (margin: number | null, celsius: number | null = 70) =>
    chooseTemperatureColor({
      temperatureCelsius: celsius === null ? absent("unreadable") : present(celsius),
      temperatureMarginCelsius: margin === null ? absent("unsupported") : present(margin),
    });
  assertEquals([16, 6, 5, -1].map((margin) => judge(margin)), ["plain", "plain", "warn", "warn"]);
  assertEquals([judge(null), judge(null, null)], ["plain", "dim"]);
});

Deno.test("formatOwners() names each owner once, other last, and limits their number", () => {
  const holders = [
    { port: 8000, gpus: [0, 1] },
    { port: 8001, gpus: [0] },
    { port: 8002, gpus: [0] },
  ];
  const strangers = [createGpuProcess(9, { memoryBytes: absent("unreadable") })];
  const state = sampleGpus(watchFleet(3), [readGpus("h100x8.tsv")], holders, strangers);
  const fleet = state.fleet;
  const shares = getHost(state.hosts, LOCAL_HOST).shares;
  const tell = (some: typeof shares, hasMemory: boolean) =>
    formatOwners(some, fleet, { hasMemory });
  assertEquals(tell(shares, false), ":8000, :8001, :8002 and 1 more");
  assertEquals(tell(shares.slice(0, 2), true), ":8000 140 GiB");
  assertEquals(tell([shares[4], shares[0]], true), ":8000 70.0 GiB, other");
  assertEquals(tell([], true), "");
});
