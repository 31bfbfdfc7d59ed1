import { assertEquals, assertMatch } from "@std/assert";
import { examineEndpoint, type Remark } from "../lib/app_doctor_endpoint.ts";
import type { Endpoint } from "../lib/model.ts";
import { type Message, update } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  type Series,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";

const ENDPOINT = createEndpoint(8000);

const GAUGES: readonly Series[] = [
  ["num_requests_running", 1],
  ["num_requests_waiting", 0],
  ["generation_tokens_total", 5],
  ["prompt_tokens_total", 5],
];

function examine(body: string, duration?: number): readonly Remark[] {
  const scraped = createScraped(ENDPOINT, 0.9, encode(body));
  const message = scraped.kind === "scraped" && duration !== undefined
    ? { ...scraped, scrape: { ...scraped.scrape, duration } }
    : scraped;
  const state = update(advance(startState([ENDPOINT]), 1, [message]), {
    kind: "launch_read",
    endpointKey: ENDPOINT.key,
    server: { version: "0.9.1", models: [], launch: null },
  });
  return examineEndpoint(state.endpoints[0], 2);
}

function find(remarks: readonly Remark[], text: RegExp): Remark["level"] | undefined {
  return remarks.find((remark) => text.test(remark.text))?.level;
}

Deno.test("examineEndpoint() says who answers, and what is found under which name", () => {
  const remarks = examine(writeEngine([...GAUGES, ["gpu_cache_usage_perc", 0.5]]));
  assertMatch(remarks[0].text, /^vLLM 0\.9\.1: 1 engine of \S+, metrics begin with vllm:$/);
  assertEquals(find(remarks, /^figures under older names: .*gpu_cache_usage_perc/), "ok");
  assertEquals(find(remarks, /^a scrape takes 8\.00 ms: .* polled every 2 s$/), "ok");
});

Deno.test("examineEndpoint() gives the reason for each figure that is n/a, with versions", () => {
  const declared = "# TYPE vllm:time_to_first_token_seconds histogram\n";
  const remarks = examine(declared + writeEngine(GAUGES));
  assertEquals(find(remarks, /^n\/a, not exported: KV-cache usage, /), "warn");
  assertEquals(
    find(remarks, /^n\/a, not in this version: .*Corrupted requests \(since 0\.11\.1\)/),
    "ok",
  );
  assertEquals(
    find(remarks, /^n\/a, not a figure of this kind of server: .*failed transfers/),
    "ok",
  );
  assertEquals(find(remarks, /^n\/a, no sample yet: TTFT$/), "ok");
  assertEquals(
    find(
      remarks,
      /^n\/a, not exported without --speculative-config: Drafts, Draft tokens, /,
    ),
    "ok",
  );
  const complete = examine(
    declared +
      writeEngine([...GAUGES, ["kv_cache_usage_perc", NaN], ["num_preemptions_total", -1]]),
  );
  assertEquals(find(complete, /^n\/a, not a number: KV-cache usage$/), "warn");
  assertEquals(find(complete, /^n\/a, values that cannot be: /), "warn");
});

Deno.test("examineEndpoint() warns of a pod that is pending, as it is no failure", () => {
  const endpoint: Endpoint = {
    ...createEndpoint(8000, "llama-0.prod.pod"),
    pod: {
      ...{ namespace: "prod", name: "llama-0", node: null, container: "vllm", state: "pending" },
      ...{ reason: "Unschedulable", restarts: [], gpus: [], startedAt: null },
    },
  };
  const level = (message: Message) => {
    const [known] = advance(startState([endpoint]), 1, [message]).endpoints;
    return examineEndpoint(known, 2).map((remark) => remark.level);
  };
  assertEquals(level(createFailed(endpoint, 1, "pod")), ["warn"]);
  assertEquals(level(createFailed(endpoint, 1, "cluster")), ["fail"]);
});

Deno.test("examineEndpoint() names the option of metrics that are off", () => {
  const body = '# TYPE sglang:metrics_off gauge\nsglang:metrics_off{model_name="m"} 1\n' +
    'sglang:num_running_reqs{model_name="m"} 1\n';
  const remarks = examine(body);
  assertEquals(
    find(remarks, /^n\/a, switched off there: start it with --enable-metrics: .*TTFT/),
    "ok",
  );
});

Deno.test("examineEndpoint() warns of lines that cannot be read, and of scrapes that cost much", () => {
  const remarks = examine(writeEngine(GAUGES) + "vllm:broken{ 1\n");
  assertEquals(
    find(remarks, /^1 line of its metrics cannot be read, and is left out.*line 5/),
    "warn",
  );
  const slow = examine(writeEngine(GAUGES), 1.2);
  assertEquals(find(slow, /^a scrape takes 1\.20 s: .*instead of 2 s, .* 5(?:\.0)? %/), "warn");
});

Deno.test("examineEndpoint() passes on why a server does not answer", () => {
  const [known] = advance(startState([ENDPOINT]), 1, [createFailed(ENDPOINT, 0.9)]).endpoints;
  const [remark, ...rest] = examineEndpoint(known, 2);
  assertEquals([remark.level, rest.length], ["fail", 0]);
  assertMatch(remark.text, /nothing listens there; start the server$/);
  const [asked] =
    startState([{ ...ENDPOINT, warnings: ["certificates are not checked"] }]).endpoints;
  assertEquals(examineEndpoint(asked, 2).map(({ level }) => level), ["fail", "warn"]);
});
