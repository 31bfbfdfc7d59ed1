import { assertEquals, assertMatch } from "@std/assert";
import { parseConfig } from "../lib/cli_config.ts";
import type { Objective } from "../lib/model.ts";
import { parseArguments } from "./fixtures/arguments.ts";

function parse(argv: readonly string[], variable?: string) {
  return parseArguments(
    ["--demo", ...argv],
    (name) => name === "VLLM_HTOP_SLO" ? variable : undefined,
  );
}

function readObjectives(argv: readonly string[], variable?: string): readonly Objective[] {
  const parsed = parse(argv, variable);
  if (parsed.kind !== "run") throw new Error(JSON.stringify(parsed));
  return parsed.options.objectives;
}

function readMessage(text: string): string {
  const parsed = parse(["--slo", text]);
  if (parsed.kind !== "usage_error") throw new Error(`"${text}" is accepted`);
  return parsed.message;
}

Deno.test("--slo takes latencies, limits and targets, 95 % unless given", () => {
  assertEquals(readObjectives(["--slo", "ttft=1s,itl=50ms@p99, e2e=2.5s@p99.9"]), [
    { model: null, latency: "ttft", limit: 1, target: 0.95 },
    { model: null, latency: "itl", limit: 0.05, target: 0.99 },
    { model: null, latency: "e2e", limit: 2.5, target: 0.999 },
  ]);
  assertEquals(readObjectives([]), []);
});

Deno.test("--slo gives a limit in milliseconds as the number that a bucket's bound is", () => {
  for (const milliseconds of [0.1, 0.3, 1, 7.5, 10, 25, 35, 75, 100, 300, 2500]) {
    const [{ limit }] = readObjectives(["--slo", `tpot=${milliseconds}ms`]);
    assertEquals(String(limit), String(Number(`${milliseconds}e-3`)));
  }
  assertEquals(readObjectives(["--slo", "itl=300ms"])[0].limit, 0.3);
});

Deno.test("--slo takes objectives of one model, whose name may have colons and slashes", () => {
  const own: readonly Objective[] = [
    { model: null, latency: "ttft", limit: 1, target: 0.95 },
    { model: "org/llama3:8b", latency: "ttft", limit: 2, target: 0.95 },
    { model: "org/llama3:8b", latency: "queue", limit: 1, target: 0.95 },
  ];
  assertEquals(
    readObjectives(["--slo", "ttft=1s", "--slo", "org/llama3:8b:ttft=2s,queue=1s"]),
    own,
  );
  // One variable can say the same.
  assertEquals(readObjectives([], "ttft=1s,org/llama3:8b:ttft=2s,queue=1s"), own);
  assertEquals(readObjectives(["--slo", "e2e=9s"], "ttft=1s").length, 1);
});

Deno.test("--slo says in one sentence what is wrong with a value", () => {
  const messages: Readonly<Record<string, string>> = {
    "ttft=fast": '"ttft=fast" has no time as its limit: write it as in "ttft=1s" or "itl=50ms@p99"',
    "ttft=1": '"ttft=1" has a limit without a unit: did you mean "ttft=1s" or "ttft=1ms"?',
    "tftt=1s": '"tftt=1s" names an unknown latency: did you mean "ttft=1s"?',
    "e2el=1s": '"e2el=1s" names an unknown latency: did you mean "e2e=1s"?',
    "TTFT=1s": '"TTFT=1s" names an unknown latency: did you mean "ttft=1s"?',
    "speed=1s": '"speed=1s" names an unknown latency: ttft, itl, tpot, e2e, queue are known',
    "ttft=1s@99": '"ttft=1s@99" has a target that is not p1 to p100: did you mean "ttft=1s@p99"?',
    "ttft=1s@p101":
      '"ttft=1s@p101" has a target that is not p1 to p100: write it as in "p95", for 95 % of the requests',
    "ttft=1s@":
      '"ttft=1s@" has a target that is not p1 to p100: write it as in "p95", for 95 % of the requests',
    "ttft": '"ttft" is not LATENCY=LIMIT, such as "ttft=1s" or "itl=50ms@p99"',
    "ttft=1s,": '"" is not LATENCY=LIMIT, such as "ttft=1s" or "itl=50ms@p99"',
    "ttft=0ms": '"ttft=0ms" has a limit out of range: above 0, and at most a day',
    "ttft=-1s": '"ttft=-1s" has no time as its limit: write it as in "ttft=1s" or "itl=50ms@p99"',
    ":ttft=1s": '":ttft=1s" names no model before its colon',
    "ttft=1s,ttft=2s": '"ttft=2s" sets the same objective twice',
    "a:ttft=1s,tftt=2s": '"tftt=2s" names an unknown latency: did you mean "ttft=2s"?',
  };
  for (const [text, message] of Object.entries(messages)) {
    assertEquals(readMessage(text), `--slo ${message}`);
  }
  // Another target makes it another objective.
  assertEquals(readObjectives(["--slo", "ttft=1s@p95,ttft=3s@p99"]).length, 2);
});

Deno.test("--slo from a file names the line of a wrong value", () => {
  const config = parseConfig('{\n  "interval": 5,\n  "slo": ["ttft=1s", "big:itl=50"]\n}', ".");
  if ("error" in config) throw new Error(config.error);
  const parsed = parseArguments([], () => undefined, config.values);
  assertEquals(parsed.kind, "usage_error");
  assertMatch(
    parsed.kind === "usage_error" ? parsed.message : "",
    /^"slo" \(line 3\) "itl=50" has a limit without a unit: did you mean "itl=50s" or "itl=50ms"\?$/,
  );
});
