import { assert, assertEquals, assertMatch } from "@std/assert";
import { createBalancePanel } from "../lib/balance_panel.ts";
import { createPaint } from "../lib/frame.ts";
import { createOverview } from "../lib/overview.ts";
import type { Panel } from "../lib/panel.ts";
import type { State } from "../lib/state.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const plain = createPaint(null);
const SERVES = "serves 2 req/s, 100 tokens, ttft 0.2, itl 0.02, running 5, kv 0.3";

function create(state: State): Panel {
  return createBalancePanel(createOverview(state), state, plain);
}

Deno.test("createBalancePanel() is one line where all are alike", () => {
  const panel = create(watchToTheEnd(`0 a b c ${SERVES}\nuntil 100`));
  assertEquals(panel.minLines, 0);
  assertEquals(
    panel.summary,
    "llama   3 compared, no skew beyond chance   requests@1m 33 %   KV 30 %",
  );
  const two = watchToTheEnd(
    `0 a b ${SERVES}\n0 c d model embed, serves 9 req/s, itl none\nuntil 100`,
  );
  assertEquals(create(two).summary, "2 groups   4 compared, no skew beyond chance");
});

Deno.test("createBalancePanel() says who differs, in what, from whom and since when", () => {
  const state = watchToTheEnd(`0 a b c d ${SERVES}\n60 c itl 0.04\nuntil 180`);
  const panel = create(state);
  assertEquals(panel.summary, "c:8002 slow in decode");
  const [finding, ...others] = panel.draw({ width: 120, lines: panel.minLines });
  assertMatch(
    finding,
    /^c:8002 {2}slow in decode {2}since \d+m \d\ds {2}ITL mean 40\.0 ms against 20\.0 ms \(2×, n \d+\)$/,
  );
  assertEquals(others, []);
});

Deno.test("createBalancePanel() compares nobody with nobody", () => {
  assertEquals(create(watchFleet(1)).summary, "no two replicas to compare");
  assertEquals(create(watchToTheEnd(`0 a b ${SERVES}\nuntil 2`)).summary, "nothing to compare yet");
  assert(create(watchFleet(4)).summary !== "");
});
