import { assertEquals, assertMatch } from "@std/assert";
import { readText, startKind } from "./fixtures/kinds.ts";
import { findFreePorts, readDocument, runProgram } from "./program_runs.ts";
import { startServerProcess } from "./server_processes.ts";

const QUERY = "?model=small-llama&autoload=false";

const JSON_ONCE = ["--once", "--interval", "0", "--output", "json", "--no-gpu"];

/** A llama.cpp router whose models are in each of the states. */
function startRouter() {
  const status = {
    "small-llama": { value: "loaded" },
    "one-loads": { value: "loading" },
    "one-sleeps": { value: "sleeping" },
    "one-failed": { value: "unloaded", failed: true, exit_code: 1 },
    "one-unloaded": { value: "unloaded" },
  };
  return startKind(() => ({
    "/v1/models": '{"object":"list","data":[{"id":"small-llama","owned_by":"llamacpp"}]}',
    "/props": readText("llamacpp/router-props.json"),
    "/models": JSON.stringify({
      data: Object.entries(status).map(([id, one]) => ({ id, status: one })),
    }),
    [`/metrics${QUERY}`]: readText("llamacpp/load-010.prom"),
    [`/slots${QUERY}`]: readText("llamacpp/load-010.slots.json"),
  }), "llama.cpp");
}

Deno.test("the states of models are told apart, a failed one is trouble, an unloaded one no replica", async () => {
  const router = startRouter();
  try {
    const args = [router.origin, "--once", "--interval", "0", "--no-gpu"];
    const json = await runProgram([...args, "--output", "json"]);
    const { replicas, total, verdict } = readDocument(json.stdout);
    assertEquals(
      replicas.map(({ model, status, modelState, modelFault }) =>
        [model, status, modelState, modelFault].join(" ").trim()
      ),
      [
        "small-llama QUEUING loaded",
        "one-loads LOAD loading",
        "one-sleeps SLEEP asleep",
        "one-failed DOWN failed its process ended with exit code 1: see the log of the router",
        "one-unloaded UNLOADED unloaded",
      ],
    );
    const { total: count, up, loading, down, unloaded } = total.replicaCounts;
    assertEquals({ count, up, loading, down, unloaded }, {
      ...{ count: 4, up: 2, loading: 1, down: 1, unloaded: 1 },
    });
    assertEquals(verdict.status, "CRITICAL");
    const text = await runProgram(args);
    assertMatch(text.stdout, /4 replicas/);
    assertMatch(text.stdout, /2 of 4 up, 1 loading, 1 unloaded/);
    assertMatch(text.stdout, /DOWN .*one-failed.* its process ended with exit code 1/);
    const card = await runProgram([router.origin, "--diagnose", "--interval", "0", "--no-gpu"]);
    assertMatch(card.stdout, /CRITICAL one-failed: down/);
    assertEquals([json.code, text.code], [0, 0]);
  } finally {
    await router.close();
  }
});

Deno.test("a local llama.cpp that can sleep is not kept awake, also if it is named by its URL", async () => {
  const readUsage = async (...options: readonly string[]): Promise<unknown> => {
    const port = findFreePorts(1);
    const server = await startServerProcess({
      program: "llama-server",
      args: [...options, "--port", `${port}`],
      port,
      serverHeader: "llama.cpp",
      answers: {
        "/props": readText("llamacpp/props.json"),
        "/metrics": readText("llamacpp/load-010.prom"),
        "/slots": readText("llamacpp/load-010.slots.json"),
      },
    });
    try {
      const url = `localhost:${port}`;
      const { stdout } = await runProgram([url, ...JSON_ONCE]);
      const [{ figures }] = readDocument(stdout).replicas;
      return [figures?.running, typeof figures?.kvCacheUsageRatioMax];
    } finally {
      await server.close();
    }
  };
  // The KV-cache usage is from /slots, which keeps a server awake.
  assertEquals(await readUsage("--metrics"), [4, "number"]);
  assertEquals(await readUsage("--metrics", "--sleep-idle-seconds", "60"), [4, "object"]);
});
