import { assertEquals } from "@std/assert";
import { LOCAL_HOST } from "../lib/host.ts";
import { getHost } from "../lib/state_gpus.ts";
import { measureWidth } from "../lib/text.ts";
import { formatCpu, renderHostLine } from "../lib/view_host.ts";
import { createGpuPanel } from "../lib/view_panel_gpu.ts";
import { createPaint } from "../lib/view_theme.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { loadHost, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const paint = createPaint(null);
const STATE = loadHost({ ...startState([createEndpoint(8000)]), now: 60 }, 1.25);

function renderLine(width: number, state = STATE): string {
  const { load } = getHost(state.hosts, LOCAL_HOST);
  return load === null ? "" : renderHostLine(load, {
    ...{ name: "host", width, fleet: state.fleet, paint },
  });
}

Deno.test("renderHostLine() tells CPU, memory, load and the busiest API server, as far as there is room", () => {
  const whole = "host  CPU 34 % (64 cores)  mem 41.0/128 GiB  load 3.3" +
    "  API server :8000 125 % of a core";
  assertEquals(renderLine(200), whole);
  assertEquals(renderLine(whole.length), whole);
  assertEquals(renderLine(80), "host  CPU 34 % (64 cores)  mem 41.0/128 GiB  load 3.3");
  for (let width = 4; width < 120; width++) {
    assertEquals(measureWidth(renderLine(width)) <= width, true, String(width));
  }
});

Deno.test("formatCpu() warns of an API server that lacks a core, not of an engine that uses one", () => {
  const process = { pid: 1, name: "", user: "", endpointKey: "", engine: null, span: 30 };
  const format = (role: "api_server" | "engine_core", cores: number) =>
    formatCpu({ ...process, role, cpuCores: { value: cores } });
  assertEquals(format("api_server", 0.9), ["90 %", "warn"]);
  assertEquals(format("api_server", 0.89), ["89 %", "plain"]);
  assertEquals(format("engine_core", 1), ["100 %", "plain"]);
});

Deno.test("createGpuPanel() has the line of the host above its GPUs, and no panel for it alone", () => {
  assertEquals(createGpuPanel(STATE, paint), null);
  const panel = createGpuPanel(sampleGpus(STATE, [readGpus("h100.tsv")]), paint);
  const [host, heading, gpu, ...others] = panel?.draw({ width: 120, lines: 9 }) ?? [];
  assertEquals(host, renderLine(120));
  assertEquals([heading.slice(0, 3), gpu.slice(0, 6), others], ["GPU", "0 H100", []]);
  assertEquals(panel?.maxLines, 3);
});
