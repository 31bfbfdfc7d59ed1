import { assertEquals } from "@std/assert";
import { findGpuPrice } from "../lib/cost_prices.ts";
import { createNodeProducts } from "../lib/discovery_nodes.ts";
import type { Problem } from "../lib/scrape_errors.ts";

type Answer = Readonly<Record<string, string>> | Problem;

function isProblem(answer: Answer): answer is Problem {
  return "message" in answer;
}

/** Answers with the labels of a node, or a problem, and notes which it was asked for. */
function start(answer: (node: string) => Answer) {
  const asked: string[] = [];
  const products = createNodeProducts({
    get: (path) => {
      const node = path.slice(path.lastIndexOf("/") + 1);
      asked.push(node);
      const labels = answer(node);
      if (isProblem(labels)) return Promise.resolve(labels);
      const bytes = new TextEncoder().encode(JSON.stringify({ metadata: { labels } }));
      return Promise.resolve({ status: 200, bytes });
    },
  });
  return { products, asked };
}

Deno.test("createNodeProducts() reads the GPU of each node once, by the labels that clusters give", async () => {
  const labels: Readonly<Record<string, Readonly<Record<string, string>>>> = {
    a: { "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "nvidia.com/gpu.count": "8" },
    b: { "cloud.google.com/gke-accelerator": "nvidia-tesla-t4" },
    c: { "kubernetes.io/hostname": "c" },
  };
  const { products, asked } = start((node) => labels[node]);
  await products.learn(["a", "b", "a"]);
  await products.learn(["c", "a"]);
  assertEquals(asked, ["a", "b", "c"]);
  const names = ["a", "b", "c", "unknown", null].map(products.get);
  assertEquals(names, ["NVIDIA H100 80GB HBM3", "nvidia tesla t4", null, null, null]);
  assertEquals(names.slice(0, 2).map((name) => findGpuPrice(name ?? "")?.match), ["H100", "T4"]);
});

Deno.test("createNodeProducts() asks for no more once it is refused, and again after other failures", async () => {
  const many = Array.from({ length: 30 }, (_, i) => `n${i}`);
  const refused = start(() => ({ kind: "unauthorized", message: "no" }));
  await refused.products.learn(many);
  await refused.products.learn(many);
  assertEquals(refused.asked, ["n0"]);
  let isDown = true;
  const failing = start((): Answer =>
    isDown ? { kind: "cluster", message: "down" } : { "nvidia.com/gpu.product": "NVIDIA-L4" }
  );
  await failing.products.learn(many);
  isDown = false;
  await failing.products.learn(many);
  assertEquals([failing.asked.length, new Set(failing.asked).size], [60, 30]);
  assertEquals(new Set(many.map(failing.products.get)), new Set(["NVIDIA L4"]));
});
