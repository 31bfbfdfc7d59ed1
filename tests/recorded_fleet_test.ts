import { assert, assertEquals } from "@std/assert";
import { type State, update } from "../lib/state.ts";
import {
  createEndpoint,
  createScraped,
  encode,
  START_EPOCH,
  startState,
} from "./fixtures/expositions.ts";
import { readRecording } from "./fixtures/recordings.ts";

/** When the worker began to be stopped and continued. */
const SLOWED_AT = 24;

Deno.test("update() names the one of two real servers that was slowed, and never the other", async () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const recordings = await Promise.all(["usual", "slowed"].map(readRecording));
  const scrapes = recordings.flatMap((recording, i) =>
    recording.map(({ at, body }) => ({ at, body, endpoint: endpoints[i] }))
  ).sort((a, b) => a.at - b.at);
  let state: State = startState(endpoints);
  let namedAt: number | null = null;
  for (const { at, body, endpoint } of scrapes) {
    state = update(state, createScraped(endpoint, at, encode(body)));
    state = update(state, { kind: "clock", now: at + 0.01, nowEpoch: START_EPOCH + at });
    for (const { first, isFiring } of state.evaluation.alerts) {
      if (!isFiring) continue;
      assert(first.key.startsWith(endpoints[1].key), `${first.rule} of ${first.key}`);
      namedAt ??= at;
    }
  }
  assert(namedAt !== null && namedAt > SLOWED_AT && namedAt < SLOWED_AT + 80, `${namedAt}`);
  const { level, causes } = state.evaluation.verdict;
  assertEquals(level, "DEGRADED");
  assert(causes.some(({ signal }) => signal === "slow_decode"), JSON.stringify(causes));
});
