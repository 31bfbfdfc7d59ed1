import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import {
  dispatch,
  leaveEndpoint,
  MAX_PARALLEL_REQUESTS,
  pollForever,
  pollNow,
  type Session,
  startSession,
  wake,
  watchEndpoint,
} from "../lib/app_session.ts";
import type { Endpoint } from "../lib/model.ts";
import type { Scraper } from "../lib/scrape.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { type Clock, createClock } from "./fixtures/clock.ts";
import {
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";

const BODY = encode(writeEngine([["num_requests_running", 1]]));

/** How an endpoint answers: after so many seconds, well or not. */
interface Behaviour {
  readonly duration: number;
  readonly fails?: boolean;
  readonly retryAfter?: number;
}

/** A watched endpoint and when its scrapes began. */
interface Subject {
  readonly endpoint: Endpoint;
  readonly starts: number[];
  behaviour: Behaviour;
}

interface Fleet {
  readonly clock: Clock;
  readonly session: Session;
  readonly subjects: readonly Subject[];
  /** Requests under way at most, without those that have waited for long. */
  readonly mostFresh: () => number;
  readonly shows: readonly number[];
  readonly end: () => Promise<void>;
}

function startFleet(behaviours: readonly Behaviour[], interval = 2): Fleet {
  const clock = createClock();
  const { platform } = clock;
  const parsed = parseArguments(["--demo", "vllm"], () => undefined);
  if (parsed.kind !== "run") throw new Error("The arguments are refused");
  const endpoints = behaviours.map((_, index) => createEndpoint(8000 + index));
  const session = startSession({
    platform,
    options: parsed.options,
    view: { output: "auto", depth: 256, ascii: false },
    state: startState(endpoints, { interval }),
  });
  let fresh = 0;
  let mostFresh = 0;
  const subjects = endpoints.map((endpoint, index): Subject => {
    const subject: Subject = { endpoint, starts: [], behaviour: behaviours[index] };
    const scrape: Scraper["scrape"] = async (signal) => {
      const startedAt = platform.monotonicSeconds();
      subject.starts.push(startedAt);
      const { duration, fails } = subject.behaviour;
      mostFresh = Math.max(mostFresh, ++fresh);
      await platform.sleep(Math.min(0.2, duration), signal);
      fresh--;
      await platform.sleep(duration - 0.2, signal);
      const at = platform.monotonicSeconds();
      const message = fails ? createFailed(endpoint, at) : createScraped(endpoint, at, BODY);
      const { retryAfter } = subject.behaviour;
      if (message.kind === "scrape_failed") {
        return { ...message.failure, duration: at - startedAt, retryAfter };
      }
      if (message.kind === "scraped") return { ...message.scrape, duration: at - startedAt };
      throw new Error("No outcome of a scrape");
    };
    const scraper = { scrape, takeModels: () => null, close: () => {} };
    watchEndpoint(session, { endpoint, access: ANONYMOUS_ACCESS, scraper });
    return subject;
  });
  const shows: number[] = [];
  const running = pollForever(session, () => {
    shows.push(platform.monotonicSeconds());
    return Promise.resolve();
  });
  const end = async (): Promise<void> => {
    session.stop.abort();
    await clock.runUntil(platform.monotonicSeconds() + 1);
    await running;
  };
  return { clock, session, subjects, mostFresh: () => mostFresh, shows, end };
}

const gaps = (starts: readonly number[]): number[] =>
  starts.slice(1).map((start, i) => Math.round((start - starts[i]) * 1000) / 1000);

Deno.test("pollForever() asks at the interval, to the moment, and shows each poll once", async () => {
  const { clock, subjects, shows, end } = startFleet([{ duration: 0.01 }, { duration: 0.05 }]);
  await clock.runUntil(59.9);
  for (const { starts } of subjects) {
    // The second soon after the first, for rates.
    const [first, ...others] = starts;
    assertEquals([first, others.length], [0, 30]);
    others.forEach((start, i) => assertAlmostEquals(start, 0.5 + 2 * i, 1e-6));
  }
  // When the slower one has answered.
  assertEquals(shows.length, 30);
  shows.forEach((at, i) => assertAlmostEquals(at, 0.5 + 2 * i + 0.05, 1e-6));
  await end();
});

Deno.test("pollForever() leaves the first window half a second, a little less after a slow answer", async () => {
  for (
    const [interval, duration, gap] of [[2, 0.01, 0.5], [2, 0.3, 0.75], [0.2, 0.01, 0.2]] as const
  ) {
    const { clock, subjects: [{ starts }], end } = startFleet([{ duration }], interval);
    await clock.runUntil(1);
    assertAlmostEquals(gaps(starts)[0], gap, 1e-3);
    await end();
  }
});

Deno.test("pollForever() spends no more than a twentieth of a server's time", async () => {
  for (const interval of [0.5, 2, 10]) {
    const behaviours = [0.005, 0.2, 0.5, 1.5].map((duration) => ({ duration }));
    const { clock, subjects, end } = startFleet(behaviours, interval);
    await clock.runUntil(600);
    for (const { starts, behaviour: { duration } } of subjects) {
      assert(starts.length * duration <= 0.05 * 600 + 0.5 + duration, `${duration} s: ${starts}`);
      // And asks as often as that leaves room for.
      const possible = Math.min(600 / interval, 0.05 * 600 / duration);
      assert(starts.length >= Math.floor(0.95 * possible), `${duration} s: ${starts.length}`);
    }
    await end();
  }
});

Deno.test("pollForever() asks all at once at first, and many spread over the interval after", async () => {
  const { clock, subjects, shows, end } = startFleet(Array(40).fill({ duration: 0.01 }));
  await clock.runUntil(30);
  for (const { starts } of subjects) {
    assert(starts[0] < 0.05, `${starts[0]}`);
    const [first, second, ...others] = gaps(starts);
    assert(first >= 0.5 && first < 0.6, `${first}`);
    assert(second >= 1 && second <= 3, `${second}`);
    for (const gap of others) assertAlmostEquals(gap, 2, 1e-3);
  }
  const phases = subjects.map(({ starts }) => starts[5] % 2).toSorted((a, b) => a - b);
  const widest = Math.max(...phases.map((phase, i) => phase - (phases[i - 1] ?? phases[39] - 2)));
  assert(widest < 3 * 2 / 40, `${widest}`);
  assertEquals(shows.length, 15);
  await end();
});

Deno.test("pollForever() keeps few endpoints together, so that they are shown as of one moment", async () => {
  const { clock, subjects, end } = startFleet(Array(8).fill({ duration: 0.01 }));
  await clock.runUntil(10);
  for (const { starts } of subjects) assertEquals(starts, subjects[0].starts);
  await end();
});

Deno.test("pollForever() begins no more requests at once than there is room for", async () => {
  const { clock, subjects, mostFresh, end } = startFleet(Array(100).fill({ duration: 0.02 }));
  await clock.runUntil(0.4);
  assertEquals(mostFresh(), MAX_PARALLEL_REQUESTS);
  assert(subjects.every(({ starts }) => starts.length === 1 && starts[0] < 0.1));
  await end();
});

Deno.test("pollForever() lets no slow endpoint make another late", async () => {
  // More of them hang than there is room for.
  const hanging = Array(60).fill({ duration: 4, fails: true });
  const { clock, subjects, end } = startFleet([...hanging, { duration: 0.01 }]);
  await clock.runUntil(60);
  const { starts } = subjects[60];
  assert(starts[0] <= 0.5, `${starts[0]}`);
  for (const gap of gaps(starts).slice(1)) assert(gap < 2.3, `${gap}`);
  assert(starts.length >= 28, `${starts.length}`);
  await end();
});

Deno.test("pollForever() asks what fails less and less often, and what comes back as before", async () => {
  const { clock, subjects: [subject], shows, end } = startFleet([{ duration: 0.01, fails: true }]);
  await clock.runUntil(130);
  assertEquals(gaps(subject.starts).map(Math.round), [2, 4, 8, 16, 30, 30, 30]);
  // The screen's clock goes on.
  assert(shows.length >= 64, `${shows.length}`);
  subject.behaviour = { duration: 0.01 };
  await clock.runUntil(200);
  assertEquals(gaps(subject.starts).slice(-5).map(Math.round), Array(5).fill(2));
  await end();
});

Deno.test("pollForever() asks a server that wants to be left alone no sooner than it says", async () => {
  const behaviour = { duration: 0.01, fails: true, retryAfter: 20 };
  const { clock, subjects: [subject], end } = startFleet([behaviour]);
  await clock.runUntil(130);
  assertEquals(gaps(subject.starts).map(Math.round), [20, 20, 20, 20, 30]);
  await end();
});

Deno.test("pollNow() asks at once, also what fails, and not twice", async () => {
  const { clock, session, subjects: [well, ill], end } = startFleet([
    { duration: 0.01 },
    { duration: 0.01, fails: true },
  ]);
  await clock.runUntil(21);
  const before = [well, ill].map(({ starts }) => starts.length);
  pollNow(session);
  await clock.runUntil(21.1);
  assertEquals([well, ill].map(({ starts }) => starts.at(-1)), [21, 21]);
  // A key that is held down asks twice a second.
  for (let i = 0; i < 20; i++) {
    pollNow(session);
    await clock.runUntil(21.1 + i / 100);
  }
  await clock.runUntil(21.9);
  assertEquals([well, ill].map(({ starts }) => starts.length), before.map((count) => count + 2));
  // The rhythm goes on from there.
  await clock.runUntil(26);
  assertEquals(well.starts.slice(-4), [21, 21.5, 23.5, 25.5]);
  await end();
});

Deno.test("pollNow() asks again after a scrape that is under way", async () => {
  const { clock, session, subjects: [subject], end } = startFleet([{ duration: 3 }], 60);
  await clock.runUntil(1);
  pollNow(session);
  await clock.runUntil(5);
  assertEquals(subject.starts, [0, 3]);
  await end();
});

Deno.test("pollForever() follows a change of the interval at once", async () => {
  const { clock, session, subjects: [subject], end } = startFleet([{ duration: 0.01 }], 60);
  await clock.runUntil(10);
  session.state = { ...session.state, interval: 5 };
  wake(session);
  await clock.runUntil(31);
  assertEquals(gaps(subject.starts), [0.5, 9.5, 5, 5, 5, 5]);
  await end();
});

Deno.test("pollForever() begins anew after the sleep of a machine, without a burst", async () => {
  const { clock, subjects: [subject], shows, end } = startFleet([{ duration: 0.01 }]);
  await clock.runUntil(10.5);
  const [before, shown] = [subject.starts.length, shows.length];
  clock.jump(3600);
  await clock.runUntil(3615);
  const after = subject.starts.slice(before);
  assert(after.length <= 4, `${after}`);
  for (const gap of gaps(after)) assertAlmostEquals(gap, 2, 1e-3);
  assert(shows.length - shown <= 4);
  await end();
});

Deno.test("watchEndpoint() asks a newcomer at once, leaveEndpoint() asks no more", async () => {
  const { clock, session, subjects, end } = startFleet([{ duration: 0.01 }, { duration: 0.01 }]);
  await clock.runUntil(5);
  const newcomer = createEndpoint(9000);
  const asked: number[] = [];
  const scraper: Scraper = {
    scrape: () => {
      asked.push(clock.platform.monotonicSeconds());
      const message = createScraped(newcomer, clock.platform.monotonicSeconds(), BODY);
      if (message.kind !== "scraped") throw new Error("No scrape");
      return Promise.resolve(message.scrape);
    },
    takeModels: () => null,
    close: () => {},
  };
  dispatch(session, { kind: "endpoints_found", endpoints: [newcomer] });
  watchEndpoint(session, { endpoint: newcomer, access: ANONYMOUS_ACCESS, scraper });
  leaveEndpoint(session, subjects[0].endpoint.key);
  const before = subjects[0].starts.length;
  await clock.runUntil(9.5);
  assertEquals(asked, [5, 5.5, 7.5, 9.5]);
  assertEquals(subjects[0].starts.length, before);
  assertEquals(session.state.endpoints.map(({ displayName }) => displayName), [":8001", ":9000"]);
  await end();
});
