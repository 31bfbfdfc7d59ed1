import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { Endpoint } from "../lib/model.ts";
import { present } from "../lib/reading.ts";
import { type Message, type State, update } from "../lib/state.ts";
import { getUptime } from "../lib/state_endpoint.ts";
import { areOwnersKnown, attributeGpus, createFleet, listGpusOf } from "../lib/state_fleet.ts";
import { computeMemoryRatio } from "../lib/gpu_outliers.ts";
import { LOCAL_HOST } from "../lib/host.ts";
import { getHost, listGpus } from "../lib/state_gpus.ts";
import type { UiContext } from "../lib/state_ui.ts";
import { createGpuPanel } from "../lib/view_panel_gpu.ts";
import { createPaint } from "../lib/view_theme.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  MODEL,
  readGzip,
  type Series,
  settle,
  START_EPOCH,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { failGpus, readMigGpus, sampleGpus } from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";

const PORTS = [8000, 8001, 8002].map((port) => createEndpoint(port));

/** One engine that runs so many requests and has finished so many. */
function say(running: number, finished = 0, more: readonly Series[] = []): string {
  return writeEngine([
    ["num_requests_running", running],
    ['request_success_total{finished_reason="stop"}', finished],
    ...more,
  ]);
}

/** A state after every endpoint has answered with one of the texts, in turn. */
function answerOnce(endpoints: readonly Endpoint[], texts: readonly string[]): State {
  return advance(
    startState(endpoints),
    1,
    endpoints.map((endpoint, i) => createScraped(endpoint, 0.5, encode(texts[i % texts.length]))),
  );
}

Deno.test("createFleet() labels rows without the model if there is only one", () => {
  const label = (texts: readonly string[]): string[] =>
    answerOnce(PORTS.slice(0, 2), texts).fleet.rows.map(({ label }) => label);
  assertEquals(label([say(1)]), [":8000", ":8001"]);
  const other = writeEngine([["num_requests_running", 1]], { model: "b/Chat" });
  assertEquals(label([say(1), other]), ["Llama-3.1-8B-Instruct :8000", "Chat :8001"]);
  const { rows } = startState(PORTS.slice(0, 2)).fleet;
  assertEquals(rows.map(({ name, label }) => [name, label]), [[":8000", ":8000"], [
    ":8001",
    ":8001",
  ]]);
});

// ---- What counts.

Deno.test("createFleet() leaves stale rows out of every total", () => {
  const state = watchTroubledFleet();
  const { rows, total, groups, counts } = state.fleet;
  assertEquals(rows.map(({ status }) => status), ["OK", "STALE", "DOWN", "OK", "OK", "DOWN"]);
  assertEquals(counts, {
    ...{ total: 6, up: 3, stale: 1, down: 2, loading: 0, pending: 0 },
    ...{ unloaded: 0, countedElsewhere: 0 },
  });
  assertEquals(total.figures.replicaCount, 3);
  const up = rows.filter(({ status }) => status === "OK");
  const sum = (read: (row: typeof rows[number]) => number | null): number =>
    up.reduce((all, row) => all + (read(row) ?? NaN), 0);
  assertEquals(total.figures.running, { value: sum(({ figures }) => figures.running.value) });
  assertAlmostEquals(
    total.figures.lastPoll.generationTokensPerSecond.value ?? NaN,
    sum(({ figures }) => figures.lastPoll.generationTokensPerSecond.value),
    1e-9,
  );
  assertEquals(groups.map(({ modelName, figures }) => [modelName, figures.replicaCount]), [
    ["meta-llama/Llama-3.1-8B-Instruct", 1],
    ["Qwen/Qwen3-32B", 2],
  ]);
});

Deno.test("createFleet() never lowers lifetime counts", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const say = (tokens: number) => encode(writeEngine([["generation_tokens_total", tokens]]));
  let state = advance(startState(endpoints), 1, [
    createScraped(endpoints[0], 0.5, say(100)),
    createScraped(endpoints[1], 0.6, say(40)),
  ]);
  const read = () => state.fleet.total.figures.lifetime.generationTokens.value;
  assertEquals(read(), 140);
  for (const at of [3, 20, 60]) {
    state = advance(state, at, [
      createScraped(endpoints[0], at - 0.5, say(100 + at)),
      createFailed(endpoints[1], at - 0.4),
    ]);
    assertEquals(read(), 140 + at);
  }
  // Nothing else of one that is down is in a total.
  assertEquals(state.fleet.total.figures.replicaCount, 1);
});

Deno.test("createFleet() keeps totals of removed endpoints and counts nothing twice", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const reject = (count: number) =>
    writeEngine([['admission_rejections_total{reason="max_num_queued_reqs"}', count]], {
      engine: null,
    });
  const count = (endpoint: Endpoint, at: number, tokens: number) =>
    createScraped(
      endpoint,
      at,
      encode(writeEngine([["generation_tokens_total", tokens]]) + reject(tokens / 10)),
    );
  const read = (state: State) => {
    const { generationTokens, rejections } = state.fleet.counted;
    return [generationTokens.value, rejections.value];
  };
  let state = advance(startState(endpoints), 3, [
    ...endpoints.map((endpoint) => count(endpoint, 0.5, 1000)),
    ...endpoints.map((endpoint) => count(endpoint, 2.5, 1030)),
  ]);
  assertEquals(read(state), [60, 6]);
  for (let round = 0; round < 3; round++) {
    const at = 10 * (round + 1);
    state = update(state, { kind: "endpoint_gone", endpointKey: endpoints[0].key });
    assertEquals(read(state), [60 + 20 * round, 6 + 2 * round]);
    state = update(state, { kind: "endpoints_found", endpoints: endpoints.slice(0, 1) });
    // What it has counted before it was found again is nobody's.
    state = advance(state, at, [count(endpoints[0], at - 0.5, 5000)]);
    assertEquals(read(state), [60 + 20 * round, 6 + 2 * round]);
    state = advance(state, at + 2, [count(endpoints[0], at + 1.5, 5020)]);
    assertEquals(read(state), [80 + 20 * round, 8 + 2 * round]);
  }
  for (const { key } of endpoints) {
    state = update(state, { kind: "endpoint_gone", endpointKey: key });
  }
  assertEquals(read(state), [120, 12]);
});

Deno.test("getUptime() stops when the server stops answering", () => {
  const endpoint = createEndpoint(8000);
  const body = encode(
    `process_start_time_seconds ${START_EPOCH - 100}\n` +
      writeEngine([["num_requests_running", 1]]),
  );
  const up = advance(startState([endpoint]), 1, [createScraped(endpoint, 0.5, body)]);
  assertEquals(getUptime(up.endpoints[0], up).value, 101);
  const down = advance(up, 90, [createFailed(endpoint, 3)]);
  assertEquals(getUptime(down.endpoints[0], down).value, 100.5);
});

Deno.test("createFleet() shows the age of a stale row, and no figures of a DOWN one", () => {
  const { rows } = watchTroubledFleet().fleet;
  const [, stale, down, , , never] = rows;
  assertAlmostEquals(stale.age ?? NaN, 64.1 - 56.01, 1e-9);
  assert(stale.figures.running.value !== null);
  assertEquals(stale.requestShare, { value: null, reason: "stale" });
  assertAlmostEquals(down.age ?? NaN, 64.1 - 18.02, 1e-9);
  assertEquals(down.figures.replicaCount, 0);
  assertEquals(down.figures.running, { value: null, reason: "missing" });
  // What it served is still known.
  assertEquals(down.replica?.sample.modelName, "Qwen/Qwen3-32B");
  assertEquals([never.age, never.replica, never.figures.replicaCount], [null, null, 0]);
});

Deno.test("createFleet() has PENDING rows before the first answer", () => {
  const { rows, counts, groups, total } = startState(PORTS).fleet;
  assertEquals(rows.map(({ status }) => status), ["PENDING", "PENDING", "PENDING"]);
  assertEquals([counts.pending, counts.up, groups.length], [3, 0, 0]);
  assertEquals(total.figures.replicaCount, 0);
});

Deno.test("createFleet() shows a server without an engine as INIT", () => {
  const state = answerOnce(PORTS.slice(0, 1), ["# TYPE vllm:num_requests_running gauge\n"]);
  const { rows, counts } = state.fleet;
  assertEquals(rows.map(({ status, replica }) => [status, replica]), [["INIT", null]]);
  assertEquals(counts.up, 1);
});

Deno.test("createFleet() counts starting and sleeping engines", async () => {
  const cold = await readGzip("scenarios/multiprocess-cold/cold.prom.gz");
  const asleep = say(0, 0, [['engine_sleep_state{sleep_state="discard_all"}', 1]]);
  const state = advance(startState(PORTS.slice(0, 2)), 1, [
    createScraped(PORTS[0], 0.5, cold),
    createScraped(PORTS[1], 0.5, encode(asleep)),
  ]);
  const { rows, counts, total } = state.fleet;
  assertEquals(rows.map(({ status }) => status), ["INIT", "INIT", "SLEEP"]);
  assertEquals(counts.up, 3);
  assertEquals(total.figures.running, { value: 0, partial: true });
});

Deno.test("createFleet() uses a single group as the total and merges several", () => {
  const { groups, total } = watchFleet(2).fleet;
  assert(groups.length === 1 && total === groups[0]);
  const several = watchFleet(3).fleet;
  assertEquals([several.groups.length, several.total.modelName], [2, ""]);
  assertEquals(several.total.figures.replicaCount, 3);
});

Deno.test("createFleet() has shares that sum to 1 in each group", () => {
  const { rows, groups } = watchFleet(4).fleet;
  for (const { modelName } of groups) {
    const own = rows.filter(({ replica }) => replica?.sample.modelName === modelName);
    const sum = own.reduce((all, { requestShare }) => all + (requestShare.value ?? NaN), 0);
    assertAlmostEquals(sum, 1, 1e-9);
  }
});

Deno.test("createFleet() has no shares without requests", () => {
  const state = advance(answerOnce(PORTS.slice(0, 1), [say(1, 5)]), 3, [
    createScraped(PORTS[0], 2.5, encode(say(1, 5))),
  ]);
  assertEquals(state.fleet.rows[0].requestShare, { value: null, reason: "no_samples" });
  const [row] = answerOnce(PORTS.slice(0, 1), [say(1, 5)]).fleet.rows;
  assertEquals(row.requestShare, { value: null, reason: "first_scrape" });
});

Deno.test("createFleet() names the fullest KV cache among counted rows", () => {
  const texts = [0.2, 0.9, 0.5].map((ratio) => say(1, 0, [["kv_cache_usage_perc", ratio]]));
  const state = answerOnce(PORTS, texts);
  assertEquals(state.fleet.total.kvCacheMaxOwner?.place, ":8001");
  const failed = advance(state, 2, [createFailed(PORTS[1], 1.5)]);
  const { total } = failed.fleet;
  assertEquals(total.kvCacheMaxOwner?.place, ":8002");
  assertEquals(total.figures.kvCache.maxRatio, { value: 0.5 });
  assertEquals(startState(PORTS).fleet.total.kvCacheMaxOwner, null);
});

// ---- Uptime.

Deno.test("getUptime() uses the server's start time if plausible", () => {
  const uptime = (text: string) => {
    const state = answerOnce(PORTS.slice(0, 1), [say(1) + text]);
    return getUptime(state.endpoints[0], state);
  };
  assertEquals(uptime(`process_start_time_seconds ${START_EPOCH - 99}\n`), { value: 100 });
  const created = writeEngine([["generation_tokens_created", START_EPOCH - 49]]);
  assertEquals(uptime(created), { value: 50 });
  assertEquals(uptime(`process_start_time_seconds ${START_EPOCH - 99}\n` + created), {
    value: 100,
  });
  assertEquals(uptime(""), { value: null, reason: "missing" });
  for (const start of [0, START_EPOCH + 3600]) {
    const text = `process_start_time_seconds ${start}\n`;
    assertEquals(uptime(text), { value: null, reason: "unsupported" });
  }
  const nothing = startState(PORTS);
  assertEquals(getUptime(nothing.endpoints[0], nothing), { value: null, reason: "missing" });
});

Deno.test("getUptime() rejects a start ten or more years ago", () => {
  const uptime = (seconds: number) => {
    const text = `process_start_time_seconds ${START_EPOCH + 1 - seconds}\n`;
    const state = answerOnce(PORTS.slice(0, 1), [say(1) + text]);
    return getUptime(state.endpoints[0], state).value;
  };
  const limit = 3650 * 24 * 3600;
  assertEquals([uptime(limit - 1), uptime(limit)], [limit - 1, null]);
  assertEquals([uptime(1), uptime(0)], [1, null]);
});

Deno.test("createFleet() marks overdue endpoints stale", () => {
  const endpoint = createEndpoint(8000);
  const body = encode(writeEngine([["num_requests_running", 3]]));
  const answered = advance(startState([endpoint]), 1, [createScraped(endpoint, 0.5, body)]);
  const asked = update(answered, { kind: "asked", endpointKey: endpoint.key, at: 2 });
  const statusAt = (now: number): string => {
    const state = update(asked, { kind: "clock", now, nowEpoch: 1_795_300_000 + now });
    const { rows, counts } = state.fleet;
    assertEquals(counts.up, rows[0].status === "OK" ? 1 : 0);
    return rows[0].status;
  };
  // The interval and a second are what an answer may take; half a minute later all is too old.
  assertEquals([5, 5.1, 30.4, 31].map(statusAt), ["OK", "STALE", "STALE", "DOWN"]);
});

Deno.test("createFleet() has no share if the group's rate is partial", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8001)];
  const body = (count: number): Uint8Array =>
    encode(
      writeEngine([['request_success_total{finished_reason="stop"}', count]]) +
        writeEngine([["num_requests_running", 1]]),
    );
  const first = endpoints.map((endpoint) => createScraped(endpoint, 0.5, body(10)));
  const started = advance(startState(endpoints), 1, first);
  // The second one restarts: of what both did, only a part is known.
  const second = [
    createScraped(endpoints[0], 2.5, body(20)),
    createScraped(endpoints[1], 2.5, body(1)),
  ];
  const shares = advance(started, 3, second).fleet.rows.map(({ requestShare }) => requestShare);
  assertEquals(shares.map((share) => share.value), [null, null]);
});

Deno.test("createFleet() gives the same result with and without the fleet before", () => {
  // Rows age and change their condition between scrapes: DOWN counts in no total any more.
  const spans = [0, 1, 29, 31, 1, 300, 0];
  let state = watchTroubledFleet();
  for (const span of spans) {
    state = advance(state, state.now + span);
    const fresh = createFleet({ ...state, endpoints: [...state.endpoints] });
    const known = state.fleet;
    assertEquals(known.rows, fresh.rows);
    assertEquals(known.counts, fresh.counts);
    assertEquals(known.total.figures, fresh.total.figures);
    assertEquals(known.groups.map(({ figures }) => figures), fresh.groups.map((g) => g.figures));
    assertEquals(known.total.kvCacheMaxOwner?.key, fresh.total.kvCacheMaxOwner?.key);
  }
});

Deno.test("createFleet() sums rates of unequal windows, each over its own span", () => {
  const [often, seldom] = PORTS;
  const count = (tokens: number) => encode(writeEngine([["generation_tokens_total", tokens]]));
  // 100 tokens a second, looked at every 2 s; and 10 a second, looked at every 20 s.
  const messages = [
    ...Array.from({ length: 20 }, (_, i) => createScraped(often, 1 + 2 * i, count(200 * i))),
    ...[2, 22].map((at) => createScraped(seldom, at, count(10 * at))),
  ];
  const state = advance(startState([often, seldom]), 40, messages);
  const { total, rows } = state.fleet;
  for (const window of ["lastPoll", "lastMinute"] as const) {
    const rates = rows.map(({ figures }) => figures[window].generationTokensPerSecond.value ?? NaN);
    assertAlmostEquals(rates[0], 100, 1e-9);
    assertAlmostEquals(rates[1], 10, 1e-9);
    assertAlmostEquals(total.figures[window].generationTokensPerSecond.value ?? NaN, 110, 1e-9);
  }
  assertEquals(rows.map(({ figures }) => figures.lastPoll.span.value), [2, 20]);
});

Deno.test("createFleet() lets an endpoint with a long interval answer late", () => {
  const endpoint = createEndpoint(8000);
  const body = encode(writeEngine([["num_requests_running", 0]]));
  let state = startState([endpoint]);
  for (const at of [1, 3, 11, 21]) {
    const message = createScraped(endpoint, at, body);
    if (message.kind !== "scraped") throw new Error("No scrape");
    state = update(state, { kind: "scraped", scrape: { ...message.scrape, duration: 0.5 } });
  }
  state = update(state, { kind: "asked", endpointKey: endpoint.key, at: 31 });
  const statusAt = (now: number) => advance(state, now).fleet.rows[0].status;
  // It may be asked every ten seconds; with an interval of two it were late after three.
  assertEquals([30, 35, 41.9, 42.1].map(statusAt), ["OK", "OK", "OK", "STALE"]);
});

Deno.test("createFleet() is empty without endpoints", () => {
  const gone = update(startState(PORTS.slice(0, 1)), {
    kind: "endpoint_gone",
    endpointKey: PORTS[0].key,
  });
  const { rows, groups, counts } = gone.fleet;
  assertEquals([rows, groups, counts.total], [[], [], 0]);
});

const EIGHT = readGpus("h100x8.tsv");
const RUNNING = encode(writeEngine([["num_requests_running", 1]]));

function watch(ports: readonly number[], host = "localhost", more: Partial<State> = {}): State {
  const endpoints = ports.map((port) => createEndpoint(port, host));
  const scraped = endpoints.map((endpoint) => createScraped(endpoint, 1, RUNNING));
  return advance(startState(endpoints, more), 2, scraped);
}

const readShares = (state: State) => getHost(state.hosts, LOCAL_HOST).shares;

const tellGpus = (state: State) =>
  state.fleet.rows.map(({ gpus }) => gpus.map(({ index }) => index));

Deno.test("listGpusOf() lists each replica's own GPUs", () => {
  const holders = [{ port: 8000, gpus: [0, 1, 2, 3] }, { port: 8001, gpus: [6, 4] }];
  const state = sampleGpus(watch([8000, 8001]), [EIGHT], holders);
  assertEquals(tellGpus(state), [[0, 1, 2, 3], [4, 6]]);
  assertEquals(areOwnersKnown(state), true);
  assertEquals(state.fleet.total.gpus.length, 6);
  const [known] = state.fleet.rows;
  assertEquals(
    listGpusOf(getHost(state.hosts, LOCAL_HOST), {
      endpointKey: known.state.endpoint.key,
      engine: "7",
    }),
    [],
  );
});

Deno.test("listGpusOf() gives replicas on slices of one GPU the memory of their own slices", () => {
  const holders = [
    { port: 8000, gpus: [2], gpuInstanceId: 3 },
    { port: 8001, gpus: [2], gpuInstanceId: 1 },
  ];
  const state = sampleGpus(watch([8000, 8001]), [readMigGpus("rtx6000-mig")], holders);
  assertEquals(tellGpus(state), [[2], [2]]);
  const shown = state.fleet.rows.map(({ gpus }) =>
    gpus.map((gpu) => ((computeMemoryRatio(gpu).value ?? NaN) * 100).toFixed(0))
  );
  assertEquals(shown, [["91"], ["20"]]);
});

Deno.test("attributeGpus() attributes earlier GPU samples at an endpoint's first scrape", () => {
  const endpoint = createEndpoint(8000);
  const before = sampleGpus(startState([endpoint]), [EIGHT], [{ port: 8000, gpus: [2] }]);
  assertEquals(tellGpus(before), [[]]);
  assertEquals(areOwnersKnown(before), false);
  const after = advance(before, 2, [createScraped(endpoint, 1, RUNNING)]);
  assertEquals(tellGpus(after), [[2]]);
  assertEquals(readShares(after).length, readShares(before).length);
  assert(attributeGpus(after).get(LOCAL_HOST) === after.hosts.get(LOCAL_HOST), "nothing changed");
});

Deno.test("areOwnersKnown() needs the GPUs of each answering server", () => {
  const one = sampleGpus(watch([8000, 8001]), [EIGHT], [{ port: 8000, gpus: [0] }]);
  assertEquals(areOwnersKnown(one), false);
  const silent = createEndpoint(8001);
  const endpoints = [createEndpoint(8000), silent];
  const state = advance(startState(endpoints), 2, [
    createScraped(endpoints[0], 1, RUNNING),
    createFailed(silent, 1),
  ]);
  const known = sampleGpus(state, [EIGHT], [{ port: 8000, gpus: [0] }]);
  assertEquals(areOwnersKnown(known), true);
  // One that has gone holds nothing any more.
  const both = advance(known, 4, [createScraped(silent, 3, RUNNING)]);
  assertEquals(areOwnersKnown(both), false);
  assertEquals(areOwnersKnown(advance(both, 6, [createFailed(silent, 5)])), true);
});

Deno.test("attributeGpus() ignores foreign processes and remote servers", () => {
  const holders = [{ port: 8000, gpus: [0] }];
  const stranger = sampleGpus(watch([8000]), [EIGHT], [], [createGpuProcess(77)]);
  assertEquals(readShares(stranger).map(({ owner }) => owner), [null]);
  const remote = sampleGpus(watch([8000], "gpu1"), [EIGHT], holders);
  assertEquals(readShares(remote).map(({ owner }) => owner), [null]);
});

Deno.test("attributeGpus() keeps hosts apart, as does the bill", () => {
  const endpoints = [createEndpoint(8000), createEndpoint(8000, "gpu1")];
  const scraped = endpoints.map((endpoint) => createScraped(endpoint, 1, RUNNING));
  const here = sampleGpus(
    advance(startState(endpoints), 2, scraped),
    [EIGHT],
    [{ port: 8000, gpus: [0, 1] }],
  );
  assertEquals([tellGpus(here), here.bill.isLocalOnly], [[[0, 1], []], true]);
  const both = sampleGpus(here, [EIGHT], [{ port: 8000, gpus: [5] }], [], "gpu1");
  assertEquals(tellGpus(both), [[0, 1], [5]]);
  assertEquals(both.fleet.total.gpus.length, 3);
  const { basis, compute, hosts, isLocalOnly } = both.bill;
  assertEquals([basis, compute.gpuCount, isLocalOnly], ["serving", 3, false]);
  assertEquals(hosts.map(({ host, gpuCount }) => [host, gpuCount]), [
    [LOCAL_HOST, 2],
    ["gpu1", 1],
  ]);
  const panel = createGpuPanel(both, createPaint(null));
  const lines = panel?.draw({ width: 200, lines: 99 }) ?? [];
  assertEquals(lines.length, panel?.maxLines);
  assertEquals([lines[0], lines[10]], [LOCAL_HOST, "gpu1"]);
});

Deno.test("listGpus() is empty while samples fail", () => {
  const state = sampleGpus(watch([8000]), [EIGHT], [{ port: 8000, gpus: [0] }]);
  assertEquals(listGpus(getHost(state.hosts, LOCAL_HOST)).length, 8);
  const failed = failGpus(state, "timeout", "it hangs");
  assertEquals([listGpus(getHost(failed.hosts, LOCAL_HOST)), tellGpus(failed)], [[], [[]]]);
});

Deno.test("update() derives the fleet per tick, not per user choice", () => {
  const state = watchTroubledFleet();
  const context: UiContext = {
    lineKeys: state.fleet.rows.map(({ key }) => key),
    selectedGroup: null,
    openGroupKeys: new Set(),
    pageLines: 9,
    isText: false,
    eventKeys: [],
    presets: [],
    lastScroll: 0,
    sorts: [],
    troubledKeys: new Set(),
  };
  const choices: readonly Message[] = [
    { kind: "command", command: "down", context },
    { kind: "command", command: "group", context },
    { kind: "command", command: "open", context },
    { kind: "filter", edit: { kind: "insert", text: "kv>80%" } },
    { kind: "select", key: context.lineKeys[1], context },
    { kind: "sort", columnId: "kv", isDescending: true },
  ];
  const chosen = choices.reduce(update, state);
  assert(chosen.ui !== state.ui);
  assert(chosen.fleet === state.fleet && chosen.bill === state.bill);
  assert(settle(chosen).fleet !== state.fleet);
});

Deno.test("createFleet() keeps the figures of groups without a new sample", () => {
  const state = watchTroubledFleet();
  const later = advance(state, state.now + 1);
  later.fleet.groups.forEach(({ figures }, i) => assert(figures === state.fleet.groups[i].figures));
  assert(later.fleet.total.figures === state.fleet.total.figures);
});

/** Two models, of which the first has a replica that runs and finishes most requests. */
function watchSkewed(): State {
  const endpoints = [8000, 8001, 8002, 8003].map((port) => createEndpoint(port));
  let state = startState(endpoints, { interval: 10 });
  for (let at = 0; at <= 90; at += 10) {
    const messages = endpoints.map((endpoint, i) => {
      const text = writeEngine([
        ["num_requests_running", i === 0 ? 40 : 4],
        ['request_success_total{finished_reason="stop"}', at * (i === 0 ? 30 : 5)],
      ], i === 3 ? { model: "b/Chat" } : {});
      return createScraped(endpoint, at + i / 10, encode(text));
    });
    state = advance(state, at + 1, messages);
  }
  return state;
}

Deno.test("createFleet() gives rows their firing alerts", () => {
  const state = watchSkewed();
  const rulesOf = (alerts: State["evaluation"]["alerts"]) =>
    alerts.filter(({ isFiring }) => isFiring).map(({ first }) => first.rule);
  assertEquals(rulesOf(state.evaluation.alerts), ["sticky_skew", "running_skew"]);
  const [first, ...others] = state.fleet.rows;
  assertEquals(rulesOf(first.alerts), ["sticky_skew", "running_skew"]);
  assertEquals(others.map(({ alerts }) => alerts), [[], [], []]);
});

Deno.test("createFleet() gives each group its own model's checks", () => {
  const { fleet: { groups }, evaluation } = watchSkewed();
  assertEquals(groups.map(({ modelName }) => modelName), [MODEL, "b/Chat"]);
  const compared = groups.map(({ checks }) =>
    checks.map(({ checks: all }) => all.find(({ rule }) => rule === "running_skew")?.compared)
  );
  assertEquals(compared, [[3], [1]]);
  assertEquals(groups.flatMap(({ checks }) => checks).length, evaluation.groups.length);
});

Deno.test("createFleet() sorts events of replicas and GPUs by time", () => {
  const throttled = { throttleReasons: present(["thermal_hardware"] as const) };
  const hot = EIGHT.map((gpu) => gpu.index === 2 ? { ...gpu, ...throttled } : gpu);
  const other = createEndpoint(8001);
  const start = watch([8000, 8001]);
  const listEvents = (state: State) => state.fleet.events.map(({ kind }) => kind);
  assertEquals(listEvents(start), []);
  const stale = advance(start, 4, [createFailed(other, 3.5)]);
  assertEquals(listEvents(stale), ["STALE"]);
  const heated = [0, 1, 2, 3].reduce((state) => sampleGpus(state, [hot]), stale);
  assertEquals(listEvents(heated), ["STALE", "GPU"]);
  const later = advance(heated, heated.now + 40, [createFailed(other, heated.now + 39)]);
  assertEquals(listEvents(later), ["STALE", "GPU", "DOWN"]);
});

Deno.test("update() groups replicas of one model by kind of server, and compares within one", () => {
  const endpoints = [createEndpoint(9700), createEndpoint(9701), createEndpoint(9702)];
  const write = (at: number) => [
    writeEngine([["num_requests_running", 1], ["generation_tokens_total", 100 * at]], {
      model: "m",
    }),
    writeEngine([["num_requests_running", 2], ["generation_tokens_total", 200 * at]], {
      model: "m",
    }),
    `sglang:num_running_reqs{model_name="m"} 4\n` +
    `sglang:time_to_first_token_seconds_count{model_name="m"} 9\n` +
    `sglang:realtime_tokens_total{mode="decode",model_name="m"} ${400 * at}\n`,
  ];
  const state = [1, 11].reduce(
    (known, at) =>
      advance(
        known,
        at,
        endpoints.map((endpoint, i) => createScraped(endpoint, at, encode(write(at)[i]))),
      ),
    startState(endpoints),
  );
  const { fleet: { groups, total }, evaluation } = state;
  assertEquals(
    groups.map(({ label, figures }) => [
      label,
      figures.replicaCount,
      figures.running.value,
      figures.lastPoll.generationTokensPerSecond.value,
    ]),
    [["m (vLLM)", 2, 3, 300], ["m (SGLang)", 1, 4, 400]],
  );
  assertEquals([total.figures.running.value, total.figures.replicaCount], [7, 3]);
  assertEquals(evaluation.groups.map(({ keys }) => keys.length), [2, 1]);
});

Deno.test("update() counts no replica for what data-parallel ranks count together", () => {
  const endpoint = createEndpoint(9700);
  const body =
    ["0", "1"].map((rank) => `sglang:num_running_reqs{model_name="m",dp_rank="${rank}"} 1\n`).join(
      "",
    ) + 'sglang:num_requests_total{model_name="m"} 9\n';
  const { fleet } = advance(startState([endpoint]), 1, [createScraped(endpoint, 1, encode(body))]);
  assertEquals(fleet.rows.map(({ place }) => place), [":9700 all ranks", ":9700.e0", ":9700.e1"]);
  assertEquals([fleet.counts.total, fleet.counts.up, fleet.total.figures.replicaCount], [2, 2, 2]);
  assertEquals(fleet.total.figures.lifetime.finishedRequests, present(9));
});
