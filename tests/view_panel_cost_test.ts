import { assert, assertEquals, assertMatch } from "@std/assert";
import { NO_PRICING } from "../lib/cost.ts";
import { measureWidth } from "../lib/text.ts";
import { createCostPanel } from "../lib/view_panel_cost.ts";
import { zoomPanel } from "../lib/view_layout.ts";
import { createPaint } from "../lib/view_theme.ts";
import { watchFleet } from "./fixtures/fleets.ts";
import { sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const paint = createPaint(null);
const HOLDERS = [8000, 8001, 8002].map((port, i) => ({ port, gpus: [i] }));
const TOKEN_PRICES = { input: 0.5, cachedInput: 0.1, output: 1.5 };

function render(modelCount: number): readonly string[] {
  const pricing = { ...NO_PRICING, tokenPrices: TOKEN_PRICES };
  const state = sampleGpus(watchFleet(3, { more: { pricing } }), [readGpus("h100x8.tsv")], HOLDERS);
  const [group] = state.bill.groups;
  const groups = Array.from({ length: modelCount }, (_, i) => ({
    ...group,
    label: `a-model-with-quite-a-long-name-${i}`,
  }));
  const panel = createCostPanel({ ...state, bill: { ...state.bill, groups } }, paint);
  assert(panel !== null);
  return zoomPanel(panel, { width: 80, paint });
}

Deno.test("createCostPanel() has each model's amounts on a screen of 80 columns", () => {
  const lines = render(2);
  const heading = lines.findIndex((line) => / output only +margin$/.test(line));
  assertMatch(lines[heading], /^ +per hour +per 1M tokens@1m +output only +margin$/);
  assertMatch(lines[heading + 1], /^ +all( +≈ [$\d.×]+){4}$/);
  for (const model of [0, 1]) {
    const line = lines[heading + 2 + model];
    assertMatch(line, new RegExp(`^ +a-model-\\S+-${model}( +≈ [$\\d.×]+){4}$`));
    assert(measureWidth(line) <= 80, line);
  }
  assert(render(1).some((line) => /^ +per 1M tokens@1m ≈ \S+, output only ≈ \S+$/.test(line)));
});

Deno.test("createCostPanel() says how many models it leaves out", () => {
  const lines = render(8);
  assertEquals(lines.filter((line) => / a-model-/.test(line)).length, 6);
  assert(lines.some((line) => line.trim() === "… 2 more models"));
});
