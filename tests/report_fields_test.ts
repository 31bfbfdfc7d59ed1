import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Ajv2020 } from "ajv/2020";
import { NO_PRICING } from "../lib/cost.ts";
import { createDemoFleet } from "../lib/demo.ts";
import { createReport, createReportSchema } from "../lib/report.ts";
import type { State } from "../lib/state.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  readGzip,
  settle,
  START_EPOCH,
  startState,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import {
  failGpus,
  heatGpu,
  loadHost,
  readMigGpus,
  readUnifiedGpus,
  sampleGpus,
} from "./fixtures/gpu_states.ts";
import { createGpuProcess, readGpus } from "./fixtures/gpus.ts";

/** The schema with no room for keys that it does not name. */
function forbidUnknownKeys(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(forbidUnknownKeys);
  if (typeof schema !== "object" || schema === null) return schema;
  const closed = Object.fromEntries(
    Object.entries(schema).map(([key, value]) => [key, forbidUnknownKeys(value)]),
  );
  return "properties" in closed && !("additionalProperties" in closed)
    ? { ...closed, additionalProperties: false }
    : closed;
}

const schema = createReportSchema();
const validate = new Ajv2020({ allErrors: true }).compile({ ...schema });
const validateStrictly = new Ajv2020({ allErrors: true })
  .compile({ ...forbidUnknownKeys(schema) as object });

function assertFits(state: State): void {
  const report: unknown = JSON.parse(JSON.stringify(createReport(state, "1.2.3")));
  validateStrictly(report);
  const problems = (validateStrictly.errors ?? []).map(({ instancePath, message, params }) =>
    `${instancePath.replaceAll(/\d+/g, "N")}: ${message} ${JSON.stringify(params)}`
  );
  assertEquals([...new Set(problems)], []);
}

Deno.test("createReportSchema() has every key of reports of fleets, well and in trouble", () => {
  assertFits(watchFleet(5));
  assertFits(watchTroubledFleet());
});

Deno.test("createReportSchema() has every key of reports of real scrapes, failures and silence", async () => {
  const endpoint = createEndpoint(8000);
  assertFits(startState([endpoint]));
  assertFits(advance(startState([endpoint]), 2, [createFailed(endpoint, 1)]));
  for (
    const file of [
      "scenarios/speculative/027.prom.gz",
      "fixtures/generated-v1-dp2-single-process.prom.gz",
      "scenarios/v0/head.prom.gz",
    ]
  ) {
    const body = await readGzip(file);
    const once = advance(startState([endpoint]), 1, [createScraped(endpoint, 1, body)]);
    assertFits(once);
    assertFits(advance(once, 3, [createScraped(endpoint, 3, body)]));
    assertFits(advance(once, 10, [createFailed(endpoint, 9)]));
  }
  const adapters = 'vllm:num_requests_running{engine="0",model_name="m"} 1\n' +
    'vllm:lora_requests_info{max_lora="2",running_lora_adapters="a,b"} 1\nbad {line\n' +
    'http_requests_total{status="2xx"} 4\n';
  assertFits(advance(startState([endpoint]), 1, [createScraped(endpoint, 1, encode(adapters))]));
});

Deno.test("createReportSchema() has every key of reports with events, and evidence for them", () => {
  const fleet = createDemoFleet(1, START_EPOCH);
  const endpoints = fleet.map((_, i) => createEndpoint(8000 + i));
  let state = startState(endpoints);
  for (let now = 0; now <= 150; now += 5) {
    const messages = fleet.map(({ server }, i) => {
      const body = server.expositionAt(now);
      return body === null
        ? createFailed(endpoints[i], now)
        : createScraped(endpoints[i], now, body);
    });
    state = advance(state, now, messages);
  }
  const text = JSON.stringify(createReport(state, "1.2.3"));
  for (const key of ["evidence", "worst", "replica", "kind"]) {
    assertStringIncludes(text, `"${key}":`);
  }
  assertFits(state);
});

Deno.test("createReportSchema() has every key of reports of GPUs and money", () => {
  const pricing = { ...NO_PRICING, tokenPrices: { input: 1, cachedInput: 0.1, output: 4 } };
  const fleet = settle({ ...watchFleet(5), pricing });
  const eight = readGpus("h100x8.tsv");
  const hot = heatGpu(eight, 3);
  const holders = [{ port: 8000, gpus: [0, 1] }, { port: 8001, gpus: [2, 3] }];
  const state = sampleGpus(fleet, [hot, hot], holders, [createGpuProcess(9)]);
  const text = JSON.stringify(createReport(state, "1.2.3"));
  for (const key of ["owner", "outlier", "gpu", "hint"]) assertMatch(text, RegExp(`"${key}":{`));
  assertFits(state);
  assertFits(failGpus(state, "timeout", "it hangs"));
  assertFits(loadHost(fleet, 0.98));
  assertFits(sampleGpus(fleet, [readMigGpus()]));
  assertFits(sampleGpus(fleet, [readUnifiedGpus()]));
  assertFits(sampleGpus(startState([]), [readGpus("t4-old-driver.tsv", "help-418.txt")]));
});

Deno.test("createReportSchema() lets new keys pass, and tells missing and wrong ones", () => {
  const report = JSON.parse(JSON.stringify(createReport(watchFleet(5), "1.2.3")));
  assert(validate({ ...report, newKey: 1 }));
  assertEquals(validateStrictly({ ...report, newKey: 1 }), false);
  const { total: _total, ...without } = report;
  assertEquals(validate(without), false);
  assertEquals(validate({ ...report, schema: 99 }), false);
  assertEquals(validate({ ...report, intervalSeconds: "2" }), false);
});
