/**
 * The whole program in this process, on a clock that does not wait and with files in memory: minutes
 * of a demo take a second.
 *
 * @module
 */

import { runApp } from "../lib/app.ts";
import { createSleep, type Platform, type Signal } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { createMemoryFiles } from "./memory_files.ts";

/** A clock that jumps to the next timer as soon as the work of the last one is done. */
function createBriskClock(startedAt: number):
  & Pick<
    Platform,
    "monotonicSeconds" | "epochSeconds" | "utcOffset" | "startTimer" | "sleep" | "nextTurn"
  >
  & { readonly stop: () => Promise<void> } {
  const timers = new Set<{ readonly at: number; readonly end: () => void }>();
  let now = 0;
  let isStopped = false;
  const startTimer: Platform["startTimer"] = (span, callback) => {
    const timer = { at: now + Math.max(0, span), end: callback };
    timers.add(timer);
    return () => timers.delete(timer);
  };
  const channel = new MessageChannel();
  const waiting: (() => void)[] = [];
  channel.port1.onmessage = () => waiting.shift()?.();
  const nextTurn = (): Promise<void> =>
    new Promise((resolve) => {
      waiting.push(resolve);
      channel.port2.postMessage(null);
    });
  const goOn = async (): Promise<void> => {
    while (!isStopped) {
      for (let turn = 0; turn < 8; turn++) await nextTurn();
      const due = [...timers].toSorted((a, b) => a.at - b.at)[0];
      if (due === undefined) continue;
      timers.delete(due);
      now = Math.max(now, due.at) + 0.001;
      due.end();
    }
    // Deno 2.6 closes no port with the other.
    channel.port1.close();
    channel.port2.close();
  };
  const going = goOn();
  return {
    monotonicSeconds: () => now,
    epochSeconds: () => startedAt + now,
    utcOffset: () => 3600,
    startTimer,
    nextTurn,
    sleep: createSleep(startTimer),
    stop: () => {
      isStopped = true;
      return going;
    },
  };
}

export interface BriskRun {
  readonly code: number;
  readonly lines: readonly string[];
  readonly stderr: string;
}

/** Runs the program on a brisk clock with files in memory, and ends it by a signal after so many lines. */
export async function runBriskly(
  args: readonly string[],
  { files, maxLines = Infinity, startedAt = 1_795_300_000, replaced = {} }: {
    readonly files: Map<string, Uint8Array<ArrayBuffer>>;
    readonly maxLines?: number;
    readonly startedAt?: number;
    /** In place of the real ones: what takes real time would be late. */
    readonly replaced?: Partial<Platform>;
  },
): Promise<BriskRun> {
  const real = createDenoPlatform();
  const { stop, ...clock } = createBriskClock(startedAt);
  const handlers = new Map<Signal, () => void>();
  const texts: string[] = [];
  let stderr = "";
  const platform: Platform = {
    ...real,
    ...createMemoryFiles(files),
    ...clock,
    ...replaced,
    environment: (name) => name === "LANG" ? "C.UTF-8" : undefined,
    onSignal: (signal, handler) => {
      handlers.set(signal, handler);
      return () => handlers.delete(signal);
    },
    onFatalError: () => {},
    exit: () => new Promise<never>(() => {}) as never,
    stdio: {
      ...real.stdio,
      ...{ stdinIsTerminal: false, stdoutIsTerminal: false, stderrIsTerminal: false },
      writeStdout: (bytes) => {
        texts.push(new TextDecoder().decode(bytes));
        if (texts.length >= maxLines) handlers.get("SIGTERM")?.();
        return Promise.resolve();
      },
      writeStderr: (text) => void (stderr += text),
    },
  };
  const code = await runApp(platform, args).finally(stop);
  return { code, lines: texts.join("").split("\n").slice(0, -1), stderr };
}
