/**
 * Parsers of option values: text -> checked value or problem. A problem is one sentence in lower
 * case without a full stop, with the value in quotes and no secret. Spans are in seconds, prices in
 * USD.
 * @module
 */

import { levenshteinDistance } from "@std/text/levenshtein-distance";
import {
  parseEndpointUrl,
  parseSshTarget,
  quoteUrl,
  type SshTarget,
  type TypedEndpoint,
} from "./endpoint.ts";
import { type LogPlace, parseLogPlace } from "./log.ts";
import type { Sort } from "./state_ui.ts";
import { measureWidth, quote, sanitizeText } from "./text.ts";
import {
  type Bytes,
  type EpochSeconds,
  formatTimestamp,
  MILLISECONDS_PER_SECOND,
  type Seconds,
  SECONDS_PER_DAY,
  SECONDS_PER_HOUR,
  SECONDS_PER_MINUTE,
} from "./units.ts";
import { COLUMN_IDS, COLUMN_ROWS, startSort } from "./view_column_table.ts";

/** Strongest first. */
export const LEVELS = ["option", "variable", "file", "default"] as const;

export interface Setting {
  readonly level: typeof LEVELS[number];
  /** `--interval`, `VLLM_HTOP_INTERVAL` or `"interval" (line 3)`. */
  readonly origin: string;
  /** Empty if it is a secret. */
  readonly text: string;
  /** The origin holds a file's content. */
  readonly isContent?: true;
}

export interface Problem {
  readonly problem: string;
  readonly level: Setting["level"];
}

export type Parser<T> = (setting: Setting) => T | Problem;
/** A typing error must not sweep a host. */
const MAX_SCANNED_PORTS = 1024;
const MAX_LABEL_WIDTH = 32;
const MAX_CURRENCY_WIDTH = 4;

export function isProblem(value: unknown): value is Problem {
  return typeof value === "object" && value !== null && "problem" in value;
}

export function isTyped({ source }: { readonly source: Setting }): boolean {
  return source.level === "option";
}

export function refuse(
  { origin, text, level }: Setting,
  words: string,
  shown: string = quote(text),
): Problem {
  return { problem: `${origin} ${shown} ${words}`, level };
}

/** Edits between two names. Swapped letters count as one. */
function measureDistance(a: string, b: string): number {
  return [...a].sort().join() === [...b].sort().join()
    ? Number(a !== b)
    : levenshteinDistance(a, b);
}

/**
 * The name that was probably meant: the only one that the text begins, else the nearest within a
 * third of its letters. (`closestString` of `@std/text` has no limit.)
 */
export function findNearest(typed: string, names: readonly string[]): string | null {
  const begun = names.filter((name) => name.startsWith(typed));
  if (begun.length === 1) return begun[0];
  let nearest: string | null = null;
  let least = Math.max(1, Math.floor(typed.length / 3)) + 1;
  for (const name of names) {
    const distance = measureDistance(typed, name);
    if (distance < least) [least, nearest] = [distance, name];
  }
  return nearest;
}

export function parseNumber(
  { min, max, unit = "", isWhole = false }: {
    readonly min: number;
    readonly max: number;
    readonly unit?: string;
    readonly isWhole?: boolean;
  },
): Parser<number> {
  const suffix = unit && ` ${unit}`;
  return (setting) => {
    const text = setting.text.trim();
    if (!/^[+-]?(?:\d+\.?\d*|\.\d+)$/.test(text)) {
      return refuse(setting, `is not a number${unit && ` of ${unit}`}`);
    }
    const value = Number(text);
    if (value < min || value > max) {
      return refuse(setting, `is out of range: from ${min} to ${max}${suffix}`);
    }
    return isWhole && !Number.isInteger(value) ? refuse(setting, "is not a whole number") : value;
  };
}

/** The caller allows 0 with `--once` only. */
export function parseInterval(setting: Setting): number | Problem {
  if (/^\+?0+(?:\.0*)?$/.test(setting.text.trim())) return 0;
  return parseNumber({ min: 0.5, max: 3600, unit: "seconds" })(setting);
}

const SIZE_UNITS = { MB: 1e6, GB: 1e9, TB: 1e12 } as const;

/** `500MB` or `1.5GB`: a megabyte to 1000 TB. */
export function parseSize(setting: Setting): Bytes | Problem {
  const [, number, unit] = /^(\d+\.?\d*|\.\d+) ?([MGT]B)$/i.exec(setting.text.trim()) ?? [];
  if (number === undefined) return refuse(setting, "is not a size, such as 500MB or 2GB");
  const bytes = Number(number) * SIZE_UNITS[unit.toUpperCase() as keyof typeof SIZE_UNITS];
  return bytes >= SIZE_UNITS.MB && bytes <= 1000 * SIZE_UNITS.TB
    ? bytes
    : refuse(setting, "is out of range: from 1MB to 1000TB");
}

/** A time of day, or of a certain day. */
export interface Moment {
  /** Its midnight, as if it were UTC; `null` without a date. */
  readonly day: EpochSeconds | null;
  readonly time: Seconds;
}

const MOMENT = /^(?:(\d{4}-\d\d-\d\d)[T ])?([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/;

/** `null` if the text is no such time. */
function readMoment(text: string): Moment | null {
  const [whole, date, hours, minutes, seconds = "0"] = MOMENT.exec(text.trim()) ?? [];
  const day = date === undefined ? null : new Date(date).getTime() / MILLISECONDS_PER_SECOND;
  if (whole === undefined || Number.isNaN(day)) return null;
  // `Date` takes 30 February for 2 March.
  if (day !== null && !formatTimestamp(day).startsWith(`${date}T`)) return null;
  return {
    day,
    time: Number(hours) * SECONDS_PER_HOUR + Number(minutes) * SECONDS_PER_MINUTE + Number(seconds),
  };
}

/** `14:05`, `14:05:30` or `2026-11-29T14:05`. */
export function parseMoment(setting: Setting): Moment | Problem {
  return readMoment(setting.text) ??
    refuse(setting, "is not a time, such as 14:05, 14:05:30 or 2026-11-29T14:05");
}

const PERIOD = /^(.+)@([^@]*)-((?:\d{4}-\d\d-\d\d[T ])?[\d:]*)$/s;

/** `FILE`, or a part of it as in `FILE@14:00-14:10`, `FILE@14:00-` and `FILE@-14:10`. */
export function parseRecordedSpan(
  setting: Setting,
):
  | { readonly path: string; readonly from: Moment | null; readonly to: Moment | null }
  | Problem {
  const whole = { path: setting.text, from: null, to: null };
  const [, path, first = "", last = ""] = PERIOD.exec(setting.text) ?? [];
  if (path === undefined || first + last === "") return whole;
  const [from, to] = [first, last].map((text) => text === "" ? null : readMoment(text));
  // A file may be called so.
  return (first !== "" && from === null) || (last !== "" && to === null)
    ? whole
    : { path, from, to };
}

const SPAN_UNITS = { s: 1, m: SECONDS_PER_MINUTE, h: SECONDS_PER_HOUR } as const;

/** `90`, `90s`, `1.5m` or `1h`: a second to a day. */
export function parseSpan(setting: Setting): Seconds | Problem {
  const [, number, unit = "s"] = /^(\d+\.?\d*|\.\d+) ?([smh])?$/.exec(setting.text.trim()) ?? [];
  if (number === undefined) return refuse(setting, "is not a time, such as 60s or 5m");
  const span = Number(number) * SPAN_UNITS[unit as keyof typeof SPAN_UNITS];
  return span >= 1 && span <= SECONDS_PER_DAY
    ? span
    : refuse(setting, "is out of range: from a second to a day");
}

export function parseChoice<Choice extends string>(
  choices: readonly Choice[],
  setting: Setting,
): Choice | Problem {
  return choices.find((choice) => choice === setting.text) ??
    refuse(setting, `is not one of ${choices.join(", ")}`);
}

/** @param words What else it may be. */
export function parseSwitch(setting: Setting, words: readonly string[] = []): boolean | Problem {
  if (/^(?:0|false|no|off)$/i.test(setting.text)) return false;
  const known = ["1", ...words].map((word) => `"${word}"`).join(" nor ");
  return /^(?:1|true|yes|on)$/i.test(setting.text) ||
    refuse(setting, `is neither ${known} nor "0"`);
}

/** IPv6 addresses get brackets. */
export function parseHost(setting: Setting): string | Problem {
  const host = setting.text.trim();
  const bracketed = /^[0-9a-f.]*:[0-9a-f.]*:[0-9a-f:.]*$/i.test(host) ? `[${host}]` : host;
  const isBare = /^(?:[^/\\?#@:[\]]+|\[[0-9a-f:.]+\])$/i.test(bracketed);
  const parsed = isBare ? parseEndpointUrl(`http://${bracketed}:1`) : null;
  if (parsed !== null && !("error" in parsed)) return parsed.endpoint.address.replace(/:1$/, "");
  const words = "is not a host: write only a name or an address";
  return refuse(setting, words, quoteUrl(setting.text));
}

/** Where to listen. */
export interface Listener {
  /** An IPv6 address is in brackets. */
  readonly host: string;
  readonly port: number;
}

/** `[HOST:]PORT`. */
export function parseListener(setting: Setting): Listener | Problem {
  const [, host = "localhost", port] = /^(?:(.+):)?(\d{1,5})$/.exec(setting.text.trim()) ?? [];
  const checked = parseHost({ ...setting, text: host });
  if (isProblem(checked) || !(Number(port) >= 1 && Number(port) <= 65_535)) {
    return refuse(setting, "is not [HOST:]PORT, such as 9090 or localhost:9090");
  }
  return { host: checked, port: Number(port) };
}

/** Both ends included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export function parsePortRange(setting: Setting): PortRange | Problem {
  const typed = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(setting.text.trim());
  if (typed === null) return refuse(setting, "is not FIRST-LAST, such as 8000-8015");
  const [first, last] = [Number(typed[1]), Number(typed[2] ?? typed[1])];
  if (first < 1 || last > 65_535 || first > last) {
    return refuse(setting, "is out of range: ports are 1 to 65535, in rising order");
  }
  if (last - first < MAX_SCANNED_PORTS) return { first, last };
  return refuse(setting, `is more than ${MAX_SCANNED_PORTS} ports`);
}

/** Comma-separated. A comma in a password would show half of it. */
export function parseUrls(setting: Setting): readonly TypedEndpoint[] | Problem {
  const { level, text } = setting;
  // The shell has split arguments at blanks.
  const urls = level === "option" ? text.split(",") : text.trim().split(/[\s,]+/);
  const isHalved = urls.slice(1).some((url) =>
    url.includes("@") && !/^\s*(?:https?:\/\/|unix:)/i.test(url)
  );
  if (isHalved) {
    const problem = `${quoteUrl(text)} follows an "@" after a comma: write "http://" in front of ` +
      'each URL, and "," in a password as "%2C"';
    return { problem, level };
  }
  const endpoints: TypedEndpoint[] = [];
  for (const url of urls) {
    const typed = parseEndpointUrl(url);
    if ("error" in typed) return { problem: typed.error, level };
    endpoints.push(typed);
  }
  return endpoints;
}

/** Where a list of targets is. */
export type TargetPlace =
  | { readonly kind: "file"; readonly path: string }
  /** Its `metricsUrl` is that of the list. */
  | { readonly kind: "url"; readonly typed: TypedEndpoint };

export function parseTargetPlace(setting: Setting): TargetPlace | Problem {
  const { text, level } = setting;
  if (!/^https?:\/\//i.test(text)) return { kind: "file", path: text };
  const [address] = text.split(/[?#]/, 1);
  const typed = parseEndpointUrl(address);
  if ("error" in typed) return { problem: typed.error, level };
  const url = new URL(text);
  url.username = url.password = "";
  return {
    kind: "url",
    typed: { ...typed, endpoint: { ...typed.endpoint, metricsUrl: url.href } },
  };
}

/** A host behind ssh, and what is known of its servers. */
export interface SshHostOption extends SshTarget {
  /** Look only at these. */
  readonly ports?: PortRange;
  /** Where servers log that are not named with `--log`. */
  readonly log?: LogPlace;
}

/** `[NAME=]HOST[,ports=FIRST-LAST][,log=PLACE]`. */
export function parseSshHost(setting: Setting): SshHostOption | Problem {
  const [host, ...settings] = setting.text.split(/,(?=(?:ports|log)=)/);
  const target = parseSshTarget(host);
  if (target === null) {
    return refuse(setting, "is no host for ssh: write an alias, user@host or ssh://user@host:port");
  }
  let option: SshHostOption = target;
  for (const one of settings) {
    const text = one.slice(one.indexOf("=") + 1);
    if (one.startsWith("ports=")) {
      const origin = `${setting.origin} ${quote(setting.text)}: ports`;
      const ports = parsePortRange({ ...setting, origin, text });
      if (isProblem(ports)) return ports;
      option = { ...option, ports };
      continue;
    }
    const log = parseLogPlace(text);
    if (log === null) {
      return refuse(setting, "has no place of a log, such as docker:NAME, journal:UNIT or /path");
    }
    option = { ...option, log };
  }
  return option;
}

const PROMETHEUS_PORT = 9090;

export function parsePrometheusUrl(setting: Setting): TypedEndpoint | Problem {
  const { text, level } = setting;
  const hasPlace = /^https?:\/\/|:\d/i.test(text);
  const typed = parseEndpointUrl(
    hasPlace ? text : text.replace(/^[^/]*/, (host) => `${host}:${PROMETHEUS_PORT}`),
  );
  return "error" in typed ? { problem: typed.error, level } : typed;
}

const MATCHER = /^\s*[a-zA-Z_]\w*\s*(?:=|!=|=~|!~)\s*"(?:[^"\\]|\\.)*"\s*(?:,|$)/;

/** Label matchers of PromQL, without braces. */
export function parseMatchers(setting: Setting): string | Problem {
  const matchers = setting.text.trim().replace(/^\{(.*)\}$/s, "$1").replace(/,\s*$/, "");
  for (let rest = matchers; rest !== "";) {
    const [first] = MATCHER.exec(rest) ?? [];
    if (first === undefined) {
      return refuse(setting, 'is not a list of label matchers, such as namespace="prod"');
    }
    rest = rest.slice(first.length);
  }
  return matchers;
}

const NAMESPACE = /^(?:\*|[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)$/;

/** `*` is for all. */
export function parseNamespace(setting: Setting): string | Problem {
  return NAMESPACE.test(setting.text)
    ? setting.text
    : refuse(setting, 'is not a namespace of Kubernetes, nor "*" for all');
}

export interface Label {
  readonly endpointKey: string;
  readonly label: string;
  readonly setting: Setting;
}

function parseLabel(setting: Setting): Label | Problem {
  const { text, level } = setting;
  const equals = text.lastIndexOf("=");
  const label = text.slice(equals + 1).trim();
  const shown = quoteUrl(text);
  if (equals < 1 || label === "") {
    return refuse(setting, 'is not URL=LABEL, such as "gpu1:8000=prod"', shown);
  }
  const typed = parseEndpointUrl(text.slice(0, equals));
  if ("error" in typed) return { problem: typed.error, level };
  if (sanitizeText(label, MAX_LABEL_WIDTH) === label) {
    return { endpointKey: typed.endpoint.key, label, setting };
  }
  const words = `has a name that is longer than ${MAX_LABEL_WIDTH} characters or cannot be shown`;
  return refuse(setting, words, shown);
}

/** `URL=LABEL`; comma-separated in a variable. */
export function parseLabels(setting: Setting): readonly Label[] | Problem {
  const { level, text } = setting;
  const labels: Label[] = [];
  for (const one of level === "variable" ? text.split(",") : [text]) {
    const label = parseLabel({ ...setting, text: one });
    if (isProblem(label)) return label;
    labels.push(label);
  }
  return labels;
}

/** Of an endpoint, by its key. */
type NamedLog = readonly [endpointKey: string, place: LogPlace];

/** A path may hold "=". */
const NAMED_LOG = /^(.+?)=((?:docker|podman|journal):.+|\/.+)$/s;

/** `URL=PLACE`; comma-separated in a variable. */
export function parseLogs(setting: Setting): readonly NamedLog[] | Problem {
  const { level, text } = setting;
  const logs: NamedLog[] = [];
  for (const one of level === "variable" ? text.split(",") : [text]) {
    const [, url = "", name = ""] = NAMED_LOG.exec(one.trim()) ?? [];
    const place = parseLogPlace(name);
    if (place === null) {
      const words = "is not URL=PLACE, such as gpu1:8000=docker:NAME, =podman:NAME, " +
        "=journal:UNIT or =/path/to/log";
      return refuse(setting, words, quoteUrl(one));
    }
    const typed = parseEndpointUrl(url);
    if ("error" in typed) return { problem: typed.error, level };
    logs.push([typed.endpoint.key, place]);
  }
  return logs;
}

export function parseMetricPrefix(setting: Setting): string | Problem {
  if (/^(?:[a-zA-Z_:][a-zA-Z0-9_:]{0,63})?$/.test(setting.text)) return setting.text;
  return refuse(setting, 'is not a valid metric prefix: write it as in "my_vllm:"');
}

export function parseCurrency(setting: Setting): string | Problem {
  const { text } = setting;
  const isShort = measureWidth(text) <= MAX_CURRENCY_WIDTH;
  if (sanitizeText(text) === text && isShort && !/[\d\s.,-]/.test(text)) return text;
  const words = 'is not a currency sign: write up to four letters, such as "€" or "USD"';
  return refuse(setting, words);
}

/** `COLUMN[:asc|:desc]`; without a direction, the column's own as for a key or click. */
export function parseSort(text: string): Sort | null {
  const [, columnId, direction] = /^([^:]+)(?::(asc|desc))?$/.exec(text) ?? [];
  const column = COLUMN_ROWS.find(({ id }) => id === columnId);
  if (column === undefined) return null;
  return direction === undefined
    ? startSort(column)
    : { columnId, isDescending: direction === "desc" };
}

export function parseSortOption(setting: Setting): Sort | "help" | Problem {
  if (setting.text === "help") return "help";
  return parseSort(setting.text) ?? refuse(setting, "is not a column: see --sort help");
}

export function parseColumns(setting: Setting): readonly string[] | "help" | Problem {
  if (setting.text === "help") return "help";
  const ids = setting.text.split(",").map((id) => id.trim()).filter((id) => id !== "");
  const unknown = ids.find((id) => !COLUMN_IDS.includes(id));
  if (unknown === undefined) return [...new Set(ids)];
  return refuse({ ...setting, text: unknown }, "is not a column: see --columns help");
}

/** Of options that exclude each other, at most one may be given. */
export function checkExclusion(settings: readonly Setting[], problems: Problem[]): void {
  if (settings.length < 2) return;
  const [first, second] = settings.map(({ origin }) => origin === "--url" ? "a URL" : origin);
  const problem = `${first} and ${second} exclude each other: give one`;
  problems.push({ problem, level: settings[0].level });
}
