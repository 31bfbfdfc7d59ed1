import { assertEquals } from "@std/assert";
import type { TerminalSize } from "../lib/platform.ts";
import { type State, update } from "../lib/state.ts";
import { type Command, THEME_NAMES } from "../lib/state_ui.ts";
import type { ViewOptions } from "../lib/view.ts";
import { getUiContext, layOutScene, renderFrame } from "../lib/view_scene.ts";
import type { ColorDepth } from "../lib/view_theme.ts";
import { watchToTheEnd } from "./fixtures/described_fleet.ts";
import { advance, createEndpoint, createFailed, startState } from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { assertGolden } from "./fixtures/goldens.ts";
import { createChosenUi, type Grid, showLines, watchServers } from "./fixtures/screens.ts";

const OPTIONS: ViewOptions = { output: "auto", depth: 256, ascii: false };
const SMALL: TerminalSize = { columns: 80, rows: 24 };
const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };

const withUi = (state: State): State => ({ ...state, ui: createChosenUi() });

const STARTING = startState([createEndpoint(8000), createEndpoint(8001)], { ui: createChosenUi() });
const TROUBLED = withUi(watchTroubledFleet());
const FIVE = withUi(watchFleet(4));

/** Five replicas, all of them well. */
function watchHealthyFleet(): State {
  return watchServers([[LLAMA], [LLAMA], [LLAMA], [LLAMA, LLAMA]], 40);
}

function failAll(): State {
  const endpoints = [8000, 8001, 8002].map((port) => createEndpoint(port));
  const failed = endpoints.map((endpoint, i) =>
    createFailed(endpoint, 0.5, i === 2 ? "timeout" : "refused")
  );
  return advance(startState(endpoints, { ui: createChosenUi() }), 1, failed);
}

/** The state after the commands, as keys would give them on a screen of that size. */
function run(state: State, commands: readonly Command[], size = SMALL): State {
  return commands.reduce((known, command) => {
    const context = getUiContext(layOutScene(known, size, OPTIONS));
    return update(known, { kind: "command", command, context });
  }, state);
}

function type(state: State, text: string): State {
  return update(run(state, ["filter"]), { kind: "filter", edit: { kind: "insert", text } });
}

function show(state: State, size = SMALL, more: Partial<ViewOptions> = {}): Promise<Grid> {
  return showLines(renderFrame(state, size, { ...OPTIONS, ...more }).lines, size);
}

/** Pictures below each other, each under a rule with its name and size. */
async function drawAll(
  pictures: readonly (readonly [string, State, TerminalSize?, Partial<ViewOptions>?])[],
): Promise<string> {
  const drawn: string[] = [];
  for (const [name, state, size = SMALL, more] of pictures) {
    const { rows } = await show(state, size, more);
    const rule = `== ${name}, ${size.columns} x ${size.rows} `.padEnd(size.columns, "=");
    drawn.push(rule, ...rows.map((row) => row.trimEnd()));
  }
  return drawn.join("\n") + "\n";
}

Deno.test("renderFrame() draws the overview at three sizes as in goldens/frames_sizes.txt", async () => {
  const state = watchHealthyFleet();
  const sizes = [[80, 24], [120, 40], [200, 50]].map(([columns, rows]) => ({ columns, rows }));
  const pictures = sizes.map((size) => ["healthy", state, size] as const);
  assertGolden("frames_sizes.txt", await drawAll(pictures));
});

Deno.test("renderFrame() draws one, five and 64 replicas as in goldens/frames_replicas.txt", async () => {
  const many = watchServers(Array.from({ length: 16 }, () => [LLAMA, LLAMA, LLAMA, LLAMA]), 6);
  const one = withUi(watchFleet(1));
  assertGolden(
    "frames_replicas.txt",
    await drawAll([
      ["one replica", one],
      ["five replicas", FIVE],
      ["64 replicas", many],
      ["64 replicas, the last selected", run(many, ["last"])],
      [
        "64 replicas, the third selected, then sorted by running requests",
        run(many, ["down", "down", "sort_next", "sort_next", "sort_next"]),
      ],
    ]),
  );
});

Deno.test("renderFrame() draws fleets in trouble as in goldens/frames_conditions.txt", async () => {
  assertGolden(
    "frames_conditions.txt",
    await drawAll([
      ["degraded", FIVE],
      ["critical", TROUBLED],
      ["all down", failAll()],
      ["starting up", STARTING],
      ["a small screen", TROUBLED, { columns: 40, rows: 12 }],
      ["a tiny screen", TROUBLED, { columns: 20, rows: 5 }],
    ]),
  );
});

/** A fleet of tests/judged after its last poll. */
function watchJudged(name: string): State {
  const text = Deno.readTextFileSync(new URL(`./judged/${name}.txt`, import.meta.url));
  const state = watchToTheEnd(text.split("\n---\n")[0]);
  return { ...state, ui: createChosenUi() };
}

Deno.test("renderFrame() draws fired rules as in goldens/frames_judged.txt", async () => {
  const slow = watchJudged("slow_decode_by_2");
  const size = { columns: 120, rows: 30 };
  assertGolden(
    "frames_judged.txt",
    await drawAll([
      ["balanced", watchJudged("balanced"), size],
      ["one slow", slow, size],
      ["one slow, its details", run(slow, ["down", "down", "open"]), size],
      ["hot before, well again", watchJudged("hot"), size],
      ["stalled", watchJudged("stalled"), size],
      ["two models", watchJudged("llm_and_embeddings"), { columns: 200, rows: 40 }],
    ]),
  );
});

Deno.test("renderFrame() draws every screen as in goldens/frames_screens.txt", async () => {
  const grouped = run(FIVE, ["group"]);
  assertGolden(
    "frames_screens.txt",
    await drawAll([
      ["help", run(FIVE, ["help"])],
      ["help, scrolled to its end", run(FIVE, ["help", "last"])],
      ["columns", run(FIVE, ["columns", "down", "down", "pause", "down"])],
      ["detail", run(FIVE, ["down", "open"])],
      ["filter, being typed", type(FIVE, "qwen|8001")],
      ["grouped", grouped],
      ["grouped and folded", run(grouped, ["fold"])],
      ["paused", run(FIVE, ["pause"])],
      [
        "latency",
        run(FIVE, ["show_latency"]),
      ],
    ]),
  );
});

Deno.test("renderFrame() draws graphs and strips as in goldens/frames_pages.txt", async () => {
  const [latency, trends] = (["show_latency", "show_trends"] as const)
    .map((command) => run(FIVE, [command]));
  const wide = { columns: 120, rows: 40 };
  assertGolden(
    "frames_pages.txt",
    await drawAll([
      ["latency", latency],
      ["latency", latency, wide],
      ["latency in ASCII", latency, SMALL, { ascii: true }],
      ["trends", trends],
      ["trends", trends, wide],
      ["trends in half blocks", trends, SMALL, { hasBraille: false }],
      ["trends in ASCII", trends, SMALL, { ascii: true }],
    ]),
  );
});

Deno.test("renderFrame() draws ASCII as in goldens/frames_ascii.txt", async () => {
  const text = await drawAll([
    ["overview", TROUBLED, { columns: 120, rows: 30 }, { ascii: true }],
    ["sorted", run(TROUBLED, ["sort_next"]), { columns: 80, rows: 16 }, { ascii: true }],
  ]);
  // deno-lint-ignore no-control-regex
  assertEquals(text.replace(/[\x0a\x20-\x7e]/g, ""), "");
  assertGolden("frames_ascii.txt", text);
});

Deno.test("renderFrame() draws every theme as in goldens/frames_themes.txt", async () => {
  const size = { columns: 72, rows: 13 };
  const drawn: string[] = [];
  const draw = async (name: string, state: State, depth: ColorDepth): Promise<void> => {
    const { rows, styles } = await show(state, size, { depth });
    if (drawn.length === 0) drawn.push(...rows.map((row, y) => `${y}`.padStart(2) + ` ${row}`));
    drawn.push("", `== ${name}: row, cells, style`);
    for (const [y, runs] of styles.entries()) if (runs !== "") drawn.push(`${y}: ${runs}`);
  };
  for (const theme of THEME_NAMES) {
    const state = { ...TROUBLED, ui: createChosenUi({ theme }) };
    await draw(theme, state, "truecolor");
  }
  const colorblind = { ...TROUBLED, ui: createChosenUi({ theme: "colorblind" }) };
  await draw("colorblind of 256 colours", colorblind, 256);
  await draw("colorblind of 16 colours", colorblind, 16);
  await draw("NO_COLOR", TROUBLED, 0);
  await draw("no styles", TROUBLED, null);
  assertGolden("frames_themes.txt", drawn.join("\n") + "\n");
});
