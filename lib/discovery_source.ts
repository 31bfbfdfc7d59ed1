/**
 * Where endpoints come from, and when they go: a scan, lists of targets.
 * @module
 */

import type { TypedEndpoint } from "./endpoint.ts";
import type { Seconds } from "./units.ts";

export interface TargetChange {
  /** New ones, and known ones whose labels have changed. */
  readonly found: readonly TypedEndpoint[];
  /** Found by this source before, and no longer there. */
  readonly goneKeys: readonly string[];
  /** Replace the source's earlier ones; safe text. `null`: they stay. */
  readonly notices: readonly string[] | null;
}

export interface WatchedTargets {
  /** Of all sources. */
  readonly keys: ReadonlySet<string>;
  readonly hasAnswered: (key: string) => boolean;
  /** Whether it has refused connections for long. */
  readonly isGone: (key: string) => boolean;
}

export interface Source {
  /** Time between two looks. */
  readonly interval: Seconds;
  /** Never rejects. */
  readonly look: (watched: WatchedTargets) => Promise<TargetChange>;
}

/** What users must know of each source; under `null` of none. */
export type SourceNotices = ReadonlyMap<Source | null, readonly string[]>;

export function joinNotices(notices: SourceNotices): readonly string[] {
  return [...notices.values()].flat();
}

/** Before anything is watched. */
export const NOTHING_WATCHED: WatchedTargets = {
  keys: new Set(),
  hasAnswered: () => false,
  isGone: () => false,
};
