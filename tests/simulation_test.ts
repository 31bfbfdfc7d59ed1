/**
 * The goals of the rules, on few simulated fleets: `deno task simulate` has the
 * whole. Seeds are fixed, so the outcome is.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { createRandom } from "../lib/demo_requests.ts";
import { simulateFleet } from "./fixtures/simulated_fleets.ts";
import { CELLS, SOON, watchFair, watchSlow } from "./simulate.ts";

/** Groups that get so many requests per second that each of 8 replicas can be told. */
const BUSY = CELLS.filter(({ requestsPerSecond }) => requestsPerSecond >= 5);

Deno.test("evaluateRules() raises nothing in fair groups, where vllm-htop 0.5.0 does all the time", () => {
  const watched = CELLS.map((cell, i) => watchFair(cell, 800 + i));
  // 24 times ten minutes are 4 hours.
  assertEquals(watched.flatMap(({ ours }) => ours.raised), []);
  const seed = watched.reduce((sum, one) => sum + one.seed.unhealthy / one.seed.polls, 0);
  assert(seed / watched.length > 0.5, `${seed / watched.length} of its polls are not HEALTHY`);
});

Deno.test("evaluateRules() names a replica that is slowed twofold within a minute, and no other", () => {
  const namings = BUSY.map((cell, i) => watchSlow(cell, { seed: 700 + i, factor: 2 }).ours);
  assertEquals(namings.flatMap(({ wrong }) => wrong), []);
  const soon = namings.filter(({ seconds }) => seconds <= SOON).length;
  assert(soon >= 0.95 * namings.length, `${soon} of ${namings.length} within ${SOON} s`);
});

Deno.test("simulateFleet() serves the given requests, and no more", () => {
  const options = { seed: 1, replicas: 2, requestsPerSecond: 10, duration: 300 };
  const rounds = [...simulateFleet(options)];
  const { points } = rounds[rounds.length - 1];
  const finished = points.map(({ engines: [engine] }) =>
    engine.labelled.finishedByReason?.get("stop") ?? 0
  );
  const total = finished.reduce((a, b) => a + b, 0);
  // Poisson: 3000 ± 4 standard deviations, less those that still run.
  assert(total > 2700 && total < 3220, `${total}`);
  assert(finished.every((count) => Math.abs(count - total / 2) < 4 * Math.sqrt(total / 2)));
});

Deno.test("simulateFleet() is the same for the same seed", () => {
  const options = { seed: 3, replicas: 3, requestsPerSecond: 5, duration: 30, burst: 3 };
  assertEquals([...simulateFleet(options)], [...simulateFleet(options)]);
  assert(createRandom(1)() !== createRandom(2)());
});
