/**
 * All effects of the program, as types. `platform_deno` implements them; tests pass their own.
 * Instants are monotonic seconds unless named epoch.
 *
 * @module
 */

import type { Bytes, EpochSeconds, Seconds } from "./units.ts";

/** How to reach an endpoint. Holds secrets: never print it, never put it into the State. */
export interface Transport {
  /** Connect to this socket instead of the URL's host. */
  readonly unixSocketPath?: string;
  /** PEM texts, trusted in addition to the system's. */
  readonly caCertificates?: readonly string[];
  /** PEM text. */
  readonly clientCertificate?: string;
  /** PEM text. */
  readonly clientKey?: string;
  /** Accept any server certificate. */
  readonly insecure?: boolean;
}

/** A GET request; redirects are not followed. */
export interface HttpRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Aborts connect, headers and body. */
  readonly signal: AbortSignal;
}

/** The body is inflated. */
export interface HttpResponse {
  readonly status: number;
  /** Takes the lower-case name. */
  readonly header: (name: string) => string | null;
  readonly body: ReadableStream<Uint8Array> | null;
}

/** Keeps connections to one endpoint alive. */
export interface HttpClient {
  /** @throws {Error} The runtime's error; `scrape_errors` classifies it. */
  readonly get: (request: HttpRequest) => Promise<HttpResponse>;
  readonly close: () => void;
}

export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

export interface Stdio {
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  /** Writes all bytes. @throws {Error} If the reader is gone (see `isBrokenPipe`). */
  readonly writeStdout: (bytes: Uint8Array) => Promise<void>;
  readonly writeStderr: (text: string) => void;
  /** For restoring the terminal on exit. */
  readonly writeStdoutSync: (bytes: Uint8Array) => void;
  /** Returns `null` at the end of input. */
  readonly readStdin: () => Promise<Uint8Array | null>;
  /** Ends a pending read, so that the program can exit. */
  readonly closeStdin: () => void;
  /** Turns line buffering and echo off. Ctrl-C stays a signal. */
  readonly setRawInput: (on: boolean) => void;
  /** Returns `null` without a terminal. */
  readonly terminalSize: () => TerminalSize | null;
}

/** A program to run, without a shell and with an empty environment. */
export interface ProgramCall {
  /** Looked up on `PATH`. */
  readonly name: string;
  readonly arguments: readonly string[];
  /** Killed after this time. */
  readonly timeout: Seconds;
  /** Killed if either stream exceeds this. */
  readonly maxOutputBytes: Bytes;
  readonly signal?: AbortSignal;
}

/** Output is not sanitized. */
export type ProgramOutcome =
  | {
    readonly kind: "exited";
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
  }
  | { readonly kind: "missing" }
  /** No permission to run it, or the system refuses. */
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "flooded" }
  | { readonly kind: "aborted" };

export interface SystemMemory {
  readonly totalBytes: Bytes;
  /** Free memory plus reclaimable caches. */
  readonly availableBytes: Bytes;
}

export type Signal =
  | "SIGINT"
  | "SIGTERM"
  | "SIGHUP"
  | "SIGQUIT"
  | "SIGTSTP"
  | "SIGCONT"
  | "SIGWINCH";

export interface Platform {
  /** Monotonic; arbitrary zero. */
  readonly monotonicSeconds: () => Seconds;
  readonly epochSeconds: () => EpochSeconds;
  /** Local time minus UTC. */
  readonly utcOffset: () => Seconds;
  /** Deno's name: `linux`, `darwin`, `windows`, … */
  readonly operatingSystem: string;
  /** Resolves after the span or on abort; never rejects. */
  readonly sleep: (span: Seconds, signal?: AbortSignal) => Promise<void>;
  /**
   * Resolves in a later turn of the event loop, one caller per turn, so that keys and responses
   * are handled between pieces of work.
   */
  readonly nextTurn: () => Promise<void>;
  /** Aborts after the span or with `parent`. Call `cancel` to free the timer. */
  readonly deadline: (
    span: Seconds,
    parent?: AbortSignal,
  ) => {
    readonly signal: AbortSignal;
    readonly expired: () => boolean;
    readonly cancel: () => void;
  };
  /** @throws {Error} If a certificate or key cannot be used. */
  readonly createHttpClient: (transport: Transport) => Promise<HttpClient>;
  /** Whether the TCP port accepts connections; never rejects. */
  readonly acceptsConnections: (
    host: string,
    port: number,
    timeout: Seconds,
  ) => Promise<boolean>;
  /** @throws {Error} With the runtime's own message. */
  readonly readTextFile: (path: string) => Promise<string>;
  /**
   * Replaces a file atomically; only its owner may read it. @throws {Error} With the runtime's own
   * message; the old file stays.
   */
  readonly writeTextFile: (path: string, text: string) => Promise<void>;
  /** Mode bits; `null` if the system has none or the file cannot be examined. */
  readonly fileMode: (path: string) => Promise<number | null>;
  /** Failures are values; never rejects. */
  readonly runProgram: (call: ProgramCall) => Promise<ProgramOutcome>;
  readonly systemMemory: () => SystemMemory | null;
  readonly environment: (name: string) => string | undefined;
  readonly stdio: Stdio;
  /** Whether the error means that the reader of our output is gone. */
  readonly isBrokenPipe: (error: unknown) => boolean;
  /** Returns a function that stops listening. Ignores signals this system lacks. */
  readonly onSignal: (signal: Signal, handler: () => void) => () => void;
  /** Called for an uncaught error or rejection, before the program ends. */
  readonly onFatalError: (handler: (error: unknown) => void) => void;
  /**
   * Suspends the process until SIGCONT, as Ctrl-Z does. Returns false where it cannot: on Windows,
   * and in Deno 2.6, which counts it as control of other processes.
   */
  readonly stopSelf: () => boolean;
  readonly exit: (code: number) => never;
}

/** Long work that yields between steps. */
export type Steps<Result> = Generator<undefined, Result, undefined>;

/** Runs all steps without a pause. */
export function finishSteps<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** Runs all steps with a pause between them. */
export async function finishStepsWithPauses<Result>(
  steps: Steps<Result>,
  pause: () => Promise<void>,
): Promise<Result> {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
    await pause();
  }
}
