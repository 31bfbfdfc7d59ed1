import { assertEquals } from "@std/assert";
import { readGzip } from "./fixtures/expositions.ts";
import { readText, startKind } from "./fixtures/kinds.ts";
import type { RawServer } from "./hostile_server.ts";
import { findFreePorts, readDocument, type ReportDocument, runProgram } from "./program_runs.ts";
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

function createOllama(port: number): ServerProcess {
  const path = "/usr/share/ollama/.ollama/models/blobs/sha256-d61e40e3e935";
  const models = readText("ollama/models.json");
  return {
    program: "ollama",
    args: ["serve"],
    port,
    answers: {
      "/": "Ollama is running",
      "/v1/models": models,
      "/api/version": '{"version":"0.32.0"}',
      "/api/ps": readText("ollama/ps.json"),
      "/api/tags": readText("ollama/tags.json"),
    },
    children: [{
      ...createLlamaServer(port + 1, ["--model", path]),
      answers: {
        "/props": JSON.stringify({ model_path: path }),
        "/metrics": readText("ollama/inner.prom"),
        "/slots": readText("ollama/inner.slots.json"),
      },
    }],
  };
}

Deno.test("a model of Ollama and the server that it started for it are one row", {
  ...needsProgram("ss"),
}, async () => {
  const port = findFreePorts(2);
  const ollama = await startServerProcess(createOllama(port));
  try {
    const [scanned, named] = await Promise.all([
      runProgram(["--auto", ...ONCE]),
      runProgram([`localhost:${port}`, `localhost:${port + 1}`, ...ONCE]),
    ]);
    const found = readDocument(scanned.stdout).replicas.filter(({ url }) =>
      [port, port + 1].some((one) => url.includes(`:${one}/`))
    );
    assertEquals(found.map(({ model, figures }) => [model, figures?.running]), [
      ["small-llama:latest", 1],
      ["second-llama:latest", null],
      ["third-llama:latest", null],
    ]);
    const { replicas, total } = readDocument(named.stdout);
    assertEquals(replicas.map((row) => row.isCountedElsewhere), [false, false, false, true]);
    assertEquals([total.running, total.sinceStart.generationTokens], [1, 112]);
  } finally {
    await ollama.close();
  }
});

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
    const { total: count, unloaded, countedElsewhere } = total.replicaCounts;
    assertEquals([count, unloaded, countedElsewhere], [1, 2, 1]);
  } finally {
    await router.close();
  }
});

/** Recorded metrics pages, and where they stand. */
const ROUTERS: readonly (readonly [recording: string, path: string])[] = [
  ["smg-1.13.0", "/metrics"],
  ["sglang-router-0.3.2", "/metrics"],
  ["vllm-router-0.1.17", "/metrics"],
  ["litellm-1.80.0", "/metrics/"],
  ["dynamo-1.6.1-frontend", "/metrics"],
];

Deno.test("routers are rows beside the engines that they pass requests to, and in no total", async () => {
  const read = async (name: string): Promise<string> =>
    new TextDecoder().decode(await readGzip(`fixtures/routers/${name}.prom.gz`));
  const { answers } = createLlamaServer(0);
  const engines = [
    startKind(() => answers, "llama.cpp"),
    await read("dynamo-1.6.1-worker").then((page) => startKind(() => ({ "/metrics": page }))),
  ];
  const routers = await Promise.all(ROUTERS.map(async ([recording, path]) => {
    const page = await read(recording);
    return startKind(() => ({ [path]: page, "/metrics": page }));
  }));
  try {
    const run = async (servers: readonly RawServer[]): Promise<ReportDocument> => {
      const { stdout } = await runProgram([...servers.map(({ origin }) => origin), ...ONCE]);
      return readDocument(stdout);
    };
    const [all, alone] = await Promise.all([run([...routers, ...engines]), run(engines)]);
    assertEquals(
      all.replicas.filter((row) => !row.isCountedElsewhere).map(({ url }) => url),
      alone.replicas.map(({ url }) => url),
    );
    assertEquals(all.replicas.filter((row) => row.isCountedElsewhere).length, ROUTERS.length);
    assertEquals(all.total.sinceStart, alone.total.sinceStart);
    assertEquals([all.total.running, all.total.replicas], [alone.total.running, 2]);
  } finally {
    await Promise.all([...routers, ...engines].map((server) => server.close()));
  }
});
