/**
 * What the title and the remarks say of a recording: its size while it is made, how it is replayed.
 * @module
 */

import type { State } from "./state.ts";
import { formatClock } from "./units.ts";
import { formatBytes } from "./view_format.ts";
import type { Meaning } from "./view_theme.ts";

interface Piece {
  readonly text: string;
  readonly meaning?: Meaning;
}

export function describeTape({ tape, replay, nowEpoch, utcOffset }: State): Piece {
  if (replay !== undefined) {
    const { status, speed } = replay;
    const words = {
      playing: `▸ replay ${speed === Infinity ? "at full speed" : `${speed}x`}`,
      paused: "replay paused",
      seeking: "▸▸ replay",
      over: "end of replay",
    };
    const text = `${words[status]}, ${formatClock(nowEpoch, utcOffset)}`;
    return { text, meaning: status === "playing" ? "ok" : "warn" };
  }
  if (tape === undefined) return { text: "" };
  return tape.problem === null
    ? { text: `● ${formatBytes(tape.bytes)} recorded`, meaning: "dim" }
    : { text: "recording stopped", meaning: "alert" };
}

export function listTapeRemarks({ tape, replay }: State): readonly Piece[] {
  const remarks = (replay?.remarks ?? []).map((text): Piece => (
    { text: `the recording: ${text}`, meaning: "warn" }
  ));
  const problem = tape?.problem ?? null;
  return problem === null ? remarks : [{ text: problem, meaning: "alert" }];
}

/** The time of the title; empty where another piece tells it. */
export function describeClock({ pastStep, replay, nowEpoch, utcOffset }: State): Piece {
  const isTold = pastStep !== null || replay !== undefined;
  return { text: isTold ? "" : formatClock(nowEpoch, utcOffset), meaning: "dim" };
}
