/**
 * Runs one session: on a live screen if there is one, else plainly. Signals end it, and the terminal
 * is left as it was.
 * @module
 */

import type { Course } from "./app_live.ts";
import { isTextForm } from "./app_output.ts";
import { print, reportInternalError } from "./app_print.ts";
import type { Session } from "./app_session.ts";
import { EXIT_INTERNAL, EXIT_OK } from "./cli_exit.ts";
import type { Options } from "./cli_options.ts";
import type { DiscoveryError } from "./discovery.ts";
import type { Platform, Signal } from "./platform.ts";
import type { Seconds } from "./units.ts";

const SIGNAL_EXIT_CODES: readonly (readonly [Signal, number])[] = [
  ["SIGHUP", 129],
  ["SIGINT", 130],
  ["SIGQUIT", 131],
  ["SIGTERM", 143],
];

/** Time for pending work after a signal: an unread pipe would keep us for ever. */
const EXIT_GRACE: Seconds = 1;
/** How long a terminal may take for its last frame. */
const STUCK_OUTPUT_LIMIT: Seconds = 0.5;

function isLive(platform: Platform, options: Options): boolean {
  const { stdinIsTerminal, stdoutIsTerminal } = platform.stdio;
  const isPlain = options.once || options.isRecorder || !isTextForm(options.output);
  return stdinIsTerminal && stdoutIsTerminal && !isPlain &&
    options.outputFile === null && platform.environment("TERM") !== "dumb";
}

/** How a session goes on. */
interface Ways {
  /** By default it watches. */
  readonly course?: Course;
  readonly start?: (isLive: boolean) => Promise<void>;
  readonly runPlain: (session: Session) => Promise<number | DiscoveryError>;
}

/** A signal restores the terminal and ends the session with its exit code; a key does, with 0. */
export async function runSession(
  session: Session,
  { course, start, runPlain }: Ways,
): Promise<number | DiscoveryError> {
  const { platform, options, stop } = session;
  // Loaded here, as the live screen is: a script needs none.
  const terminal = isLive(platform, options)
    ? (await import("./terminal.ts")).enterTerminal(platform.stdio, { mouse: !options.noMouse })
    : null;
  let signalCode: number | null = null;
  const exitNow = async (code: number, report = (): void => {}): Promise<void> => {
    // Do not wait for a terminal that has stopped reading.
    await Promise.race([terminal?.finish(), platform.sleep(STUCK_OUTPUT_LIMIT)]);
    terminal?.abandon();
    try {
      report();
    } finally {
      platform.exit(code);
    }
  };
  const exitSoon = (code: number): void => {
    void platform.sleep(EXIT_GRACE).then(() => exitNow(code));
  };
  const stopListening = SIGNAL_EXIT_CODES.map(([signal, code]) =>
    platform.onSignal(signal, () => {
      // A second signal exits at once.
      if (signalCode !== null) void exitNow(code);
      signalCode = code;
      stop.abort();
      exitSoon(code);
    })
  );
  if (terminal !== null) {
    stop.signal.addEventListener("abort", () => {
      // By a key; errors and signals have their own codes.
      if (signalCode === null && stop.signal.reason.name === "AbortError") exitSoon(EXIT_OK);
    });
  }
  // Not at once: a frame that is under way would end on the shell's screen.
  platform.onFatalError((error) => {
    void exitNow(EXIT_INTERNAL, () => reportInternalError(platform, error));
  });
  await start?.(terminal !== null);
  try {
    if (terminal !== null) {
      const { runLive } = await import("./app_live.ts");
      await runLive(session, terminal, { course });
      await terminal.finish();
      const { renderSummary } = await import("./view.ts");
      await print(platform, renderSummary(session.state, session.view));
      return signalCode ?? EXIT_OK;
    }
    const code = await runPlain(session);
    return signalCode ?? code;
  } catch (error) {
    // The reader closed the pipe.
    if (platform.isBrokenPipe(error)) return signalCode ?? EXIT_OK;
    throw error;
  } finally {
    await terminal?.finish();
    stop.abort();
    for (const stopOne of stopListening) stopOne();
    for (const { scraper } of session.watched.values()) scraper.close();
  }
}
