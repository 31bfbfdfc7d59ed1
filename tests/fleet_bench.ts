/**
 * What the real program costs while it watches large fleets: CPU, memory, and
 * whether its polls come in time.
 *
 * Real servers on loopback, all in this process, answer with recorded bodies of
 * the simulator; the program runs as a user runs it, live on a terminal of
 * 200×50 that `script` (util-linux) makes, for a minute of which the last
 * `MEASURED` seconds count. Linux only: figures come from `/proc`. It is run
 * with `deno run -A`, as it is no series of iterations: the lines at the end are
 * the result. `VLLM_HTOP_BINARY` names a compiled program, and an argument fleets
 * by a part of their names.
 *
 * Compiled by Deno 2.6.8, two cores of an AMD EPYC VM that the servers share,
 * 2026-11, in turns with 0.1.0. Such machines differ: others of the same name
 * took half as long again for all rows.
 *
 * - 256 endpoints of 1 engine, every 2 s: 12.8 to 13.3 % of one core, 179 to 182
 * MiB; 0.1.0 13.9 to 15.2 % and 155 to 157 MiB. About a quarter is `fetch` of 128
 * bodies a second alone.
 * - 8 endpoints of 64 engines: 9.4 % of one core, 185 MiB; 0.1.0 11.8 %, 218 MiB.
 *
 * The 256 say the same but for their values, so that they share one layout. With
 * a label of its own for each, as where the sizes of the KV caches differ, it is
 * 195 MiB.
 *
 * 46 MiB are the runtime's file. Alive of the first are 19 MiB of objects and 14
 * of arrays, of the second 28 and 30, most of it the last minute; the rest is
 * V8's room to grow. By V8's own choice, without the flags of `.ci/compile.ts`,
 * it is 273 and 322 MiB. With `--heap-growing-percent=30` and half the semi-space
 * 150 and 192 MiB for 25 % and 18 %, and keys wait three times as long.
 *
 * @module
 */

import { createSimulatedServer } from "../lib/demo.ts";
import { START_EPOCH } from "./fixtures/expositions.ts";
import { createEnvironment, listCommand } from "./program_runs.ts";

const INTERVAL = 2;
const WARM_UP = 20;
const MEASURED = 40;
/** What `/proc` counts time in: `getconf CLK_TCK` is 100 on every Linux that is alive. */
const TICKS_PER_SECOND = 100;
const MODEL = "meta-llama/Llama-3.1-8B-Instruct";

interface Fleet {
  readonly name: string;
  readonly endpoints: number;
  readonly engines: number;
  /** Servers that are simulated; endpoints share them. */
  readonly recordings: number;
}

const FLEETS: readonly Fleet[] = [
  { name: "256 endpoints of 1 engine", endpoints: 256, engines: 1, recordings: 4 },
  { name: "8 endpoints of 64 engines", endpoints: 8, engines: 64, recordings: 1 },
];

/** The bodies of one server, poll after poll. */
function record({ engines }: Fleet, seed: number): readonly Uint8Array<ArrayBuffer>[] {
  const server = createSimulatedServer({
    seed,
    startEpoch: START_EPOCH,
    engines: Array.from({ length: engines }, () => ({ model: MODEL })),
    warmUp: 60,
  });
  const polls = (WARM_UP + MEASURED) / INTERVAL + 5;
  return Array.from(
    { length: polls },
    (_, i) => new Uint8Array(server.expositionAt(INTERVAL * i) ?? []),
  );
}

interface Servers {
  readonly urls: readonly string[];
  /** When each was asked, in milliseconds. */
  readonly askedAt: readonly number[][];
  readonly close: () => Promise<void>;
}

function startServers(fleet: Fleet): Servers {
  const recordings = Array.from({ length: fleet.recordings }, (_, seed) => record(fleet, seed));
  const askedAt: number[][] = [];
  const servers = Array.from({ length: fleet.endpoints }, (_, index) => {
    const bodies = recordings[index % recordings.length];
    const times: number[] = [];
    askedAt.push(times);
    return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
      const poll = times.push(performance.now()) - 1;
      return new Response(bodies[Math.min(poll, bodies.length - 1)]);
    });
  });
  return {
    urls: servers.map(({ addr }) => `http://127.0.0.1:${addr.port}`),
    askedAt,
    close: async () => {
      await Promise.all(servers.map((server) => server.shutdown()));
    },
  };
}

/** Seconds of CPU that the process has used, on all cores together. */
async function readCpuSeconds(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

/** A line of `/proc/…/status` in MiB. */
async function readMebibytes(pid: number, name: string): Promise<number> {
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  return Number(new RegExp(`^${name}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1024;
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
}

/** Watches the fleet with the program and says what that took. */
async function measureFleet(fleet: Fleet): Promise<string> {
  const servers = startServers(fleet);
  const options = ["--interval", `${INTERVAL}`, ...servers.urls.flatMap((url) => ["--url", url])];
  const command = listCommand(...options).map((word) => `'${word}'`).join(" ");
  const terminal = new Deno.Command("script", {
    args: ["-qfec", `stty cols 200 rows 50; exec ${command}`, "/dev/null"],
    env: createEnvironment(),
    clearEnv: true,
    stdin: "piped",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  await sleep(WARM_UP);
  const { pid: parent } = terminal;
  const children = await Deno.readTextFile(`/proc/${parent}/task/${parent}/children`);
  const pid = Number(children.trim().split(" ")[0]);
  const cpuBefore = await readCpuSeconds(pid);
  const startedAt = performance.now();
  await sleep(MEASURED);
  const span = (performance.now() - startedAt) / 1000;
  const cpu = (await readCpuSeconds(pid) - cpuBefore) / span;
  const [memory, peak] = [await readMebibytes(pid, "VmRSS"), await readMebibytes(pid, "VmHWM")];
  const watched = servers.askedAt.map((times) => times.slice(-MEASURED / INTERVAL));
  const gaps = watched.flatMap((times) => times.slice(1).map((time, i) => (time - times[i]) / 1000))
    .sort((a, b) => a - b);
  // What all gaps of an endpoint together are too long by.
  const drifts = watched.map((times) =>
    (times[times.length - 1] - times[0]) - 1000 * INTERVAL * (times.length - 1)
  );
  const at = (share: number): string =>
    (1000 * ((gaps[Math.floor(share * (gaps.length - 1))] ?? NaN) - INTERVAL)).toFixed(0);
  terminal.kill("SIGTERM");
  await terminal.stdin.abort().catch(() => {});
  await terminal.status;
  await servers.close();
  const polls = servers.askedAt.reduce((sum, times) => sum + times.length, 0);
  return `${fleet.name}, every ${INTERVAL} s: ${(100 * cpu).toFixed(1)} % of one core, ` +
    `${memory.toFixed(0)} MiB (peak ${peak.toFixed(0)}), ${polls} polls, ` +
    `late p50 ${at(0.5)}, p99 ${at(0.99)}, max ${at(1)} ms, ` +
    `drift ${Math.min(...drifts).toFixed(0)} to ${Math.max(...drifts).toFixed(0)} ms`;
}

if (import.meta.main) {
  const [chosen = ""] = Deno.args;
  for (const fleet of FLEETS.filter(({ name }) => name.includes(chosen))) {
    console.log(await measureFleet(fleet));
  }
  Deno.exit(0);
}
