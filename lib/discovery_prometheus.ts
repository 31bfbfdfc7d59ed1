/**
 * Model servers that a Prometheus scrapes, as a source: range selectors give raw samples with their
 * own times, which become the same scrapes as direct ones. Where a URL ends in `/federate`, only that
 * page is asked, which has one sample of each series.
 * @module
 */

import { createReaderFactory, type EngineReader } from "./dialect_reader.ts";
import { parseFederation } from "./dialect_federation.ts";
import {
  PROCESS_SELECTOR,
  selectAll,
  selectLatency,
  selectRunning,
  selectScalars,
} from "./dialect_selectors.ts";
import {
  createCollector,
  type Moment,
  parseAnswer,
  parseTargetErrors,
  type Series,
  type SeriesTarget,
} from "./discovery_series.ts";
import type { Source, TargetChange } from "./discovery_source.ts";
import { describeLabels } from "./discovery_targets.ts";
import { getHostAndPort, isLocal, type TypedEndpoint } from "./endpoint.ts";
import type { Endpoint, Scrape, ScrapeFailure, ServerSample } from "./model.ts";
import { finishSteps, type Platform } from "./platform.ts";
import type { PageClient } from "./scrape_page.ts";
import { compareNames, quote, sanitizeName } from "./text.ts";
import {
  type Bytes,
  BYTES_PER_MEBIBYTE,
  type EpochSeconds,
  type Seconds,
  SECONDS_PER_MINUTE,
} from "./units.ts";

/** Up to so many engines, everything is asked for. */
const MAX_WHOLE_ENGINES = 64;
/** A minute, and more than its left edge, which Prometheus 3 leaves out. */
const FIRST_WINDOW: Seconds = SECONDS_PER_MINUTE + 1;
/** For samples that are on their way. */
const MIN_WINDOW: Seconds = 5;
/** For targets that are scraped seldom; as far as Prometheus itself looks back. */
const LONG_WINDOW: Seconds = 301;
/** A target without samples for so long is gone. */
const GONE_AFTER: Seconds = 300;
/** Prometheus' own default, until two scrapes tell. */
const USUAL_PACE: Seconds = 60;
/** After this time a target may be down for another reason. */
const ERROR_INTERVAL: Seconds = SECONDS_PER_MINUTE;
const MAX_ANSWER_BYTES: Bytes = 64 * BYTES_PER_MEBIBYTE;
const MAX_ERROR_WIDTH = 120;
/** Of the two clocks, before samples are moved. */
const CLOCK_TOLERANCE: Seconds = 1;

/** What is known of a target from round to round. */
interface Followed {
  readonly endpoint: Endpoint;
  readonly readBody: EngineReader;
  /** Of the newest scrape, or of the newest `up` that failed. */
  knownTime: EpochSeconds;
  pace: Seconds;
  /** Series of the newest scrape, and how to read their values alone. */
  layout: { readonly texts: readonly string[]; readonly read: Scrape["body"]["read"] } | null;
}

class QueryError extends Error {}

/** Asks Prometheus; throws a `QueryError` with one sentence. */
interface Queries {
  readonly getNow: () => Promise<EpochSeconds>;
  /** Of these names, over the window up to `now`. */
  readonly select: (
    names: string,
    options: { readonly now: EpochSeconds; readonly window: Seconds; readonly matcher: string },
  ) => Promise<Iterable<Series>>;
  /** By job. */
  readonly countEngines: (
    now: EpochSeconds,
    options: { readonly names: string; readonly window: Seconds },
  ) => Promise<Iterable<Series>>;
  /** Why targets are down, by their keys, as far as it says. */
  readonly listErrors: () => Promise<ReadonlyMap<string, string>>;
  /** Of the newest round. */
  readonly warnings: Set<string>;
}

/** @param ownStatuses Of refusals that say more than their status. */
async function getPage(
  client: PageClient,
  url: string,
  ownStatuses: readonly number[],
): Promise<Uint8Array> {
  const headers = { "accept-encoding": "gzip" };
  const page = await client.get(url, { headers, limit: MAX_ANSWER_BYTES });
  if ("kind" in page) throw new QueryError(page.message);
  if (page.status === 200 || ownStatuses.includes(page.status)) return page.bytes;
  throw new QueryError(client.describeRefusal(url, page).message);
}

function joinMatchers(...matchers: readonly string[]): string {
  return `{${matchers.filter((one) => one !== "").join(",")}}`;
}

function matchNames(names: string): string {
  return `__name__=~${JSON.stringify(names)}`;
}

function createQueries(client: PageClient, base: string, matcher: string): Queries {
  const warnings = new Set<string>();
  const ask = async (query: string, time: EpochSeconds | null): Promise<Iterable<Series>> => {
    const parameters = new URLSearchParams({
      query,
      // Else VictoriaMetrics computes as of 30 s ago; others do not know the parameter.
      latency_offset: "1ms",
      ...(time === null ? {} : { time: `${time}` }),
    });
    const url = `${base}/api/v1/query?${parameters}`;
    const bytes = await getPage(client, url, [400, 422, 503]);
    const answer = parseAnswer(new TextDecoder().decode(bytes));
    if ("error" in answer) throw new QueryError(`${quote(base)} ${answer.error}`);
    for (const warning of answer.warnings) warnings.add(warning);
    return answer.series;
  };
  return {
    warnings,
    // Mimir and Cortex have no such page.
    listErrors: async () => {
      const url = `${base}/api/v1/targets?state=active`;
      const page = await client.get(url, { headers: { "accept-encoding": "gzip" } });
      if ("kind" in page || page.status !== 200) return new Map();
      return parseTargetErrors(new TextDecoder().decode(page.bytes));
    },
    getNow: async () => [...await ask("time()", null)][0]?.values[0]?.[0] ?? NaN,
    select: (names, { now, window, matcher: more }) =>
      ask(`${joinMatchers(matchNames(names), matcher, more)}[${Math.ceil(window)}s]`, now),
    // Also those that have ended within the window.
    countEngines: (now, { names, window }) => {
      const selector = `${joinMatchers(matchNames(names), matcher)}[${Math.ceil(window)}s]`;
      return ask(`count by (job) (last_over_time(${selector}))`, now);
    },
  };
}

/** `/federate` has no clock: the newest of two counts. */
function createFederation(
  client: PageClient,
  base: string,
  { matcher, getEpoch }: { readonly matcher: string; readonly getEpoch: () => EpochSeconds },
): Queries {
  const select = async (names: string, more: string): Promise<Iterable<Series>> => {
    const match = joinMatchers(matchNames(names), matcher, more);
    const url = `${base}?${new URLSearchParams({ "match[]": match })}`;
    return parseFederation(await getPage(client, url, []));
  };
  return {
    warnings: new Set(),
    listErrors: () => Promise.resolve(new Map()),
    getNow: () => Promise.resolve(getEpoch()),
    select: (names, options) => select(names, options.matcher),
    countEngines: async (_now, { names }) => {
      const series = await select(names, "");
      const jobs = Map.groupBy(series, ({ metric }) => metric.job);
      return [...jobs].map(([job, some]) => ({
        metric: { job },
        values: [[0, String(some.length)]],
      }));
    },
  };
}

/** What is asked of each engine, in one query or, of many, in several. */
function listSelectors(engineCount: number): readonly string[] {
  if (engineCount <= MAX_WHOLE_ENGINES) return [selectAll()];
  return [selectScalars(), selectLatency("ttft"), selectLatency("itl")];
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
}

async function collectRound(
  { queries, matcher, followed, jobs }: Watch,
  now: EpochSeconds,
  window: Seconds,
): Promise<readonly SeriesTarget[]> {
  const counts = [...await queries.countEngines(now, { names: selectRunning(), window })];
  for (const { metric } of counts) jobs.add(metric.job ?? "");
  const count = counts.reduce((sum, { values }) => sum + Number(values[0][1]), 0);
  if (jobs.size === 0) return [];
  const ofJobs = `job=~${JSON.stringify([...jobs].map(escapePattern).join("|"))}`;
  const names = `up|scrape_duration_seconds|${PROCESS_SELECTOR}`;
  const scrapes = await queries.select(names, { now, window, matcher: ofJobs });
  const collector = createCollector(
    [...scrapes],
    (key) => followed.get(key)?.knownTime ?? -Infinity,
  );
  for (const selector of listSelectors(count)) {
    collector.add(await queries.select(selector, { now, window, matcher }));
  }
  return [...collector.finish()];
}

function createEndpoint(prometheus: Endpoint, { key, labels }: SeriesTarget): Endpoint {
  const instance = sanitizeName(labels.get("instance") ?? "");
  const [, host = instance, port = "0"] = /^(.*):(\d+)$/.exec(instance) ?? [];
  const address = `${host}:${port}`;
  const place = { ...prometheus, address };
  // Its loopback is that of its machine.
  const isElsewhere = isLocal(place) && !isLocal(prometheus);
  const { label = instance, targetLabels } = describeLabels(labels);
  return {
    key: `${prometheus.key}?${key}`,
    metricsUrl: prometheus.key,
    address: isElsewhere ? `${getHostAndPort(prometheus)?.host}:${port}` : address,
    ...(label === "" ? {} : { label }),
    ...(targetLabels === undefined ? {} : { targetLabels }),
    warnings: [],
  };
}

function nameTarget({ labels }: SeriesTarget): string {
  const { label = labels.get("instance") ?? "" } = describeLabels(labels);
  return `${labels.get("namespace") ?? ""}/${label}`;
}

const NUMBERS: ReadonlyMap<string, number> = new Map([
  ["+Inf", Infinity],
  ["-Inf", -Infinity],
]);

function haveSameTexts(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((text, i) => text === other[i]);
}

type Sample = ServerSample & Pick<Scrape, "body">;

function writeMoment({ texts, values }: Moment): Uint8Array {
  return new TextEncoder().encode(texts.map((text, i) => `${text} ${values[i]}\n`).join(""));
}

/** Reads the values alone if the series are those of the scrape before. */
function readMoment(followed: Followed, moment: Moment): Sample {
  const { layout } = followed;
  const { texts, values } = moment;
  if (layout !== null && haveSameTexts(layout.texts, texts)) {
    const numbers = Float64Array.from(values, (text) => NUMBERS.get(text) ?? Number(text));
    return { ...layout.read(numbers), body: { values: numbers, read: layout.read } };
  }
  const exposition = finishSteps(followed.readBody(writeMoment(moment)));
  followed.layout = exposition.badLineCount > 0 ? null : { texts, read: exposition.body.read };
  return exposition;
}

const NO_MOMENT: Moment = { texts: [], values: [] };

/** As lines. */
function measureBody({ texts, values }: Moment): Bytes {
  const signs = 2 * texts.length;
  return texts.reduce((sum, text, i) => sum + text.length + values[i].length, signs);
}

/** New scrapes, oldest first, and the failure after them. `offset`: monotonic minus its clock. */
function listOutcomes(
  followed: Followed,
  target: SeriesTarget,
  { offset, errors }: Pick<Watch, "offset" | "errors">,
): readonly (Scrape | ScrapeFailure)[] {
  const { endpoint } = followed;
  const stamp = { endpointKey: endpoint.key, duration: 0 };
  const times = [...target.moments.keys()].sort((a, b) => a - b);
  const scrapes = times.flatMap((time): readonly Scrape[] => {
    const moment = target.moments.get(time) ?? NO_MOMENT;
    const sample = readMoment(followed, moment);
    if (sample.engines.length === 0) return [];
    const duration = target.durations.get(time) ?? 0;
    const receipt = { receivedAt: time + offset, receivedAtEpoch: time, duration };
    const { pace: interval } = followed;
    const bytes = measureBody(moment);
    return [{ ...sample, ...stamp, ...receipt, bytes, interval, redirectedTo: null }];
  });
  const newest = Math.max(followed.knownTime, times.at(-1) ?? -Infinity);
  const [upTime, isUp] = target.ups.at(-1) ?? [-Infinity, true];
  followed.knownTime = Math.max(newest, upTime);
  if (isUp || upTime <= newest) return scrapes;
  const error = errors.get(target.key) ?? "";
  const [why, more] = error === ""
    ? ["", ", and the targets page of Prometheus"]
    : [` (${quote(error, MAX_ERROR_WIDTH)})`, ""];
  const message = `Prometheus cannot scrape ${quote(endpoint.label ?? endpoint.address)}${why}: ` +
    `check that the server runs${more}`;
  const failedAt = { failedAt: upTime + offset, failedAtEpoch: upTime };
  return [...scrapes, { ...stamp, ...failedAt, kind: "network", message }];
}

/** From the newest two times; `null` if there is one alone. */
function measurePace({ ups, moments }: SeriesTarget, knownTime: EpochSeconds): Seconds | null {
  const times = ups.length > 0 ? ups.map(([time]) => time) : [...moments.keys()];
  const known = Number.isFinite(knownTime) ? [knownTime] : [];
  const [before, last] = [...new Set([...known, ...times])].sort((a, b) => a - b).slice(-2);
  return last === undefined ? null : last - before;
}

/** Jobs whose targets that are up all have engines: one that is down must be an engine, too. */
function listEngineJobs(targets: readonly SeriesTarget[]): ReadonlySet<string> {
  const jobs = Map.groupBy(targets, ({ labels }) => labels.get("job") ?? "");
  const isOfEngines = (some: readonly SeriesTarget[]): boolean =>
    some.every(({ moments, ups }) => moments.size > 0 || ups.at(-1)?.[1] === false);
  return new Set([...jobs].filter(([, some]) => isOfEngines(some)).map(([job]) => job));
}

/** One Prometheus, from round to round. */
interface Watch {
  readonly platform: Platform;
  readonly prometheus: Endpoint;
  readonly queries: Queries;
  readonly matcher: string;
  readonly createReader: () => EngineReader;
  /** By target. */
  readonly followed: Map<string, Followed>;
  /** Those that have had engines. */
  readonly jobs: Set<string>;
  /** Why targets are down, by their keys; empty texts if it is unknown. */
  readonly errors: Map<string, string>;
  errorsAskedAt: Seconds;
  /** Monotonic time minus that of Prometheus; NaN before the first answer. */
  offset: Seconds;
}

async function readClock(watch: Watch): Promise<EpochSeconds> {
  const { platform, queries, prometheus } = watch;
  const askedAt = platform.monotonicSeconds();
  const now = await queries.getNow();
  if (!Number.isFinite(now)) {
    throw new QueryError(`${quote(prometheus.key)} does not tell its time`);
  }
  const measured = (askedAt + platform.monotonicSeconds()) / 2 - now;
  // Kept while it fits: spans between samples must not change.
  if (!(Math.abs(measured - watch.offset) <= CLOCK_TOLERANCE)) watch.offset = measured;
  return now;
}

async function collectTargets(watch: Watch): Promise<readonly SeriesTarget[]> {
  const { followed, jobs } = watch;
  const now = await readClock(watch);
  if (followed.size > 0) {
    // What is new since then; targets that have ended need no longer window.
    const recent = [...followed.values()].map(({ knownTime }) => now - knownTime)
      .filter((age) => age < LONG_WINDOW);
    return await collectRound(watch, now, Math.max(MIN_WINDOW, ...recent) + 1);
  }
  const targets = await collectRound(watch, now, FIRST_WINDOW);
  const isSparse = targets.every(({ moments }) => moments.size < 2);
  return isSparse && jobs.size > 0 ? await collectRound(watch, now, LONG_WINDOW) : targets;
}

function follow({ followed, prometheus, createReader }: Watch, target: SeriesTarget): Followed {
  const known = followed.get(target.key) ?? {
    endpoint: createEndpoint(prometheus, target),
    readBody: createReader(),
    ...{ knownTime: -Infinity, pace: USUAL_PACE, layout: null },
  };
  known.pace = measurePace(target, known.knownTime) ?? known.pace;
  return known;
}

/** `null` if it is no engine's. */
function readTarget(watch: Watch, target: SeriesTarget, isOfEngines: boolean) {
  const { followed } = watch;
  const known = follow(watch, target);
  const outcomes = listOutcomes(known, target, watch);
  const isNew = !followed.has(target.key);
  if (isNew && !outcomes.some((one) => !("kind" in one) || isOfEngines)) return null;
  followed.set(target.key, known);
  return { isNew, outcomes, typed: { endpoint: known.endpoint, basicAuth: null } };
}

function listNotices({ prometheus, queries, matcher, followed }: Watch): readonly string[] {
  const shown = quote(prometheus.key);
  const notices = [...queries.warnings].map((warning) => `${shown} answered in part: ${warning}`);
  if (followed.size > 0) return notices;
  const hint = matcher === "" ? "its scrape configuration" : "--prometheus-matcher";
  return [...notices, `${shown} has no samples of model servers: check ${hint}`];
}

/** Asks when another target is down, and again now and then while one is. */
async function updateErrors(watch: Watch, targets: readonly SeriesTarget[]): Promise<void> {
  const { platform, queries, errors } = watch;
  const isDown = ({ ups }: SeriesTarget): boolean => ups.at(-1)?.[1] === false;
  for (const target of targets) if (!isDown(target)) errors.delete(target.key);
  const down = targets.filter(isDown);
  const now = platform.monotonicSeconds();
  const isRecent = now - watch.errorsAskedAt < ERROR_INTERVAL;
  if (down.length === 0 || (isRecent && down.every(({ key }) => errors.has(key)))) return;
  watch.errorsAskedAt = now;
  const found = await queries.listErrors();
  for (const { key } of down) errors.set(key, found.get(key) ?? "");
}

async function lookAt(watch: Watch): Promise<TargetChange> {
  const { platform, queries, followed } = watch;
  queries.warnings.clear();
  const targets = await collectTargets(watch);
  await updateErrors(watch, targets);
  const engineJobs = listEngineJobs(targets);
  const found: { readonly name: string; readonly typed: TypedEndpoint }[] = [];
  const outcomes: (Scrape | ScrapeFailure)[] = [];
  const moments = new Map<string, SeriesTarget["moments"]>();
  for (const target of targets) {
    const read = readTarget(watch, target, engineJobs.has(target.labels.get("job") ?? ""));
    if (read === null) continue;
    if (read.isNew) found.push({ name: nameTarget(target), typed: read.typed });
    outcomes.push(...read.outcomes);
    moments.set(read.typed.endpoint.key, target.moments);
    // Many targets must not block keys.
    await platform.nextTurn();
  }
  const lastTime = platform.monotonicSeconds() - watch.offset - GONE_AFTER;
  const gone = [...followed].filter(([, { knownTime }]) => knownTime < lastTime);
  for (const [key] of gone) followed.delete(key);
  // Prometheus sorts by address.
  found.sort((a, b) => compareNames(a.name, b.name));
  return {
    found: found.map(({ typed }) => typed),
    outcomes,
    writeBody: ({ endpointKey, receivedAtEpoch: time }) =>
      writeMoment(moments.get(endpointKey)?.get(time) ?? NO_MOMENT),
    goneKeys: gone.map(([, { endpoint }]) => endpoint.key),
    notices: listNotices(watch),
  };
}

/** Prometheus has the samples of its targets, so the program does not scrape them. */
export function createPrometheusSource(
  platform: Platform,
  { endpoint: prometheus }: TypedEndpoint,
  { client, matcher, metricPrefix }: {
    readonly client: PageClient;
    /** Label matchers, joined by commas; empty for none. */
    readonly matcher: string;
    readonly metricPrefix: string | null;
  },
): Source {
  const base = prometheus.key;
  const createReader = createReaderFactory();
  const watch: Watch = {
    ...{ platform, prometheus, matcher },
    queries: base.endsWith("/federate")
      ? createFederation(client, base, { matcher, getEpoch: platform.epochSeconds })
      : createQueries(client, base, matcher),
    createReader: () => createReader({ metricPrefix }),
    ...{
      followed: new Map(),
      jobs: new Set(),
      errors: new Map(),
      errorsAskedAt: -Infinity,
      offset: NaN,
    },
  };
  return {
    scrapes: true,
    getInterval: (interval) => {
      const paces = [...watch.followed.values()].map(({ pace }) => pace);
      return paces.length === 0 ? interval : Math.max(interval, Math.min(...paces));
    },
    look: async () => {
      try {
        return await lookAt(watch);
      } catch (error) {
        if (!(error instanceof QueryError)) throw error;
        return { found: [], outcomes: [], goneKeys: [], notices: [error.message] };
      }
    },
  };
}
