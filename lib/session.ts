/**
 * One run of the program over its endpoints: the state, and the polling.
 *
 * Layer 6, effects: through the platform and the scrapers. Each endpoint is
 * asked at the interval, one request in flight each, and every outcome goes to
 * `update`. A poll that takes longer than the interval holds up nobody: what
 * has arrived is shown, and that endpoint is asked again when it has answered.
 * The interval is the state's, so that a key can change it.
 *
 * @module
 */

import type { Options } from "./options.ts";
import type { Platform } from "./platform.ts";
import { isScrapeFailure, type Scraper } from "./scraper.ts";
import { type Message, type State, update } from "./state.ts";
import type { ViewOptions } from "./view.ts";

/** One run of the program over its endpoints. */
export interface Session {
  readonly platform: Platform;
  readonly options: Options;
  /** By the keys of their endpoints. */
  readonly scrapers: ReadonlyMap<string, Scraper>;
  /** Keys of the endpoints that are being asked. */
  readonly busy: Set<string>;
  readonly view: ViewOptions;
  /** Aborted when the program is to end. */
  readonly stop: AbortController;
  state: State;
  /** Told of each change, for a live screen. */
  onChange: () => void;
  /** Ends the wait for the next poll. */
  wake: () => void;
}

/** Lets the message change the state. */
export function dispatch(session: Session, message: Message): void {
  session.state = update(session.state, message);
  session.onChange();
}

/** Brings the state's time up to now. */
export function readClock(session: Session): void {
  const { platform } = session;
  session.state = update(session.state, {
    kind: "clock",
    now: platform.monotonicSeconds(),
    nowEpoch: platform.epochSeconds(),
  });
}

/** Scrapes one endpoint, unless the scrape before is still under way. */
export async function pollEndpoint(session: Session, key: string, scraper: Scraper): Promise<void> {
  if (session.busy.has(key)) return;
  session.busy.add(key);
  const at = session.platform.monotonicSeconds();
  session.state = update(session.state, { kind: "asked", endpointKey: key, at });
  try {
    const outcome = await scraper.scrape(session.stop.signal);
    if (session.stop.signal.aborted) return;
    dispatch(
      session,
      isScrapeFailure(outcome)
        ? { kind: "scrape_failed", failure: outcome }
        : { kind: "scraped", scrape: outcome },
    );
  } finally {
    session.busy.delete(key);
  }
}

/** Polls every endpoint at once. */
async function pollAll(session: Session): Promise<void> {
  await Promise.all(
    [...session.scrapers].map(([key, scraper]) => pollEndpoint(session, key, scraper)),
  );
}

/** Sleeps until the instant, the end of the session or a wake-up, whichever comes first. */
async function waitForTick(session: Session, dueAt: number): Promise<void> {
  const { platform, stop } = session;
  const woken = new AbortController();
  session.wake = () => woken.abort();
  const span = dueAt - platform.monotonicSeconds();
  await platform.sleep(span, AbortSignal.any([stop.signal, woken.signal]));
  session.wake = () => {};
}

/** Polls at the interval until the session ends; calls `show` after each poll, late answers or not. */
export async function pollForever(session: Session, show: () => Promise<void>): Promise<void> {
  const { platform, stop } = session;
  let startedAt = platform.monotonicSeconds();
  while (!stop.signal.aborted) {
    const poll = pollAll(session);
    // It may fail long after its tick is over.
    poll.catch((error) => stop.abort(error));
    const over = new AbortController();
    const span = startedAt + session.state.interval - platform.monotonicSeconds();
    await Promise.race([poll, platform.sleep(span, AbortSignal.any([stop.signal, over.signal]))]);
    over.abort();
    if (stop.signal.aborted) {
      await poll;
      return;
    }
    readClock(session);
    await show();
    const dueAt = startedAt + session.state.interval;
    await waitForTick(session, dueAt);
    const now = platform.monotonicSeconds();
    // Ticks keep their places; one that was called for begins anew, and so does a machine that slept.
    startedAt = now < dueAt || now > dueAt + session.state.interval ? now : dueAt;
  }
}
