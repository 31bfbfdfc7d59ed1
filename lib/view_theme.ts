/**
 * Maps meanings (`ok`, `warn`, `alert`, …) to styles. SGR codes are written out: `@std/fmt/colors`
 * exports no codes, and under `NO_COLOR` not even bold. Every meaning also has a word or sign.
 * @module
 */

import { stripAnsiCode } from "@std/fmt/colors";
import { createRecord } from "./model.ts";
import type { ThemeName } from "./state_ui.ts";
import { cutText, measureWidth, padText } from "./text.ts";

/** `null`: no styles; 0: only bold and inverse. */
export type ColorDepth = null | 0 | 16 | 256 | "truecolor";
export type Paint = (text: string, meaning: Meaning) => string;

/** SGR parameters (ECMA-48, 8.3.117) of four themes. Yellow and cyan are unreadable on white. */
// deno-fmt-ignore
const STYLES = {
  //         default  light    mono    high-contrast
  plain:    ["",      "",      "",     "1;97"],
  title:    ["1",     "1",     "1",    "1;97"],
  heading:  ["1",     "1",     "1",    "1;4;97"],
  ok:       ["32",    "32",    "",     "1;92"],
  warn:     ["33",    "35",    "1",    "1;93"],
  alert:    ["1;31",  "1;31",  "1;4",  "1;97;41"],
  dim:      ["2",     "90",    "2",    "97"],
  name:     ["36",    "34",    "",     "1;96"],
  selected: ["7",     "7",     "7",    "1;30;107"],
  key:      ["1;36",  "1;34",  "1",    "1;93"],
  // Series of a graph: neither red nor yellow, which judge. Their letters tell them apart, too.
  series1:  ["36",    "34",    "",     "96"],
  series2:  ["35",    "32",    "",     "95"],
  series3:  ["34",    "30",    "",     "94"],
  series4:  ["32",    "90",    "",     "92"],
  series5:  ["1;36",  "1;34",  "1",    "1;96"],
  series6:  ["1;35",  "1;32",  "1",    "1;95"],
  series7:  ["1;34",  "1;30",  "1",    "1;94"],
  series8:  ["1;32",  "1;90",  "1",    "1;92"],
} as const;

export type Meaning = keyof typeof STYLES;
type Theme = Readonly<Record<Meaning, string>>;

function createTheme(column: 0 | 1 | 2 | 3): Theme {
  const meanings = Object.keys(STYLES) as Meaning[];
  return createRecord(meanings, (meaning) => STYLES[meaning][column]);
}

const DEFAULT_THEME = createTheme(0);
const MONO_THEME = createTheme(2);

/**
 * Six of the eight colors of Okabe and Ito, "Color Universal Design" (2008).
 */
const OKABE_ITO = {
  ok: [0, 158, 115],
  warn: [230, 159, 0],
  alert: [213, 94, 0],
  name: [86, 180, 233],
  blue: [0, 114, 178],
  purple: [204, 121, 167],
} as const;

/** For 16 colours: blue, yellow and red. */
const COLORBLIND_16_THEME: Theme = { ...DEFAULT_THEME, ok: "34", warn: "33", alert: "1;31" };

/** The nearest of the 6 × 6 × 6 cube of 256 colours. */
function findCubeColor([red, green, blue]: readonly number[]): number {
  const level = (value: number): number => Math.round((value / 255) * 5);
  return 16 + 36 * level(red) + 6 * level(green) + level(blue);
}

function createColorblindTheme(depth: 256 | "truecolor"): Theme {
  const code = (color: readonly number[]): string =>
    depth === 256 ? `38;5;${findCubeColor(color)}` : `38;2;${color.join(";")}`;
  return {
    ...DEFAULT_THEME,
    ok: code(OKABE_ITO.ok),
    warn: code(OKABE_ITO.warn),
    alert: `1;${code(OKABE_ITO.alert)}`,
    name: code(OKABE_ITO.name),
    series1: code(OKABE_ITO.name),
    series2: code(OKABE_ITO.purple),
    series3: code(OKABE_ITO.blue),
    series4: code(OKABE_ITO.ok),
    series5: `1;${code(OKABE_ITO.name)}`,
    series6: `1;${code(OKABE_ITO.purple)}`,
    series7: `1;${code(OKABE_ITO.blue)}`,
    series8: `1;${code(OKABE_ITO.ok)}`,
  };
}

const THEMES: Readonly<Record<Exclude<ThemeName, "colorblind">, Theme>> = {
  default: DEFAULT_THEME,
  light: createTheme(1),
  mono: MONO_THEME,
  "high-contrast": createTheme(3),
};

function chooseTheme(name: ThemeName, depth: Exclude<ColorDepth, null>): Theme {
  if (depth === 0) return MONO_THEME;
  if (name !== "colorblind") return THEMES[name];
  return depth === 16 ? COLORBLIND_16_THEME : createColorblindTheme(depth);
}

/** Painted text must not be painted again. */
export function createPaint(depth: ColorDepth, themeName: ThemeName = "default"): Paint {
  if (depth === null) return (text) => text;
  const theme = chooseTheme(themeName, depth);
  return (text, meaning) => {
    const style = theme[meaning];
    return text === "" || style === "" ? text : `\x1b[${style}m${text}\x1b[0m`;
  };
}

// deno-lint-ignore no-control-regex
const STYLE = /(\x1b\[[0-9;]*m)/g;

/** Cuts a painted line to `width` cells, ending in `…`. Keeps all styles, so that each ends. */
export function cutStyledLine(line: string, width: number): string {
  if (measureWidth(stripAnsiCode(line)) <= width) return line;
  // Styles alternate with text.
  const parts = line.split(STYLE);
  let cut = "";
  let room = width - 1;
  parts.forEach((part, i) => {
    if (i % 2 === 1) {
      cut += part;
      return;
    }
    if (room < 0) return;
    const needed = measureWidth(part);
    // The extra blank makes `cutText` add its `…`.
    cut += needed > room ? cutText(part + " ", room + 1) : part;
    room = needed > room ? -1 : room - needed;
  });
  return cut;
}

/** As Node reads it; other values mean no colours. */
const FORCED_DEPTHS: ReadonlyMap<string, ColorDepth> = new Map<string, ColorDepth>([
  ["", 16],
  ["1", 16],
  ["true", 16],
  ["2", 256],
  ["3", "truecolor"],
]);

function getTerminalDepth(environment: (name: string) => string | undefined): ColorDepth {
  if (/^(truecolor|24bit)$/.test(environment("COLORTERM") ?? "")) return "truecolor";
  return /256color/.test(environment("TERM") ?? "") ? 256 : 16;
}

/**
 * No colours without a terminal or with `TERM=dumb`; else by `--no-color`, FORCE_COLOR (pipes too),
 * NO_COLOR (no-color.org), COLORTERM and TERM, in that order.
 */
export function chooseColorDepth(
  isTerminal: boolean,
  environment: (name: string) => string | undefined,
  options: { readonly noColor?: boolean } = {},
): ColorDepth {
  const isStyled = isTerminal && environment("TERM") !== "dumb";
  if (options.noColor === true) return isStyled ? 0 : null;
  const forced = environment("FORCE_COLOR");
  if (forced !== undefined) return FORCED_DEPTHS.get(forced) ?? (isStyled ? 0 : null);
  if (!isStyled) return null;
  return (environment("NO_COLOR") ?? "") === "" ? getTerminalDepth(environment) : 0;
}

/** In cells. */
export function measureStyledLine(line: string): number {
  return measureWidth(stripAnsiCode(line));
}

export function padStyledLine(line: string, width: number): string {
  const cut = cutStyledLine(line, width);
  return cut + " ".repeat(Math.max(0, width - measureStyledLine(cut)));
}

/** Repaints a selected line in one style. */
export function repaintLine(line: string, width: number, paint: (text: string) => string): string {
  return paint(padText(stripAnsiCode(line), width));
}

/**
 * Whether the terminal shows UTF-8, by the first of LC_ALL, LC_CTYPE and LANG that is set (POSIX).
 * Windows and macOS do without any.
 */
export function hasUtf8Locale(
  environment: (name: string) => string | undefined,
  operatingSystem: string,
): boolean {
  const locale = ["LC_ALL", "LC_CTYPE", "LANG"].map(environment).find((value) =>
    value !== undefined && value !== ""
  );
  if (locale === undefined) return operatingSystem !== "linux";
  return /utf-?8/i.test(locale);
}
