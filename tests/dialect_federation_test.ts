import { assertEquals } from "@std/assert";
import { parseFederation } from "../lib/dialect_federation.ts";

Deno.test("parseFederation() keeps each sample's own time, and no sample without", () => {
  const body = '# TYPE vllm:x untyped\nvllm:x{le="+Inf",job="a"} 3 1795886016800\n' +
    'vllm:x{le="1",job="a"} NaN 1795886016800\nup{job="a"} 1';
  assertEquals(parseFederation(new TextEncoder().encode(body)), [
    { metric: { __name__: "vllm:x", le: "+Inf", job: "a" }, values: [[1795886016.8, "3"]] },
    { metric: { __name__: "vllm:x", le: "1", job: "a" }, values: [[1795886016.8, "NaN"]] },
  ]);
});
