/**
 * `Platform` made of Deno's own functions. It carries out and judges nothing. Spans are in seconds.
 * @module
 */

import { isFullDisk } from "./files.ts";
import {
  createSleep,
  type NotStarted,
  type Platform,
  type ProcessorTimes,
  type ProgramCall,
  type ProgramOutcome,
  type ProgramStart,
  type RunningProgram,
  type Signal,
  type Stdio,
  type SystemMemory,
} from "./platform.ts";
import { FILE_FUNCTIONS } from "./platform_files.ts";
import { createHttpClient, postJson, serveHttp } from "./platform_http.ts";
import { type Bytes, MILLISECONDS_PER_SECOND, type Seconds, SECONDS_PER_MINUTE } from "./units.ts";

const BLOCKED_OUTPUT_PAUSE: Seconds = 0.01;
/** Limit of retries for writes that cannot pause. */
const BLOCKED_OUTPUT_LIMIT: Seconds = 0.5;

function monotonicSeconds(): Seconds {
  return performance.now() / MILLISECONDS_PER_SECOND;
}

/** 2³¹ − 1 ms, about 24.8 days. */
const MAX_TIMER_MILLISECONDS = 2 ** 31 - 1;

function startTimer(span: Seconds, callback: () => void): () => void {
  const milliseconds = Math.max(0, span * MILLISECONDS_PER_SECOND);
  const timer = setTimeout(callback, Math.min(milliseconds, MAX_TIMER_MILLISECONDS));
  return () => clearTimeout(timer);
}

const sleep = createSleep(startTimer);

/** Turns are taken one after the other. */
function createTurns(): () => Promise<void> {
  let last = Promise.resolve();
  return () => last = last.then(() => sleep(0));
}

function deadline(span: Seconds, parent?: AbortSignal): ReturnType<Platform["deadline"]> {
  const controller = new AbortController();
  let expired = false;
  const cancel = (): void => {
    stopTimer();
    parent?.removeEventListener("abort", abort);
  };
  const abort = (): void => {
    cancel();
    controller.abort();
  };
  const stopTimer = startTimer(span, () => {
    expired = true;
    abort();
  });
  if (parent?.aborted) abort();
  else parent?.addEventListener("abort", abort);
  return { signal: controller.signal, expired: () => expired, cancel };
}

/** What `use` gives, or the fallback if Deno denies the permission. */
function ifPermitted<T>(use: () => T, fallback: T): T {
  try {
    return use();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return fallback;
    throw error;
  }
}

function environment(name: string): string | undefined {
  return ifPermitted(() => Deno.env.get(name), undefined);
}

const PROXY_NAMES: readonly string[] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"]
  .flatMap((name) => [name, name.toUpperCase()]);

/**
 * Takes the proxies out of the environment, as `fetch` would apply them by rules of its own, even
 * to loopback addresses.
 */
function takeProxyVariables(): Variables {
  const values = PROXY_NAMES.flatMap((name): [string, string][] => {
    const value = environment(name);
    return value === undefined ? [] : [[name, value]];
  });
  // Without permission the proxies stay as they are.
  for (const [name] of values) ifPermitted(() => Deno.env.delete(name), undefined);
  return new Map(values);
}

/** Deno starts nothing with one of these, unless it may run anything. */
const LOADER_VARIABLES: readonly string[] = [
  ...["LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "LD_BIND_NOW", "LD_DEBUG", "LD_RUN_PATH"],
  ...["DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "DYLD_FRAMEWORK_PATH"],
  "DYLD_FALLBACK_LIBRARY_PATH",
];

type Variables = ReadonlyMap<string, string>;

/** @param proxies Those that were taken out of the environment. */
function inheritEnvironment(proxies: Variables): Pick<Deno.CommandOptions, "clearEnv" | "env"> {
  const cleared = LOADER_VARIABLES.map((name) => [name, ""]);
  return { clearEnv: false, env: Object.fromEntries([...cleared, ...proxies]) };
}

async function acceptsConnections(host: string, port: number, timeout: Seconds): Promise<boolean> {
  const limit = deadline(timeout);
  try {
    const connection = await Deno.connect({ hostname: host, port, signal: limit.signal });
    connection.close();
    return true;
  } catch {
    return false;
  } finally {
    limit.cancel();
  }
}

/** Ends with a slash. */
function listFolder(path: string): string {
  const pattern = Deno.build.os === "windows" ? /^.*[/\\]/s : /^.*\//s;
  return pattern.exec(path)?.[0] ?? "./";
}

/** As Linux allows. */
const MAX_LINKS = 40;

/** Follows symbolic links, also to a file that is not there yet. */
async function followLinks(path: string): Promise<string> {
  let target = path;
  for (let links = 0; links < MAX_LINKS; links++) {
    const info = await Deno.lstat(target).catch(() => null);
    if (info?.isSymlink !== true) return target;
    const next = await Deno.readLink(target);
    target = /^(?:[A-Za-z]:)?[/\\]/.test(next) ? next : listFolder(target) + next;
  }
  throw new Error("too many symbolic links");
}

async function writeTextFile(path: string, text: string, mode?: number): Promise<void> {
  const target = await followLinks(path);
  const before = await Deno.stat(target).catch(() => null);
  // Renaming would replace a device.
  if (before?.isFile === false) throw new Error("it is not a regular file");
  // Renaming works within one file system only.
  const draft = await Deno.makeTempFile({ dir: listFolder(target), prefix: ".vllm-htop-" });
  try {
    await Deno.writeTextFile(draft, text);
    const wanted = before?.mode ?? mode;
    if (typeof wanted === "number" && Deno.build.os !== "windows") {
      await Deno.chmod(draft, wanted & 0o777);
    }
    await Deno.rename(draft, target);
  } catch (error) {
    await Deno.remove(draft).catch(() => {});
    throw error;
  }
}

/** `null` if it is more than `limit`. */
async function readOutput(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  limit: Bytes,
): Promise<string | null> {
  const decoder = new TextDecoder();
  let text = "";
  let length = 0;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return text + decoder.decode();
    length += value.length;
    if (length > limit) return null;
    text += decoder.decode(value, { stream: true });
  }
}

function describeStartError(error: unknown): NotStarted {
  if (error instanceof Deno.errors.NotFound) return { kind: "missing" };
  return { kind: "refused", message: error instanceof Error ? error.message : String(error) };
}

/**
 * Passes no environment, so that output does not depend on it, except for `LD_LIBRARY_PATH`, by
 * which some containers' `nvidia-smi` finds its library. Deno passes that on only with permission to
 * run anything.
 */
function spawnProgram(
  call: ProgramCall,
  proxies: Variables,
): Deno.ChildProcess | ProgramOutcome {
  const isWhole = call.variables === "all";
  const path = isWhole ? "" : environment("LD_LIBRARY_PATH") ?? "";
  const start = (more: Record<string, string>): Deno.ChildProcess =>
    new Deno.Command(call.name, {
      args: [...call.arguments],
      ...isWhole ? inheritEnvironment(proxies) : { clearEnv: true, env: { LC_ALL: "C", ...more } },
      stdin: call.input === undefined ? "null" : "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
  try {
    const child = path === "" ? null : ifPermitted(() => start({ LD_LIBRARY_PATH: path }), null);
    return child ?? start({});
  } catch (error) {
    return describeStartError(error);
  }
}

/** Never rejects: a program need not read its input. */
async function writeInput(stdin: WritableStream<Uint8Array>, text: string): Promise<void> {
  const writer = stdin.getWriter();
  await writer.write(new TextEncoder().encode(text)).catch(() => {});
  await writer.close().catch(() => {});
}

async function runProgram(call: ProgramCall, proxies: Variables): Promise<ProgramOutcome> {
  const child = spawnProgram(call, proxies);
  if ("kind" in child) return child;
  const limit = deadline(call.timeout, call.signal);
  const readers = [child.stdout.getReader(), child.stderr.getReader()] as const;
  // Not awaited: its children may hold the input open, and not read it.
  if (call.input !== undefined) void writeInput(child.stdin, call.input);
  let cutShort: ProgramOutcome | null = null;
  const end = (reason: ProgramOutcome): void => {
    cutShort ??= reason;
    try {
      child.kill("SIGKILL");
    } catch {
      // Has exited.
    }
    // Its children may hold the streams open.
    for (const reader of readers) reader.cancel().catch(() => {});
  };
  const abort = (): void => end({ kind: limit.expired() ? "timeout" : "aborted" });
  if (limit.signal.aborted) abort();
  limit.signal.addEventListener("abort", abort);
  const read = async (reader: typeof readers[number]): Promise<string> => {
    const text = await readOutput(reader, call.maxOutputBytes);
    if (text === null) end({ kind: "flooded" });
    return text ?? "";
  };
  const [stdout, stderr, { code }] = await Promise.all([
    read(readers[0]),
    read(readers[1]),
    child.status,
  ]);
  limit.cancel();
  limit.signal.removeEventListener("abort", abort);
  return cutShort ?? { kind: "exited", code, stdout, stderr };
}

/** A program that ignores SIGTERM is killed after this. */
const END_GRACE: Seconds = 2;

function selectVariables(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(names.flatMap((name): [string, string][] => {
    const value = environment(name);
    return value === undefined ? [] : [[name, value]];
  }));
}

function startProgram(start: ProgramStart, proxies: Variables): RunningProgram | NotStarted {
  const { variables } = start;
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(start.name, {
      args: [...start.arguments],
      ...variables === "all"
        ? inheritEnvironment(proxies)
        : { clearEnv: true, env: selectVariables(variables) },
      ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
    }).spawn();
  } catch (error) {
    return describeStartError(error);
  }
  const kill = (signal: "SIGTERM" | "SIGKILL"): void => {
    try {
      child.kill(signal);
    } catch {
      // Has exited.
    }
  };
  const { stdin, stdout, stderr } = child;
  const endWithUs = (): void => kill("SIGTERM");
  globalThis.addEventListener("unload", endWithUs);
  void child.status.then(() => globalThis.removeEventListener("unload", endWithUs));
  return {
    ...{ stdin, stdout, stderr },
    exitCode: child.status.then(({ code }) => code),
    end: () => {
      kill("SIGTERM");
      const cancel = startTimer(END_GRACE, () => kill("SIGKILL"));
      void child.status.then(cancel);
    },
  };
}

function systemMemory(): SystemMemory | null {
  return ifPermitted(() => {
    const { total, available } = Deno.systemMemoryInfo();
    return { totalBytes: total, availableBytes: available };
  }, null);
}

async function processorTimes(): Promise<ProcessorTimes | null> {
  const { cpus } = await import("node:os");
  const processors = ifPermitted(cpus, []);
  const sum = (read: (times: ReturnType<typeof cpus>[number]["times"]) => number): number =>
    processors.reduce((total, { times }) => total + read(times), 0);
  return processors.length === 0 ? null : {
    busy: sum(({ user, nice, sys, irq }) => user + nice + sys + irq),
    idle: sum(({ idle }) => idle),
    count: processors.length,
  };
}

function loadAverage(): number | null {
  // Windows has none, and Deno returns zeros.
  return Deno.build.os === "windows" ? null : ifPermitted(() => Deno.loadavg()[0], null);
}

function isBrokenPipe(error: unknown): boolean {
  // These have no class: a terminal that is gone ("os error 5"), and closed pipes of Windows.
  return error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.ConnectionReset ||
    (error instanceof Error && /\bEPIPE\b|os error (5|109|232)\)/.test(error.message));
}

async function writeStdout(bytes: Uint8Array): Promise<void> {
  let rest = bytes;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(await Deno.stdout.write(rest));
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      await sleep(BLOCKED_OUTPUT_PAUSE);
    }
  }
}

function writeAllSync(stream: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  const giveUpAt = monotonicSeconds() + BLOCKED_OUTPUT_LIMIT;
  let rest = bytes;
  while (rest.length > 0) {
    try {
      rest = rest.subarray(stream.writeSync(rest));
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      if (monotonicSeconds() > giveUpAt) return;
    }
  }
}

function createStdio(): Stdio {
  const encoder = new TextEncoder();
  let reader: ReadableStreamDefaultReader<Uint8Array> | null = null;
  let closed = false;
  return {
    stdinIsTerminal: Deno.stdin.isTerminal(),
    stdoutIsTerminal: Deno.stdout.isTerminal(),
    stderrIsTerminal: Deno.stderr.isTerminal(),
    writeStdout,
    writeStderr: (text) => {
      try {
        writeAllSync(Deno.stderr, encoder.encode(text));
      } catch (error) {
        // Nobody reads it; the exit code still tells.
        if (!isBrokenPipe(error) && !isFullDisk(error)) throw error;
      }
    },
    writeStdoutSync: (bytes) => writeAllSync(Deno.stdout, bytes),
    readStdin: async () => {
      if (closed) return null;
      reader ??= Deno.stdin.readable.getReader();
      return (await reader.read()).value ?? null;
    },
    closeStdin: () => {
      closed = true;
      reader?.cancel().catch(() => {});
    },
    setRawInput: (on) => {
      if (Deno.stdin.isTerminal()) Deno.stdin.setRaw(on);
    },
    terminalSize: () => {
      try {
        return Deno.consoleSize();
      } catch {
        return null;
      }
    },
  };
}

function onSignal(signal: Signal, handler: () => void): () => void {
  try {
    Deno.addSignalListener(signal, handler);
  } catch {
    // Windows lacks most signals.
    return () => {};
  }
  return () => Deno.removeSignalListener(signal, handler);
}

function stopSelf(): boolean {
  if (Deno.build.os === "windows") return false;
  return ifPermitted(() => {
    Deno.kill(Deno.pid, "SIGSTOP");
    return true;
  }, false);
}

function onFatalError(handler: (error: unknown) => void): void {
  // Deno would exit before a handler that has to wait.
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    handler(event.error);
  });
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    handler(event.reason);
  });
}

/** Takes the proxies out of the process's environment, and keeps them in the platform's. */
export function createDenoPlatform(): Platform {
  const proxies = takeProxyVariables();
  return {
    monotonicSeconds,
    epochSeconds: () => Date.now() / MILLISECONDS_PER_SECOND,
    utcOffset: () => -new Date().getTimezoneOffset() * SECONDS_PER_MINUTE,
    operatingSystem: Deno.build.os,
    sleep,
    startTimer,
    nextTurn: createTurns(),
    deadline,
    createHttpClient,
    postJson,
    serveHttp,
    acceptsConnections,
    readTextFile: (path) => Deno.readTextFile(path),
    writeTextFile,
    ...FILE_FUNCTIONS,
    fileMode: (path) => Deno.stat(path).then(({ mode }) => mode, () => null),
    runProgram: (call) => runProgram(call, proxies),
    startProgram: (start) => startProgram(start, proxies),
    processId: Deno.pid,
    systemMemory,
    processorTimes,
    loadAverage,
    environment: (name) => proxies.get(name) ?? environment(name),
    stdio: createStdio(),
    isBrokenPipe,
    onSignal,
    onFatalError,
    stopSelf,
    exit: (code) => Deno.exit(code),
  };
}
