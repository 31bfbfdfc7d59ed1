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
import { chooseStyleMode, createPaint, hasUtf8Locale } from "./frame.ts";
import { helpText, type Options, parseArguments } from "./options.ts";
import type { Endpoint } from "./model.ts";
import type { Platform, Signal } from "./platform.ts";
import { createReport, serializeReport } from "./report.ts";
import { scanPorts } from "./scanner.ts";
import { createScraper, isScrapeFailure, type Scraper } from "./scraper.ts";
import { createState, type Message, type State, update } from "./state.ts";
import { enterTerminal, type Terminal } from "./terminal.ts";
import type { Seconds } from "./units.ts";
import { VERSION } from "./version.ts";
import { renderFrame, renderText, type ViewOptions } from "./view.ts";

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

/** Where an implicit scan found nothing, this is watched: the user sees why it does not answer. */
const FALLBACK_URL = "http://localhost:8000";

/** Outcomes that arrive together are drawn together: at most one frame in this time. */
const FRAME_SPAN: Seconds = 0.03;

/** After a signal, what is under way has so long to end: a pipe that nobody reads would keep us for ever. */
const EXIT_GRACE: Seconds = 1;

const KEY_QUIT = 0x71;
const ESCAPE = 0x1b;

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

/** One run of the program over its endpoints. */
interface Session {
  readonly platform: Platform;
  readonly options: Options;
  readonly scrapers: ReadonlyMap<string, Scraper>;
  readonly busy: Set<string>;
  readonly view: ViewOptions;
  /** Aborted when the program is to end. */
  readonly stop: AbortController;
  state: State;
  /** Told of each change, for a live screen. */
  onChange: () => void;
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
  const notices = found.others.map(({ port, name }) => `port ${port}: ${name}, not vLLM`);
  if (found.found.length > 0) {
    const endpoints = found.found.map((endpoint) => ({ endpoint, basicAuth: null }));
    return { platform, endpoints, notices, isDemo: false };
  }
  const message = [`no vLLM server answers on ${place}`, ...notices].join("; ");
  if (options.auto) return { message, exitCode: EXIT_ENDPOINT_DOWN };
  if (options.orDemo) {
    const { stdio } = platform;
    stdio.writeStderr(`vllm-htop: ${message}\n`);
    if (stdio.stdoutIsTerminal && stdio.stdinIsTerminal) return chooseDemo(platform, options);
    stdio.writeStderr("vllm-htop: name one with --url, or see a simulated fleet with --demo\n");
  }
  const fallback = parseEndpointUrl(FALLBACK_URL);
  if ("error" in fallback) throw new Error(fallback.error);
  const hint = `${message}; name one with --url, or see a simulated fleet with --demo`;
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

function createSession(
  targets: Targets,
  options: Options,
  opened: {
    readonly scrapers: ReadonlyMap<string, Scraper>;
    readonly endpoints: readonly Endpoint[];
  },
): Session {
  const { platform, notices, isDemo } = targets;
  const { scrapers, endpoints } = opened;
  const { environment, stdio } = platform;
  const state = createState(endpoints, {
    interval: options.interval,
    now: platform.monotonicSeconds(),
    nowEpoch: platform.epochSeconds(),
    utcOffset: platform.utcOffset(),
    isDemo,
    notices,
  });
  const view: ViewOptions = {
    output: options.output === "json" ? "auto" : options.output,
    paint: createPaint(chooseStyleMode(stdio.stdoutIsTerminal, environment)),
    ascii: !hasUtf8Locale(environment, platform.operatingSystem),
  };
  const stop = new AbortController();
  return { platform, options, scrapers, busy: new Set(), view, stop, state, onChange: () => {} };
}

function dispatch(session: Session, message: Message): void {
  session.state = update(session.state, message);
  session.onChange();
}

function readClock(session: Session): void {
  const { platform } = session;
  session.state = update(session.state, {
    kind: "clock",
    now: platform.monotonicSeconds(),
    nowEpoch: platform.epochSeconds(),
  });
}

/** Scrapes one endpoint, unless the scrape before is still under way. */
async function pollEndpoint(session: Session, key: string, scraper: Scraper): Promise<void> {
  if (session.busy.has(key)) return;
  session.busy.add(key);
  try {
    const outcome = await scraper.scrape(session.stop.signal);
    if (session.stop.signal.aborted) return;
    dispatch(
      session,
      isScrapeFailure(outcome)
        ? { kind: "scrape_failed", failure: outcome }
        : { kind: "scraped", scrape: outcome },
    );
  } finally {
    session.busy.delete(key);
  }
}

/** Polls every endpoint at once. */
async function pollAll(session: Session): Promise<void> {
  await Promise.all(
    [...session.scrapers].map(([key, scraper]) => pollEndpoint(session, key, scraper)),
  );
}

/** Polls at the interval until the session ends; calls `show` after each poll, late answers or not. */
async function pollForever(session: Session, show: () => Promise<void>): Promise<void> {
  const { platform, options: { interval }, stop } = session;
  const startedAt = platform.monotonicSeconds();
  for (let tick = 1; !stop.signal.aborted; tick++) {
    const dueAt = startedAt + tick * interval;
    const over = new AbortController();
    const poll = pollAll(session);
    await Promise.race([
      poll,
      platform.sleep(
        dueAt - platform.monotonicSeconds(),
        AbortSignal.any([stop.signal, over.signal]),
      ),
    ]);
    over.abort();
    if (stop.signal.aborted) {
      await poll;
      return;
    }
    readClock(session);
    await show();
    const now = platform.monotonicSeconds();
    await platform.sleep(dueAt - now, stop.signal);
    // A machine that slept has missed ticks: they are not made up for.
    tick += Math.max(0, Math.floor((now - dueAt) / interval));
  }
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

/** How to draw now. Sets the session up to draw soon after each change, and no more often than a screen can follow. */
function createDrawing(session: Session, terminal: Terminal): () => Promise<void> {
  const { platform, stop } = session;
  let isPlanned = false;
  const draw = async (): Promise<void> => {
    isPlanned = false;
    const size = platform.stdio.terminalSize();
    if (size === null || stop.signal.aborted) return;
    readClock(session);
    await terminal.draw(renderFrame(session.state, size, session.view), size);
  };
  const drawIfPlanned = async (): Promise<void> => {
    if (isPlanned) await draw();
  };
  session.onChange = () => {
    if (isPlanned) return;
    isPlanned = true;
    platform.sleep(FRAME_SPAN, stop.signal).then(drawIfPlanned).catch((error) => stop.abort(error));
  };
  return draw;
}

async function readKeys(session: Session): Promise<void> {
  const { platform, stop } = session;
  while (!stop.signal.aborted) {
    const bytes = await platform.stdio.readStdin();
    if (bytes === null || (bytes[0] !== ESCAPE && bytes.includes(KEY_QUIT))) stop.abort();
  }
}

/** The live screen, until `q`. */
async function runLive(session: Session, terminal: Terminal): Promise<number> {
  const { platform, stop } = session;
  const draw = createDrawing(session, terminal);
  const stopResizing = platform.onSignal("SIGWINCH", () => session.onChange());
  const keys = readKeys(session);
  try {
    await draw();
    await pollForever(session, draw);
  } finally {
    stop.abort();
    stopResizing();
    platform.stdio.closeStdin();
    await keys;
  }
  if (stop.signal.reason instanceof Error && stop.signal.reason.name !== "AbortError") {
    throw stop.signal.reason;
  }
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
  const terminal = isLive(platform, options) ? enterTerminal(platform.stdio) : null;
  let signalCode: number | null = null;
  const stopListening = SIGNAL_CODES.map(([signal, code]) =>
    platform.onSignal(signal, () => {
      const exitNow = (): void => {
        terminal?.leave();
        platform.exit(code);
      };
      // The second time there is no waiting for what is under way.
      if (signalCode !== null) exitNow();
      signalCode = code;
      stop.abort();
      void platform.sleep(EXIT_GRACE).then(exitNow);
    })
  );
  platform.onFatalError(() => terminal?.leave());
  try {
    const code = terminal !== null
      ? await runLive(session, terminal)
      : options.once
      ? await runOnce(session)
      : await runStream(session);
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

function refuse(platform: Platform, refusal: Refusal): number {
  const hint = refusal.exitCode === EXIT_USAGE ? "\nTry 'vllm-htop --help'." : "";
  platform.stdio.writeStderr(`vllm-htop: ${refusal.message}${hint}\n`);
  return refusal.exitCode;
}

async function runOptions(platform: Platform, options: Options): Promise<number> {
  const targets = await findTargets(platform, options);
  if ("exitCode" in targets) return refuse(platform, targets);
  const opened = await openScrapers(targets, options);
  if ("exitCode" in opened) return refuse(platform, opened);
  return await runSession(createSession(targets, options, opened));
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
    const text = error instanceof Error ? error.stack ?? error.message : String(error);
    platform.stdio.writeStderr(`vllm-htop: internal error, please report it: ${text}\n`);
    return EXIT_INTERNAL;
  }
}
