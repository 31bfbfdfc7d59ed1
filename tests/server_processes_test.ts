import { assertEquals } from "@std/assert";
import { type ListeningPort, readSsPorts } from "../lib/listening_ports.ts";
import { readProcessTable } from "../lib/process_table.ts";
import { findServerPorts, MAX_UNKNOWN_PORTS } from "../lib/server_processes.ts";

const TABLE = readProcessTable(`
    1     0     1  1-00:00:00 /sbin/init
  100     1   100    10:00 /bin/sh -c vllm serve Qwen/Qwen3-8B --port 31337
  101   100   100    10:00 /usr/bin/python3 /usr/local/bin/vllm serve Qwen/Qwen3-8B --port 31337 -tp 2 --data_parallel_size=4 --api-key s3cr3t
  102   101   100    09:00 VLLM::APIServer_0
  103   101   100    09:00 VLLM::EngineCore_DP0
  104   101   100    09:00 /usr/bin/ray/core/gcs_server --port 6380
  200     1   200    10:00 VLLM::APIServer
  300     1   300    10:00 /usr/sbin/sshd -D
  301     1   301    10:00 ssh -N -L 9000:localhost:8000 gpu7
  400     1   400    10:00 /usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 8000 -use-listen-fd
  401     1   401    10:00 /usr/bin/containerd-shim-runc-v2 -namespace moby
  402   401   402    10:00 python3 -m vllm.entrypoints.openai.api_server --model /m --pipeline-parallel-size 2
  500     1   500    10:00 /usr/sbin/mysqld
  600     1   600    10:00 /usr/local/bin/ollama serve
`);

function listen(port: number, ...ownerPids: readonly number[]): ListeningPort {
  return { port, addresses: ["0.0.0.0"], ownerPids };
}

// Recorded from a real vLLM 0.32.0 on a CPU (procps-ng 4.0.2, iproute2 6.1.0), shortened; its worker
// listens at thirteen ports.
const REAL_PROCESSES = readProcessTable(`
20109     1 20109       43:45 /opt/venv/bin/python /opt/venv/bin/vllm serve /models/small --served-model-name small-llama --host 127.0.0.1 --port 8000 --enforce-eager --max-model-len 2048
20892 20109 20109       43:14 /opt/venv/bin/python -B -c from multiprocessing.resource_tracker import main;main(32)
20893 20109 20109       43:14 VLLM::EngineCore
21166 20893 20109       43:02 VLLM::Worker
`);
const REAL_PORTS = readSsPorts(`
LISTEN 0      4096   127.0.0.1:36269 0.0.0.0:* users:(("VLLM::Worker",pid=21166,fd=48))
LISTEN 0      4096   127.0.0.1:34511 0.0.0.0:* users:(("VLLM::Worker",pid=21166,fd=31))
LISTEN 0      4096   127.0.0.1:33901 0.0.0.0:* users:(("VLLM::Worker",pid=21166,fd=20))
LISTEN 0      2048   127.0.0.1:8000  0.0.0.0:* users:(("vllm",pid=20109,fd=13))
`);

Deno.test("findServerPorts() finds the one port of a real vLLM that is its API", () => {
  const [found, ...others] = findServerPorts(REAL_PORTS, REAL_PROCESSES);
  assertEquals(others, []);
  assertEquals([found.port, found.serverName, found.isDeclared], [8000, "vLLM", true]);
});

/** The ports that are worth asking, with what is known of them. */
function find(...ports: readonly ListeningPort[]): unknown {
  return findServerPorts(ports, TABLE).map(({ port, serverName, isDeclared, launch }) => [
    port,
    isDeclared ? `${serverName}!` : serverName,
    launch === null ? null : Object.fromEntries(launch.parallelSizes),
  ]);
}

Deno.test("findServerPorts() finds vLLM by its process, its children and its title", () => {
  const sizes = { "tensor-parallel-size": 2, "data-parallel-size": 4 };
  assertEquals(find(listen(31337, 101)), [[31337, "vLLM!", sizes]]);
  // Its API servers have only a title; their parent still says how it was started.
  assertEquals(find(listen(31337, 102)), [[31337, "vLLM!", sizes]]);
  assertEquals(find(listen(31337, 200)), [[31337, "vLLM", null]]);
});

Deno.test("findServerPorts() leaves alone where vLLM's processes speak to each other", () => {
  assertEquals(find(listen(29_550, 103), listen(5557, 103)), []);
  const sizes = { "tensor-parallel-size": 2, "data-parallel-size": 4 };
  assertEquals(find(listen(31337, 101, 102), listen(40_001, 101)), [[31337, "vLLM!", sizes]]);
  // Its own port may be said elsewhere, as in a file of settings.
  assertEquals(find(listen(40_001, 101)), [[40_001, "vLLM", sizes]]);
  // A child of its own kind, such as one of Ray's.
  assertEquals(find(listen(6380, 104)), []);
});

Deno.test("findServerPorts() follows forwarders, into a container where it is the only one", () => {
  assertEquals(find(listen(9000, 301)), [[9000, null, null]]);
  assertEquals(find(listen(8080, 400)), [[8080, null, { "pipeline-parallel-size": 2 }]]);
});

Deno.test("findServerPorts() names other servers, and leaves what is none", () => {
  assertEquals(find(listen(11434, 600)), [[11434, "Ollama", null]]);
  assertEquals(find(listen(22, 300), listen(3306, 500), listen(8443, 500), listen(80, 1)), []);
});

Deno.test("findServerPorts() asks unknown owners, a few of them, at ports that may be HTTP's", () => {
  assertEquals(find(listen(31337), listen(22), listen(5432), listen(80)), [
    [31337, null, null],
    [80, null, null],
  ]);
  // A process that has ended since.
  assertEquals(find(listen(31337, 99_999)), [[31337, null, null]]);
  const many = Array.from({ length: 500 }, (_, i) => listen(20_000 + i));
  const known = listen(31337, 101);
  const found = findServerPorts([...many, known], TABLE);
  assertEquals(found.length, MAX_UNKNOWN_PORTS + 1);
  assertEquals(found.at(-1)?.serverName, "vLLM");
});
