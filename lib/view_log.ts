/**
 * What a log tells, in words: the load of a server, its last words, the figures that it logs; and
 * the page with its last lines.
 * @module
 */

import type { DeathCause, LoadPhase, LogDeath, LogValues } from "./log.ts";
import type { State } from "./state.ts";
import type { Fleet, Row } from "./state_fleet.ts";
import { type Load, type LogFigures, MAX_FIGURES_AGE } from "./state_log.ts";
import { wrapText } from "./text.ts";
import type { Seconds } from "./units.ts";
import {
  formatBytes,
  formatCount,
  formatDuration,
  formatPercent,
  formatQuantity,
} from "./view_format.ts";
import { layOut } from "./view_layout.ts";
import { describePod } from "./view_pod.ts";
import type { Paint } from "./view_theme.ts";

const PHASE_NAMES: Readonly<Record<LoadPhase, string>> = {
  starting: "starting",
  download: "download",
  weights: "weights",
  compile: "torch.compile",
  memory: "KV cache",
  graphs: "CUDA graphs",
  server: "opening its port",
};

/** More than shards: bytes. */
const MIN_BYTES = 100_000;

/** `weights 7/12 shards`, `CUDA graphs 21/35`, `KV cache 1.2M tokens`. */
function describePhase(phase: LoadPhase, { progress, values }: Load): string {
  const name = PHASE_NAMES[phase];
  if (progress !== null) {
    const { done, total } = progress;
    if (total >= MIN_BYTES) return `${name} ${formatBytes(done)} of ${formatBytes(total)}`;
    return `${name} ${done}/${total}${phase === "graphs" ? "" : " shards"}`;
  }
  const tokens = phase === "memory" ? values.kvCacheTokens : undefined;
  return typeof tokens === "number" ? `${name} ${formatQuantity(tokens)} tokens` : name;
}

/** `weights 7/12 shards for 34s, 1m 12s in all`. */
export function describeLoad(load: Load): string {
  const { phase, steps, span, lastSpan } = load;
  const last = lastSpan === null ? "" : ` (last time ${formatDuration(lastSpan)})`;
  if (phase === null) return `its process has run for ${formatDuration(span)}${last}`;
  const own = steps.find((step) => step.phase === phase)?.span ?? null;
  const spent = own === null ? "" : ` for ${formatDuration(own)}`;
  return `${describePhase(phase, load)}${spent}, ${formatDuration(span)} in all${last}`;
}

/** `:8000: weights 7/12 shards for 34s, 1m 12s in all`; empty if none loads. */
export function describeLoads({ fleet: { rows } }: State): string {
  const loading = rows.flatMap(({ place, load }) => load === null ? [] : [{ place, load }]);
  if (loading.length === 0) return "";
  const [{ place, load }] = loading;
  const others = loading.length > 1 ? ` and ${loading.length - 1} more` : "";
  return `${place}${others}: ${describeLoad(load)}`;
}

/** For brackets; others have only the line itself. */
const DEATH_WORDS: Readonly<Partial<Record<DeathCause, string>>> = {
  out_of_memory: "out of GPU memory",
  memory_taken: "GPU memory is in use",
  no_memory_for_kv_cache: "no memory for the KV cache",
  model_not_found: "model not found",
  port_taken: "port in use",
  failed_to_start: "engine failed to start",
  worker_died: "worker died",
  engine_died: "engine died",
};

/** ` (out of GPU memory)`, `: ValueError: …`. */
export function describeDeath({ cause, text }: LogDeath): string {
  const words = DEATH_WORDS[cause];
  return words === undefined ? `: ${text}` : ` (${words})`;
}

/** Last words of servers that ended. */
export function listDeaths({ fleet: { rows } }: State): readonly string[] {
  return rows.flatMap(({ place, death }) => death === null ? [] : `${place}  died: ${death.text}`);
}

/** What stands in for figures that a server does not give, as it last logged them. */
export interface LoggedFigures {
  /** Of the oldest. */
  readonly age: Seconds;
  /** Without their mark, by the id of their column. */
  readonly texts: ReadonlyMap<string, string>;
}

/** Column -> what its engines log, and how that is shown; the fullest KV cache counts. */
const LOGGED_COLUMNS: readonly (readonly [id: string, key: string, (value: number) => string])[] = [
  ["running", "running", formatCount],
  ["waiting", "waiting", formatCount],
  ["kv", "kvCacheUsageRatio", formatPercent],
  ["output", "generationTokensPerSecond", formatQuantity],
  ["prompt", "promptTokensPerSecond", formatQuantity],
];

/** `null` if it logs none, or none that is new. */
export function getLoggedFigures(
  { death, load, status, logFigures, state: { failure } }: FigurelessRow,
): LoggedFigures | null {
  const own = logFigures.filter(({ subject }) => subject === "requests");
  const isWanted = status === "DOWN" && death === null && load === null && failure?.kind !== "pod";
  if (!isWanted || own.length === 0 || isOld(own)) return null;
  const texts = LOGGED_COLUMNS.flatMap(([id, key, format]): (readonly [string, string])[] => {
    const found = own.map(({ values }) => values[key]).filter((value) => typeof value === "number");
    if (found.length < own.length) return [];
    const value = id === "kv" ? Math.max(...found) : found.reduce((a, b) => a + b, 0);
    return [[id, format(value)]];
  });
  return { age: Math.max(...own.map(({ age }) => age)), texts: new Map(texts) };
}

type FigurelessRow =
  & Pick<Row, "load" | "death" | "status" | "logFigures">
  & { readonly state: Pick<Row["state"], "failure" | "endpoint"> };

/** What a row without figures says instead: its pod, its load, or its last words. */
export function describeInstead(
  { load, death, status, state: { failure, endpoint: { pod } } }: FigurelessRow,
): string {
  if (failure?.kind === "pod" && pod !== undefined) {
    return describePod(pod) + (death === null ? "" : `; ${death.text}`);
  }
  if (load !== null) return describeLoad(load);
  return status === "DOWN" ? death?.text ?? "" : "";
}

function isOld(figures: readonly LogFigures[]): boolean {
  return figures.some(({ age }) => age > MAX_FIGURES_AGE);
}

/** `promptTokensPerSecond` -> `prompt tokens per second`. */
function nameValue(key: string): string {
  return key.replace(/([a-z])([A-Z])/g, (_, a: string, b: string) => `${a} ${b.toLowerCase()}`);
}

function formatValue(key: string, value: LogValues[string]): string {
  if (typeof value === "string") return value;
  if (typeof value !== "number") return value.join(", ");
  if (key.endsWith("Ratio")) return formatPercent(value);
  return Number.isInteger(value) ? formatCount(value) : formatQuantity(value);
}

interface Subject {
  readonly row: Row;
  readonly paint: Paint;
}

function renderTable(title: string, cells: readonly string[][], paint: Paint): string[] {
  if (cells.length === 0) return [];
  return [paint(title, "heading"), ...layOut(cells, "left").map((line) => "  " + line), ""];
}

/** The phases of a load, each with its time; empty unless the server loads. */
function renderLoad({ row: { load, state: { log } }, paint }: Subject): string[] {
  if (load === null) return [];
  const steps = load.steps.map(({ phase, span }) => [
    phase === load.phase ? paint(describePhase(phase, load), "name") : PHASE_NAMES[phase],
    span === null ? "" : formatDuration(span),
  ]);
  return renderTable(`Loading for ${formatDuration(load.span)}`, [
    ...steps,
    ...(log === null ? [] : [["Log", log.source ?? "—", log.problem ?? ""]]),
  ], paint);
}

/** All figures that the server logs, for want of its metrics. */
function renderLogFigures({ row: { logFigures }, paint }: Subject): string[] {
  const meaning = isOld(logFigures) ? "dim" : "plain";
  const cells = logFigures.flatMap(({ engine, subject, values, age }) =>
    Object.entries(values).map(([key, value], i) => [
      i > 0
        ? ""
        : `${subject.replaceAll("_", " ")}${engine === null ? "" : ` of engine ${engine}`}`,
      nameValue(key),
      paint(`≈ ${formatValue(key, value)}`, meaning),
      i > 0 ? "" : paint(`${formatDuration(age)} ago`, "dim"),
    ])
  );
  return renderTable("By its log, as the server averaged them", cells, paint);
}

/** How far its load is, and the figures that it logs; each section ends with a blank line. */
export function renderLog(subject: Subject): string[] {
  return [...renderLoad(subject), ...renderLogFigures(subject)];
}

/** The last lines of a replica's log, oldest first, after where they are from. */
export function renderLogPage(
  row: Row | null,
  state: State,
  { width, paint }: { readonly width: number; readonly paint: Paint },
): readonly string[] {
  if (row === null) return [paint(" select a replica: a group has no log", "dim")];
  const { log } = row.state;
  if (state.isDemo) return [paint(" a simulated server has no log", "dim")];
  if (log === null) {
    const said = state.hosts.has(row.host) || row.state.endpoint.pod !== undefined
      ? `reading the log of ${row.place} …`
      : `the log of another machine is read through ssh: vllm-htop --ssh ${row.host}`;
    return wrapText(said, width - 2, "  ").map((line) => ` ${paint(line, "dim")}`);
  }
  const lines = log.log?.lines ?? [];
  const problem = log.problem === null ? [] : [paint(` ${log.problem}`, "warn")];
  const source = log.source === null ? [] : [paint(` ${log.source}`, "title")];
  return [
    ...source,
    ...lines.flatMap((line) => wrapText(line, width - 2, "  ").map((one) => ` ${one}`)),
    ...problem,
    ...(lines.length === 0 && problem.length === 0 ? [paint(" no lines yet", "dim")] : []),
  ];
}

/** `3 of 5 up, 2 loading, 4 unloaded`. */
export function countUp({ up, total, loading, unloaded }: Fleet["counts"]): string {
  const more = [[loading, "loading"], [unloaded, "unloaded"]] as const;
  const counts = more.flatMap(([count, word]) => count === 0 ? [] : [`, ${count} ${word}`]);
  return `${up} of ${total} up${counts.join("")}`;
}
