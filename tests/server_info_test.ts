import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { readModelList, readVersion } from "../lib/server_info.ts";

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

Deno.test("readVersion() takes vLLM's versions, and nobody else's", () => {
  for (const version of ["0.10.2", "0.11.2.dev12+gabc1234", "0.4.0.post1", "1.0.0rc1"]) {
    assertEquals(readVersion(JSON.stringify({ version })), version);
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
    assertEquals(readVersion(text), null, text);
  }
});

Deno.test("readModelList() reads cards, adapters and owners", () => {
  assertEquals(readModelList(MODELS), {
    models: [
      { id: "Qwen/Qwen3-8B", parent: null, maxModelLength: 40_960 },
      { id: "sql", parent: "Qwen/Qwen3-8B", maxModelLength: null },
    ],
    owners: new Set(["vllm"]),
  });
});

Deno.test("readModelList() leaves out what is malformed, and keeps few and safe texts", () => {
  for (const text of ["", "<html>", "null", "[]", '{"data":{}}', '{"error":"Unauthorized"}']) {
    assertEquals(readModelList(text), null, text);
  }
  const cards = [null, 1, "m", {}, { id: "" }, { id: 7 }, { id: "\x1b[2Jm", max_model_len: -1 }];
  assertEquals(readModelList(JSON.stringify({ data: cards }))?.models, [
    { id: "\\x1b[2Jm", parent: null, maxModelLength: null },
  ]);
  const many = Array.from({ length: 5000 }, (_, i) => ({ id: `m${i}` }));
  assertEquals(readModelList(JSON.stringify({ data: many }))?.models.length, 256);
});

Deno.test("readVersion() and readModelList() take any text", () => {
  fc.assert(fc.property(fc.oneof(fc.json(), fc.string()), (text) => {
    readVersion(text);
    const list = readModelList(text);
    assert(list === null || list.models.every(({ id }) => id !== ""));
  }));
});
