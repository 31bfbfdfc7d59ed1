/**
 * A frame: what the screen is to show, as lines of styled text.
 *
 * Layer 1, pure. Views say what a piece of text means (`ok`, `warn`, `alert`,
 * …); the theme here turns meanings into SGR sequences. They are written out:
 * `@std/fmt/colors` paints nothing at all where `NO_COLOR` is set, bold included.
 * No meaning is told by colour alone: each has its word or sign beside it.
 * `terminal` writes frames; it alone knows other escape sequences.
 *
 * @module
 */

import { cutText, measureWidth } from "./text.ts";

/** What a piece of text means. */
export type Meaning = "plain" | "title" | "heading" | "ok" | "warn" | "alert" | "dim" | "name";

/** Whether text is styled: not at all, without colour (`NO_COLOR`), or with. */
export type StyleMode = "plain" | "monochrome" | "color";

/** Gives a text the style of its meaning. */
export type Paint = (text: string, meaning: Meaning) => string;

/** One picture of the whole screen. */
export interface Frame {
  /** From the top; styled; no line wider than the screen it was made for. */
  readonly lines: readonly string[];
}

/** SGR parameters by meaning (ECMA-48, 8.3.117); none for text as it is. */
type Theme = Readonly<Record<Meaning, string>>;

const COLOR_THEME: Theme = {
  plain: "",
  title: "1",
  heading: "1",
  ok: "32",
  warn: "33",
  alert: "1;31",
  dim: "2",
  name: "36",
};

const MONOCHROME_THEME: Theme = {
  plain: "",
  title: "1",
  heading: "1",
  ok: "",
  warn: "1",
  alert: "7",
  dim: "2",
  name: "",
};

/** How meanings are painted in the given mode. Empty text stays empty; painted text is not to be painted again. */
export function createPaint(mode: StyleMode): Paint {
  if (mode === "plain") return (text) => text;
  const theme = mode === "color" ? COLOR_THEME : MONOCHROME_THEME;
  return (text, meaning) => {
    const style = theme[meaning];
    return text === "" || style === "" ? text : `\x1b[${style}m${text}\x1b[0m`;
  };
}

// deno-lint-ignore no-control-regex
const STYLE = /(\x1b\[[0-9;]*m)/;

/**
 * The painted line cut to `width` cells, with a `…` at its end where something
 * was cut. All its styles stay, so that each still ends.
 */
export function cutStyledLine(line: string, width: number): string {
  // What stands between styles alternates with them.
  const parts = line.split(STYLE);
  if (measureWidth(parts.filter((_, i) => i % 2 === 0).join("")) <= width) return line;
  let cut = "";
  let room = width - 1;
  parts.forEach((part, i) => {
    if (i % 2 === 1) {
      cut += part;
      return;
    }
    if (room < 0) return;
    const needed = measureWidth(part);
    // The blank makes the text too wide, so that it is cut with its sign.
    cut += needed > room ? cutText(part + " ", room + 1) : part;
    room = needed > room ? -1 : room - needed;
  });
  return cut;
}

/**
 * The style mode that the environment asks for (no-color.org): nothing without
 * a terminal or with `TERM=dumb`, no colours when `NO_COLOR` is not empty.
 */
export function chooseStyleMode(
  isTerminal: boolean,
  environment: (name: string) => string | undefined,
): StyleMode {
  if (!isTerminal || environment("TERM") === "dumb") return "plain";
  return (environment("NO_COLOR") ?? "") === "" ? "color" : "monochrome";
}

/**
 * Whether the locale says that the terminal shows UTF-8: the first of LC_ALL,
 * LC_CTYPE and LANG that is set decides (POSIX). Windows and macOS terminals
 * show it though none is set.
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
