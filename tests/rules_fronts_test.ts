import { assertEquals } from "@std/assert";
import type { Scrape } from "../lib/model.ts";
import type { Message, State } from "../lib/state.ts";
import { update } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createScraped,
  encode,
  MODEL,
  readGzip,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { expectScrape, readText, scrapeKind, startKind } from "./fixtures/kinds.ts";

const PORTS = [8000, 8001, 8002].map((port) => createEndpoint(port));
const [FIRST, SECOND, ROUTER] = PORTS;

function say(running: number, tokens: number, model = MODEL): Uint8Array {
  return encode(writeEngine([
    ["num_requests_running", running],
    ["generation_tokens_total", tokens],
  ], { model }));
}

/** As a kind of server that passes requests on. */
function createRouted(...scraped: Parameters<typeof createScraped>): Message {
  const message = createScraped(...scraped);
  if (message.kind !== "scraped") throw new Error(message.kind);
  const { scrape } = message;
  const engines = scrape.engines.map((sample) => {
    return { ...sample, server: { ...sample.server, name: "Router", isRouter: true as const } };
  });
  return { kind: "scraped", scrape: { ...scrape, engines } };
}

function listCountedElsewhere({ fleet }: State): readonly string[] {
  return fleet.rows.flatMap((row) => row.isCountedElsewhere ? [row.state.endpoint.key] : []);
}

Deno.test("findCountedElsewhere() leaves a router out of all totals where its engines are watched", () => {
  let state = startState(PORTS);
  for (const at of [1, 3]) {
    state = advance(state, at, [
      createScraped(FIRST, at - 0.5, say(2, 100 * at)),
      createScraped(SECOND, at - 0.4, say(3, 200 * at)),
      createRouted(ROUTER, at - 0.3, say(5, 300 * at)),
    ]);
  }
  assertEquals(listCountedElsewhere(state), [ROUTER.key]);
  const { total, groups, counts, counted, totalPeaks } = state.fleet;
  assertEquals([total.figures.running.value, total.figures.replicaCount], [5, 2]);
  assertEquals(total.figures.lifetime.generationTokens.value, 900);
  assertEquals(total.figures.lastPoll.generationTokensPerSecond.value, 300);
  assertEquals(counted.generationTokens.value, 600);
  assertEquals(totalPeaks.running?.value, 5);
  assertEquals(groups.length, 1);
  assertEquals(state.evaluation.groups.map(({ groupKey }) => groupKey), [groups[0].key]);
  assertEquals([counts.total, counts.up, counts.countedElsewhere], [2, 2, 1]);
  // What it has counted stays out of the sums when it goes.
  const { fleet } = update(state, { kind: "endpoint_gone", endpointKey: ROUTER.key });
  assertEquals(fleet.counted.generationTokens.value, 600);
});

Deno.test("findCountedElsewhere() counts a router for models that no watched engine serves", () => {
  const state = advance(startState(PORTS), 1, [
    createScraped(FIRST, 0.5, say(2, 100)),
    createRouted(ROUTER, 0.6, say(5, 300, "other")),
  ]);
  assertEquals(listCountedElsewhere(state), []);
  assertEquals(state.fleet.total.figures.running.value, 7);
});

Deno.test("findCountedElsewhere() counts a router of all models together only if no engine is watched", async () => {
  const body = await readGzip("fixtures/routers/smg-1.13.0.prom.gz");
  const watch = (first: Message) =>
    advance(startState(PORTS), 1, [first, createScraped(ROUTER, 0.6, body)]);
  const beside = watch(createScraped(FIRST, 0.5, say(2, 100)));
  assertEquals(listCountedElsewhere(beside), [ROUTER.key]);
  assertEquals(beside.fleet.total.figures.replicaCount, 1);
  const alone = watch({ kind: "endpoint_gone", endpointKey: FIRST.key });
  assertEquals(listCountedElsewhere(alone), []);
  assertEquals(alone.fleet.total.figures.lifetime.finishedRequests.value, 24);
});

Deno.test("an address with two servers behind it, which are watched as well, is counted once", async () => {
  const bodies = await Promise.all(["000", "001"].map(async (name) =>
    new TextDecoder().decode(
      await readGzip(`fixtures/routers/vllm-router-0.1.17-own-port-${name}.prom.gz`),
    )
  ));
  const props = readText("llamacpp/props.json");
  const start = (choose: () => number) =>
    startKind(
      () => ({ "/v1/models": '{"data":[]}', "/props": props, "/metrics": bodies[choose()] }),
      "llama.cpp",
    );
  // It hands each request to the next one.
  let turn = 0;
  const servers = [start(() => 0), start(() => 1), start(() => turn++ % bodies.length)];
  const polls = 8;
  const answers = await Promise.all(
    servers.map(async (server) => (await scrapeKind(server, { count: polls })).map(expectScrape)),
  );
  await Promise.all(servers.map((server) => server.close()));
  let state = startState(PORTS);
  for (let poll = 0; poll < polls; poll++) {
    const at = 1 + 2 * poll;
    state = advance(
      state,
      at,
      PORTS.map((endpoint, i): Message => {
        const receipt = { receivedAt: at - 0.5, receivedAtEpoch: 1_795_300_000 + at - 0.5 };
        const scrape: Scrape = { ...answers[i][poll], ...receipt, endpointKey: endpoint.key };
        return { kind: "scraped", scrape };
      }),
    );
  }
  const { rows, total } = state.fleet;
  assertEquals(rows.map(({ status }) => status), ["OK", "OK", "SHARED"]);
  assertEquals(rows.map(({ state: { history } }) => history.restartCount), [0, 0, 1]);
  assertEquals(
    rows.map(({ figures }) => figures.lastPoll.generationTokensPerSecond.value),
    [0, 0, null],
  );
  assertEquals(listCountedElsewhere(state), [ROUTER.key]);
  assertEquals(total.figures.lifetime.generationTokens.value, 240 + 80);
  const restarts = state.fleet.events.filter(({ kind }) => kind === "RESTART");
  assertEquals(restarts.length <= 1, true);
});
