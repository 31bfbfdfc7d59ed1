/**
 * The program: from arguments to an exit code.
 *
 * Layer 6, effects: through the platform only. Finds the endpoints, polls each
 * at the interval, one request in flight each, gives every outcome to `update`,
 * and shows the state in the form that was asked for: live in a terminal,
 * appended to a pipe, or once. A poll that takes longer than the interval holds
 * up nobody: what has arrived is shown, and that endpoint is asked again when
 * it has answered. What figures mean is decided below; only scheduling is here.
 *
 * @module
 */

import { type EndpointAccess, openAccess } from "./credentials.ts";
import { createDemo } from "./demo.ts";
import { isLoopbackHost, parseEndpointUrl, type TypedEndpoint } from "./endpoint_url.ts";
import { COLUMN_IDS, COLUMNS } from "./columns.ts";
import { chooseColorDepth, hasUtf8Locale } from "./frame.ts";
import { runLive } from "./live.ts";
import { helpText, type Options, parseArguments } from "./options.ts";
import type { Endpoint } from "./model.ts";
import type { Platform, Signal } from "./platform.ts";
import { createReport, serializeReport } from "./report.ts";
import { scanPorts } from "./scanner.ts";
import { createScraper, type Scraper } from "./scraper.ts";
import { pollEndpoint, pollForever, readClock, type Session } from "./session.ts";
import { createState } from "./state.ts";
import { enterTerminal } from "./terminal.ts";
import { createUi, type Sort, type Ui } from "./ui.ts";
import { padText, sanitizeText } from "./text.ts";
import type { Seconds } from "./units.ts";
import { VERSION } from "./version.ts";
import { renderText, type ViewOptions } from "./view.ts";

/** Exit codes (README, "Exit codes"). A signal n ends the program with 128 + n. */
const EXIT_OK = 0;
const EXIT_ENDPOINT_DOWN = 1;
const EXIT_USAGE = 2;
const EXIT_CONFIGURATION = 3;
const EXIT_INTERNAL = 70;
const SIGNAL_CODES: readonly (readonly [Signal, number])[] = [
  ["SIGHUP", 129],
  ["SIGINT", 130],
  ["SIGQUIT", 131],
  ["SIGTERM", 143],
];

/** What the runtime says when the file that standard output goes to cannot grow. */
const FULL_DISK = /no space left|os error (28|112)\b/i;

/** Where an implicit scan found nothing, this is watched: the user sees why it does not answer. */
const FALLBACK_URL = "http://localhost:8000";

/** After a signal, what is under way has so long to end: a pipe that nobody reads would keep us for ever. */
const EXIT_GRACE: Seconds = 1;

/** How long a terminal may take for the frame that it is being given, once we want to be gone. */
const STUCK_OUTPUT_LIMIT: Seconds = 0.5;

/** What is watched, and what there is to say about how it was found. */
interface Targets {
  readonly platform: Platform;
  readonly endpoints: readonly TypedEndpoint[];
  readonly notices: readonly string[];
  readonly isDemo: boolean;
}

/** A run that cannot start: what to say, and the code to end with. */
interface Refusal {
  readonly message: string;
  readonly exitCode: number;
}

function includesFallbackPort({ first, last }: Options["portRange"]): boolean {
  const port = Number(new URL(FALLBACK_URL).port);
  return first <= port && port <= last;
}

function chooseDemo(platform: Platform, options: Options): Targets {
  const demo = createDemo(platform, options.demoSeed);
  return { ...demo, notices: [], isDemo: true };
}

/** The servers to watch: those named, those of the demo, or those that a scan finds. */
async function findTargets(platform: Platform, options: Options): Promise<Targets | Refusal> {
  if (options.demo) return chooseDemo(platform, options);
  if (options.endpoints.length > 0) {
    return { platform, endpoints: options.endpoints, notices: [], isDemo: false };
  }
  const { host, portRange } = options;
  const found = await scanPorts(platform, options);
  const place = `${host}, ports ${portRange.first} to ${portRange.last}`;
  const notices = found.others.map(({ port, name }) => `port ${port}: ${name}`);
  if (found.found.length > 0) {
    const endpoints = found.found.map((endpoint) => ({ endpoint, basicAuth: null }));
    return { platform, endpoints, notices, isDemo: false };
  }
  const message = [`no vLLM server answers on ${place}`, ...notices].join("; ");
  if (options.auto) return { message, exitCode: EXIT_ENDPOINT_DOWN };
  const { stdinIsTerminal, stdoutIsTerminal, writeStderr } = platform.stdio;
  if (options.orDemo && stdinIsTerminal && stdoutIsTerminal) {
    writeStderr(`vllm-htop: ${message}: here is a demo\n`);
    return chooseDemo(platform, options);
  }
  const hint = `${message}; name one with --url, or see a simulated fleet with --demo`;
  // Another place was asked for: this machine's server would be the wrong answer.
  const isElsewhere = host !== "localhost" || !includesFallbackPort(portRange);
  if (isElsewhere) return { message: hint, exitCode: EXIT_ENDPOINT_DOWN };
  const fallback = parseEndpointUrl(FALLBACK_URL);
  if ("error" in fallback) throw new Error(fallback.error);
  return { platform, endpoints: [fallback], notices: [hint], isDemo: false };
}

/** The endpoint, with a remark when credentials travel to it unprotected. */
function warnOfPlainText(endpoint: Endpoint, access: EndpointAccess): Endpoint {
  const { protocol, hostname } = new URL(endpoint.metricsUrl);
  const isProtected = protocol === "https:" || isLoopbackHost(hostname) ||
    endpoint.unixSocketPath !== undefined;
  if (isProtected || !access.sendsCredentials) return endpoint;
  const warning = "its credentials travel unencrypted: use https";
  return { ...endpoint, warnings: [...endpoint.warnings, warning] };
}

/** A scraper for each endpoint, by its key, and the endpoints with what is to be said of them. */
async function openScrapers(
  targets: Targets,
  options: Options,
): Promise<{ scrapers: ReadonlyMap<string, Scraper>; endpoints: readonly Endpoint[] } | Refusal> {
  const { platform } = targets;
  const scrapers = new Map<string, Scraper>();
  const endpoints: Endpoint[] = [];
  for (const typed of targets.endpoints) {
    const isNamed = options.endpoints.length > 0;
    // A scanned port is nobody that the user trusts with credentials.
    const access = await openAccess(
      platform,
      typed,
      isNamed ? options : { ...options, credentialSources: [], insecureEndpointKeys: [] },
    );
    if ("error" in access) return { message: access.error, exitCode: EXIT_CONFIGURATION };
    const { timeout, metricPrefix } = options;
    const scraper = await createScraper(platform, typed.endpoint, {
      access,
      timeout,
      metricPrefix,
    });
    scrapers.set(typed.endpoint.key, scraper);
    endpoints.push(warnOfPlainText(typed.endpoint, access));
  }
  return { scrapers, endpoints };
}

/** `COLUMN`, `COLUMN:asc` or `COLUMN:desc`. */
function parseSort(text: string): Sort | null {
  const [columnId, direction = "desc"] = text.split(":");
  const isKnown = COLUMN_IDS.includes(columnId) && /^(asc|desc)$/.test(direction);
  return isKnown ? { columnId, isDescending: direction === "desc" } : null;
}

/** What the options say of columns and order. Columns that are not named are hidden. */
function readPreferences(options: Options): Ui | Refusal {
  const refuseValue = (option: string, value: string): Refusal => ({
    message: `${option} "${sanitizeText(value)}" is not a column: see ${option} help`,
    exitCode: EXIT_USAGE,
  });
  const sort = options.sort === "" ? null : parseSort(options.sort);
  if (options.sort !== "" && sort === null) return refuseValue("--sort", options.sort);
  const wanted = options.columns.split(",").map((id) => id.trim()).filter((id) => id !== "");
  const unknown = wanted.find((id) => !COLUMN_IDS.includes(id));
  if (unknown !== undefined) return refuseValue("--columns", unknown);
  const others = COLUMN_IDS.filter((id) => !wanted.includes(id));
  return createUi({
    sort,
    theme: options.theme,
    filter: options.filter,
    columnIds: [...wanted, ...others],
    hiddenColumnIds: new Set(wanted.length === 0 ? [] : others),
  });
}

/** The columns as `--sort help` and `--columns help` list them. */
function listColumns(): string {
  return COLUMNS.map(({ id, help }) => `${padText(id, 14)} ${help}\n`).join("");
}

function createSession(
  targets: Targets,
  options: Options,
  opened: {
    readonly scrapers: ReadonlyMap<string, Scraper>;
    readonly endpoints: readonly Endpoint[];
    readonly ui: Ui;
  },
): Session {
  const { platform, notices, isDemo } = targets;
  const { scrapers, endpoints, ui } = opened;
  const { environment, stdio } = platform;
  const state = createState(endpoints, {
    interval: options.interval,
    now: platform.monotonicSeconds(),
    nowEpoch: platform.epochSeconds(),
    utcOffset: platform.utcOffset(),
    isDemo,
    isOnce: options.once,
    notices,
    ui,
  });
  const view: ViewOptions = {
    output: options.output === "json" ? "auto" : options.output,
    depth: chooseColorDepth(stdio.stdoutIsTerminal, environment, { noColor: options.noColor }),
    ascii: options.ascii || !hasUtf8Locale(environment, platform.operatingSystem),
    hasKeyLine: !options.noKeyLine,
  };
  const stop = new AbortController();
  const doNothing = (): void => {};
  return {
    platform,
    options,
    scrapers,
    busy: new Set(),
    view,
    stop,
    state,
    onChange: doNothing,
    wake: doNothing,
  };
}

/** The state in the form that was asked for, with a newline at its end. */
function describeState(session: Session): string {
  const { state, options, view, platform } = session;
  if (options.output === "json") return serializeReport(createReport(state, VERSION)) + "\n";
  const size = platform.stdio.stdoutIsTerminal ? platform.stdio.terminalSize() : null;
  const width = size === null ? {} : { width: size.columns };
  return renderText(state, { ...view, ...width }).join("\n") + "\n";
}

/**
 * Scrapes one endpoint twice, an interval apart, whatever the others do. One
 * that let its time limit pass is not asked again: the picture of all would
 * wait for it a second time.
 */
async function pollTwice(session: Session, key: string, scraper: Scraper): Promise<void> {
  const { platform, options: { interval }, stop } = session;
  await pollEndpoint(session, key, scraper);
  const known = session.state.endpoints.find(({ endpoint }) => endpoint.key === key);
  if (known?.failure?.kind === "timeout") return;
  // From the answer on: a first scrape that was slow must not leave a window of milliseconds.
  await platform.sleep(interval, stop.signal);
  if (!stop.signal.aborted) await pollEndpoint(session, key, scraper);
}

/** One picture: two scrapes an interval apart, so that rates are measured; or one, with interval 0. */
async function runOnce(session: Session): Promise<number> {
  const { platform, options: { interval }, scrapers, stop } = session;
  const poll = interval > 0 ? pollTwice : pollEndpoint;
  await Promise.all([...scrapers].map(([key, scraper]) => poll(session, key, scraper)));
  if (stop.signal.aborted) return EXIT_OK;
  readClock(session);
  await platform.stdio.writeStdout(new TextEncoder().encode(describeState(session)));
  const hasFailed = session.state.endpoints.some(({ failure }) => failure !== null);
  return hasFailed ? EXIT_ENDPOINT_DOWN : EXIT_OK;
}

/** A picture for each poll, appended to standard output. */
async function runStream(session: Session): Promise<number> {
  const { platform, options } = session;
  const separator = options.output === "json" ? "" : "\n";
  await pollForever(
    session,
    () => platform.stdio.writeStdout(new TextEncoder().encode(describeState(session) + separator)),
  );
  return EXIT_OK;
}

function isLive(platform: Platform, options: Options): boolean {
  const { stdinIsTerminal, stdoutIsTerminal } = platform.stdio;
  return stdinIsTerminal && stdoutIsTerminal && !options.once && options.output !== "json" &&
    platform.environment("TERM") !== "dumb";
}

/** Runs the session to its end. A signal gives the terminal back and ends it with the signal's code. */
async function runSession(session: Session): Promise<number> {
  const { platform, options, stop } = session;
  const terminal = isLive(platform, options)
    ? enterTerminal(platform.stdio, { mouse: !options.noMouse })
    : null;
  let signalCode: number | null = null;
  const stopListening = SIGNAL_CODES.map(([signal, code]) =>
    platform.onSignal(signal, () => {
      const exitNow = async (): Promise<never> => {
        // A terminal that nobody reads takes nothing: it is not waited for.
        await Promise.race([terminal?.finish(), platform.sleep(STUCK_OUTPUT_LIMIT)]);
        terminal?.abandon();
        return platform.exit(code);
      };
      // The second time there is no waiting for what is under way.
      if (signalCode !== null) void exitNow();
      signalCode = code;
      stop.abort();
      void platform.sleep(EXIT_GRACE).then(exitNow);
    })
  );
  platform.onFatalError((error) => {
    terminal?.leave();
    tellInternalError(platform, error);
    platform.exit(EXIT_INTERNAL);
  });
  try {
    if (terminal !== null) {
      await runLive(session, terminal);
      return signalCode ?? EXIT_OK;
    }
    const code = options.once ? await runOnce(session) : await runStream(session);
    return signalCode ?? code;
  } catch (error) {
    // The reader of our output has seen enough.
    if (platform.isBrokenPipe(error)) return signalCode ?? EXIT_OK;
    throw error;
  } finally {
    await terminal?.finish();
    stop.abort();
    for (const stopOne of stopListening) stopOne();
    for (const scraper of session.scrapers.values()) scraper.close();
  }
}

function tellInternalError(platform: Platform, error: unknown): void {
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  platform.stdio.writeStderr(`vllm-htop: internal error, please report it: ${text}\n`);
}

function refuse(platform: Platform, refusal: Refusal): number {
  const hint = refusal.exitCode === EXIT_USAGE ? "\nTry 'vllm-htop --help'." : "";
  platform.stdio.writeStderr(`vllm-htop: ${refusal.message}${hint}\n`);
  return refusal.exitCode;
}

async function runOptions(platform: Platform, options: Options): Promise<number> {
  if (options.sort === "help" || options.columns === "help") {
    return await print(platform, listColumns());
  }
  const ui = readPreferences(options);
  if ("exitCode" in ui) return refuse(platform, ui);
  const targets = await findTargets(platform, options);
  if ("exitCode" in targets) return refuse(platform, targets);
  const opened = await openScrapers(targets, options);
  if ("exitCode" in opened) return refuse(platform, opened);
  return await runSession(createSession(targets, options, { ...opened, ui }));
}

async function print(platform: Platform, text: string): Promise<number> {
  await platform.stdio.writeStdout(new TextEncoder().encode(text));
  return EXIT_OK;
}

/**
 * Runs the program and gives its exit code. Never rejects: an error of the
 * program itself is told on standard error, with exit code 70.
 */
export async function runApp(platform: Platform, argv: readonly string[]): Promise<number> {
  try {
    const parsed = parseArguments(argv, platform.environment);
    switch (parsed.kind) {
      case "help":
        return await print(platform, helpText());
      case "version":
        return await print(platform, `vllm-htop ${VERSION}\n`);
      case "usage_error":
        return refuse(platform, { message: parsed.message, exitCode: EXIT_USAGE });
      case "run":
        return await runOptions(platform, parsed.options);
    }
  } catch (error) {
    if (platform.isBrokenPipe(error)) return EXIT_OK;
    if (error instanceof Error && FULL_DISK.test(error.message)) {
      platform.stdio.writeStderr(
        "vllm-htop: the output cannot be written: no space is left there\n",
      );
      return EXIT_CONFIGURATION;
    }
    tellInternalError(platform, error);
    return EXIT_INTERNAL;
  }
}
