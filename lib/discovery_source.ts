/**
 * Where endpoints come from, and when they go: a scan, lists of targets, a Prometheus, Kubernetes.
 * @module
 */

import type { TypedEndpoint } from "./endpoint.ts";
import type { LogText } from "./log.ts";
import type { Endpoint, Scrape, ScrapeFailure } from "./model.ts";
import type { PodFacts } from "./pod.ts";
import type { Seconds } from "./units.ts";

export interface TargetChange {
  /** New ones, and known ones whose labels or pods have changed. */
  readonly found: readonly TypedEndpoint[];
  /** Of endpoints that the source scrapes itself, oldest first of each. */
  readonly outcomes?: readonly (Scrape | ScrapeFailure)[];
  /** The text of one of these scrapes, for a recording. */
  readonly writeBody?: (scrape: Scrape) => Uint8Array;
  /** Found by this source before, and no longer there. */
  readonly goneKeys: readonly string[];
  /** Replace the source's earlier ones; safe text. `null`: they stay. */
  readonly notices: readonly string[] | null;
}

interface WatchedTargets {
  /** That the user wants. */
  readonly interval: Seconds;
  /** Of all sources. */
  readonly keys: ReadonlySet<string>;
  readonly hasAnswered: (key: string) => boolean;
  /** Whether it has refused connections for long. */
  readonly isGone: (key: string) => boolean;
}

export interface Source {
  /** Its endpoints come with their scrapes. */
  readonly scrapes?: true;
  /** Has not looked before the session: that takes long. */
  readonly isSlow?: true;
  /** Time between two looks, at the interval that the user wants. */
  readonly getInterval: (interval: Seconds) => Seconds;
  /** Never rejects. */
  readonly look: (watched: WatchedTargets) => Promise<TargetChange>;
  /** The last lines of the log of a pod that it has found. */
  readonly readLog?: (pod: PodFacts) => Promise<LogText>;
  /** When the session ends. */
  readonly close?: () => void;
}

/** What users must know of each source; under `null` of none. */
export type SourceNotices = ReadonlyMap<Source | null, readonly string[]>;

export function joinNotices(notices: SourceNotices): readonly string[] {
  return [...notices.values()].flat();
}

/** Before anything is watched. */
export const NOTHING_WATCHED: WatchedTargets = {
  interval: 0,
  keys: new Set(),
  hasAnswered: () => false,
  isGone: () => false,
};

export interface ScanResult {
  /** New servers, in the order of their ports. */
  readonly found: readonly Endpoint[];
  /** Open ports of other programs, in order; `name` is safe to print. */
  readonly others: readonly { readonly port: number; readonly name: string }[];
  /** Safe text with the next step. */
  readonly problems: readonly string[];
}

/** Lists the ports that are not watched, and scan problems. */
export function listScanNotices({ others, problems }: ScanResult): readonly string[] {
  return [...others.map(({ port, name }) => `port ${port}: ${name}`), ...problems];
}
