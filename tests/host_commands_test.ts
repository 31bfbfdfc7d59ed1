import { assert, assertEquals } from "@std/assert";
import {
  identifyForwarder,
  listInnerServersOf,
  parseForwardedPort,
  parseLaunch,
  parseServerOptions,
} from "../lib/host_commands.ts";
import { parseProcessTable, type ProcessInfo } from "../lib/host_processes.ts";

function readProcess(commandLine: string): ProcessInfo {
  const process = parseProcessTable(`7 1 7 00:01 root ${commandLine}`).get(7);
  if (process === undefined) throw new Error("The process is not in the table");
  return process;
}

Deno.test("parseLaunch() parses parallel sizes in every spelling, and no secret", () => {
  const read = (text: string) => parseLaunch(readProcess(`vllm serve m ${text}`));
  const sizes = (text: string): unknown => Object.fromEntries(read(text).parallelSizes);
  assertEquals(sizes("-tp 2 -pp=3 -dp 4"), {
    "tensor-parallel-size": 2,
    "pipeline-parallel-size": 3,
    "data-parallel-size": 4,
  });
  assertEquals(sizes("--tensor_parallel_size 2 --api-server-count=3 --port 80 --tp 8 -tp x"), {
    "tensor-parallel-size": 8,
    "api-server-count": 3,
  });
  assertEquals(sizes(""), {});
  assert(!read("--api-key s3cr3t").commandLine.includes("s3cr3t"));
});

Deno.test("parseServerOptions() parses port and names in every spelling, the last of several", () => {
  const read = (text: string): readonly unknown[] => {
    const options = parseServerOptions(readProcess(text));
    return options === null ? [] : [options.port, ...options.modelNames];
  };
  assertEquals(read("vllm serve org/m"), [8000, "org/m"]);
  assertEquals(read("vllm serve org/m --port=9000 --served-model-name a b"), [
    ...[9000, "a", "b", "org/m"],
  ]);
  assertEquals(read("vllm serve --served_model_name=a --port 1 --port 2"), [2, "a"]);
  assertEquals(read("vllm serve m --served-model-name a b --served-model-name c --seed -1"), [
    ...[8000, "c", "m"],
  ]);
  assertEquals(read("python3 /opt/vllm/entrypoints/openai/api_server.py --model m --port x"), [
    ...[8000, "m"],
  ]);
  assertEquals(read("vllm serve m --compilation-config.level 3 --api-server-count 2"), [8000, "m"]);
});

const FAMILY = parseProcessTable([
  "10 1 10 00:09 ollama /usr/local/bin/ollama serve",
  "11 10 10 00:05 ollama /usr/lib/ollama/llama-server --model /m/sha256-a --port 36071 -c 8192",
  "20 1 20 00:09 me /opt/llama-server --models-dir /m --port 8080",
  "21 20 20 00:05 me /opt/llama-server --alias a --port 36072",
  "30 1 30 00:09 me /opt/llama-server -m m.gguf --port 8081",
  "31 10 10 00:09 ollama /usr/local/bin/ollama runner --model /m/sha256-b --port 36073",
].join("\n"));

Deno.test("listInnerServersOf() finds what a server has started for its models, and nothing else's", () => {
  const find = (port: number, ownerPids: readonly number[], processes = FAMILY) =>
    listInnerServersOf(port, {
      listening: [{ port, addresses: ["*"], ownerPids }],
      processes,
    }).map(({ port }) => port);
  assertEquals(find(11434, [10]), [36071]);
  assertEquals(find(8080, [20]), [36072]);
  assertEquals(find(8081, [30]), []);
  // The sockets of other users are hidden: which server's they are must be clear.
  assertEquals(find(11434, []), []);
  const alone = new Map([...FAMILY].filter(([pid]) => pid < 20));
  assertEquals(find(11434, [], alone), [36071]);
});

Deno.test("identifyForwarder() distinguishes container ports from tunnels", () => {
  const cases = {
    "/usr/bin/docker-proxy -proto tcp": "container",
    "rootlessport": "container",
    "ssh -N -L 9000:localhost:8000 gpu7": "elsewhere",
    "sshd: me [priv]": null,
    "kubectl port-forward svc/vllm 8000": "elsewhere",
    "vllm serve m": null,
  };
  for (const [commandLine, destination] of Object.entries(cases)) {
    assertEquals(identifyForwarder(readProcess(commandLine)), destination, commandLine);
  }
});

Deno.test("parseForwardedPort() parses Docker's proxy", () => {
  const proxy = "docker-proxy -proto tcp -host-ip :: -host-port 8001 -container-port 8000";
  const read = (commandLine: string) => parseForwardedPort(readProcess(commandLine));
  assertEquals(read(proxy), { hostPort: 8001, containerPort: 8000 });
  assertEquals(read("docker-proxy -host-port 8001"), null);
  assertEquals(read("other -host-port 8001 -container-port 8000"), null);
});
