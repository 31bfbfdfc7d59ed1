import { assert, assertEquals, assertMatch } from "@std/assert";
import { createEventsPanel, renderEvents, summarizeEvents } from "../lib/events_panel.ts";
import { createPaint, type Paint } from "../lib/frame.ts";
import { createOverview } from "../lib/overview.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const plain = createPaint(null);
const SERVES = "serves 2 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

Deno.test("createEventsPanel() has the newest first, with what goes on and what is over", () => {
  const state = watchToTheEnd(`0 a b c ${SERVES}\n40 a down\n90 a up\n100 b down\nuntil 120`);
  const panel = createEventsPanel(createOverview(state), state, plain);
  assertEquals(panel.title, "EVENTS, 1 going on");
  const lines = panel.draw({ width: 120, lines: panel.maxLines });
  assertMatch(lines[0], /^\d\d:\d\d:\d\d {2}STALE {4}b:8001 {2}since 20s$/);
  assert(lines.some((line) => /UP +a:8000 +after \d+s$/.test(line)), lines.join("\n"));
  assert(lines.some((line) => /DOWN +a:8000 +for \d+s$/.test(line)), lines.join("\n"));
  const times = lines.map((line) => line.slice(0, 8));
  assertEquals(times, times.toSorted().reverse());
  assert(panel.summary.includes("STALE"), panel.summary);
  assertEquals(panel.draw({ width: 120, lines: 2 }), lines.slice(0, 2).map((line) => line));
});

Deno.test("createEventsPanel() says that nothing has happened, on the whole screen what would stand there", () => {
  const state = watchFleet(1);
  const panel = createEventsPanel(createOverview(state), state, plain);
  assertEquals([panel.minLines, panel.summary], [0, "none"]);
  const [line, ...others] = panel.draw({ width: 78, lines: 1 });
  assertMatch(line, /^none yet: .* will stand here$/);
  assert(line.length <= 78 && others.length === 0, line);
});

Deno.test("summarizeEvents() leaves behind what has happened, the newest last, or nothing", () => {
  assertEquals(summarizeEvents(createOverview(watchFleet(1)), watchFleet(1)), []);
  const state = watchToTheEnd(`0 a b ${SERVES}\n40 a down\n90 a up\nuntil 120`);
  const [title, ...lines] = summarizeEvents(createOverview(state), state);
  assertEquals(title, "vllm-htop: while it watched");
  assertEquals(lines.map((line) => line.trim().split(/ +/)[1]), ["STALE", "DOWN", "UP"]);
  // A log that is too long is cut at its begin.
  const overview = createOverview(state);
  const events = Array.from({ length: 50 }, () => overview.events[0]);
  const long = summarizeEvents({ ...overview, events }, state);
  assertEquals([long.length, long[1]], [42, "  … 10 earlier"]);
});

Deno.test("renderEvents() paints what goes on by how bad it is, and dims what is over", () => {
  const state = watchToTheEnd(`0 a b ${SERVES}\n40 a down\n60 a up\n70 b down\nuntil 120`);
  const overview = createOverview(state);
  const marked: Paint = (text, meaning) => `<${meaning}>${text}`;
  const lines = renderEvents(overview.events, { overview, state, paint: marked });
  const ofKind = (kind: string) => lines.filter((line) => line.includes(`>${kind}`));
  assert(ofKind("DOWN").every((line) => line.startsWith("<alert>")), lines.join("\n"));
  assertMatch(ofKind("STALE")[0], /^<dim>/);
});
