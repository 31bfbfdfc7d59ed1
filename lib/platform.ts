/**
 * All effects of the program, as types; `platform_deno` implements them. Instants are monotonic
 * seconds unless named epoch.
 * @module
 */

import type { Bytes, EpochSeconds, Seconds } from "./units.ts";

/** Holds a secret: only `name` may be shown. */
export interface ProxyServer {
  /** Scheme, host and port. */
  readonly url: string;
  /** `the proxy HOST:PORT (from VARIABLE)`. */
  readonly name: string;
  /** That sets it. */
  readonly variable: string;
  readonly basicAuth?: { readonly username: string; readonly password: string };
}

/** Holds secrets: never print it or put it into the State. */
export interface Transport {
  /** Replaces the URL's host. */
  readonly unixSocketPath?: string;
  /** PEM, in addition to the system's. */
  readonly caCertificates?: readonly string[];
  /** PEM text. */
  readonly clientCertificate?: string;
  /** PEM text. */
  readonly clientKey?: string;
  readonly insecure?: boolean;
  /** The host behind ssh through which it goes. Not with `unixSocketPath` or `proxy`. */
  readonly sshHost?: string;
  /**
   * Starts a program whose streams are a connection to the port; what it says as it ends is the
   * error. Not with `unixSocketPath` or `proxy`.
   */
  readonly openTunnel?: (port: number) => RunningProgram | NotStarted;
  /** The URL names a pod of a cluster, and is no address. Not with `unixSocketPath` or `proxy`. */
  readonly isPod?: true;
  /** Not with `unixSocketPath` or `insecure`. */
  readonly proxy?: ProxyServer;
}

/** Redirects are not followed. */
export interface HttpRequest {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  /** Aborts connect, headers and body. */
  readonly signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  /** By lower-case name. */
  readonly header: (name: string) => string | null;
  /** Decompressed. */
  readonly body: ReadableStream<Uint8Array> | null;
}

/** Reuses connections. */
export interface HttpClient {
  /** @throws {Error} The runtime's error; `scrape_errors` classifies it. */
  readonly get: (request: HttpRequest) => Promise<HttpResponse>;
  readonly close: () => void;
}

/** A request to us; its body is not read. */
export interface IncomingRequest {
  readonly method: string;
  readonly path: string;
}

export interface OutgoingResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
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
  /** To restore the terminal on exit. */
  readonly writeStdoutSync: (bytes: Uint8Array) => void;
  /** `null` at the end of input. */
  readonly readStdin: () => Promise<Uint8Array | null>;
  /** Ends a pending read, so the program can exit. */
  readonly closeStdin: () => void;
  /** Without line buffering and echo; Ctrl-C, Ctrl-Z and Ctrl-\ become keys. */
  readonly setRawInput: (on: boolean) => void;
  /** `null` without a terminal. */
  readonly terminalSize: () => TerminalSize | null;
}

/** Runs without a shell. */
export interface ProgramCall {
  /** Looked up on `PATH`. */
  readonly name: string;
  readonly arguments: readonly string[];
  readonly timeout: Seconds;
  /** By default the environment is empty but for the search path of libraries. */
  readonly variables?: "all";
  /** Written to its standard input, which is empty otherwise. */
  readonly input?: string;
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
  /** Not permitted, by Deno or the system. */
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "flooded" }
  | { readonly kind: "aborted" };

/** Why a program did not start. */
export type NotStarted = Extract<ProgramOutcome, { readonly kind: "missing" | "refused" }>;

/** Runs without a shell. */
export interface ProgramStart {
  /** Looked up on `PATH`. */
  readonly name: string;
  readonly arguments: readonly string[];
  /** Of the environment; `all` leaves out those of the loader of libraries. */
  readonly variables: readonly string[] | "all";
}

/** A program that runs on. */
export interface RunningProgram {
  readonly stdin: WritableStream<Uint8Array>;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  /** Never rejects; 128 and more for a signal. */
  readonly exitCode: Promise<number>;
  /** Asks it to end, and kills it if it does not. */
  readonly end: () => void;
}

export interface SystemMemory {
  readonly totalBytes: Bytes;
  /** Free memory plus reclaimable caches. */
  readonly availableBytes: Bytes;
}

/** Of all processors together, in a unit of the system's, since a time of its own. */
export interface ProcessorTimes {
  readonly busy: number;
  readonly idle: number;
  readonly count: number;
}

export type Signal =
  | "SIGINT"
  | "SIGTERM"
  | "SIGHUP"
  | "SIGQUIT"
  | "SIGTSTP"
  | "SIGCONT"
  | "SIGWINCH";

export interface ReadableFile {
  /** When it was opened. */
  readonly size: Bytes;
  /** Fewer bytes at the end of the file. */
  readonly read: (offset: Bytes, length: Bytes) => Promise<Uint8Array<ArrayBuffer>>;
  readonly close: () => void;
}

export interface GrowingFile {
  readonly size: () => Bytes;
  /** Whole or not at all. @throws {Error} With the runtime's message. */
  readonly append: (bytes: Uint8Array) => Promise<void>;
  readonly close: () => void;
}

export interface Platform {
  readonly monotonicSeconds: () => Seconds;
  readonly epochSeconds: () => EpochSeconds;
  /** Local time minus UTC. */
  readonly utcOffset: () => Seconds;
  /** Deno's name: `linux`, `darwin`, `windows`, … */
  readonly operatingSystem: string;
  /** Resolves after the span or on abort; never rejects. */
  readonly sleep: (span: Seconds, signal?: AbortSignal) => Promise<void>;
  /** Calls back once after the span; returns a function that cancels. Cheaper than `sleep` with a signal. */
  readonly startTimer: (span: Seconds, callback: () => void) => () => void;
  /** One caller per turn of the event loop, so that keys and responses get in between. */
  readonly nextTurn: () => Promise<void>;
  /** Also aborts with `parent`; `cancel` frees the timer. */
  readonly deadline: (span: Seconds, parent?: AbortSignal) => {
    readonly signal: AbortSignal;
    readonly expired: () => boolean;
    readonly cancel: () => void;
  };
  /** @throws {Error} If a certificate or key cannot be used. */
  readonly createHttpClient: (transport: Transport) => Promise<HttpClient>;
  /** Returns the status of the answer. Redirects are not followed. @throws {Error} The runtime's error. */
  readonly postJson: (
    transport: Transport,
    request: { readonly url: string; readonly body: string; readonly signal: AbortSignal },
  ) => Promise<number>;
  /** Listens until the signal aborts. @throws {Error} If it cannot listen there. */
  readonly serveHttp: (
    place: { readonly host: string; readonly port: number },
    answer: (request: IncomingRequest) => OutgoingResponse,
    signal: AbortSignal,
  ) => void;
  /** By TCP; never rejects. */
  readonly acceptsConnections: (host: string, port: number, timeout: Seconds) => Promise<boolean>;
  /** @throws {Error} With the runtime's own message. */
  readonly readTextFile: (path: string) => Promise<string>;
  /**
   * Atomic. A new file has that mode, or is readable by its owner only; another keeps its mode; of a
   * symbolic link, the target is written. @throws {Error} With the runtime's message; the old file
   * stays.
   */
  readonly writeTextFile: (path: string, text: string, mode?: number) => Promise<void>;
  /** @throws {Error} With the runtime's own message. */
  readonly openFile: (path: string) => Promise<ReadableFile>;
  /** A new file is readable by its owner only. @throws {Error} With the runtime's own message. */
  readonly openGrowingFile: (path: string) => Promise<GrowingFile>;
  /** Replaces a file of that name. @throws {Error} With the runtime's own message. */
  readonly renameFile: (from: string, to: string) => Promise<void>;
  /** Mode bits, or `null` if unknown. */
  readonly fileMode: (path: string) => Promise<number | null>;
  /** Failures are values; never rejects. */
  readonly runProgram: (call: ProgramCall) => Promise<ProgramOutcome>;
  /** Asked to end when this program ends, but not if that is killed. */
  readonly startProgram: (start: ProgramStart) => RunningProgram | NotStarted;
  readonly processId: number;
  readonly systemMemory: () => SystemMemory | null;
  readonly processorTimes: () => Promise<ProcessorTimes | null>;
  /** Mean number of tasks that run or wait to run, of the last minute. */
  readonly loadAverage: () => number | null;
  readonly environment: (name: string) => string | undefined;
  readonly stdio: Stdio;
  /** The reader of our output is gone. */
  readonly isBrokenPipe: (error: unknown) => boolean;
  /** Returns a function that stops listening; ignores signals this system lacks. */
  readonly onSignal: (signal: Signal, handler: () => void) => () => void;
  /** Passes each uncaught error to the handler, which must exit. */
  readonly onFatalError: (handler: (error: unknown) => void) => void;
  /**
   * Suspends until SIGCONT, like Ctrl-Z. False on Windows, and in Deno 2.6, which counts it as
   * control of other processes.
   */
  readonly stopSelf: () => boolean;
  readonly exit: (code: number) => never;
}

/** Long work that yields between steps. */
export type Steps<Result> = Generator<undefined, Result, undefined>;

export function finishSteps<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

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

/** Lets so many enter at once; the others wait their turn. */
export interface Gate {
  readonly enter: () => Promise<void>;
  /** Once for each that has entered. */
  readonly leave: () => void;
}

export function createGate(limit: number): Gate {
  const waiting: (() => void)[] = [];
  let free = limit;
  return {
    enter: async () => {
      if (free > 0) free--;
      else await new Promise<void>((resolve) => waiting.push(resolve));
    },
    leave: () => {
      const next = waiting.shift();
      if (next === undefined) free++;
      else next();
    },
  };
}

/** Resolves after the span, or as soon as the signal aborts. */
export function createSleep(startTimer: Platform["startTimer"]): Platform["sleep"] {
  return (span, signal) =>
    new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const end = (): void => {
        cancel();
        signal?.removeEventListener("abort", end);
        resolve();
      };
      const cancel = startTimer(span, end);
      signal?.addEventListener("abort", end);
    });
}
