/**
 * The panel of what goes on and what has happened, each the newest first.
 *
 * Layer 4, pure. What goes on stands out from what is over. The same lines, as
 * plain text, are the summary that is left behind when the screen goes.
 *
 * @module
 */

import { EVENT_KINDS, type EventLine } from "./events.ts";
import { createPaint, type Meaning, type Paint } from "./frame.ts";
import { describeEvent } from "./judgement_view.ts";
import type { Overview } from "./overview.ts";
import { layOut, type Panel } from "./panel.ts";
import type { State } from "./state.ts";

/** Lines that are shown in full where there are as many. */
const WANTED_LINES = 4;

const NONE = "none";

/** What the whole screen says: one word would look as if something were missing. */
const NONE_YET = "none yet: what goes wrong, comes, goes or restarts will stand here";

function judgeEvent({ kind, endedAt }: EventLine): Meaning {
  if (endedAt !== null) return EVENT_KINDS[kind] === "alert" ? "plain" : "dim";
  return kind === "DOWN" || kind === "HOT" || kind === "STALLED" ? "alert" : "warn";
}

/** The events as lines: time, kind, whom, how long, what. */
export function renderEvents(
  lines: readonly EventLine[],
  { overview, state, paint }: {
    readonly overview: Overview;
    readonly state: State;
    readonly paint: Paint;
  },
): string[] {
  if (lines.length === 0) return [];
  return layOut(
    lines.map((line) =>
      describeEvent(line, overview, state).map((piece) => paint(piece, judgeEvent(line)))
    ),
    "left",
  );
}

/** Lines of the summary at the most. */
const SUMMARY_LINES = 40;

/**
 * What is left behind on the ordinary screen: what has happened, the newest
 * last, in plain text. Empty where nothing has.
 */
export function summarizeEvents(overview: Overview, state: State): readonly string[] {
  const { events } = overview;
  if (events.length === 0) return [];
  const shown = events.toSorted((a, b) => a.beganAt - b.beganAt).slice(-SUMMARY_LINES);
  const earlier = events.length - shown.length;
  const paint = createPaint(null);
  return [
    "vllm-htop: while it watched",
    ...(earlier > 0 ? [`  … ${earlier} earlier`] : []),
    ...renderEvents(shown, { overview, state, paint }).map((line) => `  ${line}`),
  ];
}

/** What has happened, newest first. */
export function createEventsPanel(overview: Overview, state: State, paint: Paint): Panel {
  const { length } = overview.events;
  const byBegin = overview.events.toSorted((a, b) => b.beganAt - a.beganAt);
  const going = byBegin.filter(({ endedAt }) => endedAt === null);
  // What goes on is what one looks for; what is over follows.
  const newest = [...going, ...byBegin.filter(({ endedAt }) => endedAt !== null)];
  const open = going.length;
  return {
    id: "events",
    title: open > 0 ? `EVENTS, ${open} going on` : "EVENTS",
    minLines: Math.min(WANTED_LINES, length),
    maxLines: Math.max(1, length),
    draw: ({ lines }) =>
      newest.length === 0
        ? [paint(NONE_YET, "dim")]
        : renderEvents(newest.slice(0, lines), { overview, state, paint }),
    summary: newest.length === 0
      ? paint(NONE, "dim")
      : describeEvent(newest[0], overview, state).filter((piece) => piece !== "").join("  "),
  };
}
