/**
 * From the command line to the end of a session. Loads configuration and prices, has `discovery` find
 * the targets, and runs one session: live in a terminal, appended to a pipe, or once. Handles
 * signals, the summary at exit and the scrapes kept for the next run.
 * @module
 */

import {
  createServerInfoReader,
  followSource,
  lookAtScrapes,
  lookAtSlow,
} from "./app_discovery.ts";
import { createViewOptions, createWriter, isTextForm, printOnce } from "./app_output.ts";
import type { DoctorFacts } from "./app_doctor.ts";
import { print } from "./app_print.ts";
import { runSession } from "./app_run.ts";
import {
  dispatch,
  pollEndpoint,
  pollForever,
  type Session,
  startSession,
  takeInstant,
  watchEndpoint,
} from "./app_session.ts";
import type { FileValues } from "./cli_arguments.ts";
import { loadConfig } from "./cli_config_file.ts";
import { EXIT_CONFIGURATION, EXIT_ENDPOINT_DOWN, EXIT_OK, EXIT_USAGE } from "./cli_exit.ts";
import {
  type CommandLine,
  createStartUi,
  getConfigPath,
  listColumns,
  listSettings,
  type Options,
  parseCommandLine,
  resolveOptions,
} from "./cli_options.ts";
import type { Pricing } from "./cost.ts";
import { formatPriceList, loadPrices } from "./cost_prices.ts";
import {
  type DiscoveryError,
  findTargets,
  type OpenedEndpoint,
  openEndpoint,
  type TargetSet,
} from "./discovery.ts";
import { joinNotices, type Source } from "./discovery_source.ts";
import type { KeptScrape } from "./model.ts";
import type { Platform } from "./platform.ts";
import { createScrapePool, type ScrapePool } from "./scrape_pool.ts";
import { loadAuthorities } from "./scrape_credentials.ts";
import { createState } from "./state.ts";
import { findEndpoint } from "./state_endpoint.ts";
import type { RestoredScrapes } from "./state_file.ts";
import { listEndpointsOn } from "./state_fleet.ts";
import type { Ui } from "./state_ui.ts";
import { sanitizeText } from "./text.ts";
import type { Seconds } from "./units.ts";

async function openTargets(
  { platform, endpoints, here: { listProcesses } }: TargetSet,
  parts: { readonly options: Options; readonly pool: ScrapePool },
): Promise<readonly OpenedEndpoint[] | DiscoveryError> {
  const opened: OpenedEndpoint[] = [];
  for (const typed of endpoints) {
    const one = await openEndpoint(platform, typed, { ...parts, listProcesses });
    if ("exitCode" in one) return one;
    opened.push(one);
  }
  return opened;
}

async function loadPricing(
  platform: Platform,
  { cost }: Options,
): Promise<Pricing | DiscoveryError> {
  const { pricesFile, ...rest } = cost;
  const ownPrices = await loadPrices(platform, pricesFile);
  return "error" in ownPrices
    ? { message: ownPrices.error, exitCode: EXIT_CONFIGURATION }
    : { ...rest, ownPrices };
}

function createSession(
  targets: TargetSet,
  options: Options,
  { opened, ui, pricing, pool }: {
    readonly opened: readonly OpenedEndpoint[];
    readonly pool: ScrapePool;
    readonly ui: Ui;
    readonly pricing: Pricing;
  },
): Session {
  const { platform, isDemo, here, sshWatches } = targets;
  const notices = new Map(targets.sources);
  const state = createState(opened.map(({ endpoint }) => endpoint), {
    interval: options.interval,
    now: platform.monotonicSeconds(),
    nowEpoch: platform.epochSeconds(),
    utcOffset: platform.utcOffset(),
    isDemo,
    isOnce: options.once && options.watchSpan === null,
    asksForGpus: options.gpuWatch === "always",
    pricing,
    objectives: options.objectives,
    rules: options.rules,
    notices: joinNotices(notices),
    ui,
  });
  const view = createViewOptions(platform, options);
  const session = startSession({
    ...{ platform, options, view, state, pool, notices, sshWatches },
    hosts: new Map(
      [here, ...sshWatches.map(({ ssh }) => ssh.host)].map((host) => [host.name, host]),
    ),
  });
  session.stop.signal.addEventListener("abort", () => {
    for (const source of notices.keys()) source?.close?.();
  });
  for (const one of opened) watchEndpoint(session, one);
  for (const { ssh: { host, getLink } } of sshWatches) {
    dispatch(session, { kind: "host_linked", host: host.name, link: getLink() });
  }
  if (!isDemo) session.onScraped = createServerInfoReader(session);
  return session;
}

/** Not again after a timeout: the picture of all would wait for it twice. */
async function pollTwice(session: Session, key: string): Promise<void> {
  const { platform, options: { interval }, stop } = session;
  await pollEndpoint(session, key);
  const known = findEndpoint(session.state.endpoints, key);
  if (known?.failure?.kind === "timeout") return;
  // Counted from the response: a slow first scrape must not leave a window of milliseconds.
  await platform.sleep(interval, stop.signal);
  if (!stop.signal.aborted) await pollEndpoint(session, key);
}

/**
 * Two scrapes an interval apart, for rates; or one with interval 0, or with a state file, which has
 * the previous run's.
 */
async function scrapeOnce(session: Session): Promise<void> {
  const { platform, options: { interval, stateFile, doctor }, watched, stop, onScraped } = session;
  const reading: Promise<void>[] = [];
  session.onScraped = (one) => {
    reading.push(onScraped(one));
    return Promise.resolve();
  };
  // Wanted after the first scrape: begun now, it takes no time of its own.
  for (const { name, listProcesses } of session.hosts.values()) {
    if (listEndpointsOn(session.state, name).length > 0) void listProcesses?.();
  }
  const hasInterval = interval > 0 && stateFile === null && !doctor;
  const poll = hasInterval ? pollTwice : pollEndpoint;
  const look = async (): Promise<void> => {
    await lookAtScrapes(session);
    const hasWindows = session.state.endpoints.every(({ endpoint: { key }, history }) =>
      watched.has(key) || history.newest === null || history.previous !== null
    );
    if (!hasInterval || hasWindows) return;
    await platform.sleep(interval, stop.signal);
    if (!stop.signal.aborted) await lookAtScrapes(session);
  };
  const scrapes = Promise.all([look(), ...[...watched.keys()].map((key) => poll(session, key))]);
  const { sampleHostsOnce } = await import("./app_hosts.ts");
  await sampleHostsOnce(session, scrapes, { hasInterval });
  await Promise.all(reading);
}

/** Resolves when each host behind ssh is searched or down, or after the time limit. */
async function startSsh(session: Session): Promise<void> {
  if (session.sshWatches.length === 0) return;
  // Loaded here: few want it.
  const { startSshHosts } = await import("./app_ssh.ts");
  await startSshHosts(session);
}

function beginHosts(session: Session): void {
  // Loaded here: a live screen does so after its first picture.
  import("./app_hosts.ts").then(({ watchHosts }) => watchHosts(session))
    .catch((error) => session.stop.abort(error));
}

/** Polls as a live screen does, for a span. Resolves when it is over, or a signal ends it. */
async function watchFor(session: Session, span: Seconds): Promise<void> {
  const { platform, stop } = session;
  beginHosts(session);
  const polling = pollForever(session, () => Promise.resolve());
  await Promise.race([polling, platform.sleep(span, stop.signal)]);
}

/** Waits for hosts behind ssh and for clusters, and scrapes what is there then. */
async function lookOnce(session: Session): Promise<void> {
  await Promise.all([startSsh(session), lookAtSlow(session)]);
  await scrapeOnce(session);
}

/** Prints once. The exit code is that of the check, or tells of failures. */
async function runOnce(session: Session): Promise<number | DiscoveryError> {
  const { options: { watchSpan }, stop } = session;
  if (watchSpan === null) await lookOnce(session);
  else await watchFor(session, watchSpan);
  if (stop.signal.aborted) return EXIT_OK;
  takeInstant(session);
  return await printOnce(session);
}

/** Writes the state after each poll, until that fails. */
async function runStream(session: Session): Promise<number | DiscoveryError> {
  const { options: { output }, stop } = session;
  const write = createWriter(session, isTextForm(output) ? "\n" : "");
  let refusal: DiscoveryError | null = null;
  beginHosts(session);
  await pollForever(session, async () => {
    refusal = await write();
    if (refusal !== null) stop.abort();
  });
  return refusal ?? EXIT_OK;
}

/** Resolves after the first look of those that have not looked yet, or after the time limit. */
async function followSources(session: Session, { sources }: TargetSet): Promise<void> {
  const { platform, options: { timeout }, stop } = session;
  const scrapes = lookAtScrapes(session);
  const slow = lookAtSlow(session);
  const follow = async (source: Source): Promise<void> => {
    if (source.scrapes) await scrapes;
    if (source.isSlow) await slow;
    await followSource(session, source);
  };
  for (const source of sources.keys()) {
    if (source !== null) follow(source).catch((error) => stop.abort(error));
  }
  const looks = Promise.all([scrapes, slow]);
  await Promise.race([looks, platform.sleep(timeout, stop.signal)]);
}

/** Without a live screen. */
async function runPlain(session: Session): Promise<number | DiscoveryError> {
  const { options: { once, isRecorder } } = session;
  if (!isRecorder) return once ? await runOnce(session) : await runStream(session);
  const { runRecorder } = await import("./app_record.ts");
  await runRecorder(session);
  return EXIT_OK;
}

/** A check says so on standard output, as Nagios reads no other. */
async function refuse(
  platform: Platform,
  { message, exitCode }: DiscoveryError,
  isCheck: boolean,
): Promise<number> {
  if (isCheck) {
    const { renderUnknown } = await import("./view_check.ts");
    const { line, code } = renderUnknown(message);
    await print(platform, [line]);
    return code;
  }
  const hint = exitCode === EXIT_USAGE ? "\nTry 'vllm-htop --help'." : "";
  platform.stdio.writeStderr(`vllm-htop: ${message}${hint}\n`);
  return exitCode;
}

/** What the run before has kept. */
async function recallScrapes(
  platform: Platform,
  { stateFile }: Options,
  keys: readonly string[],
): Promise<RestoredScrapes> {
  if (stateFile === null) return { scrapes: [], remarks: [] };
  // Loaded here: few want it.
  const { loadScrapes } = await import("./state_file.ts");
  return await loadScrapes(platform, stateFile, keys);
}

/** Saves scrapes for the next run. `null` if that succeeds. */
async function keepScrapes(
  { platform, options: { stateFile }, state }: Session,
  before: readonly KeptScrape[],
): Promise<DiscoveryError | null> {
  if (stateFile === null) return null;
  const scrapes = state.endpoints.flatMap(({ endpoint, scrape }) =>
    // Endpoints that failed keep their previous scrape.
    scrape ?? before.filter(({ endpointKey }) => endpointKey === endpoint.key)
  );
  const { saveScrapes } = await import("./state_file.ts");
  const problem = await saveScrapes(platform, stateFile, scrapes);
  return problem === null ? null : { message: problem, exitCode: EXIT_CONFIGURATION };
}

async function runWatch(
  session: Session,
  targets: TargetSet,
): Promise<number | DiscoveryError> {
  const { options: { once, watchSpan, recordFile }, stop, sshWatches } = session;
  const start = async (isLive: boolean): Promise<void> => {
    if (once && watchSpan === null) return;
    const first = followSources(session, targets);
    // A screen is drawn at once, a document is complete.
    if (!isLive) await first;
    const connecting = startSsh(session).catch((error) => stop.abort(error));
    for (const { source } of sshWatches) {
      followSource(session, source).catch((error) => stop.abort(error));
    }
    if (watchSpan !== null) await connecting;
  };
  if (recordFile === null) return await runSession(session, { start, runPlain });
  // Loaded on demand, to keep the start fast.
  const { finishRecording, startRecording } = await import("./app_record.ts");
  const recorder = await startRecording(session);
  if ("exitCode" in recorder) return recorder;
  const code = await runSession(session, { start, runPlain });
  return await finishRecording(session, recorder) ?? code;
}

/** Where `--serve` says. */
async function serve(session: Session): Promise<DiscoveryError | null> {
  if (session.options.serve === null) return null;
  const { serveSession } = await import("./app_serve.ts");
  return serveSession(session, session.options.serve);
}

async function runReplay(
  platform: Platform,
  options: Options,
  pricing: Pricing,
): Promise<number | DiscoveryError> {
  const { openReplay } = await import("./app_replay.ts");
  const replay = await openReplay(platform, options, pricing);
  if ("exitCode" in replay) return replay;
  const { session, close, ...ways } = replay;
  const refusal = await serve(session);
  if (refusal !== null) return refusal;
  try {
    return await runSession(session, ways);
  } finally {
    close();
  }
}

async function runOptions(
  platform: Platform,
  options: Options,
  facts: DoctorFacts,
): Promise<number | DiscoveryError> {
  if (options.sort === "help" || options.columns === "help") {
    return await print(platform, listColumns());
  }
  const pricing = await loadPricing(platform, options);
  if ("exitCode" in pricing) return pricing;
  if (options.listPrices) {
    return await print(platform, [formatPriceList(pricing.ownPrices).trimEnd()]);
  }
  if (options.replayFile !== null) return await runReplay(platform, options, pricing);
  if (options.comparedSpans.length > 0) {
    const { runCompare } = await import("./app_compare.ts");
    return await runCompare(platform, options, pricing);
  }
  const targets = await findTargets(platform, options);
  if ("exitCode" in targets) return targets;
  const pool = createScrapePool();
  const opened = await openTargets(targets, { options, pool });
  if ("exitCode" in opened) return opened;
  const keys = opened.map(({ endpoint }) => endpoint.key);
  const kept = await recallScrapes(platform, options, keys);
  const { config } = facts;
  const warnings = "error" in config || options.doctor ? [] : config.warnings;
  const notices = [...warnings, ...targets.sources.get(null) ?? [], ...kept.remarks];
  const targetsWithNotices = {
    ...targets,
    sources: new Map([[null, notices], ...targets.sources, [null, notices]]),
  };
  const ui = createStartUi(options);
  const session = createSession(targetsWithNotices, options, { opened, ui, pricing, pool });
  for (const scrape of kept.scrapes) dispatch(session, { kind: "recalled", scrape });
  if (!("error" in config) && config.hooks.length > 0 && !options.once) {
    const { startHooks } = await import("./app_hooks.ts");
    const authorities = await loadAuthorities(platform, options.credentialSources);
    if ("error" in authorities) {
      return { message: authorities.error, exitCode: EXIT_CONFIGURATION };
    }
    session.onEvaluated = startHooks(session, config.hooks, authorities);
  }
  if (options.doctor) {
    const { runDoctor } = await import("./app_doctor.ts");
    return await runDoctor(session, facts, lookOnce);
  }
  const refusal = await serve(session);
  if (refusal !== null) return refusal;
  const code = await runWatch(session, targetsWithNotices);
  if (typeof code !== "number") return code;
  return code > EXIT_ENDPOINT_DOWN ? code : await keepScrapes(session, kept.scrapes) ?? code;
}

async function runConfigured(
  platform: Platform,
  line: CommandLine & { readonly kind: "run" },
): Promise<number | DiscoveryError> {
  const { environment } = platform;
  const config = await loadConfig(platform, getConfigPath(line, environment));
  // The doctor goes on, and tells.
  if ("error" in config && !line.given.has("doctor")) {
    return { message: config.error, exitCode: EXIT_CONFIGURATION };
  }
  const values: FileValues = "error" in config ? new Map() : config.values;
  const parsed = resolveOptions(line, environment, values);
  if (parsed.kind === "run") {
    const facts = { config, listSettings: () => listSettings(line, environment, values) };
    return await runOptions(platform, parsed.options, facts);
  }
  const { level, message } = parsed;
  if (level !== "file" || "error" in config) return { message, exitCode: EXIT_USAGE };
  const file = `the configuration file "${sanitizeText(config.path)}"`;
  return { message: `${file}: ${message}`, exitCode: EXIT_CONFIGURATION };
}

/** What the arguments ask for, besides `--help` and `--version`. */
export async function start(platform: Platform, argv: readonly string[]): Promise<number> {
  const line = parseCommandLine(argv);
  if (line.kind === "document") {
    // Loaded on demand, to keep the start fast.
    const { writeDocument } = await import("./cli_documents.ts");
    return await print(platform, [writeDocument(line.document).trimEnd()]);
  }
  const outcome = await runConfigured(platform, line);
  if (typeof outcome === "number") return outcome;
  return await refuse(platform, outcome, line.given.has("check"));
}
