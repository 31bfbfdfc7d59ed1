import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ServerInfo } from "../lib/model.ts";
import { type State, update } from "../lib/state.ts";
import { measureWidth } from "../lib/text.ts";
import { renderDetailPage } from "../lib/view_page_detail.ts";
import { getUiContext, layOutScene, renderFrame } from "../lib/view_scene.ts";
import { createPaint } from "../lib/view_theme.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const ENDPOINT = createEndpoint(8000);
const OPTIONS = { output: "auto", depth: null, ascii: false } as const;
const MIDDLE = { columns: 120, rows: 40 };
/** Title, verdict and keys take three lines. */
const SPACE = { width: 120, lines: 37, paint: createPaint(null) };

function render(state: State, index = 0, space = SPACE): readonly string[] {
  return renderDetailPage([state.fleet.rows[index]], state, space);
}

function findLine(lines: readonly string[], title: string): string {
  const line = lines.find((candidate) => candidate.includes(title));
  assert(line !== undefined, `no "${title}" in\n${lines.join("\n")}`);
  return line;
}

const SERVER: ServerInfo = {
  version: "0.32.0",
  models: [{
    id: "meta-llama/Llama-3.1-8B-Instruct",
    parent: null,
    maxModelLength: 131_072,
  }],
  launch: null,
};

Deno.test("renderDetailPage() has all of a replica on one page of 120 × 40", () => {
  const watched = watchFleet(1);
  const state = advance(watched, watched.now, [
    { kind: "launch_read", endpointKey: ENDPOINT.key, server: SERVER },
  ]);
  const lines = render(state);
  assert(lines.length <= SPACE.lines, `${lines.length} lines`);
  for (const line of lines) assert(measureWidth(line) <= SPACE.width, line);
  assertMatch(
    lines[0],
    /^ :8000 {3}OK {3}meta-llama\/.* {3}vLLM 0\.32\.0 {3}up 6m 18s {3}http:\/\/localhost:8000\/metrics/,
  );
  assertMatch(lines[1], /^ \d+ tok\/s \(peak \d+\) {3}running \d+ \(peak \d+\) {3}waiting \d+/);
  assertMatch(lines[2], /^ KV cache ▓+░+ +26 % {2}15\.7k \/ 60\.0k tok +peak 33 %$/);
  assertMatch(lines[3], /^ Limited by nothing/);
  assertMatch(findLine(lines, "Prefix cache hits"), /hits +37 % +40 % +42 % /);
  assertMatch(findLine(lines, "Largest, tokens"), /≤11000 of 131072 context \(8 %\)/);
  assertMatch(findLine(lines, "Finished @1m"), /stop 79 % {2}length 20 % {2}abort 1 %/);
  assertMatch(findLine(lines, " Prompt tokens     "), /Prompt tokens +894 +3340 +1055 /);
  for (const title of ["TTFT", "ITL", "TPOT", "E2E", "Queue", "Prefill", "Decode"]) {
    assertMatch(findLine(lines, `│ ${title} `), / +(?:[<\d][^ ]* m?s +){4}[\d.k]+/);
  }
  // More of it than half is used, and graphs reach the bottom.
  assert(lines.filter((line) => line.length > 100).length > SPACE.lines / 2);
  for (const title of ["Output tok/s  last", "Running  last"]) findLine(lines, title);
});

Deno.test("renderDetailPage() joins its rules with the border between columns", () => {
  for (const paint of [createPaint(null), createPaint(16)]) {
    const lines = render(watchFleet(1), 0, { ...SPACE, paint })
      // deno-lint-ignore no-control-regex
      .map((line) => line.replace(/\x1b\[[0-9;]*m/g, ""));
    assertMatch(findLine(lines, "─ throughput ─"), /─┬─ latency, last minute ─/);
    assertMatch(findLine(lines, "─ requests ─"), /─┤ /);
    assertMatch(findLine(lines, "─ session"), / ├─ session/);
  }
});

/** What does not depend on values: rules, titles of lines and the border between columns. */
function getSkeleton(lines: readonly string[]): readonly string[] {
  const rules = lines.findIndex((line) => line.startsWith("─"));
  const until = lines.findIndex((line) => line.startsWith("   since start"));
  const titles = lines.slice(rules, until).map((line) =>
    `${line.slice(0, 18)}${line.slice(59, 69)}`.replace(/\d+[sm]/g, "")
  );
  return [String(rules), String(until), ...titles];
}

Deno.test("renderDetailPage() moves no line with the values", () => {
  const well = watchFleet(1);
  const skeleton = getSkeleton(render(well));
  assertEquals(skeleton.length, 18);
  const failing = advance(well, 70, [createFailed(ENDPOINT, 69)]);
  const down = advance(failing, 200, [createFailed(ENDPOINT, 199, "timeout")]);
  const hot = watchFleet(4);
  assertEquals(hot.fleet.rows[1].alerts.length > 0, true);
  for (const state of [failing, down]) assertEquals(getSkeleton(render(state)), skeleton);
  assertEquals(getSkeleton(render(hot, 1)), skeleton);
  assertStringIncludes(render(failing)[5], "nothing listens there");
  assertMatch(findLine(render(hot, 1), " hot "), /for \d+s +KV cache/);
  for (const lines of [37, 38, 47]) {
    assertEquals(getSkeleton(render(well, 0, { ...SPACE, lines })), skeleton);
  }
});

Deno.test("renderDetailPage() has no figure that the server does not export", () => {
  const bare = encode(writeEngine([["num_requests_running", 1], ["generation_tokens_total", 7]]));
  const state = advance(startState([ENDPOINT]), 1, [createScraped(ENDPOINT, 0.5, bare)]);
  const lines = render(state);
  assertMatch(lines[0], / {3}up — {3}/);
  assertEquals(
    lines[1],
    " — tok/s   running 1 (peak 1)   waiting —   prompt — tok/s   — req/s   TTFT P95@1m —",
  );
  assertMatch(findLine(lines, "│ TTFT"), /TTFT( +—){5}/);
  assertMatch(findLine(lines, "KV cache"), /KV cache —/);
  assertMatch(findLine(lines, "Largest, tokens"), /tokens +— /);
  assertMatch(findLine(lines, "Finished @1m"), /@1m +— /);
  assert(!lines.some((line) => line.includes("Prefix cache")));
  assertMatch(findLine(lines, "GPU"), /GPU n\/a/);
});

Deno.test("renderDetailPage() shows service levels in the table of latencies", () => {
  const objectives = [{ model: null, latency: "ttft", limit: 1, target: 0.95 }] as const;
  const lines = render(watchFleet(1, { more: { objectives } }));
  assertMatch(findLine(lines, "│ TTFT "), /≤1 s 100 %$/);
  assertStringIncludes(findLine(lines, "P50      P95      P99"), "SLO@1m");
});

Deno.test("renderDetailPage() scrolls on small screens, the most important first", () => {
  const lines = render(watchFleet(1), 0, { ...SPACE, width: 80, lines: 21 });
  for (const line of lines) assert(measureWidth(line) <= 80, line);
  const order = [
    "tok/s (peak",
    "KV cache",
    "Limited by",
    "TTFT ",
    "Output tok/s  ",
    "Prompt tokens ",
  ]
    .map((title) => lines.findIndex((line) => line.includes(title)));
  assertEquals(order, order.toSorted((a, b) => a - b));
  assert(order[3] < 21, "the first latencies are on the first screen");
});

Deno.test("the key of facts shows configuration, scrape and all metrics, and Esc goes back", () => {
  const press = (state: State, command: "facts" | "back" | "open"): State => {
    const context = getUiContext(layOutScene(state, MIDDLE, OPTIONS));
    return update(state, { kind: "command", command, context });
  };
  const draw = (state: State): string => renderFrame(state, MIDDLE, OPTIONS).lines.join("\n");
  const start = watchFleet(2);
  const opened = press(start, "open");
  assertStringIncludes(draw(opened), "─ throughput ─");
  assertMatch(draw(opened).split("\n").at(-1) ?? "", / i Info /);
  const facts = press(opened, "facts");
  for (const title of ["Configuration", "Scrape (OK)"]) assertStringIncludes(draw(facts), title);
  assert(!draw(facts).includes("─ throughput ─"));
  assertEquals(draw(press(facts, "facts")), draw(opened));
  assertEquals(draw(press(facts, "back")), draw(opened));
  assertEquals(draw(press(press(facts, "back"), "back")), draw(start));
  // From the table, and of the only replica.
  assertStringIncludes(draw(press(start, "facts")), "Configuration");
  assertStringIncludes(draw(press(watchFleet(1), "facts")), "Configuration");
});
