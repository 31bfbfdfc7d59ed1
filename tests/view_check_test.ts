import { assertEquals, assertMatch } from "@std/assert";
import { type State, update } from "../lib/state.ts";
import { renderCheck, renderUnknown } from "../lib/view_check.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  settle,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const ENDPOINT = createEndpoint(8000);

/** The figures behind the text, by label. */
function readFigures(line: string): Readonly<Record<string, string>> {
  const [, figures] = line.split(" | ");
  const pattern = /('[^'=|]+'|\w+)=(U|\d+(?:\.\d+)?(?:s|%)?);;;0(?:;\d+)?(?: |$)/y;
  const read: Record<string, string> = {};
  while (pattern.lastIndex < figures.length) {
    const found = pattern.exec(figures);
    if (found === null) throw new Error(`Not what the guidelines allow: ${figures}`);
    read[found[1]] = found[2];
  }
  return read;
}

Deno.test("renderCheck() has the exit code and the word of each verdict", () => {
  const well = renderCheck(watchFleet(1));
  assertEquals(well.code, 0);
  assertMatch(well.line, /^VLLM-HTOP OK - 1 of 1 up, healthy \| replicas_up=1;;;0;1 /);
  const others = [createEndpoint(8001), createEndpoint(8002)];
  const down = others.map((endpoint) => createFailed(endpoint, 0));
  const critical = renderCheck(advance(advance(startState(others), 0.1, down), 42));
  assertEquals(critical.code, 2);
  assertMatch(
    critical.line,
    /^VLLM-HTOP CRITICAL - 0 of 2 up, :8001: down for 4\ds \(.* nothing listens .*\); 1 more \|/,
  );
  const stale = renderCheck(watchFleet(1, { failures: { 0: 60 } }));
  assertEquals(stale.code, 1);
  assertMatch(stale.line, /^VLLM-HTOP WARNING - 0 of 1 up, \S+: stale /);
  const waits = renderCheck(startState([ENDPOINT]));
  assertEquals(waits.code, 3);
  assertMatch(waits.line, /^VLLM-HTOP UNKNOWN - 0 of 1 up, others have not answered yet \|/);
  const none = renderCheck(settle(startState([], { notices: ["no model server answers"] })));
  assertEquals(none.code, 3);
  assertMatch(none.line, /^VLLM-HTOP UNKNOWN - no model server answers \|/);
});

Deno.test("renderCheck() does not say OK while a host is not reached, and no less than CRITICAL", () => {
  const lose = (state: State): State =>
    update(state, { kind: "host_linked", host: "gpu2", link: { kind: "connecting" } });
  const well = renderCheck(lose(watchFleet(1)));
  assertEquals(well.code, 3);
  assertMatch(well.line, /^VLLM-HTOP UNKNOWN - 1 of 1 up, healthy; gpu2 is not reached \|/);
  const down = renderCheck(lose(watchFleet(1, { failures: { 0: 20 } })));
  assertEquals(down.code, 2);
  assertMatch(down.line, /^VLLM-HTOP CRITICAL - .*; gpu2 is not reached \|/);
});

Deno.test("renderCheck() gives figures of the last minute, and U for those that it does not know", () => {
  const objectives = [
    { model: null, latency: "ttft", limit: 0.5, target: 0.999 },
    { model: "it's|a=b", latency: "ttft", limit: 0.5, target: 0.95 },
  ] as const;
  const state = watchFleet(1, { more: { objectives } });
  const { running, lastMinute, kvCache } = state.fleet.total.figures;
  const figures = readFigures(renderCheck(state).line);
  const near = (label: string, value: number | undefined) =>
    assertEquals(figures[label].replace(/[s%]$/, ""), String(Number(value?.toFixed(6))), label);
  near("running", running.value ?? NaN);
  near("kv_cache_max", (kvCache.maxRatio.value ?? NaN) * 100);
  near("output_tokens_per_second", lastMinute.generationTokensPerSecond.value ?? NaN);
  near("ttft_p95", lastMinute.latency.ttft.p95.value?.value);
  const [own] = state.fleet.total.serviceLevels;
  near("slo_ttft_0.5s_p99.9".replace(/.*/, "'$&'"), (own.lastMinute.ratio.value?.min ?? NaN) * 100);
  assertEquals(Object.keys(figures).length, 9);
  const unknown = readFigures(renderCheck(startState([ENDPOINT])).line);
  assertEquals([unknown.replicas_up, unknown.running, unknown.ttft_p95], ["0", "U", "U"]);
});

Deno.test("renderCheck() gives no bound for a value, neither of a quantile nor of a sum", () => {
  const other = createEndpoint(8001);
  const body = (histogram: string, waiting: string) =>
    encode(writeEngine([["num_requests_running", 1]]) + waiting + histogram);
  const write = (count: number) =>
    writeEngine([
      [`time_to_first_token_seconds_bucket{le="0.01"}`, count],
      [`time_to_first_token_seconds_bucket{le="+Inf"}`, count],
      ["time_to_first_token_seconds_count", count],
      ["time_to_first_token_seconds_sum", 0],
    ]);
  const waiting = writeEngine([["num_requests_waiting", 2]]);
  const state = [0, 2].reduce(
    (known, at) =>
      advance(known, at + 0.1, [
        createScraped(ENDPOINT, at, body(write(10 + 100 * at), waiting)),
        createScraped(other, at, body("", "")),
      ]),
    startState([ENDPOINT, other]),
  );
  const { lastMinute, waiting: sum } = state.fleet.total.figures;
  assertEquals(lastMinute.latency.ttft.p95.value?.bound, "<");
  assertEquals(sum, { value: 2, partial: true });
  const figures = readFigures(renderCheck(state).line);
  assertEquals([figures.ttft_p95, figures.waiting, figures.running], ["U", "U", "2"]);
});

Deno.test("renderUnknown() keeps the sign that begins the figures out of the text", () => {
  assertEquals(renderUnknown('"a|b" cannot be read'), {
    line: 'VLLM-HTOP UNKNOWN - "a/b" cannot be read',
    code: 3,
  });
});
