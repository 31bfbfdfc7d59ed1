import { assertEquals } from "@std/assert";
import { watchLogs } from "../lib/app_logs.ts";
import { dispatch, startSession } from "../lib/app_session.ts";
import type { Source } from "../lib/discovery_source.ts";
import type { PodFacts } from "../lib/pod.ts";
import { createHost, LOCAL_HOST } from "../lib/host.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { createClock } from "./fixtures/clock.ts";
import { createEndpoint, createFailed, startState } from "./fixtures/expositions.ts";

/** A source that has found these pods, and tells which logs it was asked for. */
function createPodSource(asked: string[]): Source {
  return {
    getInterval: () => 15,
    look: () => Promise.resolve({ found: [], goneKeys: [], notices: null }),
    readLog: ({ name }) => {
      asked.push(name);
      return Promise.resolve({ problem: "no log" });
    },
  };
}

Deno.test("watchLogs() reads at most ten logs of a cluster at once, and each in turn", async () => {
  const clock = createClock();
  const platform = clock.platform;
  const pod: PodFacts = {
    ...{ namespace: "prod", name: "", node: null, container: "vllm", state: "starting" },
    ...{ reason: null, restarts: [], gpus: [], startedAt: null },
  };
  const endpoints = Array.from({ length: 25 }, (_, i) => ({
    ...createEndpoint(8000, `llama-${i}.prod.pod`),
    pod: { ...pod, name: `llama-${i}` },
  }));
  const parsed = parseArguments(["--kube"], () => undefined);
  if (parsed.kind !== "run") throw new Error("The arguments are refused");
  const asked: string[] = [];
  const session = startSession({
    ...{ platform, options: parsed.options, state: startState(endpoints) },
    view: { output: "auto", depth: null, ascii: false },
    hosts: new Map([[LOCAL_HOST, { ...createHost(LOCAL_HOST, platform), listProcesses: null }]]),
    notices: new Map([[createPodSource(asked), []]]),
  });
  for (const endpoint of endpoints.slice(1)) dispatch(session, createFailed(endpoint, 0));
  const watching = watchLogs(session);
  const rounds: number[] = [];
  for (let round = 0; round < 3; round++) {
    await clock.runUntil(10 * round);
    rounds.push(asked.length);
  }
  assertEquals(new Set(asked.slice(0, 24)).size, 24, "each of those that fail, before any again");
  assertEquals(asked.includes("llama-0"), false, "it is well");
  assertEquals(rounds, [10, 20, 30]);
  session.stop.abort();
  await clock.runUntil(40);
  await watching;
});
