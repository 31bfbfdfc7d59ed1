/**
 * What the program needs of the world, as types: the seam between the effects
 * and everything that can be tested without them.
 *
 * only. `platform_deno` implements it once with Deno's own
 * functions; tests pass records of their own. Spans are in seconds; instants
 * are monotonic seconds, except where wall-clock time is named.
 *
 * @module
 */

import type { Bytes, EpochSeconds, Seconds } from "./units.ts";

/** How to reach an endpoint, beyond its URL. Contains secrets: never printed, never part of the State. */
export interface Transport {
  /** Path of a Unix socket to connect to instead of the URL's host. */
  readonly unixSocketPath?: string;
  /** PEM texts of certificate authorities to trust beside the system's. */
  readonly caCertificates?: readonly string[];
  /** PEM text of the client certificate. */
  readonly clientCertificate?: string;
  /** PEM text of the client certificate's key. */
  readonly clientKey?: string;
  /** Whether to accept any server certificate. */
  readonly insecure?: boolean;
}

/** A GET request. Redirects are never followed and bodies never inflated beyond what the caller asks for. */
export interface HttpRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Ends connect, headers and body alike. */
  readonly signal: AbortSignal;
}

/** The head of a response, and its body as a stream of (inflated) bytes. */
export interface HttpResponse {
  readonly status: number;
  /** The value of a header by its lower-case name, or `null`. */
  readonly header: (name: string) => string | null;
  readonly body: ReadableStream<Uint8Array> | null;
}

/** Sends GET requests to one endpoint, keeping connections alive between them. */
export interface HttpClient {
  /** @throws {Error} Whatever the runtime says when the request fails; the scraper classifies it. */
  readonly get: (request: HttpRequest) => Promise<HttpResponse>;
  readonly close: () => void;
}

/** Columns and rows of a terminal. */
export interface TerminalSize {
  readonly columns: number;
  readonly rows: number;
}

/** Standard input, output and error. */
export interface Stdio {
  readonly stdinIsTerminal: boolean;
  readonly stdoutIsTerminal: boolean;
  readonly stderrIsTerminal: boolean;
  /** Writes all of the bytes. @throws {Error} When the other side is gone (`isBrokenPipe` tells). */
  readonly writeStdout: (bytes: Uint8Array) => Promise<void>;
  readonly writeStderr: (text: string) => void;
  /** Writes at once, for leaving the terminal on the way out. */
  readonly writeStdoutSync: (bytes: Uint8Array) => void;
  /** The next bytes typed, or `null` at the end of input. */
  readonly readStdin: () => Promise<Uint8Array | null>;
  /** Stops a read that is waiting, so that the program can end. */
  readonly closeStdin: () => void;
  /** Turns line buffering and echo off or on. Control-C stays a signal. */
  readonly setRawInput: (on: boolean) => void;
  /** The size of the terminal, or `null` where there is none. */
  readonly terminalSize: () => TerminalSize | null;
}

/** A program to start: never through a shell, with an environment of its own that holds no variable of ours. */
export interface ProgramCall {
  /** Its name, looked up on `PATH`. */
  readonly name: string;
  readonly arguments: readonly string[];
  /** It is killed after this span. */
  readonly timeout: Seconds;
  /** It is killed when it prints more than this on either stream. */
  readonly maxOutputBytes: Bytes;
  readonly signal?: AbortSignal;
}

/** How a program ended. What it printed is not made safe. */
export type ProgramOutcome =
  | {
    readonly kind: "exited";
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
  }
  /** There is no such program here. */
  | { readonly kind: "missing" }
  /** The permission to start it is not there, or the system refuses. */
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "flooded" }
  | { readonly kind: "aborted" };

/** The memory of this machine. */
export interface SystemMemory {
  readonly totalBytes: Bytes;
  /** What could be had without swapping: free memory, and caches that can be dropped. */
  readonly availableBytes: Bytes;
}

/** The signals that the program answers. */
export type Signal =
  | "SIGINT"
  | "SIGTERM"
  | "SIGHUP"
  | "SIGQUIT"
  | "SIGTSTP"
  | "SIGCONT"
  | "SIGWINCH";

/** Everything that the program does to the world, in one record. */
export interface Platform {
  /** Monotonic time. Its zero is arbitrary. */
  readonly monotonicSeconds: () => Seconds;
  /** Wall-clock time. */
  readonly epochSeconds: () => EpochSeconds;
  /** Local time minus UTC, now. */
  readonly utcOffset: () => Seconds;
  /** The operating system by Deno's name for it: `linux`, `darwin`, `windows`, … */
  readonly operatingSystem: string;
  /** Resolves after the span, or as soon as the signal aborts. Never rejects. */
  readonly sleep: (span: Seconds, signal?: AbortSignal) => Promise<void>;
  /**
   * Resolves in a later turn of the event loop, for one caller a turn: keys and
   * answers come in between pieces of work that arrive together.
   */
  readonly nextTurn: () => Promise<void>;
  /** A signal that aborts after the span, or when `parent` aborts. `cancel` frees its timer. */
  readonly deadline: (
    span: Seconds,
    parent?: AbortSignal,
  ) => {
    readonly signal: AbortSignal;
    readonly expired: () => boolean;
    readonly cancel: () => void;
  };
  /** @throws {Error} Where a certificate or key cannot be used. */
  readonly createHttpClient: (transport: Transport) => Promise<HttpClient>;
  /** Whether something accepts TCP connections there; never rejects. */
  readonly acceptsConnections: (
    host: string,
    port: number,
    timeout: Seconds,
  ) => Promise<boolean>;
  /** The content of a text file. @throws {Error} With the runtime's own message. */
  readonly readTextFile: (path: string) => Promise<string>;
  /**
   * Writes a text file that its owner alone can read, in the place of the one that is there: whoever
   * reads it sees the whole of either. @throws {Error} With the runtime's own message; the file is
   * then as it was.
   */
  readonly writeTextFile: (path: string, text: string) => Promise<void>;
  /** The mode bits of a file, or `null` where the system has none, or the file cannot be looked at. */
  readonly fileMode: (path: string) => Promise<number | null>;
  /** Runs a program to its end. Every failure is a value; never rejects. */
  readonly runProgram: (call: ProgramCall) => Promise<ProgramOutcome>;
  /** The memory of this machine, or `null` where it cannot be asked. */
  readonly systemMemory: () => SystemMemory | null;
  /** An environment variable's value, or `undefined`. */
  readonly environment: (name: string) => string | undefined;
  readonly stdio: Stdio;
  /** Whether an error says that the reader of our output has gone. */
  readonly isBrokenPipe: (error: unknown) => boolean;
  /** Calls `handler` on each arrival of the signal; returns how to stop. A signal that this system lacks is ignored. */
  readonly onSignal: (signal: Signal, handler: () => void) => () => void;
  /** Calls `handler` on an uncaught error or rejection, before the program ends. */
  readonly onFatalError: (handler: (error: unknown) => void) => void;
  /**
   * Stops the process until SIGCONT comes, as Control-Z does. False, at once,
   * where it cannot: on Windows, and where Deno (2.6) takes it for control of
   * other processes, which the program may not have.
   */
  readonly stopSelf: () => boolean;
  /** Ends the process. */
  readonly exit: (code: number) => never;
}

/** Work in steps, and what comes of it. */
export type Steps<Result> = Generator<undefined, Result, undefined>;

/** The result of all steps, one right after the other. */
export function finishSteps<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** The result of all steps, with a pause after each but the last. */
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
