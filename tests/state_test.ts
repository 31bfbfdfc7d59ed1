import { assert, assertEquals } from "@std/assert";
import { type State, update } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  START_EPOCH,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";

const FIRST = createEndpoint(8000);
const SECOND = createEndpoint(8001);

function say(tokens: number): Uint8Array {
  return encode(writeEngine([["generation_tokens_total", tokens]]));
}

/** The same state, such that a change of it throws. */
function freeze(state: State): State {
  const freezeAll = (value: unknown): void => {
    const isOpen = typeof value === "object" && value !== null && !Object.isFrozen(value);
    if (!isOpen || ArrayBuffer.isView(value)) return;
    Object.freeze(value);
    Object.values(value).forEach(freezeAll);
  };
  freezeAll(state);
  return state;
}

Deno.test("createState() knows endpoints and nothing of them", () => {
  const { endpoints } = startState([FIRST, SECOND]);
  assertEquals(endpoints.map(({ endpoint }) => endpoint.key), [FIRST.key, SECOND.key]);
  for (const { scrape, failure, replicas, history } of endpoints) {
    assertEquals([scrape, failure, replicas, history.points], [null, null, [], []]);
  }
});

Deno.test("update() keeps what was scraped, with its windows", () => {
  const start = freeze(startState([FIRST, SECOND]));
  const once = freeze(update(start, createScraped(FIRST, 1, say(10))));
  const twice = update(once, createScraped(FIRST, 3, say(30)));
  const [first, second] = twice.endpoints;
  assertEquals(first.scrape?.receivedAt, 3);
  assertEquals(first.replicas.length, 1);
  assertEquals(first.replicas[0].lastPoll.value?.counters.generationTokens, { value: 20 });
  assertEquals(second, start.endpoints[1]);
  assert(second === start.endpoints[1], "what did not change is the same object");
});

Deno.test("update() keeps what was known when a scrape fails, and forgets the failure after", () => {
  const known = update(startState([FIRST]), createScraped(FIRST, 1, say(10)));
  const failed = update(known, createFailed(FIRST, 3, "timeout"));
  assertEquals(failed.endpoints[0].failure?.kind, "timeout");
  assertEquals(failed.endpoints[0].scrape?.receivedAt, 1);
  assertEquals(failed.endpoints[0].replicas.length, 1);
  const back = update(failed, createScraped(FIRST, 5, say(50)));
  assertEquals(back.endpoints[0].failure, null);
  // Over the gap, by the time that really passed.
  assertEquals(back.endpoints[0].replicas[0].lastPoll.value?.span, 4);
});

Deno.test("update() passes over what is not watched", () => {
  const state = freeze(startState([FIRST]));
  const other = createEndpoint(9999);
  assertEquals(update(state, createScraped(other, 1, say(1))), state);
  assertEquals(update(state, createFailed(other, 1)), state);
});

Deno.test("update() takes the time from messages alone", () => {
  const state = startState([FIRST]);
  const scraped = update(state, createScraped(FIRST, 5, say(1)));
  assertEquals([scraped.now, scraped.nowEpoch], [0, START_EPOCH]);
  const later = advance(scraped, 7);
  assertEquals([later.now, later.nowEpoch], [7, START_EPOCH + 7]);
  assertEquals(later.endpoints, scraped.endpoints);
});
