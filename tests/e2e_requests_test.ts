import { assertEquals } from "@std/assert";
import { readGzip } from "./fixtures/expositions.ts";
import { type Answers, readText, startKind } from "./fixtures/kinds.ts";
import { VLLM_BODY } from "./hostile_server.ts";
import { readDocument, runProgram } from "./program_runs.ts";

async function readBody(name: string): Promise<string> {
  return new TextDecoder().decode(await readGzip(`fixtures/${name}.prom.gz`));
}

const list = (owner: string): string =>
  JSON.stringify({ object: "list", data: [{ id: "m", owned_by: owner }] });

interface Watched {
  readonly answers: Answers;
  readonly serverHeader?: string;
  /** Of `--engine`. */
  readonly engine?: string;
  /** Before the first round, and after it: who it is, and how it was started. */
  readonly once: readonly string[];
  readonly eachRound: readonly string[];
}

const ONCE = ["/v1/models"];
const WITH_VERSION = [...ONCE, "/version"];
const QUERY = "?model=small-llama&autoload=false";

async function createKinds(): Promise<Readonly<Record<string, Watched>>> {
  const props = readText("llamacpp/props.json");
  const models = list("llamacpp");
  const llamaCpp = {
    "/v1/models": models,
    "/props": props,
    "/metrics": readText("llamacpp/load-010.prom"),
    "/slots": readText("llamacpp/load-010.slots.json"),
  };
  const tgi = {
    "/metrics": await readBody("engines/tgi-3.3.7/010"),
    "/info": readText("engines/tgi-3.3.7/info.json"),
  };
  return {
    "vLLM": {
      answers: { "/metrics": VLLM_BODY, "/v1/models": list("vllm") },
      once: WITH_VERSION,
      eachRound: ["/metrics"],
    },
    "SGLang": {
      answers: {
        "/metrics": await readBody("sglang-0.5.23/008"),
        "/v1/loads": readText("sglang-0.5.23/idle.loads.json"),
        "/v1/models": list("sglang"),
      },
      once: ONCE,
      eachRound: ["/metrics", "/v1/loads"],
    },
    "llama.cpp": {
      answers: llamaCpp,
      serverHeader: "llama.cpp",
      once: ONCE,
      eachRound: ["/props", "/metrics", "/slots"],
    },
    "llama.cpp asleep": {
      answers: {
        "/v1/models": models,
        "/props": readText("llamacpp/props-asleep.json"),
        "/metrics": llamaCpp["/metrics"],
      },
      serverHeader: "llama.cpp",
      once: ONCE,
      eachRound: ["/props", "/metrics"],
    },
    "llama.cpp before b10666 asleep": {
      answers: {
        "/v1/models": models,
        "/props": readText("llamacpp/props-asleep.json").replace("b11434", "b10434"),
      },
      serverHeader: "llama.cpp",
      once: ONCE,
      eachRound: ["/props"],
    },
    "llama.cpp router": {
      answers: {
        "/v1/models": models,
        "/props": readText("llamacpp/router-props.json"),
        "/models": readText("llamacpp/router-models.json"),
        [`/metrics${QUERY}`]: llamaCpp["/metrics"],
        [`/slots${QUERY}`]: llamaCpp["/slots"],
      },
      serverHeader: "llama.cpp",
      once: [...ONCE, "/props"],
      eachRound: ["/models", `/metrics${QUERY}`, `/slots${QUERY}`],
    },
    "llama.cpp behind a proxy": {
      answers: { ...llamaCpp, "/v1/models": 401 },
      engine: "llamacpp",
      once: ONCE,
      eachRound: ["/props", "/metrics", "/slots"],
    },
    "Ollama": {
      answers: {
        "/": "Ollama is running",
        "/v1/models": readText("ollama/models.json"),
        "/api/version": '{"version":"0.32.0"}',
        "/api/ps": readText("ollama/ps.json"),
        "/api/tags": readText("ollama/tags.json"),
      },
      once: ["/", "/api/version", "/api/tags", ...ONCE],
      eachRound: ["/api/ps"],
    },
    "TGI": {
      answers: { ...tgi, "/v1/models": readText("engines/tgi-3.3.7/models.json") },
      // To recognise it, and for its model.
      once: ["/info", "/info", ...ONCE],
      eachRound: ["/metrics"],
    },
    "LMDeploy": {
      answers: {
        "/metrics": await readBody("engines/lmdeploy-0.18/010"),
        "/v1/models": list("lmdeploy"),
      },
      once: ONCE,
      eachRound: ["/metrics"],
    },
    "trtllm-serve": {
      answers: {
        "/prometheus/metrics": await readBody("engines/trtllm-serve-1.3/010"),
        "/v1/models": list("tensorrt_llm"),
      },
      once: WITH_VERSION,
      eachRound: ["/prometheus/metrics"],
    },
  };
}

Deno.test("each kind of server gets its questions, and no others", async () => {
  const kinds = await createKinds();
  const servers = Object.values(kinds).map(({ answers, serverHeader }) =>
    startKind(() => answers, serverHeader)
  );
  const forced = Object.values(kinds).flatMap(({ engine }, i) =>
    engine === undefined ? [] : ["--engine", `${servers[i].origin}=${engine}`]
  );
  try {
    const urls = servers.map(({ origin }) => origin);
    const args = ["--once", "--interval", "0.5", "--output", "json", "--no-gpu"];
    const { stdout, stderr } = await runProgram([...urls, ...forced, ...args]);
    assertEquals(stderr, "");
    assertEquals(
      readDocument(stdout).endpoints.map(({ failure }) => failure?.message),
      servers.map(() => undefined),
    );
    const asked = servers.map(({ requests }) => requests.map((head) => head.split("\r\n", 1)[0]));
    const names = Object.keys(kinds);
    const write = (paths: readonly string[]): readonly string[] =>
      paths.map((path) => `GET ${path} HTTP/1.1`).toSorted();
    assertEquals(
      Object.fromEntries(names.map((name, i) => [name, asked[i].toSorted()])),
      Object.fromEntries(names.map((name) => {
        const { once, eachRound } = kinds[name];
        return [name, write([...once, ...eachRound, ...eachRound])];
      })),
    );
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

Deno.test("doctor asks no server for a page for which polls do not ask", async () => {
  const kinds = Object.values(await createKinds());
  const servers = kinds.map(({ answers, serverHeader }) => startKind(() => answers, serverHeader));
  const forced = kinds.flatMap(({ engine }, i) =>
    engine === undefined ? [] : ["--engine", `${servers[i].origin}=${engine}`]
  );
  try {
    const { stderr } = await runProgram(
      ["doctor", ...servers.map(({ origin }) => origin), ...forced, "--no-gpu"],
    );
    assertEquals(stderr, "");
    for (const [i, { once, eachRound }] of kinds.entries()) {
      const asked = servers[i].requests.map((head) => head.split(" ")[1]);
      assertEquals(asked.filter((path) => ![...once, ...eachRound].includes(path)), []);
    }
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});
