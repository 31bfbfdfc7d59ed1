/**
 * One session of ssh: a POSIX shell that reads commands from standard input, runs them one after
 * the other, and marks each answer with a random word, so that no output can pass for another.
 * Nothing is written there. Noise before the first mark (`.bashrc`, motd) is dropped.
 * @module
 */

import type { SshEnd } from "./host_ssh.ts";
import type { Platform, ProgramCall, ProgramOutcome, RunningProgram } from "./platform.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

/** Programs of GPUs are often not on the path of a session. */
const MORE_PATH = "/usr/sbin:/sbin:/opt/rocm/bin:/usr/local/cuda/bin";
/** Login, and a hardware key that waits for a touch; `ConnectTimeout` does not end that. */
const HELLO_LIMIT: Seconds = 15;
/** More than the call's own limit: the line may be slow. */
const CALL_GRACE: Seconds = 5;
/** For what a program that has ended still had to say. */
const LAST_WORDS_LIMIT: Seconds = 0.5;
/** Enough to tell what answers in place of a shell. */
const MAX_HEAD_LENGTH = 200;
const MAX_STDERR_LENGTH = 8192;
const MAX_NOISE_LENGTH = BYTES_PER_MEBIBYTE;
/** Of `timeout -s KILL`, and of the shell for a program that is missing or may not be run. */
const CODE_KILLED = 137;
const CODE_MISSING = 127;
const CODE_REFUSED = 126;

export function quoteForShell(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** `limit SECONDS COMMAND…` runs a command with a time limit, where there is `timeout`. */
function writeHello(nonce: string): string {
  return `cd /; LC_ALL=C PATH="$PATH:${MORE_PATH}"; export LC_ALL PATH
if timeout -s KILL 5 true </dev/null >/dev/null 2>&1
then limit() { timeout -s KILL "$@"; }; else limit() { shift; "$@"; }; fi
printf '\\n%s hello %s\\n' ${nonce} "$(uname -s)"
`;
}

/** Standard output goes through; errors come behind it, with the exit code between. */
function writeCall(nonce: string, id: number, command: string): string {
  return `{ e=$({ printf '\\n%s begin ${id}\\n' ${nonce}; ${command}
} 2>&1 >&3 3>&-); c=$?; } 3>&1
printf '\\n%s end ${id} %s\\n%s\\n%s done ${id}\\n' ${nonce} "$c" "$e" ${nonce}
`;
}

/** A command line of the shell there. */
export interface ShellCall extends Pick<ProgramCall, "timeout" | "maxOutputBytes" | "signal"> {
  readonly command: string;
}

export function writeProgram({ name, arguments: words, timeout }: ProgramCall): string {
  const line = [name, ...words].map(quoteForShell).join(" ");
  return `limit ${Math.ceil(timeout)} ${line} </dev/null`;
}

interface PendingCall {
  readonly id: number;
  readonly maxOutputBytes: Bytes;
  readonly timeout: Seconds;
  readonly settle: (outcome: ProgramOutcome) => void;
}

export interface SshSession {
  /** The name of the system, as `uname -s` gives it; `null` if there is none. */
  readonly hello: Promise<string | null>;
  readonly ended: Promise<SshEnd>;
  /** Calls are answered in order, `aborted` if the session ends before. */
  readonly call: (call: ShellCall) => Promise<ProgramOutcome>;
  readonly end: () => void;
}

function toOutcome(code: number, stdout: string, stderr: string): ProgramOutcome {
  if (code === CODE_MISSING) return { kind: "missing" };
  if (code === CODE_REFUSED) return { kind: "refused", message: stderr };
  if (code === CODE_KILLED) return { kind: "timeout" };
  return { kind: "exited", code, stdout, stderr };
}

interface Reading {
  readonly nonce: string;
  readonly pending: PendingCall[];
  text: string;
  /** Where the search for the next mark begins. */
  from: number;
  hasAnswered: boolean;
}

/** Takes the answer to the first pending call out of the text; `null` if it is not whole yet. */
function takeAnswer(reading: Reading): ProgramOutcome | null {
  const { nonce, pending: [{ id }] } = reading;
  const done = `\n${nonce} done ${id}\n`;
  const end = reading.text.indexOf(done, reading.from);
  if (end < 0) {
    reading.from = Math.max(0, reading.text.length - done.length);
    return null;
  }
  const block = reading.text.slice(0, end);
  reading.text = reading.text.slice(end + done.length);
  reading.from = 0;
  const begin = `\n${nonce} begin ${id}\n`;
  const start = block.indexOf(begin);
  const mark = `\n${nonce} end ${id} `;
  const stop = block.lastIndexOf(mark);
  if (start < 0 || stop < 0) return { kind: "aborted" };
  const stdout = block.slice(start + begin.length, stop);
  const [, code, stderr] = /^(\d+)\n(.*)$/s.exec(block.slice(stop + mark.length)) ?? [];
  return toOutcome(Number(code), stdout, stderr);
}

/** The system's name, once it is there. */
function takeHello(reading: Reading): string | null {
  const hello = new RegExp(`\n${reading.nonce} hello (\\S*)\n`).exec(reading.text);
  if (hello === null) return null;
  reading.hasAnswered = true;
  reading.text = reading.text.slice(hello.index + hello[0].length);
  return hello[1];
}

type StartTimer = Platform["startTimer"];
type Reader = ReadableStreamDefaultReader<Uint8Array>;

interface Talk {
  readonly program: RunningProgram;
  readonly startTimer: StartTimer;
  readonly reading: Reading;
  readonly hello: PromiseWithResolvers<string | null>;
  readonly readers: readonly [stdout: Reader, stderr: Reader];
  readonly send: (text: string) => void;
  /** Gives the input back, which Deno 2.6 keeps open. */
  readonly closeInput: () => Promise<void>;
  stderr: string;
  cause: SshEnd["cause"];
  isOver: boolean;
  nextId: number;
  stopTimer: () => void;
}

/** Children of the program may hold its streams open. */
function cancelReading({ readers }: Talk): void {
  for (const reader of readers) reader.cancel().catch(() => {});
}

function stopTalk(talk: Talk, cause: SshEnd["cause"]): void {
  talk.cause ??= cause;
  talk.program.end();
  cancelReading(talk);
}

/** The shell works at the first call; the others wait. */
function watchFirst(talk: Talk): void {
  talk.stopTimer();
  const [first] = talk.reading.pending;
  if (first === undefined) return;
  const limit = first.timeout + CALL_GRACE;
  talk.stopTimer = talk.startTimer(limit, () => stopTalk(talk, "silence"));
}

function acceptText(talk: Talk, text: string): void {
  const { reading, hello } = talk;
  reading.text += text;
  if (!reading.hasAnswered) {
    const system = takeHello(reading);
    if (system === null) {
      if (reading.text.length > MAX_NOISE_LENGTH) stopTalk(talk, "flood");
      return;
    }
    hello.resolve(system);
    watchFirst(talk);
  }
  while (reading.pending.length > 0) {
    const answer = takeAnswer(reading);
    if (answer === null) break;
    reading.pending.shift()?.settle(answer);
    watchFirst(talk);
  }
  // Between calls, only noise of the shell's own.
  const limit = reading.pending[0]?.maxOutputBytes ?? MAX_STDERR_LENGTH;
  if (reading.text.length > limit + MAX_STDERR_LENGTH) stopTalk(talk, "flood");
}

async function readAll(reader: Reader, use: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    use(decoder.decode(value, { stream: true }));
  }
}

/** Reads until the program has ended. */
async function followTalk(talk: Talk): Promise<SshEnd> {
  const { program, startTimer, reading, readers: [stdout, stderr] } = talk;
  const listening = Promise.allSettled([
    readAll(stdout, (text) => acceptText(talk, text)),
    readAll(stderr, (text) => talk.stderr = (talk.stderr + text).slice(-MAX_STDERR_LENGTH)),
  ]);
  const code = await program.exitCode;
  await talk.closeInput();
  const stopWaiting = startTimer(LAST_WORDS_LIMIT, () => cancelReading(talk));
  await listening;
  talk.isOver = true;
  stopWaiting();
  talk.stopTimer();
  for (const { settle } of reading.pending.splice(0)) settle({ kind: "aborted" });
  talk.hello.resolve(null);
  const { hasAnswered, text } = reading;
  const head = hasAnswered ? "" : text.trim().slice(0, MAX_HEAD_LENGTH);
  return { code, stderr: talk.stderr, head, hasAnswered, cause: talk.cause };
}

function callShell(
  talk: Talk,
  { command, timeout, maxOutputBytes, signal }: ShellCall,
): Promise<ProgramOutcome> {
  const { nonce, pending, hasAnswered } = talk.reading;
  return new Promise((resolve) => {
    if (talk.isOver || signal?.aborted) return resolve({ kind: "aborted" });
    const abort = (): void => settle({ kind: "aborted" });
    const settle = (outcome: ProgramOutcome): void => {
      signal?.removeEventListener("abort", abort);
      resolve(outcome);
    };
    // The answer to an aborted call still comes, and is dropped.
    signal?.addEventListener("abort", abort);
    const id = talk.nextId++;
    pending.push({ id, maxOutputBytes, timeout, settle });
    if (pending.length === 1 && hasAnswered) watchFirst(talk);
    talk.send(writeCall(nonce, id, command));
  });
}

/** What is sent in one turn is one write: it wakes ssh once. */
function createSender(writer: WritableStreamDefaultWriter<Uint8Array>): (text: string) => void {
  let waiting = "";
  const flush = (): void => {
    const bytes = new TextEncoder().encode(waiting);
    waiting = "";
    // A broken pipe shows in the end of the program.
    writer.write(bytes).catch(() => {});
  };
  return (text) => {
    if (waiting === "") queueMicrotask(flush);
    waiting += text;
  };
}

/** The session starts at once. */
export function startSshSession(
  { startTimer }: Pick<Platform, "startTimer">,
  program: RunningProgram,
  nonce: string,
): SshSession {
  const writer = program.stdin.getWriter();
  const talk: Talk = {
    ...{ program, startTimer },
    reading: { nonce, pending: [], text: "", from: 0, hasAnswered: false },
    hello: Promise.withResolvers(),
    readers: [program.stdout.getReader(), program.stderr.getReader()],
    send: createSender(writer),
    // It is closed already if a write has failed.
    closeInput: () => writer.abort().catch(() => {}),
    ...{ stderr: "", cause: null, isOver: false, nextId: 1 },
    stopTimer: startTimer(HELLO_LIMIT, () => stopTalk(talk, "silence")),
  };
  talk.send(writeHello(nonce));
  return {
    hello: talk.hello.promise,
    ended: followTalk(talk),
    call: (call) => callShell(talk, call),
    end: () => stopTalk(talk, null),
  };
}
