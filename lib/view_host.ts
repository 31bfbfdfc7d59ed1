/**
 * One line about a machine: `gpu1  ssh 12 ms  8 GPUs ▓▓▓▓▓░░░ 67 %  CPU 34 % (64 cores)  mem 41.0/128
 * GiB  load 3.2  API server :8000 98 % of a core`.
 * @module
 */

import type { Endpoint } from "./model.ts";
import { isPresent, sumReadings } from "./reading.ts";
import { FULL_CORE } from "./rules_advice.ts";
import type { State } from "./state.ts";
import { describeUrl, type Fleet } from "./state_fleet.ts";
import { type HostState, listGpus } from "./state_gpus.ts";
import { measureWidth } from "./text.ts";
import type { Seconds } from "./units.ts";
import { formatDuration, formatLatency, formatPercent } from "./view_format.ts";
import { drawGauge } from "./view_gauge.ts";
import { GAP } from "./view_layout.ts";
import type { Meaning, Paint } from "./view_theme.ts";
import { formatGpuReading, formatMemory, NOT_AVAILABLE } from "./view_words.ts";

type HostLoad = NonNullable<HostState["load"]>;
type ServerProcess = HostLoad["processes"][number];

interface LineSpace {
  readonly name: string;
  readonly width: number;
  readonly fleet: Fleet;
  readonly paint: Paint;
  readonly now: Seconds;
}

const GAUGE_WIDTH = 8;

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
type Pieces = readonly (readonly Span[])[];

/** Empty if the CPU of no API server is known. */
function listBusiestApiServer({ processes }: HostLoad, fleet: Fleet): Pieces {
  const known = processes.filter((one) => one.role === "api_server" && isPresent(one.cpuCores));
  const [busiest] = known.toSorted((a, b) => (b.cpuCores.value ?? 0) - (a.cpuCores.value ?? 0));
  if (busiest === undefined) return [];
  const [percent, meaning] = formatCpu(busiest);
  const name = nameEndpoint(fleet, busiest.endpointKey);
  return [[["API server ", "dim"], [`${name} `, "plain"], [`${percent} of a core`, meaning]]];
}

/** `ssh 12 ms`; empty for this machine. */
function describeLink(link: HostState["link"], now: Seconds): Pieces {
  if (link === null) return [];
  switch (link.kind) {
    case "connecting":
      return [[["ssh ", "dim"], ["connecting", "warn"]]];
    case "up": {
      const { latency, way } = link;
      const words = [
        latency === null ? "" : formatLatency(latency),
        way === "curl" ? "by curl" : "",
      ]
        .filter((word) => word !== "").join(", ");
      return [[["ssh ", "dim"], [words === "" ? "up" : words, "plain"]]];
    }
    case "down":
      return [
        [["ssh ", "dim"], [`down (${link.failure.kind.replaceAll("_", " ")})`, "alert"]],
        [[describeRetry(link, now), "dim"]],
      ];
  }
}

/** `next try in 5 s (3 failed)`. */
function describeRetry(
  { retryAt, failures }: Extract<HostState["link"], { readonly kind: "down" }>,
  now: Seconds,
): string {
  if (retryAt === null) return "r tries again";
  if (retryAt <= now) return `trying again (${failures} failed)`;
  return `next try in ${formatDuration(retryAt - now)} (${failures} failed)`;
}

/** Mean use of the GPUs of a host behind ssh, and their memory. */
function describeGpus(host: HostState): Pieces {
  const gpus = listGpus(host);
  if (host.link === null || gpus.length === 0) return [];
  const ratios = gpus.flatMap(({ utilizationRatio: ratio }) => ratio.value ?? []);
  const used = sumReadings(gpus.map((gpu) => gpu.memoryUsedBytes));
  const total = sumReadings(gpus.map((gpu) => gpu.memoryTotalBytes));
  const mean = ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length;
  const gauge = ratios.length === 0
    ? NOT_AVAILABLE
    : `${drawGauge(mean, GAUGE_WIDTH)} ${formatPercent(mean)}`;
  return [
    [[`${gpus.length} GPU${gpus.length === 1 ? "" : "s"} `, "dim"], [gauge, "plain"]],
    [
      ["mem ", "dim"],
      [formatMemory({ memoryUsedBytes: used, memoryTotalBytes: total }), "plain"],
    ],
  ];
}

function describeLoad(load: HostLoad, fleet: Fleet): Pieces {
  const { cpuRatio, loadAverage, processorCount: { value: count } } = load;
  return [
    [
      ["CPU ", "dim"],
      [formatGpuReading(cpuRatio, formatPercent), "plain"],
      [count === null ? "" : ` (${count} ${count === 1 ? "core" : "cores"})`, "dim"],
    ],
    [["mem ", "dim"], [formatMemory(load), "plain"]],
    [["load ", "dim"], [formatGpuReading(loadAverage, (tasks) => tasks.toFixed(1)), "plain"]],
    ...listBusiestApiServer(load, fleet),
  ];
}

/** Leaves out what does not fit, from the end. */
function joinSpans(pieces: Pieces, { width, paint }: Pick<LineSpace, "width" | "paint">): string {
  let left = width + GAP;
  const fitting = pieces.findIndex((spans) => {
    left -= GAP + measureWidth(spans.map(([text]) => text).join(""));
    return left < 0;
  });
  return pieces.slice(0, fitting < 0 ? undefined : fitting)
    .map((spans) => spans.map(([text, meaning]) => paint(text, meaning)).join(""))
    .join(" ".repeat(GAP));
}

function describeReach(host: HostState, { name, now }: LineSpace): Pieces {
  return [[[name, "heading"]], ...describeLink(host.link, now), ...describeGpus(host)];
}

export function renderHostLine(host: HostState, space: LineSpace): string {
  const load = host.load === null ? [] : describeLoad(host.load, space.fleet);
  return joinSpans([...describeReach(host, space), ...load], space);
}

/** With the load on a line of its own, for panels beside each other. */
export function renderHostLines(host: HostState, space: LineSpace): readonly string[] {
  const { load } = host;
  return [
    joinSpans(describeReach(host, space), space),
    ...load === null ? [] : [joinSpans(describeLoad(load, space.fleet), space)],
  ];
}

/** What the programs of the GPUs said; the line of a host tells itself that it is down. */
export function listGpuRemarks({ link, failure, report }: HostState): readonly string[] {
  if (failure === null) return report?.warnings ?? [];
  // A host may be watched for its servers alone.
  const isSaid = failure.kind === "unreachable" || (link !== null && failure.kind === "absent");
  return isSaid ? [] : [failure.message];
}

/** What fails with each host, and when it is tried again. */
export function listDownHosts(
  { hosts, now }: Pick<State, "hosts" | "now">,
): readonly { readonly text: string; readonly meaning: Meaning }[] {
  return [...hosts.values()].flatMap(({ link }) =>
    link?.kind === "down"
      ? [{ text: `${link.failure.message}; ${describeRetry(link, now)}`, meaning: "warn" as const }]
      : []
  );
}

/** Whether servers may still be found. */
export function isConnecting({ hosts }: Pick<State, "hosts">): boolean {
  return hosts.values().some(({ link }) => link?.kind === "connecting");
}

/** The URL, and the way through ssh that its answers come. */
export function describeWay(endpoint: Endpoint, { hosts }: Pick<State, "hosts">): string {
  const url = describeUrl(endpoint);
  if (endpoint.sshHost === undefined) return url;
  const link = hosts.get(endpoint.sshHost)?.link;
  return `${url}, through ssh${link?.kind === "up" && link.way === "curl" ? " by curl" : ""}`;
}
