import { assertEquals, assertMatch } from "@std/assert";
import { NO_PRICING } from "../lib/cost.ts";
import type { Endpoint } from "../lib/model.ts";
import type { PodFacts } from "../lib/pod.ts";
import { renderText } from "../lib/view.ts";
import { renderLogPage } from "../lib/view_log.ts";
import { listPlaceRows } from "../lib/view_pod.ts";
import { createPaint } from "../lib/view_theme.ts";
import { advance, createEndpoint, createFailed, startState } from "./fixtures/expositions.ts";

const POD: PodFacts = {
  ...{ namespace: "prod", name: "llama-0", node: "gpu1", container: "vllm", state: "ready" },
  ...{ reason: null, restarts: [], gpus: [], startedAt: null },
};

function create(more: Partial<PodFacts> = {}, port = 8000): Endpoint {
  return { ...createEndpoint(port, "llama-0.prod.pod"), pod: { ...POD, ...more } };
}

Deno.test("listPlaceRows() tells labels, state, restarts and GPUs", () => {
  assertEquals(listPlaceRows(createEndpoint(8000)), []);
  assertEquals(listPlaceRows(create()), [["Pod", "ready"]]);
  const ended = { lastReason: "OOMKilled", lastExitCode: 137, lastFinishedAt: 1 };
  const unknown = { lastReason: null, lastExitCode: null, lastFinishedAt: null };
  const endpoint = create({
    state: "crashing",
    reason: "CrashLoopBackOff, exit code 137 (OOMKilled)",
    restarts: [{ container: "vllm", count: 17, ...ended }, {
      container: "proxy",
      count: 1,
      ...unknown,
    }],
    gpus: [
      { resource: "nvidia.com/gpu", count: 4, product: "NVIDIA-H100-80GB-HBM3" },
      { resource: "amd.com/gpu", count: 1, product: null },
    ],
  });
  const targetLabels = new Map([["pod", "llama-0"], ["node", "gpu1"]]);
  assertEquals(listPlaceRows({ ...endpoint, targetLabels }), [
    ["Labels", "pod=llama-0  node=gpu1"],
    ["Pod", "crashing: CrashLoopBackOff, exit code 137 (OOMKilled)"],
    ["Restarts", "17 restarts of vllm (last: OOMKilled, exit code 137), 1 restart of proxy"],
    ["Requests", "4 nvidia.com/gpu (NVIDIA-H100-80GB-HBM3), 1 amd.com/gpu"],
  ]);
});

Deno.test("the row of a pod that does not run has its state and reason in place of figures", () => {
  const pending = create({ state: "pending", reason: "Unschedulable: 0/8 nodes are available" });
  const crashing = create({ state: "crashing", reason: "CrashLoopBackOff, exit code 1" }, 8001);
  const endpoints = [pending, crashing];
  const state = advance(
    startState(endpoints),
    1,
    endpoints.map((endpoint) => createFailed(endpoint, 1, "pod")),
  );
  const options = { output: "table", depth: null, ascii: true } as const;
  const lines = renderText(state, options);
  const text = lines.join("\n");
  assertMatch(text, /:8000 +LOAD +pod pending: Unschedulable: 0\/8 nodes are available/);
  assertMatch(text, /:8001 +DOWN +pod crashing: CrashLoopBackOff, exit code 1\n/);
  const paint = createPaint(null);
  assertEquals(
    renderLogPage(state.fleet.rows[0], state, { width: 80, paint }),
    [" reading the log of :8000 …"],
    "no login to a host of that name",
  );
});

Deno.test("the panel of costs says which pods are billed, and at what price", () => {
  const gpu = { resource: "nvidia.com/gpu", count: 2, product: "NVIDIA H100 80GB HBM3" };
  const share = { ...gpu, resource: "nvidia.com/mig-1g.10gb" };
  const draw = (endpoints: readonly Endpoint[], usdPerGpuHour: number | null): string => {
    const state = startState(endpoints, { pricing: { ...NO_PRICING, usdPerGpuHour } });
    const lines = renderText(advance(state, 1), { output: "table", depth: null, ascii: true });
    return lines.join("\n");
  };
  const whole = draw([create({ gpus: [gpu] })], null);
  assertMatch(
    whole,
    /2 GPUs .*2x H100 80GB HBM3 at \$3\.39\/h each: .*bills the GPUs that pods request\n?$/s,
  );
  const both = draw([create({ gpus: [gpu] }), create({ name: "b", gpus: [share] }, 8001)], 2);
  assertMatch(
    both,
    /2 GPUs .*bills the GPUs that pods request; servers that request no whole GPU are not/s,
  );
  const unknown = draw([create({ gpus: [{ ...gpu, product: null }] })], null);
  assertEquals(unknown.includes("COST"), false);
});
