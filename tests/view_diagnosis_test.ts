import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type State, update } from "../lib/state.ts";
import { maskSecrets, measureWidth } from "../lib/text.ts";
import { renderDiagnosis } from "../lib/view_diagnosis.ts";
import { renderSummary } from "../lib/view.ts";
import { getUiContext, layOutScene } from "../lib/view_scene.ts";
import {
  advance,
  createEndpoint,
  createFailed,
  createScraped,
  encode,
  startState,
  writeEngine,
} from "./fixtures/expositions.ts";
import { watchFleet, watchTroubledFleet } from "./fixtures/fleets.ts";
import { heatGpu, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const ENDPOINT = createEndpoint(8000);
const OPTIONS = { output: "auto", depth: null, ascii: false } as const;

/** The lines below a title, up to the blank one. */
function listSection(lines: readonly string[], title: string): readonly string[] {
  const from = lines.findIndex((line) => line.startsWith(title)) + 1;
  assert(from > 0, `no "${title}" in\n${lines.join("\n")}`);
  const to = lines.indexOf("", from);
  return lines.slice(from, to < 0 ? undefined : to);
}

function checkSize(lines: readonly string[]): void {
  assert(lines.length <= 60, `${lines.length} lines`);
  for (const line of lines) assert(measureWidth(line) <= 100, line);
}

function pressKey(state: State, command: "diagnose" | "pause"): State {
  const context = getUiContext(layOutScene(state, { columns: 80, rows: 24 }, OPTIONS));
  return update(state, { kind: "command", command, context });
}

Deno.test("renderDiagnosis() says what, where, since when and why, the worst first", () => {
  const lines = renderDiagnosis(watchTroubledFleet());
  checkSize(lines);
  assertMatch(
    lines[0],
    /^vllm-htop \d\S* {2}\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ {2}watched for 1m 04s$/,
  );
  assertEquals(lines[1], "CRITICAL  3 of 6 up");
  const problems = listSection(lines, "Problems");
  assertMatch(problems[0], /^ {2}CRITICAL .*:8002.*: down since \d\d:\d\d:\d\d, for 4\ds$/);
  assertStringIncludes(problems[1], "nothing listens there");
  assert(
    problems.some((line) => /DEGRADED .*:8001.*: stale since/.test(line)),
    problems.join("\n"),
  );
  const replicas = listSection(lines, "Replicas");
  assertMatch(replicas[1], / DOWN /);
  assertMatch(replicas[0], / OUT\/S +REQ\/S +TTFT@1m /);
  assertMatch(listSection(lines, "Events (UTC)")[0], /^ {2}\d\d:\d\d:\d\d {2}DOWN /);
});

Deno.test("renderDiagnosis() says that there is no problem", () => {
  assertEquals(listSection(renderDiagnosis(watchFleet(1)), "Problems"), ["  none"]);
});

Deno.test("renderDiagnosis() stays short, however many servers are in trouble", () => {
  const name = "a-very-long-model-name/".repeat(8);
  const endpoints = Array.from({ length: 200 }, (_, i) => createEndpoint(8000 + i));
  const state = endpoints.map((endpoint, i) => [endpoint, i] as const).reduce(
    (known, [endpoint, i]) =>
      advance(known, 40 + i / 100, [
        createScraped(
          endpoint,
          i / 100,
          encode(writeEngine([["num_requests_running", i]], { model: name + i })),
        ),
        ...i % 2 === 0
          ? [createFailed(endpoint, 40 + i / 100, i % 4 === 0 ? "timeout" : "tls")]
          : [],
      ]),
    startState(endpoints),
  );
  const [gpu] = readGpus("h100.tsv");
  const hot = Array.from({ length: 16 }, (_, index) => heatGpu([{ ...gpu, index }], index)).flat();
  const lines = renderDiagnosis(sampleGpus(state, [hot, hot]));
  checkSize(lines);
  assertMatch(listSection(lines, "Replicas").at(-1) ?? "", /^ {2}… \d+ more$/);
  assert(listSection(lines, "Problems").length > 2);
  assertStringIncludes(listSection(lines, "GPUs")[0], "too hot");
});

Deno.test("renderDiagnosis() names versions and command lines, without secrets", () => {
  const state = advance(startState([ENDPOINT]), 1, [
    createScraped(
      ENDPOINT,
      0,
      encode(
        writeEngine([["num_requests_running", 1]]) +
          'vllm:cache_config_info{engine="0",block_size="16"} 1\n',
      ),
    ),
  ]);
  const launched = (commandLine: string): string =>
    renderDiagnosis(advance(state, state.now, [{
      kind: "launch_read",
      endpointKey: ENDPOINT.key,
      server: {
        version: "0.32.0",
        models: [],
        launch: { commandLine, parallelSizes: new Map() },
      },
    }])).join("\n");
  const text = launched(
    "vllm serve m -tp 2 --api-key tr0ub4dor --hf-token hf_abcdefghijkl --x http://me:pw5@h/",
  );
  assertStringIncludes(text, "vLLM 0.32.0");
  assertStringIncludes(text, "vllm serve m -tp 2 --api-key ***");
  for (const secret of ["tr0ub4dor", "hf_abc", "pw5", "me:"]) assert(!text.includes(secret), text);
  assertEquals(maskSecrets(text), text);
  // Without its process, the options that it exports.
  assertStringIncludes(renderDiagnosis(state).join("\n"), "block_size=16");
});

Deno.test("renderSummary() prints the diagnosis of the moment on screen", () => {
  const healthy = watchFleet(1);
  assertEquals(renderSummary(healthy, OPTIONS), []);
  const asked = pressKey(healthy, "diagnose");
  const later = advance(asked, 100, [createFailed(ENDPOINT, 99)]);
  const expected = renderDiagnosis(healthy);
  assertEquals(renderSummary(later, OPTIONS).slice(-expected.length), expected);
  // Of the picture, while that is held; and the newest wish counts.
  const held = advance(pressKey(asked, "pause"), 100, [createFailed(ENDPOINT, 99)]);
  assertEquals(
    renderSummary(pressKey(held, "diagnose"), OPTIONS).slice(-expected.length),
    expected,
  );
  const again = renderSummary(pressKey(later, "diagnose"), OPTIONS);
  assert(again.some((line) => line.startsWith("CRITICAL")), again.join("\n"));
});

Deno.test("an asked diagnosis shows in the title, and keeps no older one", () => {
  const asked = pressKey(pressKey(watchFleet(1), "diagnose"), "diagnose");
  assertEquals([asked.noted?.noted, asked.noted?.held], [null, null]);
  const { title } = layOutScene(asked, { columns: 80, rows: 24 }, OPTIONS);
  assertStringIncludes(title.lines[0], "diagnosis on exit");
});
