import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { State } from "../lib/state.ts";
import { measureWidth } from "../lib/text.ts";
import { countProblems, renderProblemList } from "../lib/view_problems.ts";
import { createPaint } from "../lib/view_theme.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { advance, createEndpoint, START_EPOCH, startState } from "./fixtures/expositions.ts";

const paint = createPaint(null);
const SERVES = "serves 2 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

function render(state: State, lines = 10, width = 120): string[] {
  return renderProblemList(state, { width, lines, paint });
}

Deno.test("renderProblemList() names state, replica, evidence and duration", () => {
  const state = watchToTheEnd(`0 a b c d ${SERVES}\n60 c itl 0.04\nuntil 180`);
  const [line, ...others] = render(state);
  assertMatch(
    line,
    /^ SLOW +c:8002 +ITL mean 40\.0 ms vs 20\.0 ms \(2× · [\d.]+k? samples\) +\d+m \d\ds$/,
  );
  assertEquals([others, countProblems(state)], [[], 1]);
});

Deno.test("renderProblemList() folds the same trouble of three or more replicas", () => {
  const two = watchToTheEnd(`0 a b c d ${SERVES}\n40 a b kv 0.97, waiting 9\nuntil 70`);
  assertEquals(render(two).filter((line) => line.includes("HOT")).length, 2);
  const three = watchToTheEnd(`0 a b c d ${SERVES}\n40 a b c kv 0.97, waiting 9\nuntil 70`);
  const [line] = render(three);
  assertStringIncludes(line, "3 of 4 replicas (a:8000, b:8001, c:8002)");
  assertEquals(countProblems(three), 3);
});

Deno.test("renderProblemList() folds no lighter trouble with graver", () => {
  const state = watchToTheEnd(
    `0 a b c d ${SERVES}\n40 a b c serves 0 req/s\n40 a b running 5\n40 c running 1\nuntil 90`,
  );
  const causes = state.fleet.verdict.causes.filter(({ signal }) => signal === "stalled");
  assertEquals(causes.map(({ level }) => level), ["critical", "critical", "degraded"]);
  assertEquals(render(state).filter((line) => line.startsWith(" STALLED")).length, 3);
});

Deno.test("renderProblemList() lists what is past below, and says how many it leaves out", () => {
  const state = watchToTheEnd(`0 a b c ${SERVES}\n40 a down\n90 a up\n100 b down\nuntil 160`);
  const lines = render(state);
  assertMatch(lines[0], /^ DOWN +b:8001 +Cannot reach .* \d+s$/);
  assertMatch(lines[1], /^ DOWN +a:8000 +from \d\d:\d\d:\d\d for \d+s/);
  assertEquals(render(state, 1), [` … ${lines.length} more: key 6`]);
  assertEquals(render(state, 0), []);
});

Deno.test("renderProblemList() says what is compared if nothing is wrong", () => {
  assertEquals(render(startState([createEndpoint(8000)])), [" nothing known yet"]);
  const young = watchToTheEnd(`0 a b ${SERVES}\nuntil 12`);
  assertMatch(render(young)[0], /^ comparing from 30 s on \(1\d s watched\)$/);
  const even = watchToTheEnd(`0 a b c ${SERVES}\nuntil 100`);
  assertEquals(render(even), [" nothing wrong: 3 replicas, even"]);
});

Deno.test("renderProblemList() breaks what is wrong now into spare lines, before what is past", () => {
  const state = watchToTheEnd(`0 a b c ${SERVES}\n40 a down\n90 a up\n100 b down\nuntil 160`);
  const [full] = render(state, 1 + render(state).length, 200);
  const words = (lines: readonly string[]): string => lines.join(" ").replace(/\s+/g, " ").trim();
  const narrow = render(state, 20, 56);
  const past = narrow.findIndex((line) => line.includes("a:8000"));
  assert(past > 1, narrow.join("\n"));
  const span = / {2}(\d+m )?\d+s$/;
  assertEquals(
    words(narrow.slice(0, past).map((line) => line.replace(span, ""))),
    words([full.replace(span, "")]),
  );
  const tight = render(state, past + 1, 56);
  assertEquals(tight.slice(0, past), narrow.slice(0, past));
  assertMatch(tight[past], /^ … \d more: key 6$| a:8000 /);
  assertMatch(render(state, 2, 56)[0], /… {2}1m 00s$/);
});

Deno.test("renderProblemList() says why a server does not answer, without its URL, which it has named", () => {
  const endpoint = createEndpoint(8000);
  const failure = {
    ...{ endpointKey: endpoint.key, failedAt: 40, failedAtEpoch: START_EPOCH, duration: 0.1 },
    kind: "refused" as const,
    message: `"${endpoint.metricsUrl}" refused the connection: check that the server has started`,
  };
  const state = advance(startState([endpoint]), 40.1, [{ kind: "scrape_failed", failure }]);
  assertMatch(render(state)[0], /^ DOWN +:8000 +refused the connection: check that the server has/);
});

Deno.test("renderProblemList() fits any width", () => {
  const state = watchToTheEnd(`0 a b c ${SERVES}\n40 a kv 0.97, waiting 9\n50 b down\nuntil 100`);
  for (let width = 1; width <= 160; width++) {
    for (const line of render(state, 6, width)) {
      assert(measureWidth(line) <= width, `${width}${line}`);
    }
  }
});
