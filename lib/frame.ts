/**
 * A frame: what the screen is to show, as lines of styled text.
 *
 * Layer 1, pure. Views say what a piece of text means (`ok`, `warn`, `alert`,
 * …); the theme here turns meanings into SGR sequences, by `@std/fmt/colors`.
 * No meaning is told by colour alone: each has its word or sign beside it.
 * `terminal` writes frames; it alone knows other escape sequences.
 *
 * @module
 */

import { bold, cyan, dim, green, inverse, red, setColorEnabled, yellow } from "@std/fmt/colors";

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

const COLOR_STYLES: Readonly<Record<Meaning, (text: string) => string>> = {
  plain: (text) => text,
  title: bold,
  heading: bold,
  ok: green,
  warn: yellow,
  alert: (text) => bold(red(text)),
  dim,
  name: cyan,
};

const MONOCHROME_STYLES: Readonly<Record<Meaning, (text: string) => string>> = {
  plain: (text) => text,
  title: bold,
  heading: bold,
  ok: (text) => text,
  warn: bold,
  alert: inverse,
  dim,
  name: (text) => text,
};

/** How meanings are painted in the given mode. Empty text stays empty. */
export function createPaint(mode: StyleMode): Paint {
  if (mode === "plain") return (text) => text;
  // The library turns itself off when NO_COLOR is set; what that means is decided by the mode.
  setColorEnabled(true);
  const styles = mode === "color" ? COLOR_STYLES : MONOCHROME_STYLES;
  return (text, meaning) => text === "" ? "" : styles[meaning](text);
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
