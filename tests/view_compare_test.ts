import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { absent, present } from "../lib/reading.ts";
import type { ComparedFigure, ComparedModel, Comparison } from "../lib/state_compare.ts";
import { measureWidth } from "../lib/text.ts";
import { renderComparison, renderMarkdown } from "../lib/view_compare.ts";

function create(
  key: string,
  [before, after]: readonly [number, number],
  more: Partial<ComparedFigure> = {},
): ComparedFigure {
  const exact = (value: number) => present({ value, least: value, most: value });
  return {
    ...{ key, title: key, unit: "count", part: "service", better: null },
    ...{ a: exact(before), b: exact(after), probability: 0.5, outcome: "alike", ...more },
  };
}

const P95 = create("TTFT P95", [0.3, 0.4], {
  ...{ unit: "seconds", better: "lower", outcome: "one_bucket", isInOneBucket: true },
  a: present({ value: 0.3, least: 0.25, most: 0.5 }),
});
const FIGURES: readonly ComparedFigure[] = [
  create("arrivals", [2, 4], {
    ...{ title: "Requests arriving", unit: "per_second", part: "load", outcome: "differs" },
  }),
  create("in_flight", [12, 12.5]),
  create("rate", [100, 50], { unit: "per_second", better: "higher", outcome: "differs" }),
  create("TTFT", [0.4, 0.1], { unit: "seconds", better: "lower", outcome: "differs" }),
  create("hits", [0.5, 0.62], { unit: "ratio", outcome: "differs" }),
  P95,
  create("none", [1, 1], { a: absent("missing"), probability: null, outcome: "untested" }),
  create("price", [0, 3], { unit: "usd", better: "lower" }),
  create("goodput", [1, 1], {
    ...{ unit: "per_second", outcome: "untested", b: absent("off") },
    a: present({ value: null, least: 1, most: 2 }),
  }),
];

const MODEL: ComparedModel = {
  names: { a: "m_1", b: "m_1-fp8" },
  replicas: { a: 1, b: 2 },
  spans: { a: 600, b: 45 },
  isTested: false,
  settings: [{ name: "--max-num-seqs", a: "4", b: null }],
  settingCount: 9,
  figures: FIGURES,
};
const SPAN = { path: "a.rec", from: 1_795_300_000, to: 1_795_300_600, utcOffset: 3600 };
const COMPARISON: Comparison = {
  spans: { a: SPAN, b: { ...SPAN, path: "b\x1b.rec", to: SPAN.to + 86_400 } },
  models: [MODEL],
  unmatched: { a: [], b: ["other"] },
};

const LINES = renderComparison(COMPARISON, "$");

Deno.test("renderComparison() puts figures side by side, within 80 columns", () => {
  assertEquals(LINES.slice(0, 23), [
    "A  a.rec, 2026-11-21T23:26:40 to 23:36:40",
    "B  b\\x1b.rec, 2026-11-21T23:26:40 to 2026-11-22T23:36:40",
    "",
    "m_1 → m_1-fp8, 1 → 2 replicas",
    "",
    "Settings that differ  A  B",
    "--max-num-seqs        4  —",
    "",
    "                               A       B    change  beyond chance",
    "Load",
    "  Requests arriving       2.00/s  4.00/s    +100 %  yes",
    "Service",
    "  in_flight                 12.0    12.5    +4.2 %  no",
    "  rate                     100/s  50.0/s     -50 %  yes, worse",
    "  TTFT                    400 ms  100 ms     -75 %  yes, better",
    "  hits                    50.0 %  62.0 %  +12.0 pp  yes",
    "  TTFT P95                300 ms  400 ms     +33 %  no: both 250–500 ms",
    "  none                         —    1.00         —  n/a",
    "  price                    $0.00   $3.00         —  no",
    "  goodput            1.00–2.00/s       —         —  n/a",
    "",
    "A has figures of 10m 00s, B of 45s: at least 1m 40s are needed to tell a",
    "difference from chance.",
  ]);
  assert(LINES.every((line) => measureWidth(line) <= 80), LINES.join("\n"));
});

Deno.test("renderComparison() ends with what was found, and what is left out", () => {
  assertEquals(LINES.slice(-3), [
    "Goodput needs limits: --slo ttft=1s",
    "4 of 7 figures differ beyond chance.",
    "other is not in A, and left out.",
  ]);
  const alike = { ...MODEL, settings: [], isTested: true, figures: [P95] };
  assertEquals(renderComparison({ ...COMPARISON, models: [alike] }, "$").slice(-4), [
    "",
    "None of the 9 settings that both tell differs.",
    "No difference beyond chance in 1 figure.",
    "other is not in A, and left out.",
  ]);
  const none = renderComparison({ ...COMPARISON, models: [] }, "$");
  assertEquals(none[none.length - 1], "There is no model with figures in both.");
});

Deno.test("renderMarkdown() writes tables, in which no name is a mark", () => {
  const text = renderMarkdown(COMPARISON, "$").join("\n");
  assertStringIncludes(text, "\n## m\\_1 → m\\_1-fp8, 1 → 2 replicas\n");
  assertStringIncludes(
    text,
    "\n| Setting | A | B |\n| --- | --: | --: |\n| --max-num-seqs | 4 | — |\n",
  );
  assertStringIncludes(text, "\n| rate | 100/s | 50.0/s | -50 % | yes, worse |\n");
});
