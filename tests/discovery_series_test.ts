import { assertEquals } from "@std/assert";
import {
  createCollector,
  parseAnswer,
  parseTargetErrors,
  type Series,
} from "../lib/discovery_series.ts";

type Labels = Readonly<Record<string, string>>;

const series = (name: string, labels: Labels, ...values: [number, string][]): Series => ({
  metric: { __name__: name, ...labels },
  values,
});

/** Each target with its lines by time. */
function collect(
  scrapes: readonly Series[],
  engines: readonly (readonly Series[])[],
  knownTime = -Infinity,
): Readonly<Record<string, readonly string[]>> {
  const collector = createCollector(scrapes, () => knownTime);
  for (const some of engines) collector.add(some);
  return Object.fromEntries(
    [...collector.finish()].map(({ key, moments }) => [
      key,
      [...moments].map(([time, { texts, values }]) =>
        `${time}: ${texts.map((text, i) => `${text} ${values[i]}`).join("; ")}`
      ),
    ]),
  );
}

const PLACE = { job: "vllm", instance: "gpu1:8000", pod: "llama-0" };

Deno.test("createCollector() tells labels of the target from those of the metric by its up", () => {
  const scrapes = [
    series("up", PLACE, [10, "1"], [12, "1"]),
    series("process_start_time_seconds", PLACE, [10, "5"], [12, "5"]),
  ];
  const labels = { ...PLACE, model_name: 'a"\\b\n', engine: "0" };
  assertEquals(collect(scrapes, [[series("vllm:x", labels, [10, "1"], [12, "NaN"])]]), {
    "instance=gpu1%3A8000&job=vllm&pod=llama-0": [
      '10: vllm:x{model_name="a\\"\\\\b\\n",engine="0"} 1; process_start_time_seconds{} 5',
      '12: vllm:x{model_name="a\\"\\\\b\\n",engine="0"} NaN; process_start_time_seconds{} 5',
    ],
  });
  assertEquals(Object.values(collect(scrapes, [[series("vllm:x", labels, [12, "1"])]], 10)), [
    ['12: vllm:x{model_name="a\\"\\\\b\\n",engine="0"} 1; process_start_time_seconds{} 5'],
  ], "known times are left out");
});

Deno.test("createCollector() without an up takes the usual labels of targets", () => {
  assertEquals(collect([], [[series("vllm:x", { ...PLACE, engine: "1" }, [1, "2"])]]), {
    "instance=gpu1%3A8000&job=vllm&pod=llama-0": ['1: vllm:x{engine="1"} 2'],
  });
});

Deno.test("createCollector() leaves out what is not whole: a scrape that ended between two queries", () => {
  const scrapes = [series("up", PLACE, [10, "1"])];
  const first = [series("vllm:x", PLACE, [10, "1"])];
  const second = [series("vllm:y", PLACE, [10, "2"], [12, "3"])];
  assertEquals(Object.values(collect(scrapes, [first, second])), [["10: vllm:x{} 1; vllm:y{} 2"]]);
  assertEquals(Object.values(collect([], [first, second])), [["10: vllm:x{} 1; vllm:y{} 2"]]);
});

Deno.test("createCollector() restores what a federating server renamed, and joins a pair's replicas", () => {
  const renamed = {
    ...{ job: "federate", instance: "prom:9090", prometheus_replica: "a" },
    ...{ exported_job: "vllm", exported_instance: "gpu1:8000", exported_other: "x" },
  };
  const scrapes = [
    series("up", { job: "federate", instance: "prom:9090" }, [10, "1"]),
    series("up", renamed, [9, "1"]),
  ];
  const engines = [
    series("vllm:x", renamed, [9, "1"]),
    series("vllm:x", { ...renamed, prometheus_replica: "b" }, [8, "7"]),
  ];
  assertEquals(collect(scrapes, [engines]), {
    "instance=prom%3A9090&job=federate": [],
    "exported_other=x&instance=gpu1%3A8000&job=vllm": ["9: vllm:x{} 1", "8: vllm:x{} 7"],
  });
});

/** Its series, and what it warns of; or its error. */
function parse(text: string): unknown {
  const answer = parseAnswer(text);
  return "error" in answer ? answer.error : [[...answer.series], ...answer.warnings];
}

Deno.test("parseAnswer() reads matrices, vectors and scalars, and what Prometheus says is wrong", () => {
  const one: Series = { metric: { a: '},{"metric":' }, values: [[1, "2"], [3, "NaN"]] };
  const two: Series = { metric: { a: "]}]" }, values: [[4, "+Inf"]] };
  const write = (data: unknown, more: Readonly<Record<string, unknown>>, indent?: number) =>
    JSON.stringify({ status: "success", data, ...more }, null, indent);
  const matrix = (...result: unknown[]) => ({ resultType: "matrix", result });
  const warnings = ['store \u001b[2J "x"]}] is down'];
  for (const indent of [undefined, 2]) {
    assertEquals(parse(write(matrix(one, two), {}, indent)), [[one, two]]);
    assertEquals(parse(write(matrix(two), { warnings, infos: ["x"] }, indent)), [
      [two],
      'store \\x1b[2J "x"]}] is down',
    ]);
    assertEquals(parse(write(matrix(), {}, indent)), [[]]);
    const vector = { resultType: "vector", result: [{ metric: { a: "b" }, value: [1, "2"] }, {}] };
    assertEquals(parse(write(vector, {}, indent)), [[{ metric: { a: "b" }, values: [[1, "2"]] }]]);
  }
  assertEquals(parse(write(matrix({ metric: {}, values: [] }, one), {})), [[
    { metric: {}, values: [] },
    one,
  ]]);
  assertEquals(parse(write({ resultType: "scalar", result: [5.5, "5.5"] }, {})), [[
    { metric: {}, values: [[5.5, "5.5"]] },
  ]]);
  const failed = JSON.stringify({ status: "error", errorType: "bad_data", error: "parse error" });
  assertEquals(parse(failed), 'refused the query: "parse error"');
  const whole = write(matrix(one, two), {});
  for (const text of ["<html>", "", "[]", "null", '{"a": 1}', whole.slice(0, -1)]) {
    assertEquals(parse(text), "does not answer as Prometheus: check the URL and its path", text);
  }
});

Deno.test("parseTargetErrors() tells why targets are down, by the labels of their up", () => {
  // Of a real Prometheus 2.42, shortened, and with the words of VictoriaMetrics 1.79.
  const target = (pod: string, health: string, lastError: string) => ({
    labels: { instance: "localhost:18103", job: "vllm", pod, prometheus_replica: "a" },
    ...{ scrapePool: "vllm", scrapeUrl: "http://localhost:18103/metrics", lastError, health },
  });
  const refused = "dial tcp localhost:18103: connect: connection refused";
  const activeTargets = [
    target("gone-0", "down", `Get "http://localhost:18103/metrics?token=secret": ${refused}`),
    target("gone-2", "down", `error when scraping "http://localhost:1/metrics": ${refused}`),
    target("gone-1", "down", "server returned HTTP status 401 Unauthorized"),
    target("llama-0", "up", ""),
    target("llama-1", "down", ""),
    ...[null, 1, { health: "down" }],
  ];
  const body = JSON.stringify({ status: "success", data: { activeTargets, droppedTargets: [] } });
  assertEquals([...parseTargetErrors(body)], [
    ["instance=localhost%3A18103&job=vllm&pod=gone-0", refused],
    ["instance=localhost%3A18103&job=vllm&pod=gone-2", refused],
    [
      "instance=localhost%3A18103&job=vllm&pod=gone-1",
      "server returned HTTP status 401 Unauthorized",
    ],
  ]);
  for (const other of ["", "<html>", "[]", '{"status":"error"}', '{"data":{"activeTargets":{}}}']) {
    assertEquals(parseTargetErrors(other).size, 0);
  }
});
