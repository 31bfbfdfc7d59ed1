/**
 * What the scrapers of one session share, and what others need to know of them.
 * @module
 */

import type { Launch } from "./dialect_model.ts";
import type { createReaderFactory } from "./dialect_reader.ts";
import type { Endpoint, Scrape, ScrapeFailure } from "./model.ts";
import { createBufferPool } from "./scrape_body.ts";

/** What the scrapers of one session share. */
export interface ScrapePool {
  readonly buffers: ReturnType<typeof createBufferPool>;
  /** Set by the first scraper, which is loaded late. */
  createReader: ReturnType<typeof createReaderFactory> | null;
  /** Ends when the newest body is parsed. */
  lastReading: Promise<unknown>;
  /** To be told of the body of each good scrape, which lasts as long as the call. */
  onBody: ((endpointKey: string, body: Uint8Array) => void) | null;
}

export function createScrapePool(): ScrapePool {
  return {
    buffers: createBufferPool(),
    createReader: null,
    lastReading: Promise.resolve(),
    onBody: null,
  };
}

export function isScrapeFailure<F extends ScrapeFailure>(outcome: Scrape | F): outcome is F {
  return "kind" in outcome;
}

/** Without a look at processes. */
export function createSaidLaunch({ commandLine }: Endpoint): Launch {
  return { findCommandLine: () => Promise.resolve(commandLine ?? null), listInner: undefined };
}
