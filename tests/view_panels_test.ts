import { assert, assertEquals, assertMatch } from "@std/assert";
import type { State } from "../lib/state.ts";
import { NO_PEAKS } from "../lib/stats_totals.ts";
import {
  createTotalsPanel,
  formatPeak,
  renderEvents,
  renderEventsPage,
  summarizeEvents,
} from "../lib/view_panels.ts";
import { createPaint, type Paint } from "../lib/view_theme.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const plain = createPaint(null);

const SERVES = "serves 2 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

Deno.test("renderEventsPage() lists active events first, each group newest first", () => {
  const state = watchToTheEnd(`0 a b c ${SERVES}\n40 a down\n90 a up\n100 b down\nuntil 120`);
  const page = renderEventsPage(state, plain);
  assertMatch(page.title, /^ EVENTS \(1 active\) {3}Enter shows the moment/);
  assertEquals(new Set(page.keys).size, page.lines.length);
  const lines = page.lines.map((line) => line.slice(2));
  assertMatch(lines[0], /^\d\d:\d\d:\d\d {2}STALE {4}b:8001 {2}for 20s$/);
  assert(lines.some((line) => /UP +a:8000 +after \d+s down$/.test(line)), lines.join("\n"));
  assert(lines.some((line) => /DOWN +a:8000 +lasted \d+s$/.test(line)), lines.join("\n"));
  const times = lines.map((line) => line.slice(0, 8));
  assertEquals(times, times.toSorted().reverse());
});

Deno.test("renderEventsPage() says that there are no events", () => {
  const state = watchFleet(1);
  const page = renderEventsPage(state, plain);
  assertEquals(page, { title: " EVENTS", lines: ["  no events yet"], keys: [] });
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
  const { fleet } = watchFleet(2);
  const { figures, ...total } = fleet.total;
  const lifetime = {
    ...figures.lifetime,
    finishedByReason: new Map([["stop", 8], ["error", 0], ["all", 3]]),
  };
  const state = {
    ...watchFleet(2),
    fleet: { ...fleet, total: { ...total, figures: { ...figures, lifetime } } },
  };
  assertEquals(draw(state).at(-1), "Finished by: stop 8  unknown 3");
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
