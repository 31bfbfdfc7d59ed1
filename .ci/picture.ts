/**
 * The picture of the README: `picture.ts` writes `.github/screen.svg`, a frame
 * of the demo.
 *
 * The demo runs from its seed by a clock of its own, through the same scraper,
 * state and views as on a terminal, to the second in which one server is down;
 * so the same program always draws the same picture, and a test holds the file
 * against it. Cells lie on a grid: each run of text is told how wide it is,
 * and block characters are drawn as areas, whatever fonts the reader has.
 *
 * @module
 */

import { createDemo } from "../lib/demo.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createScraper, isScrapeFailure } from "../lib/scrape.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { createState, update } from "../lib/state.ts";
import { createUi } from "../lib/state_ui.ts";
import { measureWidth } from "../lib/text.ts";
import { renderFrame } from "../lib/view_scene.ts";
import { BRAILLE_DOTS, FIRST_BRAILLE } from "../lib/view_signs.ts";
import { COLUMN_IDS } from "../lib/view_columns.ts";

/** Where the picture is. */
export const PICTURE_URL = new URL("../.github/screen.svg", import.meta.url);

const SIZE = { columns: 120, rows: 34 };
const SEED = 1;

/** 14:00:00 on a day in 2026; the last server is down from second 40 to 60. */
const START_EPOCH = 1_795_010_400;
const INTERVAL = 2;
const SHOWN_AT = 58;

/** Units of the picture for one cell, and for the margin around all. */
const CELL_WIDTH = 10;
const CELL_HEIGHT = 21;
const MARGIN = 14;
/** From the top of a cell to the line on which letters stand. */
const BASELINE = 16;
/** With this size a letter of nearly every monospaced font is as wide as a cell. */
const FONT_SIZE = 16.6;

const BACKGROUND = "#16181d";
const FOREGROUND = "#d5d8de";

/** What the terminal's 16 colours look like here, by their SGR parameters. */
const COLORS: ReadonlyMap<number, string> = new Map([
  [31, "#ff6b6b"],
  [32, "#7bd88f"],
  [33, "#f0c561"],
  [34, "#7aa7ff"],
  [35, "#d79bf0"],
  [36, "#6fcbe0"],
  [37, FOREGROUND],
  [90, "#8b919c"],
]);
const DIM = "#8b919c";

/** How cells look. */
interface Look {
  readonly color: string;
  readonly isBold: boolean;
  readonly isInverse: boolean;
}

const PLAIN: Look = { color: FOREGROUND, isBold: false, isInverse: false };

/** Characters of one look, from the cell `column` on. */
interface Run {
  readonly text: string;
  readonly column: number;
  readonly look: Look;
}

/** The look after an SGR sequence. @throws {Error} If the picture has no such look. */
function applyStyle(look: Look, parameter: number): Look {
  const color = COLORS.get(parameter);
  if (parameter === 0) return PLAIN;
  if (parameter === 1) return { ...look, isBold: true };
  if (parameter === 2) return { ...look, color: DIM };
  if (parameter === 7) return { ...look, isInverse: true };
  // Table layouts may end each style by its own code before the reset that follows.
  if (parameter === 22 || parameter === 39) return PLAIN;
  if (color !== undefined) return { ...look, color };
  throw new Error(`Cannot draw the style "${parameter}": add it to the picture`);
}

/** A line of a frame as runs. */
function readRuns(line: string): readonly Run[] {
  const runs: Run[] = [];
  let look = PLAIN;
  let column = 0;
  // What stands between sequences alternates with their parameters.
  // deno-lint-ignore no-control-regex
  line.split(/\x1b\[([0-9;]*)m/).forEach((part, index) => {
    if (index % 2 === 1) {
      for (const parameter of part.split(";")) look = applyStyle(look, Number(parameter));
    } else if (part !== "") {
      runs.push({ text: part, column, look });
      column += measureWidth(part);
    }
  });
  return runs;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/** The areas that gauges and graphs of one colour fill, by colour. */
type Areas = Map<string, string>;

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function addBox(areas: Areas, color: string, { x, y, width, height }: Box): void {
  const area = `M${x} ${y}h${width}v${height}h${-width}z`;
  areas.set(color, (areas.get(color) ?? "") + area);
}

const EMPTY_GAUGE = "#343942";
const DOT_SIZE = 3;

/** A cell of a gauge or a graph whose upper left corner is there. */
function addCell(areas: Areas, color: string, cell: { character: string; x: number; y: number }) {
  const { character, x, y } = cell;
  const pattern = (character.codePointAt(0) ?? 0) - FIRST_BRAILLE;
  if (pattern < 0) {
    const box = { x, y: y + 4, width: CELL_WIDTH - 1, height: CELL_HEIGHT - 6 };
    return addBox(areas, character === "░" ? EMPTY_GAUGE : color, box);
  }
  BRAILLE_DOTS.forEach((bits, column) =>
    bits.forEach((bit, row) => {
      if ((pattern & bit) === 0) return;
      const left = x + 1 + column * CELL_WIDTH / 2;
      const top = y + CELL_HEIGHT - DOT_SIZE - 2 - row * (DOT_SIZE + 1);
      addBox(areas, color, { x: left, y: top, width: DOT_SIZE, height: DOT_SIZE });
    })
  );
}

/** Words and the single blanks between them, at their cells; gauges and graphs go to the areas. */
function drawRun({ text, column, look }: Run, row: number, areas: Areas): string {
  const color = look.isInverse ? BACKGROUND : look.color;
  const y = MARGIN + row * CELL_HEIGHT;
  let drawn = "";
  if (look.isInverse) {
    const width = measureWidth(text) * CELL_WIDTH;
    const x = MARGIN + column * CELL_WIDTH;
    drawn += `<rect x="${x}" y="${y}" width="${width}" height="${CELL_HEIGHT}" ` +
      `fill="${look.color}"/>\n`;
  }
  for (const { 0: piece, index } of text.matchAll(/[▓░⠀-⣿]+|[^ ▓░⠀-⣿]+(?: [^ ▓░⠀-⣿]+)*/g)) {
    const first = column + measureWidth(text.slice(0, index));
    const x = MARGIN + first * CELL_WIDTH;
    if (/^[▓░⠀-⣿]/.test(piece)) {
      [...piece].forEach((character, i) =>
        addCell(areas, color, { character, x: x + i * CELL_WIDTH, y })
      );
    } else {
      const width = measureWidth(piece) * CELL_WIDTH;
      const attributes = (color === FOREGROUND ? "" : ` fill="${color}"`) +
        (look.isBold ? ' font-weight="700"' : "");
      drawn += `<text x="${x}" y="${y + BASELINE}" textLength="${width}"${attributes}>` +
        `${escapeXml(piece)}</text>\n`;
    }
  }
  return drawn;
}

/** Lines of a frame as an SVG document. */
export function drawSvg(lines: readonly string[], columns: number): string {
  const width = columns * CELL_WIDTH + 2 * MARGIN;
  const height = lines.length * CELL_HEIGHT + 2 * MARGIN;
  const areas: Areas = new Map();
  const texts = lines.map((line, row) =>
    readRuns(line).map((run) => drawRun(run, row, areas)).join("")
  ).join("");
  const paths = [...areas].map(([color, area]) => `<path fill="${color}" d="${area}"/>\n`).join("");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `width="${width}" height="${height}" role="img">
<title>vllm-htop watching a simulated fleet in which one server is slow and another is down</title>
<rect width="100%" height="100%" rx="8" fill="${BACKGROUND}"/>
<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" ` +
    `font-size="${FONT_SIZE}" fill="${FOREGROUND}" xml:space="preserve" ` +
    `lengthAdjust="spacingAndGlyphs">
${texts}${paths}</g>
</svg>
`;
}

/** The picture as it is to be. */
export async function drawPicture(): Promise<string> {
  let now = 0;
  const { platform, endpoints } = createDemo({
    ...createDenoPlatform(),
    monotonicSeconds: () => now,
    epochSeconds: () => START_EPOCH + now,
  }, SEED);
  const options = { access: ANONYMOUS_ACCESS, timeout: 4, metricPrefix: null };
  const scrapers = await Promise.all(
    endpoints.map(({ endpoint }) => createScraper(platform, endpoint, options)),
  );
  let state = createState(endpoints.map(({ endpoint }) => endpoint), {
    interval: INTERVAL,
    now,
    nowEpoch: START_EPOCH,
    utcOffset: 0,
    isDemo: true,
    notices: [],
    ui: createUi({ columnIds: COLUMN_IDS }),
  });
  for (; now <= SHOWN_AT; now += INTERVAL) {
    for (const scraper of scrapers) {
      const outcome = await scraper.scrape();
      state = update(
        state,
        isScrapeFailure(outcome)
          ? { kind: "scrape_failed", failure: outcome }
          : { kind: "scraped", scrape: outcome },
      );
    }
    state = update(state, { kind: "clock", now, nowEpoch: START_EPOCH + now });
  }
  for (const scraper of scrapers) scraper.close();
  const frame = renderFrame(state, SIZE, { output: "auto", depth: 16, ascii: false });
  return drawSvg(frame.lines, SIZE.columns);
}

if (import.meta.main) {
  const picture = await drawPicture();
  await Deno.mkdir(new URL("./", PICTURE_URL), { recursive: true });
  await Deno.writeTextFile(PICTURE_URL, picture);
  console.log(`${PICTURE_URL.pathname}: ${picture.length} characters`);
}
