import { assert, assertEquals } from "@std/assert";
import { writeExposition } from "../lib/report_prometheus.ts";
import type { State } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { checkMetrics, needsProgram } from "./programs.ts";

const OBJECTIVES = [
  { model: null, latency: "ttft", limit: 0.3, target: 0.95 },
  { model: "Qwen/Qwen3-32B", latency: "e2e", limit: 5, target: 0.9 },
] as const;
const PRICING = {
  tokenPrices: { input: 1, output: 2, cachedInput: null },
  usdPerGpuHour: 3,
  gpuCount: 4,
  detectsGpus: true,
  currency: "$",
  ownPrices: [],
};

function watch(): State {
  return watchFleet(3, {
    failures: { 2: 60 },
    more: { objectives: OBJECTIVES, pricing: PRICING },
  });
}

/** Series -> value as text. */
function readSeries(state: State): ReadonlyMap<string, string> {
  const lines = writeExposition(state, "1.2.3").split("\n").filter((line) => /^[a-z]/.test(line));
  const series = lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), line] as const);
  assertEquals(new Set(series.map(([name]) => name)).size, lines.length, "each series once");
  return new Map(series.map(([name, line]) => [name, line.slice(name.length + 1)]));
}

/** Values of the series of a family with that text among its labels. */
function pick(state: State, family: string, ...labels: readonly string[]): readonly string[] {
  return [...readSeries(state)].filter(([name]) =>
    name.startsWith(`vllm_htop_${family}{`) && labels.every((label) => name.includes(label))
  ).map(([, value]) => value);
}

Deno.test("writeExposition() passes promtool's check", needsProgram("promtool"), async () => {
  for (const state of [watch(), startState([])]) {
    const result = await checkMetrics(writeExposition(state, "1.2.3"));
    assertEquals(result, { code: 0, output: "", errors: "" });
  }
});

Deno.test("writeExposition() tells the figures of the state, and only current ones", () => {
  const state = watch();
  const { fleet: { rows, groups, verdict }, bill } = state;
  const [first] = rows;
  const p95 = first.figures.lastMinute.latency.ttft.p95.value?.value;
  const labels = [`replica="${first.name}"`, 'latency="ttft"', 'percentile="95"'];
  for (const side of ["min", "max"]) {
    assertEquals(pick(state, `replica_latency_${side}_seconds`, ...labels), [String(p95)]);
  }
  assertEquals(pick(state, "verdict", `"${verdict.level}"`), ["1"]);
  assertEquals(pick(state, "verdict").filter((value) => value === "1").length, 1);
  const { ratio } = groups[0].serviceLevels[0].lastMinute;
  const group = [`group="${groups[0].label}"`, 'limit_seconds="0.3"', 'window="last_minute"'];
  assertEquals(pick(state, "model_slo_attainment_min_ratio", ...group), [
    String(ratio.value?.min),
  ]);
  assertEquals(pick(state, "model_slo_attainment_max_ratio", ...group), [
    String(ratio.value?.max),
  ]);
  assert((ratio.value?.max ?? 0) > (ratio.value?.min ?? 1), "the limit is inside a bucket");
  const series = readSeries(state);
  assertEquals(series.get("vllm_htop_compute_usd_per_hour"), "12");
  assertEquals(series.get("vllm_htop_margin_ratio"), String(bill.rate.marginRatio.value));
  // A stale replica has its state and no figures.
  const stale = rows.find(({ status }) => status === "STALE");
  assert(stale !== undefined);
  const own = [...series.keys()].filter((name) => name.includes(`replica="${stale.name}"`));
  assertEquals(own.map((name) => /^vllm_htop_(\w+)/.exec(name)?.[1]).toSorted(), [
    ...["causes", "replica_scrape_age_seconds", "replica_status"],
  ]);
});

Deno.test("writeExposition() gives both bounds of a percentile outside the buckets", () => {
  const endpoint = createEndpoint(8000);
  const write = (count: number) =>
    encode(writeEngine([
      ["num_requests_running", 1],
      ...writeHistogram("time_to_first_token_seconds", [0.01, 1], {
        counts: [count, count, count],
        sum: 0,
      }),
      ...writeHistogram("e2e_request_latency_seconds", [0.01, 1], {
        counts: [0, 0, count],
        sum: 9 * count,
      }),
    ]));
  const state = [0, 2].reduce(
    (known, at) => advance(known, at + 0.1, [createScraped(endpoint, at, write(10 + at))]),
    startState([endpoint]),
  );
  const bounds = (latency: string) =>
    ["min", "max"].flatMap((side) =>
      pick(state, `replica_latency_${side}_seconds`, `"${latency}"`, 'percentile="95"')
    );
  assertEquals(bounds("ttft"), ["0", "0.01"]);
  assertEquals(bounds("e2e"), ["1", "+Inf"]);
  assertEquals(bounds("itl"), [], "n/a has no sample");
});

Deno.test("writeExposition() counts no replica that is down, and names any model safely", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const escaped = 'a\\"b\\\\\\\\c{d=\\"e\\"}';
  const body = encode(
    writeEngine([["num_requests_running", 1]], { model: 'a\\"b\\\\\\\\c{d=\\"e\\"}' }),
  );
  const state = advance(startState(endpoints), 1, [
    createScraped(endpoints[0], 0.9, body),
    createFailed(endpoints[1], 0.9),
  ]);
  const series = readSeries(state);
  assertEquals(series.get('vllm_htop_replicas{state="up"}'), "1");
  assertEquals(series.get('vllm_htop_replicas{state="down"}'), "1");
  // As it came, and still one label.
  assertEquals(
    series.get(
      'vllm_htop_replica_limited_by{replica="' + escaped + ' :8000",address="localhost:8000",' +
        `model_name="${escaped}",engine="0",limit="unknown"}`,
    ),
    "1",
  );
});

Deno.test("docs/monitoring.md names each metric", () => {
  const text = Deno.readTextFileSync(new URL("../docs/monitoring.md", import.meta.url));
  const names = new Set([...readSeries(watch()).keys()].map((name) => name.replace(/\{.*/, "")));
  assert(names.size > 20);
  // Models have what replicas have.
  const unnamed = [...names].map((name) =>
    name.replace("vllm_htop_", "").replace(/^model_(latency|slo)/, "replica_$1")
  ).filter((name) => !text.includes(`\`${name}\``));
  assertEquals(unnamed, []);
});

Deno.test("writeExposition() counts each replica in one state", () => {
  const endpoints = [8000, 8001, 8002].map((port) => createEndpoint(port));
  const state = advance(startState(endpoints), 1, [
    createFailed(endpoints[0], 0.9, "loading"),
    createFailed(endpoints[1], 0.9),
  ]);
  const counts = new Map(
    ["up", "loading", "stale", "down", "pending"].map((name) => [
      name,
      pick(state, "replicas", `state="${name}"`).join(),
    ]),
  );
  assertEquals(Object.fromEntries(counts), {
    ...{ up: "0", loading: "1", stale: "0", down: "1", pending: "1" },
  });
  const { total } = state.fleet.counts;
  assertEquals([...counts.values()].reduce((sum, count) => sum + Number(count), 0), total);
});
