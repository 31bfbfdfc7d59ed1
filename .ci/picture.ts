/**
 * The pictures of the README: `picture.ts` writes frames of the demo into
 * `.github/pictures`, each in the default and in the light theme.
 *
 * The demo runs from its seed by a clock of its own, through the same scraper,
 * samplers, state and views as on a terminal, to a second in which one server is
 * down; so the same program always draws the same pictures, and a test holds the
 * files against it. Cells lie on a grid: each run of text is told how wide it is,
 * and block characters are drawn as areas, whatever fonts the reader has.
 *
 * @module
 */

import { createDemo } from "../lib/demo.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createGpuSampler, isGpuFailure } from "../lib/gpu_sampler.ts";
import { createHost, LOCAL_HOST } from "../lib/host.ts";
import { sampleHost } from "../lib/host_load.ts";
import type { Platform, TerminalSize } from "../lib/platform.ts";
import { createScraper, type Scraper } from "../lib/scrape.ts";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { createState, type State, update } from "../lib/state.ts";
import { listServersOn } from "../lib/state_fleet.ts";
import { findServerProcesses } from "../lib/state_gpus.ts";
import { type Command, createUi } from "../lib/state_ui.ts";
import { measureWidth } from "../lib/text.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { getUiContext, layOutScene, renderFrame } from "../lib/view_scene.ts";
import { BRAILLE_DOTS, FIRST_BRAILLE } from "../lib/view_signs.ts";

/** Where the pictures are. */
export const PICTURES_URL = new URL("../.github/pictures/", import.meta.url);

const SEED = 1;

/** 14:00:00 on a day in 2026; the last server is down from second 190 to 210. */
const START_EPOCH = 1_795_010_400;
const INTERVAL = 2;
const SHOWN_AT = 208;

/** A frame after the keys of these commands. */
interface Shot {
  readonly name: string;
  readonly title: string;
  readonly size: TerminalSize;
  readonly commands: readonly Command[];
}

const SHOTS: readonly Shot[] = [
  {
    name: "fleet",
    title: "A simulated fleet in which one server is slow and another is down",
    size: { columns: 120, rows: 34 },
    commands: [],
  },
  {
    name: "detail",
    title: "All about the slow server: KV cache, throughput, requests, latencies, graphs",
    size: { columns: 120, rows: 40 },
    commands: ["next_trouble", "open"],
  },
  {
    name: "latency",
    title: "Percentiles of latencies, and how they spread from poll to poll for each replica",
    size: { columns: 120, rows: 40 },
    commands: ["show_latency"],
  },
];

/** Units of the picture for one cell, and for the margin around all. */
const CELL_WIDTH = 10;
const CELL_HEIGHT = 21;
const MARGIN = 14;
/** From the top of a cell to the line on which letters stand. */
const BASELINE = 16;
/** With this size a letter of nearly every monospaced font is as wide as a cell. */
const FONT_SIZE = 16.6;

/** What a terminal's colours look like. */
interface Palette {
  readonly background: string;
  readonly foreground: string;
  readonly dim: string;
  /** Of the 16 colours, by their SGR parameters. */
  readonly colors: ReadonlyMap<number, string>;
  readonly emptyGauge: string;
  readonly border: string;
}

const DARK: Palette = {
  background: "#16181d",
  foreground: "#d5d8de",
  dim: "#8b919c",
  colors: new Map([
    [31, "#ff6b6b"],
    [32, "#7bd88f"],
    [33, "#f0c561"],
    [34, "#7aa7ff"],
    [35, "#d79bf0"],
    [36, "#6fcbe0"],
  ]),
  emptyGauge: "#343942",
  border: "#16181d",
};

const LIGHT: Palette = {
  background: "#ffffff",
  foreground: "#1f2328",
  dim: "#656d76",
  colors: new Map([
    [30, "#1f2328"],
    [31, "#cf222e"],
    [32, "#1a7f37"],
    [34, "#0550ae"],
    [35, "#8250df"],
    [90, "#656d76"],
  ]),
  emptyGauge: "#d8dee4",
  border: "#d0d7de",
};

/** The themes in which each is drawn, and what is added to the names of their files. */
const LOOKS = [
  { suffix: "", theme: "default", palette: DARK },
  { suffix: "-light", theme: "light", palette: LIGHT },
] as const;

/** How cells look. */
interface Look {
  readonly color: string;
  readonly isBold: boolean;
  readonly isInverse: boolean;
}

function createPlain({ foreground }: Palette): Look {
  return { color: foreground, isBold: false, isInverse: false };
}

/** Characters of one look, from the cell `column` on. */
interface Run {
  readonly text: string;
  readonly column: number;
  readonly look: Look;
}

/** The look after an SGR sequence. @throws {Error} If the picture has no such look. */
function applyStyle(look: Look, parameter: number, palette: Palette): Look {
  const color = palette.colors.get(parameter);
  const plain = createPlain(palette);
  if (parameter === 0) return plain;
  if (parameter === 1) return { ...look, isBold: true };
  if (parameter === 2) return { ...look, color: palette.dim };
  if (parameter === 7) return { ...look, isInverse: true };
  // Table layouts may end each style by its own code before the reset that follows.
  if (parameter === 22 || parameter === 39) return plain;
  if (color !== undefined) return { ...look, color };
  throw new Error(`Cannot draw the style "${parameter}": add it to the picture`);
}

/** A line of a frame as runs. */
function readRuns(line: string, palette: Palette): readonly Run[] {
  const runs: Run[] = [];
  let look = createPlain(palette);
  let column = 0;
  // What stands between sequences alternates with their parameters.
  // deno-lint-ignore no-control-regex
  line.split(/\x1b\[([0-9;]*)m/).forEach((part, index) => {
    if (index % 2 === 1) {
      for (const parameter of part.split(";")) look = applyStyle(look, Number(parameter), palette);
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

const DOT_SIZE = 3;

/** A cell of a gauge or a graph whose upper left corner is there. */
function addCell(areas: Areas, color: string, cell: {
  readonly character: string;
  readonly x: number;
  readonly y: number;
  readonly palette: Palette;
}): void {
  const { character, x, y, palette } = cell;
  const pattern = (character.codePointAt(0) ?? 0) - FIRST_BRAILLE;
  if (pattern < 0) {
    const isStrip = character === "█" || character === "▒";
    const box = isStrip
      ? { x, y, width: CELL_WIDTH, height: CELL_HEIGHT }
      : { x, y: y + 4, width: CELL_WIDTH - 1, height: CELL_HEIGHT - 6 };
    const isFull = character === "▓" || character === "█";
    return addBox(areas, isFull ? color : palette.emptyGauge, box);
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
function drawRun({ text, column, look }: Run, { row, areas, palette }: {
  readonly row: number;
  readonly areas: Areas;
  readonly palette: Palette;
}): string {
  const color = look.isInverse ? palette.background : look.color;
  const y = MARGIN + row * CELL_HEIGHT;
  let drawn = "";
  if (look.isInverse) {
    const width = measureWidth(text) * CELL_WIDTH;
    const x = MARGIN + column * CELL_WIDTH;
    drawn += `<rect x="${x}" y="${y}" width="${width}" height="${CELL_HEIGHT}" ` +
      `fill="${look.color}"/>\n`;
  }
  for (const { 0: piece, index } of text.matchAll(/[▓░▒█⠀-⣿]+|[^ ▓░▒█⠀-⣿]+(?: [^ ▓░▒█⠀-⣿]+)*/g)) {
    const first = column + measureWidth(text.slice(0, index));
    const x = MARGIN + first * CELL_WIDTH;
    if (/^[▓░▒█⠀-⣿]/.test(piece)) {
      [...piece].forEach((character, i) =>
        addCell(areas, color, { character, x: x + i * CELL_WIDTH, y, palette })
      );
    } else {
      const width = measureWidth(piece) * CELL_WIDTH;
      const attributes = (color === palette.foreground ? "" : ` fill="${color}"`) +
        (look.isBold ? ' font-weight="700"' : "");
      drawn += `<text x="${x}" y="${y + BASELINE}" textLength="${width}"${attributes}>` +
        `${escapeXml(piece)}</text>\n`;
    }
  }
  return drawn;
}

/** Lines of a frame as an SVG document. */
export function drawSvg(
  lines: readonly string[],
  { columns, title, palette = DARK }: {
    readonly columns: number;
    readonly title: string;
    readonly palette?: Palette;
  },
): string {
  const width = columns * CELL_WIDTH + 2 * MARGIN;
  const height = lines.length * CELL_HEIGHT + 2 * MARGIN;
  const areas: Areas = new Map();
  const texts = lines.map((line, row) =>
    readRuns(line, palette).map((run) => drawRun(run, { row, areas, palette })).join("")
  ).join("");
  const paths = [...areas].map(([color, area]) => `<path fill="${color}" d="${area}"/>\n`).join("");
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" ` +
    `width="${width}" height="${height}" role="img">
<title>${escapeXml(title)}</title>
<rect x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8" ` +
    `fill="${palette.background}" stroke="${palette.border}"/>
<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" ` +
    `font-size="${FONT_SIZE}" fill="${palette.foreground}" xml:space="preserve" ` +
    `lengthAdjust="spacingAndGlyphs">
${texts}${paths}</g>
</svg>
`;
}

/** The state after each server has been asked, and GPUs and host were sampled. */
async function watchOnce(
  state: State,
  scrapers: readonly Scraper[],
  sampleMachine: (state: State) => Promise<State>,
): Promise<State> {
  let next = state;
  for (const scraper of scrapers) {
    const outcome = await scraper.scrape();
    next = update(
      next,
      isScrapeFailure(outcome)
        ? { kind: "scrape_failed", failure: outcome }
        : { kind: "scraped", scrape: outcome },
    );
  }
  return sampleMachine(next);
}

function createMachineSampler(platform: Platform): (state: State) => Promise<State> {
  const host = createHost(LOCAL_HOST, platform, 0);
  const sampler = createGpuSampler(host);
  return async (state) => {
    const listing = await host.listProcesses?.();
    const report = await sampler.sample();
    if (listing === undefined || isGpuFailure(report)) throw new Error("The demo has no machine");
    const machine = {
      processes: listing.processes,
      listeners: new Map(listing.listening.map(({ port, ownerPids }) => [port, ownerPids])),
    };
    const servers = findServerProcesses(machine, listServersOn(state, LOCAL_HOST));
    const sample = await sampleHost(host, servers);
    const sampled = update(state, { kind: "gpus_sampled", host: LOCAL_HOST, report, machine });
    return update(sampled, { kind: "host_sampled", host: LOCAL_HOST, sample });
  };
}

/** The state of the demo in that second. */
export async function watchDemo(until: number): Promise<State> {
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
  const sampleMachine = createMachineSampler(platform);
  let state = createState(endpoints.map(({ endpoint }) => endpoint), {
    interval: INTERVAL,
    now,
    nowEpoch: START_EPOCH,
    utcOffset: 0,
    isDemo: true,
    notices: [],
    ui: createUi({ columnIds: COLUMN_IDS }),
  });
  for (; now <= until; now += INTERVAL) {
    state = await watchOnce(state, scrapers, sampleMachine);
    state = update(state, { kind: "clock", now, nowEpoch: START_EPOCH + now });
  }
  for (const scraper of scrapers) scraper.close();
  return state;
}

/** The pictures as they are to be, by the names of their files. */
export async function drawPictures(): Promise<ReadonlyMap<string, string>> {
  const watched = await watchDemo(SHOWN_AT);
  return new Map(
    SHOTS.flatMap(({ name, title, size, commands }) =>
      LOOKS.map(({ suffix, theme, palette }) => {
        const view = { output: "auto", depth: 16, ascii: false } as const;
        const start: State = { ...watched, ui: { ...watched.ui, theme } };
        const state = commands.reduce((known, command) => {
          const context = getUiContext(layOutScene(known, size, view));
          return update(known, { kind: "command", command, context });
        }, start);
        const { lines } = renderFrame(state, size, view);
        const { columns } = size;
        return [`${name}${suffix}.svg`, drawSvg(lines, { columns, title, palette })] as const;
      })
    ),
  );
}

if (import.meta.main) {
  await Deno.mkdir(PICTURES_URL, { recursive: true });
  for (const [name, picture] of await drawPictures()) {
    await Deno.writeTextFile(new URL(name, PICTURES_URL), picture);
    console.log(`${PICTURES_URL.pathname}${name}: ${picture.length} characters`);
  }
}
