/**
 * One line about a machine: `host  CPU 34 % (64 cores)  mem 41.0/128 GiB  load 3.2  API server :8000
 * 98 % of a core`.
 * @module
 */

import { isPresent } from "./reading.ts";
import { FULL_CORE } from "./rules_advice.ts";
import type { Fleet } from "./state_fleet.ts";
import type { HostState } from "./state_gpus.ts";
import { measureWidth } from "./text.ts";
import { formatPercent } from "./view_format.ts";
import { GAP } from "./view_layout.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import { formatGpuReading, formatMemory } from "./view_words.ts";

type HostLoad = NonNullable<HostState["load"]>;
type ServerProcess = HostLoad["processes"][number];

interface LineSpace {
  readonly name: string;
  readonly width: number;
  readonly fleet: Fleet;
  readonly paint: Paint;
}

/** As the events name it. */
export function nameEndpoint({ rows }: Fleet, endpointKey: string): string {
  return rows.find(({ state }) => state.endpoint.key === endpointKey)?.state.displayName ?? "other";
}

/** `98 %` of a core; yellow if an API server lacks more. */
export function formatCpu({ role, cpuCores }: ServerProcess): readonly [string, Meaning] {
  const isFull = role === "api_server" && (cpuCores.value ?? 0) >= FULL_CORE;
  const text = formatGpuReading(cpuCores, (cores) => `${Math.round(cores * 100)} %`);
  return [text, isFull ? "warn" : "plain"];
}

type Span = readonly [text: string, meaning: Meaning];

/** Empty if the CPU of no API server is known. */
function listBusiestApiServer({ processes }: HostLoad, fleet: Fleet): readonly (readonly Span[])[] {
  const known = processes.filter((one) => one.role === "api_server" && isPresent(one.cpuCores));
  const [busiest] = known.toSorted((a, b) => (b.cpuCores.value ?? 0) - (a.cpuCores.value ?? 0));
  if (busiest === undefined) return [];
  const [percent, meaning] = formatCpu(busiest);
  const name = nameEndpoint(fleet, busiest.endpointKey);
  return [[["API server ", "dim"], [`${name} `, "plain"], [`${percent} of a core`, meaning]]];
}

/** Leaves out what does not fit, from the end. */
export function renderHostLine(load: HostLoad, { name, width, fleet, paint }: LineSpace): string {
  const { cpuRatio, loadAverage, processorCount: { value: count } } = load;
  const pieces: readonly (readonly Span[])[] = [
    [[name, "heading"]],
    [
      ["CPU ", "dim"],
      [formatGpuReading(cpuRatio, formatPercent), "plain"],
      [count === null ? "" : ` (${count} ${count === 1 ? "core" : "cores"})`, "dim"],
    ],
    [["mem ", "dim"], [formatMemory(load), "plain"]],
    [["load ", "dim"], [formatGpuReading(loadAverage, (tasks) => tasks.toFixed(1)), "plain"]],
    ...listBusiestApiServer(load, fleet),
  ];
  let left = width + GAP;
  const fitting = pieces.findIndex((spans) => {
    left -= GAP + measureWidth(spans.map(([text]) => text).join(""));
    return left < 0;
  });
  return pieces.slice(0, fitting < 0 ? undefined : fitting)
    .map((spans) => spans.map(([text, meaning]) => paint(text, meaning)).join(""))
    .join(" ".repeat(GAP));
}
