import { assert, assertEquals, assertMatch } from "@std/assert";
import { drawRule, renderAreas } from "../lib/view_areas.ts";
import { createPaint, measureStyledLine } from "../lib/view_theme.ts";
import { watchFleet, watchPair, watchTroubledFleet } from "./fixtures/fleets.ts";
import { failGpus, loadHost, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const paint = createPaint(null);

Deno.test("renderAreas() fills its space exactly, at any size", () => {
  const gpus = sampleGpus(watchFleet(4), [readGpus("h100x8.tsv")]);
  for (const state of [watchFleet(1), watchTroubledFleet(), gpus, loadHost(gpus, 1)]) {
    for (const width of [1, 20, 79, 80, 109, 110, 120, 200]) {
      for (let lines = 2; lines <= 40; lines++) {
        const drawn = renderAreas(state, { width, lines, paint });
        assertEquals(drawn.length, lines, `${width} x ${lines}`);
        for (const line of drawn) assert(measureStyledLine(line) <= width, `${width}: ${line}`);
      }
    }
  }
});

Deno.test("renderAreas() says why quantiles of servers are not merged", () => {
  const others = [
    ["vllm", "1", /^ E2E( +<1 s){3} +14\b/],
    ["vllm", "2", / buckets of servers differ: see their details$/],
    ["sglang", "1", / servers define it differently: see their details$/],
  ] as const;
  for (const [prefix, bound, expected] of others) {
    const state = watchPair(prefix, bound);
    for (const [width, from] of [[80, 0], [120, 61]]) {
      const drawn = renderAreas(state, { width, lines: 20, paint }).map((line) => line.slice(from));
      const line = drawn.find((one) => one.startsWith(" E2E ")) ?? drawn.join("\n");
      assertMatch(line.trimEnd(), expected);
    }
  }
});

Deno.test("renderAreas() lists GPUs with gauges and owners, slow ones first where room is short", () => {
  const state = sampleGpus(watchFleet(2), [readGpus("h100x8.tsv")], [{ port: 8000, gpus: [0] }]);
  const drawn = renderAreas(state, { width: 120, lines: 18, paint }).map((line) =>
    line.slice(0, 60)
  );
  const first = drawn.find((line) => line.startsWith(" 0 ")) ?? "";
  assertMatch(first, /^ 0 {2}▓+░* +\d+ % mem ▓+░* +\d+ % +\d+ W +\d+° +:8000/);
  const short = renderAreas(state, { width: 80, lines: 12, paint });
  assert(short.some((line) => /^ … \d+ more: key 3$/.test(line)), short.join("\n"));
});

Deno.test("renderAreas() says why there are no figures of GPUs", () => {
  const state = failGpus(watchFleet(2), "timeout", "nvidia-smi did not answer");
  for (const width of [80, 120]) {
    const drawn = renderAreas(state, { width, lines: 20, paint });
    assert(drawn.some((line) => line.startsWith(" nvidia-smi did not answer")), drawn.join("\n"));
  }
});

Deno.test("renderAreas() has the line of the host below its GPUs, where there is room", () => {
  const state = loadHost(sampleGpus(watchFleet(2), [readGpus("h100.tsv")]), 0.5);
  const hasHost = (lines: number): boolean =>
    renderAreas(state, { width: 120, lines, paint }).some((line) =>
      line.startsWith(" host  CPU 34 % (64 cores)  mem 41.0/128 GiB  load 3.3")
    );
  assertEquals([hasHost(30), hasHost(4)], [true, false]);
});

Deno.test("renderAreas() draws the fullest KV cache below the GPUs of a tall screen", () => {
  const state = sampleGpus(watchFleet(2), [readGpus("h100x8.tsv")]);
  const draw = (lines: number) => renderAreas(state, { width: 200, lines, paint });
  const tall = draw(36);
  const rule = tall.findIndex((line) => line.startsWith("─ fullest KV cache ─"));
  assert(tall[rule].includes("─┤"), tall[rule]);
  assertMatch(tall[rule + 1], /^ KV cache .* now \d+ % │/);
  assert(tall[35].slice(0, 100).trim() !== "", "to the last line");
  assertEquals(tall.filter((line) => /^ [0-7] {2}▓/.test(line)).length, 8);
  assert(!draw(20).some((line) => line.startsWith("─ fullest")));
  // A screen of 120 × 40 with a table of eight rows.
  const usual = draw(24);
  const usualRule = usual.findIndex((line) => line.startsWith("─ fullest KV cache ─"));
  assertEquals(usual.filter((line) => /^ [0-7] {2}▓/.test(line)).length, 8);
  assertMatch(usual[usualRule + 1], /^ KV cache .* now \d+ % │/);
});

Deno.test("renderAreas() shows how latencies spread where there is room, on a scale that stays", () => {
  const drawAt = (width: number, replicas: number) =>
    renderAreas(watchFleet(replicas), { width, lines: 20, paint });
  const scale = "1 ms      10 ms     100 ms    1 s       10 s";
  for (const replicas of [1, 4]) {
    const drawn = drawAt(200, replicas);
    assert(drawn.some((line) => line.endsWith(`n  ${scale}`)), drawn.join("\n"));
    assertMatch(drawn.find((line) => line.includes("│ ITL ")) ?? "", / \d+ {2} *[⠁-⣿]+ *$/);
    assert(drawAt(120, replicas).some((line) => line.endsWith("n  1 ms 100 s")));
    assert(!drawAt(110, replicas).some((line) => line.includes("100 s")), "no room");
  }
});

Deno.test("drawRule() is as wide as its area, whatever its title", () => {
  assertEquals(drawRule("GPUs", 12, paint), "─ GPUs ─────");
  for (let width = 1; width < 12; width++) {
    assert(measureStyledLine(drawRule("latency", width, paint)) <= width);
  }
});
