/**
 * A replica into its condition, in one word.
 *
 * Layer 2, pure. An endpoint that was scraped before and fails now is STALE:
 * what is known of it is shown with its age, and is out of every total. After
 * `STALE_LIMIT` it is DOWN, as is one that never answered. A server that
 * answers but has declared its gauges without a sample is INIT; a sleeping one
 * (vLLM's sleep mode) says SLEEP. Spans are monotonic seconds.
 *
 * @module
 */

import type { EngineSample, ReplicaStatus } from "./model.ts";
import { isPresent } from "./reading.ts";
import type { Seconds } from "./units.ts";

/** How long what was known is still worth showing: half the long window. */
export const STALE_LIMIT: Seconds = 30;

/** How much longer than the interval an answer may take before what is shown counts as stale. */
export const LATE_ANSWER: Seconds = 1;

/** What is known of an endpoint's scrapes. */
export interface ScrapeRecord {
  /** Whether the newest attempt failed, or has been without an answer for too long. */
  readonly hasFailed: boolean;
  /** Age of the newest good scrape; `null` when there was none. */
  readonly age: Seconds | null;
}

/** Whether replicas of this condition count in totals. */
export function isCounted(status: ReplicaStatus): boolean {
  return status === "OK" || status === "INIT" || status === "SLEEP";
}

/** The condition of an endpoint, as far as its scrapes tell. */
export function judgeEndpoint(record: ScrapeRecord): "PENDING" | "OK" | "STALE" | "DOWN" {
  if (!record.hasFailed) return record.age === null ? "PENDING" : "OK";
  return record.age === null || record.age > STALE_LIMIT ? "DOWN" : "STALE";
}

function isAsleep(sample: EngineSample): boolean {
  const state = sample.labelled.sleepState;
  return (state?.get("weights_offloaded") ?? 0) === 1 || (state?.get("discard_all") ?? 0) === 1;
}

/** The condition of one engine of an endpoint. */
export function judgeReplica(sample: EngineSample, record: ScrapeRecord): ReplicaStatus {
  const status = judgeEndpoint(record);
  if (status !== "OK") return status;
  if (isAsleep(sample)) return "SLEEP";
  const { running, waiting, kvCacheUsageRatio } = sample.gauges;
  const isInitializing = [running, waiting, kvCacheUsageRatio].every((gauge) =>
    !isPresent(gauge) && gauge.reason === "initializing"
  );
  return isInitializing ? "INIT" : "OK";
}
