/**
 * The figures of simulated vLLM engines -> the text of their `/metrics`, by the template.
 *
 * Floats are written as prometheus_client writes them. Several API servers give the multiprocess
 * form: families by kind, each `_sum` before its buckets, no `process_*`, `python_*` or `_created`.
 *
 * @module
 */

import type { SimulatedEngine } from "./demo_engine.ts";
import { ACCEPTED_KEYS, type Tallies, type Tally } from "./demo_figures.ts";
import { EXPOSITION_TEMPLATE } from "./demo_template.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** The API server in front of the engines. */
interface ServerFigures {
  readonly processStart: EpochSeconds;
  /** When the first counter was made. */
  readonly created: EpochSeconds;
  /** Since `created`. */
  readonly uptime: Seconds;
  /** Several API servers. */
  readonly multiprocess: boolean;
  /** Without speculative decoding there are no `spec_decode_*`. */
  readonly speculative: boolean;
}

/** A family of the template, with the labels and figures of its series. */
interface Family {
  readonly type: string;
  readonly name: string;
  readonly help: string;
  readonly rows: { readonly labels: string; readonly figures: readonly string[] }[];
}

function parseTemplate(template: string): readonly Family[] {
  const families: Family[] = [];
  for (const line of template.split("\n").filter((line) => line !== "")) {
    const [, type, name, help] = /^(counter|gauge|histogram|summary) (\S+) (.*)$/.exec(line) ?? [];
    if (type !== undefined) families.push({ type, name, help, rows: [] });
    else {
      const [, labels, figures] = /^(\{.*\})? ?([\w ]+)$/.exec(line) ?? [];
      families[families.length - 1].rows.push({
        labels: labels ?? "",
        figures: figures.split(" "),
      });
    }
  }
  return families;
}

const FAMILIES = parseTemplate(EXPOSITION_TEMPLATE);
const MULTIPROCESS_ORDER = ["summary", "histogram", "gauge", "counter"];

/** prometheus_client's digits before the point at which it turns to an exponent. */
const MAX_WHOLE_DIGITS = 6;

/**
 * A number as prometheus_client prints it: the shortest decimal that reads back
 * the same, `2.0` for integers, and an exponent of two or three digits from a
 * million on (`8.128902e+06`, `3.5786276864e+010`).
 */
export function formatGoFloat(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
  const magnitude = Math.abs(value);
  if (magnitude >= 1e16 || (magnitude < 1e-4 && value !== 0)) {
    return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
  }
  const text = String(value);
  const point = text.indexOf(".");
  const wholeDigits = point < 0 ? text.length : point;
  if (value > 0 && wholeDigits > MAX_WHOLE_DIGITS) {
    const digits = text.replace(".", "");
    const mantissa = `${digits[0]}.${digits.slice(1)}`.replace(/[0.]+$/, "");
    return `${mantissa}e+0${wholeDigits - 1}`;
  }
  return point < 0 ? `${text}.0` : text;
}

/** Bytes of a request: of its frame, and for each prompt token. */
const REQUEST_FRAME_BYTES = 210;
const REQUEST_BYTES_PER_TOKEN = 4;

type Figures = Readonly<Record<string, number>>;

/** All figures of an engine that the template may name. */
function listFigures({ figures }: SimulatedEngine): Figures {
  const { tallies, ...counts } = figures;
  const finished = counts.stop + counts.length + counts.abort + counts.error + counts.repetition;
  const httpRequests = finished + counts.rejected;
  return {
    ...counts,
    finished,
    httpRequests,
    computedPromptTokens: counts.promptTokens - counts.cachedPromptTokens,
    acceptedTokens: ACCEPTED_KEYS.reduce((sum, key) => sum + counts[key], 0),
    requestBytes: REQUEST_FRAME_BYTES * httpRequests +
      REQUEST_BYTES_PER_TOKEN * tallies.requestPromptTokens.sum,
  };
}

/** What series are about: an engine, the engines of a model, or all of a server. */
interface Subject {
  /** Values for the `*` of the template. */
  readonly labels: Readonly<Record<string, string>>;
  readonly figures: Figures;
  readonly engines: readonly SimulatedEngine[];
}

function createSubject(
  engines: readonly SimulatedEngine[],
  labels: Readonly<Record<string, string>>,
): Subject {
  const figures: Record<string, number> = {};
  for (const engine of engines) {
    for (const [key, value] of Object.entries(listFigures(engine))) {
      figures[key] = (figures[key] ?? 0) + value;
    }
  }
  return { labels, figures, engines };
}

function createEngineSubject(engine: SimulatedEngine): Subject {
  const { settings, blockCount, blockSize } = engine;
  const tokens = blockCount * blockSize;
  return createSubject([engine], {
    engine: settings.engine,
    model_name: settings.model,
    block_size: String(blockSize),
    effective_attention_block_size: String(blockSize),
    num_gpu_blocks: String(blockCount),
    kv_cache_size_tokens: String(tokens),
    kv_cache_max_concurrency: String(tokens / settings.maxModelLength),
  });
}

function createServerSubject(server: ServerFigures, engines: readonly SimulatedEngine[]): Subject {
  const whole = createSubject(engines, {});
  const { running, finished, generationTokens } = whole.figures;
  const roundToHundredth = (value: number): number => Math.round(value * 100) / 100;
  const process = {
    processStart: roundToHundredth(server.processStart),
    cpuSeconds: roundToHundredth(21 + 0.015 * server.uptime + 2e-5 * generationTokens),
    openFiles: 55 + running,
    gcObjects: 14_405 + 9 * finished,
    gcCollections: 1837 + finished,
  };
  return { ...whole, figures: { ...whole.figures, ...process } };
}

/** The subjects of a server, by the label that tells them apart. */
interface Subjects {
  readonly engines: readonly Subject[];
  readonly models: readonly Subject[];
  readonly servers: readonly Subject[];
}

function listSubjects(server: ServerFigures, engines: readonly SimulatedEngine[]): Subjects {
  const byModel = Map.groupBy(engines, ({ settings }) => settings.model);
  return {
    engines: engines.map(createEngineSubject),
    models: [...byModel].map(([model, some]) => createSubject(some, { model_name: model })),
    servers: [createServerSubject(server, engines)],
  };
}

/** The text so far, and how stamps are given out. */
interface Page {
  text: string;
  readonly server: ServerFigures;
  readonly subjects: Subjects;
  stampCount: number;
}

/** Between two counters made one after the other when the server starts. */
const CREATED_SPACING: Seconds = 0.000_017;

function writeHead(page: Page, { name, help, type }: Omit<Family, "rows">): void {
  page.text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}

/** The `_created` gauges of a family, one stamp for each series. */
function writeCreated(page: Page, { name, help, type }: Family, series: readonly string[]): void {
  const created = `${type === "counter" ? name.replace(/_total$/, "") : name}_created`;
  writeHead(page, { name: created, help, type: "gauge" });
  for (const labels of series) {
    const stamp = page.server.created + page.stampCount++ * CREATED_SPACING;
    page.text += `${created}${labels} ${formatGoFloat(stamp)}\n`;
  }
}

function escapeLabelValue(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function fillLabels(labels: string, { labels: values }: Subject): string {
  return labels.replace(
    /(\w+)="\*"/g,
    (whole, name) => name === "le" ? whole : `${name}="${escapeLabelValue(values[name])}"`,
  );
}

function getFigure({ figures }: Subject, key: string): number {
  const value = figures[key] ?? Number(key);
  if (Number.isNaN(value)) throw new Error(`Cannot simulate "${key}": no such figure`);
  return value;
}

function mergeTallies({ engines }: Subject, key: keyof Tallies): Tally {
  const [first, ...others] = engines.map(({ figures }) => figures.tallies[key]);
  if (others.length === 0) return first;
  const counts = first.counts.map((count, i) =>
    others.reduce((sum, other) => sum + other.counts[i], count)
  );
  return { ...first, counts, sum: others.reduce((sum, other) => sum + other.sum, first.sum) };
}

/** One histogram: its labels hold `le="*"`. Returns those of its count. */
function writeHistogram(page: Page, name: string, labels: string, tally: Tally): string {
  const [before, after] = labels.split('"*"');
  const own = labels.replace(/le="\*",?/, "").replace("{}", "");
  const sum = `${name}_sum${own} ${formatGoFloat(tally.sum)}\n`;
  let text = page.server.multiprocess ? sum : "";
  let cumulative = 0;
  for (let i = 0; i <= tally.bounds.length; i++) {
    cumulative += tally.counts[i];
    const bound = i < tally.bounds.length ? formatGoFloat(tally.bounds[i]) : "+Inf";
    text += `${name}_bucket${before}"${bound}"${after} ${formatGoFloat(cumulative)}\n`;
  }
  text += `${name}_count${own} ${formatGoFloat(cumulative)}\n`;
  page.text += page.server.multiprocess ? text : text + sum;
  return own;
}

/** One series, or those of one histogram or summary. Returns its labels; `null` where it is not exported. */
function writeSeries(
  page: Page,
  { type, name }: Family,
  row: { readonly labels: string; readonly figures: readonly string[]; readonly subject: Subject },
): string | null {
  const { figures: [key, sumKey], subject } = row;
  const labels = fillLabels(row.labels, subject);
  if (type === "histogram") {
    return writeHistogram(page, name, labels, mergeTallies(subject, key as keyof Tallies));
  }
  const value = getFigure(subject, key);
  // Routes are exported from their first request on.
  if (value === 0 && labels.includes("handler=")) return null;
  if (sumKey === undefined) page.text += `${name}${labels} ${formatGoFloat(value)}\n`;
  else {
    page.text += `${name}_count${labels} ${formatGoFloat(value)}\n` +
      `${name}_sum${labels} ${formatGoFloat(getFigure(subject, sumKey))}\n`;
  }
  return labels;
}

function writeFamily(page: Page, family: Family): void {
  const { engines, models, servers } = page.subjects;
  writeHead(page, family);
  const series: string[] = [];
  for (const { labels, figures } of family.rows) {
    const hasLabel = (name: string): boolean => labels.includes(`${name}="*"`);
    const subjects = hasLabel("engine") ? engines : hasLabel("model_name") ? models : servers;
    for (const subject of subjects) {
      const own = writeSeries(page, family, { labels, figures, subject });
      if (own !== null) series.push(own);
    }
  }
  const hasCreated = family.type !== "gauge" && !isOfProcess(family) && !page.server.multiprocess;
  if (hasCreated && series.length > 0) writeCreated(page, family, series);
}

function isOfProcess({ name }: Family): boolean {
  return /^(process|python)_/.test(name);
}

/** The body of `/metrics` for a server with these engines, at least one. */
export function writeExposition(
  server: ServerFigures,
  engines: readonly SimulatedEngine[],
): Uint8Array {
  const { multiprocess, speculative } = server;
  const families = FAMILIES.filter((family) =>
    (speculative || !family.name.startsWith("vllm:spec_decode_")) &&
    !(multiprocess && isOfProcess(family))
  );
  const rank = ({ type }: Family): number => MULTIPROCESS_ORDER.indexOf(type);
  const page = { text: "", server, subjects: listSubjects(server, engines), stampCount: 0 };
  const ordered = multiprocess ? families.toSorted((a, b) => rank(a) - rank(b)) : families;
  for (const family of ordered) writeFamily(page, family);
  return new TextEncoder().encode(page.text);
}
