/**
 * The machine of the simulated fleet: what `nvidia-smi`, `ps` and `ss` print of it, a GPU for each
 * server, one of which is too hot.
 * @module
 */

import type { Platform, ProgramCall, ProgramOutcome } from "./platform.ts";
import {
  BYTES_PER_GIBIBYTE,
  type Ratio,
  type Seconds,
  SECONDS_PER_HOUR,
  SECONDS_PER_MINUTE,
} from "./units.ts";

export interface MachineServer {
  /** Of server; empty for vLLM. */
  readonly kind: string;
  readonly model: string;
  readonly port: number;
  /** Its GPU is throttled by heat. */
  readonly isHot: boolean;
  readonly isUpAt: (elapsed: Seconds) => boolean;
}

const CORE_COUNT = 64;
const MEMORY_TOTAL = 512 * BYTES_PER_GIBIBYTE;
const FIRST_PID = 4000;
const GPU_MEMORY_MEBIBYTES = 81_559;
const SERVER_MEMORY_MEBIBYTES = 73_412;
/** Of servers that take no more than they need, by kind. */
const SMALL_MEMORY_MEBIBYTES: ReadonlyMap<string, number> = new Map([
  ["llama.cpp", 20_314],
  ["Ollama", 17_842],
]);
/** Has a model loaded, and no requests. */
const IDLE_KIND = "Ollama";
/** Time for which the servers have run at the start. */
const UPTIME: Seconds = 300;

/** Between −1 and 1, slowly. */
function waver(elapsed: Seconds, place: number): number {
  return Math.sin(elapsed / (7 + 2 * place) + 5 * place) * 0.7 +
    Math.sin(elapsed / (3 + place)) * 0.3;
}

function getMemory({ kind }: MachineServer): number {
  return SMALL_MEMORY_MEBIBYTES.get(kind) ?? SERVER_MEMORY_MEBIBYTES;
}

/** What `--query-gpu` prints, by field. */
function describeGpu(
  server: MachineServer,
  { index, elapsed }: { readonly index: number; readonly elapsed: Seconds },
): Readonly<Record<string, string>> {
  const { isHot } = server;
  const isUp = server.isUpAt(elapsed);
  const isBusy = isUp && server.kind !== IDLE_KIND;
  const wave = waver(elapsed, index);
  const use: Ratio = isBusy ? 0.93 + 0.05 * wave : 0;
  const power = isBusy ? (isHot ? 430 : 610) + 45 * wave : 72;
  const temperature = isBusy ? (isHot ? 87 : 64 + 2 * index + 2 * wave) : 34;
  return {
    "index": String(index),
    "uuid": `GPU-00000000-0000-0000-0000-00000000000${index}`,
    "utilization.gpu": (100 * use).toFixed(0),
    "utilization.memory": (64 * use).toFixed(0),
    "memory.used": String(isUp ? getMemory(server) : 512),
    "memory.total": String(GPU_MEMORY_MEBIBYTES),
    "power.draw": power.toFixed(2),
    "enforced.power.limit": "700.00",
    "temperature.gpu": temperature.toFixed(0),
    "temperature.gpu.tlimit": (87 - temperature).toFixed(0),
    "clocks.current.sm": isHot && isUp ? "1155" : "1980",
    "clocks.max.sm": "1980",
    "clocks.current.memory": "2619",
    "clocks_event_reasons.active": isBusy ? (isHot ? "0x20" : "0x0") : "0x1",
    "pcie.link.gen.gpucurrent": "5",
    "pcie.link.gen.max": "5",
    "pcie.link.width.current": "16",
    "pcie.link.width.max": "16",
    "persistence_mode": "Enabled",
    "mig.mode.current": "Disabled",
    "name": "NVIDIA H100 80GB HBM3",
  };
}

interface Process {
  readonly pid: number;
  readonly parentPid: number;
  readonly port: number;
  readonly command: string;
  /** Share of a core that it uses. */
  readonly cpu: Ratio;
  readonly isOnGpu: boolean;
}

/** Command line of the server, and of its process on the GPU; without that, it is there itself. */
function describeProcesses({ kind, model, port }: MachineServer): readonly [string, string?] {
  switch (kind) {
    case "SGLang":
      return [
        `python3 -m sglang.launch_server --model-path ${model} --port ${port} --enable-metrics`,
        "sglang::scheduler",
      ];
    case "llama.cpp":
      return [
        `/opt/llama.cpp/llama-server -m /models/${model}.gguf --port ${port} --metrics -np 8`,
      ];
    case "Ollama":
      return ["/usr/local/bin/ollama serve", "/usr/local/bin/ollama runner --port 40123"];
    default:
      return [`python3 /opt/vllm/bin/vllm serve ${model} --port ${port}`, "VLLM::EngineCore"];
  }
}

/** Of each server, that which listens, and that on the GPU. */
function listProcesses(servers: readonly MachineServer[]): readonly Process[] {
  return servers.flatMap((server, index): readonly Process[] => {
    const { port } = server;
    const pid = FIRST_PID + 10 * index;
    const [command, worker] = describeProcesses(server);
    const isIdle = server.kind === IDLE_KIND;
    const cpu = isIdle ? 0.01 : 0.34 + 0.05 * index;
    const first = { pid, parentPid: 1, port, command, cpu, isOnGpu: worker === undefined };
    return worker === undefined ? [first] : [
      first,
      {
        pid: pid + 1,
        parentPid: pid,
        port,
        command: worker,
        cpu: isIdle ? 0.01 : 1,
        isOnGpu: true,
      },
    ];
  });
}

function formatSpan(span: Seconds): string {
  const pad = (part: number): string => String(Math.floor(part)).padStart(2, "0");
  const [hours, rest] = [span / SECONDS_PER_HOUR, span % SECONDS_PER_HOUR];
  return [hours, rest / SECONDS_PER_MINUTE, rest % SECONDS_PER_MINUTE].map(pad).join(":");
}

/** As on macOS, where figures come sooner. */
function formatCpuTime(span: Seconds): string {
  const seconds = (span % SECONDS_PER_MINUTE).toFixed(2).padStart(5, "0");
  return `${Math.floor(span / SECONDS_PER_MINUTE)}:${seconds}`;
}

/** Returns `null` for a program that the machine lacks. */
function print(
  { name, arguments: [first = "", ...others] }: ProgramCall,
  servers: readonly MachineServer[],
  elapsed: Seconds,
): string | null {
  const age = UPTIME + elapsed;
  const gpus = servers.map((server, index) => describeGpu(server, { index, elapsed }));
  const running = servers.filter(({ isUpAt }) => isUpAt(elapsed)).map(({ port }) => port);
  const processes = listProcesses(servers).filter(({ port }) => running.includes(port));
  const [option, value = ""] = first.split("=");
  switch (`${name} ${option}`) {
    case "nvidia-smi --help-query-gpu":
      return Object.keys(gpus[0]).map((field) => `"${field}"\n`).join("");
    case "nvidia-smi --query-gpu":
      return gpus.map((gpu) => value.split(",").map((field) => gpu[field]).join(", ") + "\n")
        .join("");
    case "nvidia-smi --query-compute-apps":
      return processes.filter(({ isOnGpu }) => isOnGpu).map(({ pid, port, command }) => {
        const index = servers.findIndex((server) => server.port === port);
        return `${gpus[index].uuid}, ${pid}, ${getMemory(servers[index]) - 600}, ${command}\n`;
      }).join("");
    case "ps -A":
      return processes.map(({ pid, parentPid, command }) =>
        `${pid} ${parentPid} ${parentPid === 1 ? pid : parentPid} ${
          formatSpan(age)
        } vllm ${command}\n`
      ).join("");
    case "ps -o": {
      const pids = others.at(-1)?.split(",").map(Number) ?? [];
      return processes.filter(({ pid }) => pids.includes(pid))
        .map(({ pid, cpu }) => `${pid} ${formatCpuTime(cpu * age)}\n`).join("");
    }
    case "ss -Hltnp":
      return processes.filter(({ parentPid }) => parentPid === 1).map(({ pid, port }) =>
        `LISTEN 0 2048 *:${port} *:* users:(("vllm",pid=${pid},fd=13))\n`
      ).join("");
    default:
      return null;
  }
}

/** Programs and figures of this machine, in place of the real ones. */
export function createDemoMachine(
  platform: Platform,
  servers: readonly MachineServer[],
): Pick<
  Platform,
  "runProgram" | "processorTimes" | "loadAverage" | "systemMemory" | "readTextFile"
> {
  const startedAt = platform.monotonicSeconds();
  const getElapsed = (): Seconds => platform.monotonicSeconds() - startedAt;
  return {
    runProgram: (call): Promise<ProgramOutcome> => {
      const stdout = print(call, servers, getElapsed());
      return Promise.resolve(
        stdout === null ? { kind: "missing" } : { kind: "exited", code: 0, stdout, stderr: "" },
      );
    },
    processorTimes: () => {
      const elapsed = getElapsed();
      // The integral of 0.16 + 0.03 × a wave.
      const busy = CORE_COUNT * (0.16 * elapsed - 0.3 * Math.cos(elapsed / 10));
      return Promise.resolve({ busy, idle: CORE_COUNT * elapsed - busy, count: CORE_COUNT });
    },
    loadAverage: () => 9.4 + 0.8 * waver(getElapsed(), 1),
    systemMemory: () => ({
      totalBytes: MEMORY_TOTAL,
      availableBytes: MEMORY_TOTAL - (141 + waver(getElapsed(), 2)) * BYTES_PER_GIBIBYTE,
    }),
    // Its processes are not those of the real machine.
    readTextFile: (path) =>
      path.startsWith("/proc/")
        ? Promise.reject(new Error("the machine is simulated"))
        : platform.readTextFile(path),
  };
}
