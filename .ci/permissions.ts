/**
 * What the program may do, in the words of Deno's command line.
 *
 * The one place: `deno task start` runs with these, `deno task compile` bakes
 * them in, and tests that start the program take them from here. It reads
 * (token files, certificates), talks to any address, sees the variables listed,
 * the memory, the processors and the load, and starts the programs listed; it cannot write,
 * start others or load libraries, and never asks.
 *
 * @module
 */

import { SSH_VARIABLES } from "../lib/host_ssh.ts";
import { COMMON_VARIABLES, OPTION_ROWS } from "../lib/cli_option_table.ts";

export const ENVIRONMENT_VARIABLES: readonly string[] = [
  ...OPTION_ROWS.flatMap((row) => [row.variable ?? [], row.contentVariable ?? []].flat()),
  ...COMMON_VARIABLES.flatMap(([names]) => names.split(", ")),
];

/** Variables that are looked at besides those that the help names. */
const RUNTIME_VARIABLES = [
  // Read and removed by `platform_deno`: `scrape_proxy` chooses the proxy, not `fetch`.
  ...["http_proxy", "https_proxy", "all_proxy", "no_proxy"],
  ...["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"],
  // Read by undici, which reaches the servers named by --insecure.
  "JEST_WORKER_ID",
  "UNDICI_NO_WASM_SIMD",
  // Of a pod: where its API server is, unless the user has a configuration of kubectl.
  ...["KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG"],
  // Passed on to ssh.
  ...SSH_VARIABLES,
];

/** Every variable of the program's own, and those of others by their names. */
const VARIABLES = [
  "VLLM_HTOP_*",
  ...new Set([
    ...ENVIRONMENT_VARIABLES.filter((name) => !name.startsWith("VLLM_HTOP_")),
    ...RUNTIME_VARIABLES,
  ]),
];

/**
 * Programs that may be started; each is optional. Deno looks names up when it
 * starts, and never again: the paths let a program run that is installed later.
 */
const PROGRAMS = [
  // Processes, and the ports that they listen on.
  "ps",
  "ss",
  "lsof",
  // Hosts behind ssh, and clusters of Kubernetes.
  "ssh",
  "kubectl",
  // Where a process logs, and its last lines.
  ...["readlink", "tail", "docker", "podman", "journalctl"],
  // GPUs.
  "nvidia-smi",
  "/usr/bin/nvidia-smi",
  "amd-smi",
  "/usr/bin/amd-smi",
  "/opt/rocm/bin/amd-smi",
];

/** Flags for `deno run` and `deno compile`. */
export const PERMISSIONS: readonly string[] = [
  "--no-prompt",
  "--allow-net",
  "--allow-read",
  "--allow-sys=systemMemoryInfo,cpus,loadavg",
  `--allow-run=${PROGRAMS.join(",")}`,
  `--allow-env=${VARIABLES.join(",")}`,
];

/** The flags of both. Deno takes each once: lists of one permission are joined. */
export function joinFlags(flags: readonly string[], more: readonly string[]): readonly string[] {
  const joined = [...flags];
  for (const flag of more) {
    const [, name, list] = /^(--allow-[a-z]+)=(.*)$/.exec(flag) ?? [];
    const at = joined.findIndex((one) => one === name || one.startsWith(`${name}=`));
    if (list === undefined || at < 0) joined.push(flag);
    // Without a list it allows all.
    else if (joined[at] !== name) joined[at] += `,${list}`;
  }
  return joined;
}
