/**
 * Everything that is known, and how messages change it.
 *
 * Layer 3, pure. `update` takes a state and a message and gives the next state:
 * the only way in which anything is learnt. The screen, `--once` and JSON all
 * read the same state, so they cannot disagree. Instants are monotonic seconds,
 * wall-clock time is for display.
 *
 * @module
 */

import type { Endpoint, ReplicaSample, Scrape, ScrapeFailure } from "./model.ts";
import type { EpochSeconds, Seconds } from "./units.ts";
import { appendSample, type EndpointHistory, readReplicas, startHistory } from "./window.ts";

/** What is known of one endpoint. */
export interface EndpointState {
  readonly endpoint: Endpoint;
  readonly history: EndpointHistory;
  /** The newest good scrape; `null` before the first. */
  readonly scrape: Scrape | null;
  /** Why the newest attempt failed; `null` when it did not. */
  readonly failure: ScrapeFailure | null;
  /** One for each engine of the newest good scrape. */
  readonly replicas: readonly ReplicaSample[];
}

/** All that the views and the report are made of. */
export interface State {
  readonly endpoints: readonly EndpointState[];
  readonly interval: Seconds;
  readonly now: Seconds;
  readonly nowEpoch: EpochSeconds;
  /** Local time minus UTC, for the clock on the screen. */
  readonly utcOffset: Seconds;
  /** Whether the fleet is simulated. */
  readonly isDemo: boolean;
  /** Remarks about the whole session, such as what a port scan found beside vLLM. Safe text. */
  readonly notices: readonly string[];
}

/** What can happen. */
export type Message =
  | { readonly kind: "scraped"; readonly scrape: Scrape }
  | { readonly kind: "scrape_failed"; readonly failure: ScrapeFailure }
  | { readonly kind: "clock"; readonly now: Seconds; readonly nowEpoch: EpochSeconds };

/** A state that knows its endpoints and nothing of them. */
export function createState(
  endpoints: readonly Endpoint[],
  session: Omit<State, "endpoints">,
): State {
  return {
    ...session,
    endpoints: endpoints.map((endpoint) => ({
      endpoint,
      history: startHistory(),
      scrape: null,
      failure: null,
      replicas: [],
    })),
  };
}

function acceptScrape(known: EndpointState, scrape: Scrape): EndpointState {
  const history = appendSample(known.history, {
    at: scrape.receivedAt,
    engines: scrape.engines,
    processStart: scrape.processStart,
    countersCreated: scrape.countersCreated,
  });
  return { ...known, history, scrape, failure: null, replicas: readReplicas(history) };
}

function updateEndpoint(
  state: State,
  key: string,
  change: (known: EndpointState) => EndpointState,
): State {
  return {
    ...state,
    endpoints: state.endpoints.map((known) => known.endpoint.key === key ? change(known) : known),
  };
}

/** The state after the message. Messages about endpoints that are not watched change nothing. */
export function update(state: State, message: Message): State {
  switch (message.kind) {
    case "scraped":
      return updateEndpoint(
        state,
        message.scrape.endpointKey,
        (known) => acceptScrape(known, message.scrape),
      );
    case "scrape_failed":
      return updateEndpoint(
        state,
        message.failure.endpointKey,
        (known) => ({ ...known, failure: message.failure }),
      );
    case "clock":
      return { ...state, now: message.now, nowEpoch: message.nowEpoch };
  }
}
