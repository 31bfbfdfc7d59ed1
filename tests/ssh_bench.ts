/**
 * What 32 hosts behind ssh cost at 5 s, over a line of 50 ms there and back: CPU of the program, of
 * its ssh processes, and of the shells on the hosts. All hosts are this machine, so that each lists
 * the processes of all; `nvidia-smi` is a shell script. It takes a minute:
 *
 *     deno run -A --import-map=.ci/npm/import_map.json tests/ssh_bench.ts
 *
 * Two cores of an Intel Xeon VM, 2026-11, at a load of 16: 5.5 % of a core, 0.9 % for ssh, and 54 ms
 * of CPU a sample on a host. The compiled program with a live screen of 200×50 at a load of 5 to 12:
 * 5.8 %, 1.0 % and 12.8 ms; every gap between two scrapes of a host was 4.5 to 5.6 s. When each poll
 * started an `ssh -W` it was 8.2 to 9.0 % and 15.4 ms; when the fleet was derived anew for the GPUs
 * of each host, 7.1 %.
 *
 * @module
 */

import { withStandIns } from "./gpu_stand_in.ts";
import { findFreePort, startProgram } from "./program_runs.ts";
import { withSshServer } from "./ssh_server.ts";
import { startVllmServer } from "./vllm_server.ts";

const HOSTS = 32;
const INTERVAL_SECONDS = 5;
const ONE_WAY_MILLISECONDS = 25;
const WARM_UP_MILLISECONDS = 20_000;
const SPAN_SECONDS = 35;
const TICKS_PER_SECOND = 100;

const sleep = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Passes bytes on late, in their order. */
async function pipeLate(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  let last = Promise.resolve();
  for await (const chunk of from.readable) {
    const due = sleep(ONE_WAY_MILLISECONDS);
    const before = last;
    last = (async () => {
      await Promise.all([before, due]);
      for (let rest = chunk; rest.length > 0;) rest = rest.subarray(await to.write(rest));
    })().catch(() => {});
  }
  await last;
  await to.closeWrite().catch(() => {});
}

function startSlowLine(port: number): { readonly port: number; readonly close: () => void } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: findFreePort() });
  const accept = async (): Promise<void> => {
    for await (const near of listener) {
      const far = await Deno.connect({ hostname: "127.0.0.1", port });
      Promise.all([pipeLate(near, far), pipeLate(far, near)]).catch(() => {});
    }
  };
  accept().catch(() => {});
  return { port: listener.addr.port, close: () => listener.close() };
}

interface Process {
  readonly pid: string;
  readonly parent: string;
  readonly command: string;
}

function listProcesses(): readonly Process[] {
  const { stdout } = new Deno.Command("ps", {
    args: ["-A", "-ww", "-o", "pid=,ppid=,args="],
  }).outputSync();
  return new TextDecoder().decode(stdout).split("\n").flatMap((line) => {
    const [, pid, parent, command] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    return pid === undefined ? [] : [{ pid, parent, command }];
  });
}

/** Of the process and its ended children, in seconds. */
function readCpuTime({ pid }: Process): number {
  try {
    const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
    const times = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 15).map(Number);
    return times.reduce((sum, ticks) => sum + ticks, 0) / TICKS_PER_SECOND;
  } catch {
    return 0;
  }
}

/** The seconds of CPU that each kind of process has taken. */
function measure(folder: string): Readonly<Record<string, number>> {
  const all = listProcesses();
  const daemon = all.find(({ command }) => command.includes(`${folder}/sshd_config`));
  const sessions = new Set(
    all.filter(({ parent }) => parent === daemon?.pid).map(({ pid }) => pid),
  );
  for (const { pid, parent } of all) if (sessions.has(parent)) sessions.add(pid);
  const sum = (isOwn: (process: Process) => boolean) =>
    all.filter(isOwn).reduce((total, process) => total + readCpuTime(process), 0);
  return {
    program: sum(({ command }) => command.includes(`--ssh-config ${folder}/slow`)),
    ssh: sum(({ command }) => /^(?:\S*\/)?ssh /.test(command) && command.includes(folder)),
    hosts: sum(({ pid, command }) => sessions.has(pid) && command === "sh -s"),
  };
}

await withStandIns(({ folder: standIns, setNvidia }) => {
  setNvidia({ gpus: "h100.tsv" });
  return withSshServer(standIns, async ({ config, runtime }) => {
    const server = await startVllmServer();
    const folder = config.replace(/\/config$/, "");
    const text = Deno.readTextFileSync(config);
    // That of all hosts stands last.
    const port = [...text.matchAll(/^Port (\d+)$/gm)].at(-1)?.[1];
    const line = startSlowLine(Number(port));
    Deno.writeTextFileSync(`${folder}/slow`, text.replace(`Port ${port}`, `Port ${line.port}`));
    const hosts = Array.from({ length: HOSTS }, (_, i) => ["--ssh", `h${i}=plain`]).flat();
    const args = [
      ...[...hosts, "--ssh-config", `${folder}/slow`, "--interval", `${INTERVAL_SECONDS}`],
      ...["--port-range", `${server.port}`, "--output", "json"],
    ];
    const run = startProgram(args, { environment: { XDG_RUNTIME_DIR: runtime } });
    await sleep(WARM_UP_MILLISECONDS);
    const before = measure(folder);
    await sleep(1000 * SPAN_SECONDS);
    const after = measure(folder);
    run.signal("SIGTERM");
    await run.ended;
    for (const [name, seconds] of Object.entries(after)) {
      const share = (seconds - before[name]) / SPAN_SECONDS;
      const percent = (100 * share).toFixed(2);
      const perSample = (1000 * share * INTERVAL_SECONDS / HOSTS).toFixed(1);
      console.log(`${name}: ${percent} % of a core, ${perSample} ms per host and sample`);
    }
    line.close();
    await server.close();
  });
});
