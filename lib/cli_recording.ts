/**
 * Commands in front of other arguments, and the options of recordings.
 * @module
 */

import type { OptionValues } from "./cli_option_table.ts";
import { isTyped, type Moment, type Problem, refuse } from "./cli_values.ts";
import { type Bytes, type Seconds, SECONDS_PER_HOUR } from "./units.ts";

/** The first argument, if it is none of the servers. */
export const COMMANDS = ["record", "replay", "compare", "doctor"] as const;
export type CommandName = typeof COMMANDS[number];

/** A recording, or a part of it. */
export interface RecordedSpan {
  readonly path: string;
  /** `null`: its beginning. */
  readonly from: Moment | null;
  /** `null`: its end. */
  readonly to: Moment | null;
}

/** How many are compared. */
const COMPARED_COUNT = 2;

interface RecordOptions {
  /** Show nothing. */
  readonly isRecorder: boolean;
  /** `-` is standard output; `null`: nothing is recorded. */
  readonly recordFile: string | null;
  readonly recordLimits: { readonly bytes: Bytes; readonly age: Seconds };
}

interface ReplayOptions {
  /** `null`: watch servers. */
  readonly replayFile: string | null;
  /** `null`: by the kind of output. */
  readonly replaySpeed: number | null;
  readonly replayFrom: Moment | null;
  readonly replayTo: Moment | null;
  /** To compare: two, or none. */
  readonly comparedSpans: readonly RecordedSpan[];
}

/** A command and its file, as options. */
export function expandCommand(
  [command, ...words]: readonly string[],
  problems: Problem[],
): readonly string[] {
  if (command === "doctor") return ["--doctor", ...words];
  const isFile = (word: string | undefined): boolean =>
    word !== undefined && (word === "-" || !word.startsWith("-"));
  if (command === "compare") {
    const spans = words.slice(0, COMPARED_COUNT);
    if (spans.length === COMPARED_COUNT && spans.every(isFile)) {
      return [...spans.map((span) => `--compare=${span}`), ...words.slice(COMPARED_COUNT)];
    }
    const problem = "compare has no two files: write vllm-htop compare FILE FILE";
    problems.push({ problem, level: "option" });
    return words.filter((word) => !isFile(word));
  }
  const [file, ...rest] = words;
  if (isFile(file)) return [`--${command}=${file}`, ...rest];
  const problem = `${command} has no file: write vllm-htop ${command} FILE`;
  problems.push({ problem, level: "option" });
  return rest;
}

/** A variable or the configuration file may set a file for other calls. */
export function resolveRecord(
  values: OptionValues,
  { isRecorder, isOnce }: { readonly isRecorder: boolean; readonly isOnce: boolean },
  problems: Problem[],
): RecordOptions {
  const { record, "record-limit": limit, "record-age": age } = values;
  const words = isOnce
    ? "works only while servers are watched: leave --once and the like out"
    : record.value === "-" && !isRecorder
    ? "needs the standard output, where the screen is: write vllm-htop record -"
    : null;
  if (words !== null && isTyped(record)) problems.push(refuse(record.source, words));
  return {
    isRecorder,
    recordFile: words === null ? record.value : null,
    recordLimits: { bytes: limit.value, age: age.value * SECONDS_PER_HOUR },
  };
}

/** Whether the user names servers, wherever they are. */
function namesServers(
  { url, targets, prometheus, ssh, kube, demo, auto }: OptionValues,
): boolean {
  return [...url, ...targets, ...prometheus, ...ssh, kube, demo, auto].some(isTyped);
}

function resolveCompare(
  values: OptionValues,
  problems: Problem[],
): readonly RecordedSpan[] {
  const { compare, replay } = values;
  if (compare.length === 0) return [];
  const [{ source }] = compare;
  if (compare.length !== COMPARED_COUNT) {
    problems.push(refuse(source, "is for two recordings: write vllm-htop compare FILE FILE"));
  }
  if (namesServers(values) || isTyped(replay)) {
    const words = "watches no server: leave servers, --demo, --auto and --replay out";
    problems.push(refuse(source, words));
  }
  return compare.map(({ value }) => value);
}

/** Options that only a replay has, and those that it cannot have. */
export function resolveReplay(
  values: OptionValues,
  isOnce: boolean,
  problems: Problem[],
): ReplayOptions {
  const { replay, speed, from, to, at, record, state, for: span } = values;
  const isReplay = replay.value !== null;
  for (const one of [speed, from, to, at].filter(({ value }) => value !== null)) {
    if (!isReplay) problems.push(refuse(one.source, "works only with a replay"));
  }
  if (isReplay && namesServers(values)) {
    problems.push(refuse(replay.source, "watches no server: leave servers, --demo and --auto out"));
  }
  for (const one of [record, state, span].filter(isTyped)) {
    if (isReplay) problems.push(refuse(one.source, "does not work with a replay"));
  }
  if (at.value !== null && (!isOnce || to.value !== null)) {
    problems.push(refuse(at.source, "works only with --once, and without --to"));
  }
  return {
    replayFile: replay.value,
    replaySpeed: speed.value === null
      ? null
      : speed.value === "max"
      ? Infinity
      : Number(speed.value),
    replayFrom: from.value,
    replayTo: to.value ?? at.value,
    comparedSpans: resolveCompare(values, problems),
  };
}
