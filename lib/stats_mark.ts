/**
 * Increases since the mark that the user set. They go on across restarts, as session totals do:
 * what a server counts after one is added to what it had counted before.
 * @module
 */

import { addHistograms } from "./histogram.ts";
import {
  COUNTER_KEYS,
  createRecord,
  type Delta,
  type EngineSample,
  HISTOGRAM_KEYS,
  LATENCY_KEYS,
} from "./model.ts";
import { absent, isPresent, present, sumReadings } from "./reading.ts";
import { type CountedSample, LABELLED_COUNTERS } from "./stats_samples.ts";
import type { Continuity } from "./stats_totals.ts";
import { hasFallen, subtractSamples } from "./stats_window.ts";
import type { Seconds } from "./units.ts";

/** One engine's. */
export interface Mark {
  /** Of the sample from which on it counts. */
  readonly at: Seconds;
  /** Counted before the newest restart or absence; `null` if there was none. */
  readonly earlier: Delta | null;
  /** What its counters said then. */
  readonly base: CountedSample;
}

/** A server that has just started. */
const NOTHING: CountedSample = {
  counters: createRecord(COUNTER_KEYS, () => absent("initializing")),
  labelled: {},
  histograms: {},
  initializing: new Set([...LABELLED_COUNTERS, ...HISTOGRAM_KEYS]),
  created: absent("missing"),
};

/** Without the rest of the sample, which would keep the whole scrape in memory. */
function pickCounts(sample: EngineSample): CountedSample {
  const { counters, labelled, histograms, initializing, created } = sample;
  return { counters, labelled, histograms, initializing, created };
}

export function startMark(at: Seconds, sample: EngineSample): Mark {
  return { at, earlier: null, base: pickCounts(sample) };
}

function addDeltas(one: Delta, other: Delta): Delta {
  const labelled: Partial<Record<typeof LABELLED_COUNTERS[number], Map<string, number>>> = {};
  for (const key of LABELLED_COUNTERS) {
    const families = [one.labelled[key], other.labelled[key]].filter((one) => one !== undefined);
    if (families.length === 0) continue;
    const sum = labelled[key] = new Map<string, number>();
    for (const [child, value] of families.flatMap((family) => [...family])) {
      sum.set(child, (sum.get(child) ?? 0) + value);
    }
  }
  return {
    span: one.span + other.span,
    counters: createRecord(
      COUNTER_KEYS,
      (key) => sumReadings([one.counters[key], other.counters[key]]),
    ),
    labelled,
    latencies: createRecord(LATENCY_KEYS, (key) => {
      const [first, second] = [one.latencies[key], other.latencies[key]];
      if (!isPresent(first)) return first.reason === "bounds_differ" ? first : second;
      if (!isPresent(second)) return second.reason === "bounds_differ" ? second : first;
      const sum = addHistograms([first.value, second.value]);
      return sum === null ? absent("bounds_differ") : present(sum);
    }),
  };
}

/** @param at Of the sample. */
export function measureMark(mark: Mark, sample: EngineSample, at: Seconds): Delta {
  const { at: since, earlier, base } = mark;
  const delta = subtractSamples(sample, base, at - since);
  return earlier === null ? delta : { ...addDeltas(earlier, delta), span: at - since };
}

/** Closes what was counted up to the engine's last sample. */
export function pauseMark(mark: Mark, last: EngineSample): Mark {
  return { ...mark, earlier: measureMark(mark, last, mark.at), base: pickCounts(last) };
}

/** @param step.last The engine's sample before; `null` if it was absent, and the mark paused. */
export function continueMark(
  mark: Mark,
  sample: EngineSample,
  step: {
    readonly last: EngineSample | null;
    /** Whether windows go on. */
    readonly isComparable: boolean;
    readonly continuity: Continuity;
  },
): Mark {
  const { last, isComparable, continuity } = step;
  if (continuity === "same" && (isComparable || !hasFallen(sample, last ?? mark.base))) return mark;
  const paused = last === null ? mark : pauseMark(mark, last);
  return { ...paused, base: continuity === "other server" ? pickCounts(sample) : NOTHING };
}
