/**
 * Loads what scrapes with the first scrape: a live screen is drawn before.
 * @module
 */

import type { Endpoint } from "./model.ts";
import type { Platform } from "./platform.ts";
import type { Scraper, ScraperOptions } from "./scrape.ts";

/** As `createScraper`. */
export function createLateScraper(
  platform: Platform,
  endpoint: Endpoint,
  options: ScraperOptions,
): Scraper {
  let creating: Promise<Scraper> | null = null;
  let scraper: Scraper | null = null;
  let isClosed = false;
  const create = async (): Promise<Scraper> => {
    const { createScraper } = await import("./scrape.ts");
    scraper = await createScraper(platform, endpoint, options);
    if (isClosed) scraper.close();
    return scraper;
  };
  return {
    scrape: async (signal) => await (await (creating ??= create())).scrape(signal),
    takeModels: () => scraper?.takeModels() ?? null,
    close: () => {
      isClosed = true;
      scraper?.close();
    },
  };
}
