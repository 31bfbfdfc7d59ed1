import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { ServerInfo } from "../lib/model.ts";
import type { Message, State } from "../lib/state.ts";
import { renderDetail } from "../lib/view_detail.ts";
import { renderMetrics } from "../lib/view_page_facts.ts";
import { createPaint } from "../lib/view_theme.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  readGzip,
  startState,
  writeEngine,
  writeHistogram,
} from "./fixtures/expositions.ts";
import { watchFleet } from "./fixtures/fleets.ts";

const ENDPOINT = createEndpoint(8000);
const plain = createPaint(null);

function render(state: State, index = 0): readonly string[] {
  const fleet = state.fleet;
  return renderDetail(fleet.rows[index], state, { paint: plain, width: 120 }).flat();
}

function follow(...bodies: Uint8Array[]): State {
  return bodies.reduce(
    (state, body, i) => advance(state, 2 * i + 0.5, [createScraped(ENDPOINT, 2 * i, body)]),
    startState([ENDPOINT]),
  );
}

/** The titles of the sections: lines that are not indented. */
function listSections(lines: readonly string[]): string[] {
  return lines.filter((line) => /^\S/.test(line));
}

/** The cells of the line that begins with the title. */
function findCells(lines: readonly string[], title: string): string[] {
  const line = lines.find((candidate) => candidate.trim().startsWith(title));
  assert(line !== undefined, `no line "${title}"`);
  return line.trim().slice(title.length).trim().split(/ {2,}/);
}

Deno.test("renderDetail() has every section if the server exports everything", () => {
  assertEquals(listSections(render(watchFleet(3), 2)), [
    "Saturation",
    "Latency",
    "Throughput",
    "Trend",
    "Prefix cache",
    "Session (1m 04s)",
    "Requests finished since start",
    "Speculative decoding",
    "Configuration",
    "Scrape (OK)",
  ]);
});

Deno.test("renderDetail() leaves out what the server does not export", () => {
  const sections = listSections(render(follow(encode(writeEngine([["num_requests_running", 1]])))));
  assert(!sections.includes("Speculative decoding"));
  assert(!sections.includes("Requests finished since start"));
});

Deno.test("renderDetail() shows values per window and since start", () => {
  const lines = render(watchFleet(1));
  assertMatch(findCells(lines, "Output tok/s").join("|"), /^\d[\d.]*\|\d[\d.]*\|\d+$/);
  assertEquals(findCells(lines, "P50"), ["P95", "P99", "mean", "n", "P95@1m", "n@1m"]);
  assertEquals(findCells(lines, "TTFT").length, 7);
  assertMatch(findCells(lines, "KV cache").join("|"), /^\d+ %\|[▓░]{24}$/);
});

Deno.test("renderDetail() names figures that it leaves out, as their values cannot be", () => {
  const write = (count: number): Uint8Array =>
    encode(writeEngine([
      ["kv_cache_usage_perc", -0.39],
      ...writeHistogram("request_queue_time_seconds", [1], { counts: [count, count], sum: -count }),
    ]));
  const lines = render(follow(write(0), write(9)));
  assertEquals(findCells(lines, "KV cache"), ["—"]);
  assertEquals(findCells(lines, "Left out"), [
    "KV cache, mean of Queue: the exported value is impossible",
  ]);
  const fine = render(follow(encode(writeEngine([["kv_cache_usage_perc", 0.39]]))));
  assert(!fine.some((line) => line.includes("Left out")));
});

Deno.test("renderDetail() shows adapters as unknown if engines share one state", () => {
  const adapters = 'vllm:lora_requests_info{max_lora="1",running_lora_adapters="a"} 5\n';
  const write = (engines: readonly string[]): Uint8Array =>
    encode(
      engines.map((engine) => writeEngine([["num_requests_running", 1]], { engine })).join("") +
        adapters,
    );
  assertEquals(findCells(render(follow(write(["0"]))), "LoRA adapters"), ["a"]);
  assertMatch(findCells(render(follow(write(["0", "1"]))), "LoRA adapters")[0], /^n\/a/);
});

Deno.test("renderDetail() shows dashes for rates after one scrape", () => {
  const lines = render(follow(encode(writeEngine([["generation_tokens_total", 7]]))));
  assertEquals(findCells(lines, "Output tok/s"), ["—", "—", "7"]);
  assertEquals(findCells(lines, "TTFT"), ["—", "—", "—", "—", "—", "—", "—"]);
});

Deno.test("renderDetail() marks an estimated KV capacity", async () => {
  const cold = await readGzip("scenarios/multiprocess-cold/warm.prom.gz");
  assertStringIncludes(findCells(render(follow(cold)), "KV capacity")[0], "≈ ");
  const stated = 'vllm:cache_config_info{engine="0",kv_cache_size_tokens="43648"} 1\n';
  const lines = render(follow(encode(writeEngine([["num_requests_running", 1]]) + stated)));
  assertEquals(findCells(lines, "KV capacity"), ["43648 tokens"]);
});

Deno.test("renderDetail() shows the scrape, its bad lines and old metric names", async () => {
  const v0 = await readGzip("scenarios/v0/head.prom.gz");
  const lines = render(follow(new Uint8Array([...v0, ...encode("broken{\n")])));
  assertStringIncludes(findCells(lines, "Bad lines")[0], "1, the first at line");
  assertStringIncludes(findCells(lines, "Old metric names")[0], "gpu_cache_usage_perc");
  assertEquals(findCells(lines, "Swapped"), ["0"]);
  assertEquals(findCells(lines, "URL"), ["http://localhost:8000/metrics"]);
});

Deno.test("renderDetail() shows only the scrape of an endpoint that never answered", () => {
  const state = advance(startState([ENDPOINT]), 3, [createFailed(ENDPOINT, 2)]);
  const lines = render(state);
  assertEquals(listSections(lines), ["Scrape (DOWN)"]);
  assertEquals(findCells(lines, "URL"), ["http://localhost:8000/metrics"]);
  assertEquals(listSections(render(startState([ENDPOINT]))), ["Scrape (PENDING)"]);
});

Deno.test("renderDetail() shows restarts, rejections and LoRA adapters", () => {
  const write = (tokens: number): Uint8Array =>
    encode(
      writeEngine([["generation_tokens_total", tokens]]) +
        writeEngine([['admission_rejections_total{reason="max_num_queued_reqs"}', 3]], {
          engine: null,
        }) +
        'vllm:lora_requests_info{running_lora_adapters="sql,poet"} 1\n',
    );
  const lines = render(follow(write(9), write(1)));
  assertEquals(findCells(lines, "Restarts seen"), ["1"]);
  assertEquals(findCells(lines, "rejected: max_num_queued_reqs"), ["3", "all engines"]);
  assertEquals(findCells(lines, "LoRA adapters"), ["sql, poet"]);
});

Deno.test("renderDetail() shows the server's launch options", () => {
  const server: ServerInfo = {
    version: "0.32.0",
    models: [
      { id: "m", parent: null, maxModelLength: 40_960 },
      { id: "m-too", parent: null, maxModelLength: 40_960 },
      { id: "sql", parent: "m", maxModelLength: null },
    ],
    launch: {
      commandLine: "vllm serve m -tp 2 --api-key ***",
      parallelSizes: new Map([["tensor-parallel-size", 2]]),
    },
  };
  const known = follow(encode(writeEngine([["num_requests_running", 1]])));
  const state = advance(known, known.now, [
    { kind: "launch_read", endpointKey: ENDPOINT.key, server },
  ]);
  const lines = render(state);
  assertEquals(findCells(lines, "vLLM"), ["0.32.0"]);
  assertEquals(findCells(lines, "longest context"), ["40960 tokens"]);
  assertEquals(findCells(lines, "served as"), ["m, m-too"]);
  assertEquals(findCells(lines, "LoRA adapters"), ["sql"]);
  assertEquals(findCells(lines, "tensor-parallel-size"), ["2"]);
  assertEquals(findCells(lines, "command line"), ["vllm serve m -tp 2 --api-key ***"]);
});

Deno.test("renderDetail() explains a longer scrape interval", () => {
  const scraped = (at: number, duration: number): Message => {
    const message = createScraped(ENDPOINT, at, encode(writeEngine([["num_requests_running", 1]])));
    if (message.kind !== "scraped") throw new Error("No scrape");
    return { kind: "scraped", scrape: { ...message.scrape, duration } };
  };
  const cheap = advance(startState([ENDPOINT]), 3, [scraped(1, 0.05), scraped(3, 0.05)]);
  assert(!render(cheap).join("\n").includes("Polled"));
  const costly = advance(startState([ENDPOINT]), 9, [1, 3, 9].map((at) => scraped(at, 0.5)));
  assertMatch(
    findCells(render(costly), "Polled")[0],
    /^every \d+s, so that scrapes take at most 5 %/,
  );
});

Deno.test("renderMetrics() lists metrics with units, and marks unknown ones", () => {
  const [first, second] = [1, 3].map((corrupted) =>
    encode(writeEngine([
      ["num_requests_running", 1],
      ["corrupted_requests_total", corrupted],
      ["kv_offload_load_bytes_total", 3 * 1024 ** 2],
      ["kv_offload_cpu_cache_usage_perc", 0.25],
      ...writeHistogram("request_prompt_tokens", [10, 100], { counts: [1, 4, 4], sum: 60 }),
      ["brand_new", 7],
    ]))
  );
  const { fleet } = follow(first, second);
  const lines = renderMetrics(fleet.rows, { paint: plain, width: 120 });
  assertEquals(lines[0], " All metrics");
  assertEquals(findCells(lines, "Corrupted requests"), [
    "3 requests",
    "vllm:corrupted_requests_total",
  ]);
  assertEquals(findCells(lines, "Offload bytes loaded")[0], "3.00 MiB");
  assertEquals(findCells(lines, "Offload CPU cache pinned")[0], "25 %");
  assertEquals(findCells(lines, "Prompt length")[0], "4 observed, mean 15 tokens");
  assertEquals(findCells(lines, "unknown metric"), ["7", "vllm:brand_new"]);
  // A group is taken together.
  const twice = renderMetrics([...fleet.rows, ...fleet.rows], { paint: plain, width: 120 });
  assertEquals(twice[0], " All metrics of 2 replicas");
  assertEquals(findCells(twice, "Corrupted requests")[0], "6 requests");
  assertEquals(findCells(twice, "Offload CPU cache pinned")[0], "25 %");
});

Deno.test("renderDetail() leaves out the prefix cache if not exported", () => {
  const body = encode('sglang:num_running_reqs{model_name="m"} 1\n');
  assert(!listSections(render(follow(body, body))).includes("Prefix cache"));
});

Deno.test("renderDetail() shows each objective, in the minute, the session and since the start", () => {
  const write = (counts: readonly number[]) =>
    encode(writeEngine([
      ["num_requests_running", 1],
      ...writeHistogram("time_to_first_token_seconds", [0.25, 0.5], { counts, sum: 1 }),
    ]));
  const objective = { model: null, latency: "ttft", limit: 0.5, target: 0.95 } as const;
  const objectives = [objective, { ...objective, limit: 0.3, target: 0.999 }];
  const bodies = [[10, 10, 10], [40, 55, 60]].map(write);
  const state = bodies.reduce(
    (known, body, i) => advance(known, 2 * i + 0.5, [createScraped(ENDPOINT, 2 * i, body)]),
    startState([ENDPOINT], { objectives }),
  );
  const lines = render(state);
  assertEquals(findCells(lines, "TTFT ≤500 ms for 95 %"), [
    ...["90.0 %", "50", "90.0 %", "50", "91.6 %", "60"],
  ]);
  assertEquals(findCells(lines, "TTFT ≤300 ms for 99.9 %"), [
    ...["60–90 %", "50", "60–90 %", "50", "66–92 %", "60"],
  ]);
  assert(!listSections(render(follow(...bodies))).includes("Service levels"));
});
