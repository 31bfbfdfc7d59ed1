import { assertEquals, assertMatch } from "@std/assert";
import { LOCAL_HOST } from "../lib/host.ts";
import type { HostLink } from "../lib/host_ssh_connection.ts";
import { update } from "../lib/state.ts";
import { getHost } from "../lib/state_gpus.ts";
import { measureWidth } from "../lib/text.ts";
import {
  formatCpu,
  isConnecting,
  listDownHosts,
  listGpuRemarks,
  renderHostLine,
} from "../lib/view_host.ts";
import { createGpuPanel } from "../lib/view_panel_gpu.ts";
import { createPaint } from "../lib/view_theme.ts";
import { createEndpoint, startState } from "./fixtures/expositions.ts";
import { loadHost, sampleGpus } from "./fixtures/gpu_states.ts";
import { readGpus } from "./fixtures/gpus.ts";

const paint = createPaint(null);
const STATE = loadHost({ ...startState([createEndpoint(8000)]), now: 60 }, 1.25);

function renderLine(width: number, state = STATE): string {
  const { fleet, now } = state;
  return renderHostLine(getHost(state.hosts, LOCAL_HOST), {
    ...{ name: "host", width, fleet, paint, now },
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

Deno.test("renderHostLine() tells of a host behind ssh how it is reached, its GPUs and its load", () => {
  const failure = { kind: "key", message: "ssh gpu1: Permission denied" } as const;
  const render = (link: HostLink, width = 200): string => {
    const state = loadHost(sampleGpus({ ...STATE, now: 60 }, [readGpus("h100.tsv")]), 1.25);
    const linked = update(state, { kind: "host_linked", host: LOCAL_HOST, link });
    const host = getHost(linked.hosts, LOCAL_HOST);
    return renderHostLine(host, { ...{ name: "gpu1", width, fleet: state.fleet, paint, now: 60 } });
  };
  const up = render({ kind: "up", latency: 0.0123, way: "forwarding" });
  assertMatch(
    up,
    /^gpu1 {2}ssh 12\.3 ms {2}1 GPU [▓░]{8} \d+ % {2}mem \S+ GiB {2}CPU 34 % \(64 cores\)/,
  );
  assertMatch(render({ kind: "up", latency: null, way: "curl" }), /^gpu1 {2}ssh by curl {2}1 GPU/);
  assertMatch(render({ kind: "connecting" }), /^gpu1 {2}ssh connecting {2}/);
  assertEquals(
    render({ kind: "down", failure, failures: 3, retryAt: 65 }),
    "gpu1  ssh down (key)  next try in 5s (3 failed)",
  );
  assertEquals(
    render({ kind: "down", failure, failures: 3, retryAt: 60 }),
    "gpu1  ssh down (key)  trying again (3 failed)",
  );
  assertEquals(
    render({ kind: "down", failure, failures: 1, retryAt: null }),
    "gpu1  ssh down (key)  r tries again",
  );
});

Deno.test("listDownHosts() says what fails with a host, and isConnecting() whether one may still come", () => {
  const failure = { kind: "host_key", message: "ssh gpu1: refused" } as const;
  const link = (link: HostLink) => update(STATE, { kind: "host_linked", host: "gpu1", link });
  const down = link({ kind: "down", failure, failures: 2, retryAt: null });
  assertEquals(listDownHosts(down).map(({ text }) => text), ["ssh gpu1: refused; r tries again"]);
  assertEquals([isConnecting(down), isConnecting(STATE)], [false, false]);
  assertEquals(isConnecting(link({ kind: "connecting" })), true);
  assertEquals(listGpuRemarks(getHost(down.hosts, "gpu1")), [], "its line says it");
});
