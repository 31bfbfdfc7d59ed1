import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { parseEndpointUrl } from "../lib/endpoint.ts";
import type { Endpoint } from "../lib/model.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { ANONYMOUS_ACCESS } from "../lib/scrape_credentials.ts";
import { fetchServerIdentity, parseModelList, parseVersion } from "../lib/scrape_server_info.ts";
import { formatResponse, startRawServer } from "./hostile_server.ts";
import { startVllmServer } from "./vllm_server.ts";

const platform = createDenoPlatform();

function readEndpoint(url: string): Endpoint {
  const typed = parseEndpointUrl(url);
  if ("error" in typed) throw new Error(typed.error);
  return typed.endpoint;
}

const ask = (url: string, timeout = 4, access = ANONYMOUS_ACCESS) =>
  fetchServerIdentity(platform, readEndpoint(url), { access, timeout });

Deno.test("fetchServerIdentity() asks for version and models, once each, by GET", async () => {
  const server = await startVllmServer({ version: "0.10.2" });
  const { version, models } = await ask(server.url);
  assertEquals(version, "0.10.2");
  assertEquals(models?.models.map(({ id, maxModelLength }) => [id, maxModelLength]), [
    ["meta-llama/Llama-3.1-8B-Instruct", 32_768],
  ]);
  assertEquals(server.requests, ["GET /version", "GET /v1/models"]);
  await server.close();
});

Deno.test("fetchServerIdentity() asks under the endpoint's path, with the endpoint's own credentials", async () => {
  const heads: string[] = [];
  const server = startRawServer(async ({ send }, head) => {
    heads.push(head);
    await send(formatResponse("{}"));
  });
  const readHeaders = () => Promise.resolve({ authorization: "Bearer abc" });
  await ask(`${server.origin}/a/metrics`, 4, { ...ANONYMOUS_ACCESS, readHeaders });
  assertEquals(heads.map((head) => head.split(" ")[1]), ["/a/version", "/a/v1/models"]);
  for (const head of heads) {
    assert(/^authorization: Bearer abc\r$/im.test(head), head);
    assert(/^user-agent: vllm-htop\/\d/im.test(head), head);
    assert(/^accept-encoding: identity\r$/im.test(head), head);
  }
  await server.close();
});

Deno.test("fetchServerIdentity() asks at the root of the API, wherever the metrics are", async () => {
  for (const path of ["/v1/metrics", "/v1", "/prometheus/metrics", "/endpoints-metrics"]) {
    const asked: string[] = [];
    const server = startRawServer(async ({ send }, head) => {
      asked.push(head.split(" ")[1]);
      await send(formatResponse("{}"));
    });
    await ask(server.origin + path);
    assertEquals(asked, ["/version", "/v1/models"], path);
    await server.close();
  }
});

const NOTHING = { version: null, models: null };

Deno.test("fetchServerIdentity() learns nothing from what is no answer, and never rejects", async () => {
  const answers = [
    formatResponse("", { status: 401 }),
    formatResponse('{"version":"0.10.2"}', { status: 500 }),
    formatResponse("<html></html>"),
    "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    formatResponse(`{"version":"0.10.2"}${" ".repeat(2 ** 20)}`),
    "nonsense\r\n\r\n",
  ];
  for (const answer of answers) {
    const server = startRawServer(async ({ send, close }) => {
      await send(answer);
      close();
    });
    assertEquals(await ask(server.origin), NOTHING, answer.slice(0, 40));
    await server.close();
  }
  const silent = startRawServer(({ wait }) => wait(60_000));
  const startedAt = platform.monotonicSeconds();
  assertEquals(await ask(silent.origin, 0.2), NOTHING);
  assert(platform.monotonicSeconds() - startedAt < 30);
  await silent.close();
  assertEquals(await ask(silent.origin), NOTHING);
  const unreadable = {
    ...ANONYMOUS_ACCESS,
    readHeaders: () => Promise.reject(new Error("the token file does not exist")),
  };
  assertEquals(await ask(silent.origin, 4, unreadable), NOTHING);
});

// As vLLM 0.32.0 answers, shortened (vllm/entrypoints/openai/models/protocol.py).
const MODELS = JSON.stringify({
  object: "list",
  data: [
    {
      id: "Qwen/Qwen3-8B",
      object: "model",
      created: 1_795_300_000,
      owned_by: "vllm",
      root: "/models/qwen",
      parent: null,
      max_model_len: 40_960,
      permission: [],
    },
    { id: "sql", object: "model", owned_by: "vllm", parent: "Qwen/Qwen3-8B", max_model_len: null },
  ],
});

Deno.test("parseVersion() takes vLLM's versions, and nobody else's", () => {
  for (const version of ["0.10.2", "0.11.2.dev12+gabc1234", "0.4.0.post1", "1.0.0rc1"]) {
    assertEquals(parseVersion(JSON.stringify({ version })), version);
  }
  for (
    const text of [
      "",
      "0.10.2",
      '"0.10.2"',
      "null",
      "[]",
      '{"version":10}',
      '{"version":"v1.33.0"}',
      '{"version":"unknown"}',
      '{"version":"0.1\\u001b[2J"}',
      // Kubernetes, Docker, others.
      '{"major":"1","minor":"33","version":"1.33.0"}',
      '{"Version":"27.0.1"}',
      `{"version":"0.${"1".repeat(100)}"}`,
    ]
  ) {
    assertEquals(parseVersion(text), null, text);
  }
});

Deno.test("parseModelList() reads cards, adapters and owners", () => {
  assertEquals(parseModelList(MODELS), {
    models: [
      { id: "Qwen/Qwen3-8B", parent: null, maxModelLength: 40_960 },
      { id: "sql", parent: "Qwen/Qwen3-8B", maxModelLength: null },
    ],
    owners: new Set(["vllm"]),
  });
});

Deno.test("parseModelList() leaves out what is malformed, and keeps few and safe texts", () => {
  for (const text of ["", "<html>", "null", "[]", '{"data":{}}', '{"error":"Unauthorized"}']) {
    assertEquals(parseModelList(text), null, text);
  }
  const cards = [null, 1, "m", {}, { id: "" }, { id: 7 }, { id: "\x1b[2Jm", max_model_len: -1 }];
  assertEquals(parseModelList(JSON.stringify({ data: cards }))?.models, [
    { id: "\\x1b[2Jm", parent: null, maxModelLength: null },
  ]);
  const many = Array.from({ length: 5000 }, (_, i) => ({ id: `m${i}` }));
  assertEquals(parseModelList(JSON.stringify({ data: many }))?.models.length, 256);
});

Deno.test("parseVersion() and readModelList() take any text", () => {
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
    parseVersion(text);
    const list = parseModelList(text);
    assert(list === null || list.models.every(({ id }) => id !== ""));
  }));
});
