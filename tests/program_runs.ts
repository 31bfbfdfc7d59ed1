/**
 * The program under test as a child process: started, watched, ended.
 *
 * `VLLM_HTOP_BINARY` names a compiled program to test in place of `deno run`;
 * here is the one place that knows. Children get the environment of the test
 * without what would change their output, unless the test asks for it. Every
 * wait is for a condition and has a limit; a child that outlives it is killed.
 * The document's type names only what the tests look at.
 *
 * @module
 */

import { listProgramArguments } from "./programs.ts";

/** Limit of a run and of a wait, in milliseconds: a safety net, far beyond what a slow, busy machine takes. */
export const TIME_LIMIT = 60_000;

/** Time between two looks at a condition, in milliseconds. */
const LOOK_INTERVAL = 30;

/** Variables of the test's own environment that children must not see. */
const HIDDEN_VARIABLES =
  /^(VLLM_HTOP_|LC_|https?_proxy$|all_proxy$|(NO_COLOR|FORCE_COLOR|COLORTERM|LANG)$)/i;

/** The program and its arguments, for `Deno.Command`: the compiled one, or `deno run` with the real permissions. */
export function listCommand(...more: readonly string[]): readonly [string, ...string[]] {
  const binary = Deno.env.get("VLLM_HTOP_BINARY");
  return binary ? [binary, ...more] : [Deno.execPath(), ...listProgramArguments(...more)];
}

/** The environment of a child: a UTF-8 terminal without colour wishes, and what the test adds. */
export function createEnvironment(
  more: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const inherited = Object.entries(Deno.env.toObject())
    .filter(([name]) => !HIDDEN_VARIABLES.test(name));
  return {
    ...Object.fromEntries(inherited),
    LANG: "C.UTF-8",
    TERM: "xterm-256color",
    DENO_NO_UPDATE_CHECK: "1",
    // The settings of whoever runs the tests are not theirs.
    XDG_CONFIG_HOME: "/nowhere",
    ...more,
  };
}

/** What `look` finds, as soon as it finds anything but `null`. Throws with the description after the limit. */
export async function waitUntil<T>(
  look: () => Promise<T | null> | T | null,
  describe: () => Promise<string> | string,
): Promise<T> {
  const giveUpAt = performance.now() + TIME_LIMIT;
  for (;;) {
    const found = await look();
    if (found !== null) return found;
    if (performance.now() > giveUpAt) throw new Error(`Waited in vain for ${await describe()}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL));
  }
}

/** Waits until the condition holds. */
export async function waitFor(
  condition: () => Promise<boolean> | boolean,
  describe: () => string = () => `${condition}`,
): Promise<void> {
  await waitUntil(async () => await condition() || null, describe);
}

/** How a run ended. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A child that has not been seen to end. */
export interface ProgramRun {
  readonly pid: number;
  readonly stdout: () => string;
  readonly stderr: () => string;
  /** Resolves when the condition holds, looked at with each piece of output. Rejects when the child ends without. */
  readonly waitFor: (condition: () => boolean) => Promise<void>;
  readonly signal: (signal: Deno.Signal) => void;
  readonly ended: Promise<Outcome>;
}

export interface RunOptions {
  readonly environment?: Readonly<Record<string, string>>;
  /** In place of the program. */
  readonly command?: readonly [string, ...string[]];
  /** `piped`: an input that stays open and says nothing. */
  readonly stdin?: "null" | "piped";
}

/** Starts the program. Its `ended` must be awaited. */
export function startProgram(args: readonly string[], options: RunOptions = {}): ProgramRun {
  const [program, ...rest] = options.command ?? listCommand(...args);
  const stdin = options.stdin ?? "null";
  const child = new Deno.Command(program, {
    args: rest,
    env: createEnvironment(options.environment),
    clearEnv: true,
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let stdout = "";
  let stderr = "";
  let hasEnded = false;
  const watchers = new Set<() => void>();
  const wake = (): void => [...watchers].forEach((watcher) => watcher());
  const signal = (name: Deno.Signal): void => {
    try {
      child.kill(name);
    } catch {
      // It has ended already.
    }
  };
  const timer = setTimeout(() => signal("SIGKILL"), TIME_LIMIT);
  const read = async (
    stream: ReadableStream<Uint8Array<ArrayBuffer>>,
    add: (text: string) => void,
  ): Promise<void> => {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      add(text);
      wake();
    }
  };
  const run = async (): Promise<Outcome> => {
    const reading = [
      read(child.stdout, (text) => stdout += text),
      read(child.stderr, (text) => stderr += text),
    ];
    const { code } = await child.status;
    clearTimeout(timer);
    if (stdin === "piped") await child.stdin.abort().catch(() => {});
    await Promise.all(reading);
    hasEnded = true;
    wake();
    return { code, stdout, stderr };
  };
  const waitFor = (condition: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const look = (): void => {
        if (!condition() && !hasEnded) return;
        watchers.delete(look);
        if (condition()) return resolve();
        reject(
          new Error(`It ended before the condition held:\n${condition}\n${stdout}\n${stderr}`),
        );
      };
      watchers.add(look);
      look();
    });
  return {
    pid: child.pid,
    stdout: () => stdout,
    stderr: () => stderr,
    waitFor,
    signal,
    ended: run(),
  };
}

/** Runs the program to its end. */
export function runProgram(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return startProgram(args, options).ended;
}

/** Why figures of an object are null. */
interface Reasoned {
  readonly reasons?: Readonly<Record<string, string>>;
}

export interface QuantileDocument {
  readonly seconds: number;
  readonly bound: string;
}

export interface LatencyDocument extends Reasoned {
  readonly p95: QuantileDocument | null;
  readonly samples: number | null;
}

export interface WindowDocument extends Reasoned {
  readonly spanSeconds: number | null;
  readonly requestsPerSecond: number | null;
  readonly promptTokensPerSecond: number | null;
  readonly generationTokensPerSecond: number | null;
  readonly latency: Readonly<Record<string, LatencyDocument>>;
}

export interface FiguresDocument extends Reasoned {
  readonly running: number | null;
  readonly waiting: number | null;
  readonly kvCacheUsageRatioMax: number | null;
  readonly lastPoll: WindowDocument;
  readonly lastMinute: WindowDocument;
  readonly sinceStart: {
    readonly generationTokens: number | null;
    readonly latency: Readonly<Record<string, LatencyDocument>>;
  };
}

export interface EndpointDocument {
  readonly url: string;
  readonly status: string;
  readonly failure: { readonly kind: string; readonly message: string } | null;
  readonly scrape: { readonly restartsSeen: number; readonly ageSeconds: number } | null;
  readonly log: {
    readonly source: string | null;
    readonly problem: string | null;
    readonly load: {
      readonly phase: string | null;
      readonly done: number | null;
      readonly total: number | null;
    } | null;
  } | null;
}

export interface ReplicaDocument {
  readonly modelState: string | null;
  readonly modelFault: string | null;
  readonly displayName: string;
  readonly url: string;
  readonly status: string;
  readonly isCountedElsewhere: boolean;
  readonly model: string | null;
  readonly engine: string | null;
  readonly ageSeconds: number | null;
  readonly figures: FiguresDocument | null;
}

/** One JSON document of the program, as far as tests look at it. */
interface AttainmentDocument {
  readonly withinLimitRatioMin: number | null;
  readonly withinLimitRatioMax: number | null;
  readonly samples: number | null;
}

interface ServiceLevelDocument {
  readonly latency: string;
  readonly limitSeconds: number;
  readonly targetRatio: number;
  readonly lastMinute: AttainmentDocument;
  readonly session: AttainmentDocument;
  readonly sinceStart: AttainmentDocument;
}

export interface ReportDocument {
  readonly schema: number;
  readonly timeEpochSeconds: number;
  readonly intervalSeconds: number;
  readonly notices: readonly string[];
  readonly verdict: { readonly status: string; readonly causes: readonly unknown[] };
  readonly endpoints: readonly EndpointDocument[];
  readonly replicas: readonly ReplicaDocument[];
  readonly total: FiguresDocument & {
    readonly replicas: number;
    readonly serviceLevels: readonly ServiceLevelDocument[];
    readonly replicaCounts: Readonly<Record<string, number>>;
  };
}

/** The documents among the output: one on each whole line, and nothing else. */
export function readDocuments(output: string): readonly ReportDocument[] {
  return output.split("\n").slice(0, -1).map((line): ReportDocument => JSON.parse(line));
}

/** The one document of `--once`. Throws when there is more or less than one line. */
export function readDocument(output: string): ReportDocument {
  const documents = readDocuments(output);
  if (documents.length !== 1 || !output.endsWith("}\n")) {
    throw new Error(`Not one document on one line: ${output}`);
  }
  return documents[0];
}

/** Every character but a newline that must reach no terminal and no pipe. */
// deno-lint-ignore no-control-regex
export const CONTROL_CHARACTER = /[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]/;

/** A port of loopback on which nobody listens; it was free a moment ago. */
export function findFreePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

/**
 * The first of `count` consecutive ports on which nobody listens. They are
 * below those that systems give out for connections, so that they stay free.
 */
export function findFreePorts(count: number): number {
  for (let attempt = 0; attempt < 200; attempt++) {
    const first = 20_000 + Math.floor(Math.random() * 10_000);
    const listeners: Deno.Listener[] = [];
    try {
      for (let port = first; port < first + count; port++) {
        listeners.push(Deno.listen({ hostname: "127.0.0.1", port }));
      }
      return first;
    } catch {
      // One of them is taken: elsewhere.
    } finally {
      for (const listener of listeners) listener.close();
    }
  }
  throw new Error(`There are no ${count} free ports side by side`);
}

/** Deletes the folder afterwards. */
export async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
