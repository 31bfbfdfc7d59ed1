import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { NO_PRICING } from "../lib/cost.ts";
import { LATENCY_NAMES } from "../lib/model.ts";
import type { State } from "../lib/state.ts";
import { PANEL_IDS } from "../lib/state_ui.ts";
import { NO_PEAKS } from "../lib/stats_totals.ts";
import { measureWidth } from "../lib/text.ts";
import type { Panel } from "../lib/view_layout.ts";
import {
  createBalancePanel,
  createEventsPanel,
  createLatencyPanel,
  createPanels,
  createTotalsPanel,
  createTrendPanel,
  formatPeak,
  listPanelIds,
  renderEvents,
  summarizeEvents,
} from "../lib/view_panels.ts";
import { createPaint, type Paint } from "../lib/view_theme.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { failGpus, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const plain = createPaint(null);

function createPanel(state: State): readonly Panel[] {
  return createPanels(state, plain);
}

Deno.test("createPanels() returns every panel, most important first", () => {
  for (const state of [startState([]), watchFleet(1), watchTroubledFleet()]) {
    const hasPeers = state.endpoints.length > 1;
    const expected = PANEL_IDS.filter((id) => id !== "balance" || hasPeers);
    const ids = createPanel(state).map(({ id }) => id);
    assertEquals(ids, expected.filter((id) => id !== "gpus" && id !== "cost"));
    const all = createPanel(sampleGpus(state, [readGpus("l4.tsv")]));
    const isPriced = state.endpoints.length > 0;
    assertEquals(all.map(({ id }) => id), expected.filter((id) => id !== "cost" || isPriced));
  }
});

Deno.test("listPanelIds() lists the panels without drawing them", () => {
  const silent = watchFleet(1);
  const priced = { ...silent, pricing: { ...NO_PRICING, usdPerGpuHour: 2 } };
  for (const bare of [startState([]), silent, priced, watchTroubledFleet()]) {
    const absent = failGpus(bare, "absent", "there is none");
    const failed = failGpus(bare, "timeout", "it does not end");
    const sampled = sampleGpus(bare, [readGpus("l4.tsv")]);
    for (const state of [bare, absent, { ...absent, asksForGpus: true }, failed, sampled]) {
      assertEquals(listPanelIds(state), createPanel(state).map(({ id }) => id));
    }
  }
});

Deno.test("createPanels() draws at least minLines and at most the lines given", () => {
  const eight = sampleGpus(watchFleet(4), [readGpus("h100x8.tsv")]);
  for (const state of [watchFleet(1), watchFleet(4), watchTroubledFleet(), eight]) {
    for (const panel of createPanel(state)) {
      for (const lines of [panel.minLines, panel.minLines + 3, panel.maxLines, 60]) {
        const drawn = panel.draw({ width: 100, lines });
        assert(drawn.length <= panel.maxLines, panel.id);
        // A panel with minLines 0 is drawn only on request.
        assert(drawn.length <= Math.max(lines, panel.minLines, 1), panel.id);
      }
      assert(panel.summary !== "", panel.id);
    }
  }
});

Deno.test("createPanels() shows dashes and no zero before the first scrape", () => {
  const [events, latency, trend, totals] = createPanel(startState([createEndpoint(8000)]));
  assertEquals(events.summary, "none");
  const draw = (panel: Panel) => panel.draw({ width: 100, lines: panel.minLines });
  for (const line of draw(latency).slice(1)) assertMatch(line, /^\S+( +—){6}$/);
  for (const line of draw(trend)) assertMatch(line, /—$/);
  for (const line of draw(totals)) assert(!/\d/.test(line), line);
  for (const { summary } of [latency, trend, totals]) assert(summary.endsWith("—"), summary);
});
const SERVES = "serves 2 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

function create(state: State): Panel {
  const panel = createBalancePanel(state, plain);
  assert(panel !== null);
  return panel;
}

Deno.test("createBalancePanel() is one line if no replica differs", () => {
  const panel = create(watchToTheEnd(`0 a b c ${SERVES}\nuntil 100`));
  assertEquals(panel.minLines, 0);
  assertEquals(
    panel.summary,
    "llama   3 compared, no significant skew   requests@1m 33 %   KV 30 %",
  );
  const two = watchToTheEnd(
    `0 a b ${SERVES}\n0 c d model embed, serves 9 req/s, itl none\nuntil 100`,
  );
  assertEquals(create(two).summary, "2 models   4 compared, no significant skew");
});

Deno.test("createBalancePanel() names the replica, rule, duration and evidence", () => {
  const state = watchToTheEnd(`0 a b c d ${SERVES}\n60 c itl 0.04\nuntil 180`);
  const panel = create(state);
  assertEquals(panel.summary, "c:8002 slow in decode");
  const [finding, ...others] = panel.draw({ width: 120, lines: panel.minLines });
  assertMatch(
    finding,
    /^c:8002 {2}slow in decode {2}since \d+m \d\ds {2}ITL mean 40\.0 ms vs 20\.0 ms \(2×, n \d+\)$/,
  );
  assertEquals(others, []);
});

Deno.test("createBalancePanel() compares nothing before there are figures", () => {
  assertEquals(
    create(watchToTheEnd(`0 a b ${SERVES}\nuntil 2`)).summary,
    "llama   nothing to compare yet",
  );
  assert(create(watchFleet(4)).summary !== "");
});

Deno.test("createBalancePanel() is not shown for servers without peers", () => {
  assertEquals(createBalancePanel(watchFleet(1), plain), null);
  assertEquals(createBalancePanel(startState([]), plain), null);
  // Two models, one server each.
  const state = watchToTheEnd(`0 a ${SERVES}\n0 b model embed, ${SERVES}\nuntil 100`);
  assertEquals(createBalancePanel(state, plain), null);
});

Deno.test("createEventsPanel() lists active events first, each group newest first", () => {
  const state = watchToTheEnd(`0 a b c ${SERVES}\n40 a down\n90 a up\n100 b down\nuntil 120`);
  const panel = createEventsPanel(state, plain);
  assertEquals(panel.title, "EVENTS (1 active)");
  const lines = panel.draw({ width: 120, lines: panel.maxLines });
  assertMatch(lines[0], /^\d\d:\d\d:\d\d {2}STALE {4}b:8001 {2}since 20s$/);
  assert(lines.some((line) => /UP +a:8000 +after \d+s down$/.test(line)), lines.join("\n"));
  assert(lines.some((line) => /DOWN +a:8000 +for \d+s$/.test(line)), lines.join("\n"));
  const times = lines.map((line) => line.slice(0, 8));
  assertEquals(times, times.toSorted().reverse());
  assert(panel.summary.includes("STALE"), panel.summary);
  assertEquals(panel.draw({ width: 120, lines: 2 }), lines.slice(0, 2).map((line) => line));
});

Deno.test("createEventsPanel() says that there are no events", () => {
  const state = watchFleet(1);
  const panel = createEventsPanel(state, plain);
  assertEquals([panel.minLines, panel.summary], [0, "none"]);
  const [line, ...others] = panel.draw({ width: 78, lines: 1 });
  assertEquals(line, "no events yet");
  assert(line.length <= 78 && others.length === 0, line);
});

Deno.test("summarizeEvents() lists events, newest last, or nothing", () => {
  assertEquals(summarizeEvents(watchFleet(1)), []);
  const state = watchToTheEnd(`0 a b ${SERVES}\n40 a down\n90 a up\nuntil 120`);
  const [title, ...lines] = summarizeEvents(state);
  assertEquals(title, "vllm-htop: events of this session");
  assertEquals(lines.map((line) => line.trim().split(/ +/)[1]), ["STALE", "DOWN", "UP"]);
  // A long log loses its oldest lines.
  const fleet = state.fleet;
  const events = Array.from({ length: 50 }, () => fleet.events[0]);
  const long = summarizeEvents({ ...state, fleet: { ...fleet, events } });
  assertEquals([long.length, long[1]], [42, "  … 10 earlier"]);
});

Deno.test("renderEvents() colors active events by severity, and dims past ones", () => {
  const state = watchToTheEnd(`0 a b ${SERVES}\n40 a down\n60 a up\n70 b down\nuntil 120`);
  const fleet = state.fleet;
  const marked: Paint = (text, meaning) => `<${meaning}>${text}`;
  const lines = renderEvents(fleet.events, { state, paint: marked });
  const ofKind = (kind: string) => lines.filter((line) => line.includes(`>${kind}`));
  assert(ofKind("DOWN").every((line) => line.startsWith("<alert>")), lines.join("\n"));
  assertMatch(ofKind("STALE")[0], /^<dim>/);
});

Deno.test("createLatencyPanel() shows quantiles of all replicas with their sample counts", () => {
  const panel = createLatencyPanel(watchFleet(2).fleet);
  const latency = { ...panel, lines: panel.draw({ width: 84, lines: panel.minLines }) };
  assertMatch(latency.lines[0], /P50 +P95 +P99 +n +P95@1m +n@1m$/);
  assertEquals(latency.lines.length, 1 + Object.keys(LATENCY_NAMES).length);
  for (const [i, { title }] of Object.values(LATENCY_NAMES).entries()) {
    assert(latency.lines[i + 1].startsWith(title), latency.lines[i + 1]);
    assertStringIncludes(latency.summary, title);
  }
  // Values align with their headings.
  assertEquals(new Set(latency.lines.map(measureWidth)).size, 1);
});

function draw(state: State): readonly string[] {
  const panel = createTotalsPanel(state);
  return [panel.title, ...panel.draw({ width: 120, lines: panel.minLines })];
}

Deno.test("createTotalsPanel() has totals since start and of the session", () => {
  const [, heading, requests, prompt, output] = draw(watchToTheEnd(`0 a b ${SERVES}\nuntil 100`));
  assertMatch(heading, /since start +session/);
  assertMatch(requests, /^Requests +\d+ +400 +Peak running +10 +\d\d:\d\d:\d\d$/);
  assertMatch(prompt, /^Prompt tokens +\S+ +120000 +Peak waiting +0/);
  assertMatch(output, /^Output tokens +\S+ +40000 +Peak KV +30 %/);
});

Deno.test("createTotalsPanel() shows the servers' uptime and the finish reasons", () => {
  const lines = draw(watchFleet(2));
  assertMatch(lines[0], /^TOTALS \(servers up \d+m \d\ds\)$/);
  assertMatch(lines.at(-1) ?? "", /^Finished by: stop \d+ {2}length \d+/);
});

Deno.test("formatPeak() has a dash without a value, and no time for a peak of 0", () => {
  assertEquals(formatPeak("running", NO_PEAKS, 0), ["Peak running", "—", ""]);
  const peak = { value: 0.5, at: 3, atEpoch: 3661 };
  const peaks = { ...NO_PEAKS, kvCacheUsageRatio: peak };
  assertEquals(formatPeak("kvCacheUsageRatio", peaks, 0), ["Peak KV", "50 %", "01:01:01"]);
  assert(formatPeak("kvCacheUsageRatio", peaks, 3600)[2] === "02:01:01");
  const none = { ...NO_PEAKS, waiting: { ...peak, value: 0 } };
  assertEquals(formatPeak("waiting", none, 0), ["Peak waiting", "0", ""]);
});

Deno.test("createTrendPanel() draws summable series, larger if there is room", () => {
  const trend = createTrendPanel(watchFleet(2), plain);
  for (const [width, lines, height] of [[84, 4, 1], [84, 10, 1], [120, 16, 4], [60, 99, 7]]) {
    const drawn = trend.draw({ width, lines });
    assertEquals(drawn.length, 4 * height);
    for (const line of drawn) assert(measureWidth(line) <= width, line);
    const titles = drawn.filter((_, index) => index % height === 0);
    assertEquals(titles.map((line) => line.split(/ {2,}/)[0]), [
      "Running",
      "Waiting",
      "Prompt tok/s",
      "Output tok/s",
    ]);
    for (const line of titles) assertMatch(line, / {2}now \S+$/);
  }
});
