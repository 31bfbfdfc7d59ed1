import { assertEquals } from "@std/assert";
import { readText } from "./fixtures/kinds.ts";
import { findFreePorts, readDocument, runProgram } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { type ServerProcess, startServerProcess } from "./server_processes.ts";

const ONCE = ["--once", "--interval", "0", "--output", "json", "--no-gpu"];
const METRICS = readText("llamacpp/load-010.prom");
const SLOTS = readText("llamacpp/load-010.slots.json");

/** A llama-server with one model. */
function createLlamaServer(port: number, args: readonly string[] = []): ServerProcess {
  return {
    program: "llama-server",
    args: [...args, "--port", `${port}`],
    port,
    serverHeader: "llama.cpp",
    answers: {
      "/props": readText("llamacpp/props.json"),
      "/metrics": METRICS,
      "/slots": SLOTS,
    },
  };
}

function createLlamaRouter(port: number): ServerProcess {
  const query = "?model=small-llama&autoload=false";
  return {
    ...createLlamaServer(port),
    answers: {
      "/props": readText("llamacpp/router-props.json"),
      "/models": readText("llamacpp/router-models.json"),
      [`/metrics${query}`]: METRICS,
      [`/slots${query}`]: SLOTS,
    },
    children: [createLlamaServer(port + 1, ["--alias", "small-llama"])],
  };
}

Deno.test("a llama.cpp router and its children are counted once", {
  ...needsProgram("ss"),
}, async () => {
  const port = findFreePorts(2);
  const router = await startServerProcess(createLlamaRouter(port));
  try {
    const [scanned, named] = await Promise.all([
      runProgram(["--auto", ...ONCE]),
      runProgram([`localhost:${port}`, `localhost:${port + 1}`, ...ONCE]),
    ]);
    // Those of other programs on this machine may be found, too.
    const found = readDocument(scanned.stdout).endpoints.filter(({ url }) =>
      [port, port + 1].some((one) => url.includes(`:${one}/`))
    );
    assertEquals(found.map(({ url }) => url), [`http://localhost:${port}/metrics`]);

    const { replicas, total } = readDocument(named.stdout);
    assertEquals(
      replicas.map(({ model, isCountedElsewhere, figures }) => [
        model,
        isCountedElsewhere,
        figures?.running,
      ]),
      [
        ["second-llama", false, null],
        ["small-llama", false, 4],
        ["third-llama", false, null],
        ["small-llama", true, 4],
      ],
    );
    assertEquals([total.running, total.sinceStart.generationTokens], [4, 719]);
    assertEquals([total.replicaCounts.total, total.replicaCounts.countedElsewhere], [3, 1]);
  } finally {
    await router.close();
  }
});
