import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  attributeProcesses,
  type GpuEndpoint,
  type GpuShare,
  listReplicaProcesses,
  listServerProcesses,
  narrowToSlices,
} from "../lib/gpu_attribution.ts";
import { parseProcessTable } from "../lib/host_processes.ts";
import { absent, present } from "../lib/reading.ts";
import { BYTES_PER_MEBIBYTE as MIB } from "../lib/units.ts";
import { readMigGpus } from "./fixtures/gpu_states.ts";
import { createGpuProcess } from "./fixtures/gpus.ts";

/** Output of `ps`, and the processes that hold GPU memory. */
interface Machine {
  readonly ps: string;
  /** Pid, GPU index, and optionally the driver's process name. */
  readonly gpus: readonly (readonly [pid: number, gpuIndex: number, name?: string])[];
}

function createEndpoint(port: number, more: Partial<GpuEndpoint> = {}): GpuEndpoint {
  return {
    endpointKey: `http://localhost:${port}`,
    port,
    engines: ["0"],
    modelNames: [],
    listenerPids: [],
    ...more,
  };
}

function attribute(machine: Machine, endpoints: readonly GpuEndpoint[]): readonly GpuShare[] {
  const gpuProcesses = machine.gpus.map(([pid, gpuIndex, name]) =>
    createGpuProcess(pid, { gpuIndex, ...(name === undefined ? {} : { name }) })
  );
  return attributeProcesses(gpuProcesses, {
    processes: parseProcessTable(machine.ps),
    endpoints,
  });
}

/** Each share as `pid port/engine tensor evidence`, or `pid other`. */
function describeShares(shares: readonly GpuShare[]): readonly string[] {
  return shares.map(({ process, owner }) =>
    owner === null
      ? `${process.pid} other`
      : `${process.pid} ${owner.endpointKey.split(":").at(-1)}/${owner.engine ?? "?"} ` +
        `${owner.tensorRank ?? "-"} ${owner.evidence}`
  );
}

/** Started by hand in a terminal. */
const BARE: Machine = {
  ps: `
      1       0       1  20-01:02:03 root /sbin/init
    900       1     900     05:00:00 root -bash
   1000     900    1000     02:00:00 root /opt/venv/bin/python3 /opt/venv/bin/vllm serve Qwen/Qwen3-8B
   1001    1000    1000     02:00:00 root /opt/venv/bin/python3 -c from multiprocessing.resource_tracker import main;main(30)
   1002    1000    1000     01:59:50 root VLLM::EngineCore
  `,
  gpus: [[1002, 0]],
};

/** Docker with a forwarded port; its processes belong to another user. */
const CONTAINER: Machine = {
  ps: `
      1       0       1  20-01:02:03 root /sbin/init
    700       1     700  20-01:00:00 root /usr/bin/dockerd -H fd://
    710     700     700     04:00:00 root /usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8001 -container-ip 172.17.0.2 -container-port 8000
    711     700     700     04:00:00 root /usr/bin/docker-proxy -proto tcp -host-ip :: -host-port 8001 -container-ip 172.17.0.2 -container-port 8000
    720       1     720     04:00:00 root /usr/bin/containerd-shim-runc-v2 -namespace moby -id 1f2e
   2000     720    2000     04:00:00 root python3 -m vllm.entrypoints.openai.api_server --model meta-llama/Llama-3.1-8B-Instruct --host 0.0.0.0
   2100    2000    2000     03:59:00 root VLLM::EngineCore
  `,
  gpus: [[2100, 0]],
};

/** A systemd unit: own process group, no terminal. */
const SYSTEMD: Machine = {
  ps: `
      1       0       1  20-01:02:03 root /usr/lib/systemd/systemd --system
   3000       1    3000  1-00:00:00 root /usr/bin/python3 /usr/local/bin/vllm serve /models/m --served-model-name prod --port=9000
   3001    3000    3000  1-00:00:00 root VLLM::APIServer_0
   3002    3000    3000  1-00:00:00 root VLLM::APIServer_1
   3003    3000    3000  1-00:00:00 root VLLM::EngineCore
  `,
  gpus: [[3003, 2]],
};

const TENSOR_PARALLEL: Machine = {
  ps: `
      1       0       1  20-01:02:03 root /sbin/init
   4000       1    4000     01:00:00 root python3 /opt/vllm/bin/vllm serve m -tp 4 --port 8000
   4001    4000    4000     01:00:00 root VLLM::EngineCore
   4010    4001    4000     00:59:00 root VLLM::Worker_TP0
   4011    4001    4000     00:59:00 root VLLM::Worker_TP1
   4012    4001    4000     00:59:00 root VLLM::Worker_TP2
   4013    4001    4000     00:59:00 root VLLM::Worker_TP3
  `,
  gpus: [[4010, 0], [4011, 1], [4012, 2], [4013, 3]],
};

const DATA_AND_TENSOR_PARALLEL: Machine = {
  ps: `
      1       0       1  20-01:02:03 root /sbin/init
   5000       1    5000     01:00:00 root python3 /opt/vllm/bin/vllm serve m -dp 2 -tp 2
   5001    5000    5000     01:00:00 root VLLM::DPCoordinator
   5002    5000    5000     01:00:00 root VLLM::EngineCore_DP0
   5003    5000    5000     01:00:00 root VLLM::EngineCore_DP1
   5010    5002    5000     00:59:00 root VLLM::Worker_DP0_TP0_EP0
   5011    5002    5000     00:59:00 root VLLM::Worker_DP0_TP1_EP1
   5012    5003    5000     00:59:00 root VLLM::Worker_TP0_DP1
   5013    5003    5000     00:59:00 root /opt/python3 -c from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=56, pipe_handle=55) --multiprocessing-fork_TP1
  `,
  gpus: [[5010, 0], [5011, 1], [5012, 2], [5013, 3]],
};

/** Two servers, and an unrelated training job. */
const TWO_MODELS: Machine = {
  ps: `
      1       0       1  20-01:02:03 root /sbin/init
    900       1     900     05:00:00 root -bash
   6000     900    6000     01:00:00 root python3 /opt/vllm/bin/vllm serve org/chat --port 8000
   6001    6000    6000     01:00:00 root VLLM::EngineCore
   6100     900    6100     01:00:00 root python3 /opt/vllm/bin/vllm serve org/embed --port 8001
   6101    6100    6100     01:00:00 root VLLM::EngineCore
   6200     900    6200     03:00:00 root python3 train.py --data vllm serve.jsonl
   6201    6200    6200     03:00:00 root python3 train.py --data vllm serve.jsonl
  `,
  gpus: [[6001, 0], [6101, 0], [6201, 1]],
};

Deno.test("attributeProcesses() finds the listening process among the ancestors", () => {
  const shares = attribute(BARE, [createEndpoint(8000, { listenerPids: [1000] })]);
  assertEquals(describeShares(shares), ["1002 8000/0 - listener"]);
  assertEquals(shares[0].name, "VLLM::EngineCore");
});

Deno.test("attributeProcesses() finds the server that started the listening process", () => {
  const endpoint = createEndpoint(9000, { listenerPids: [3001, 3002] });
  assertEquals(describeShares(attribute(SYSTEMD, [endpoint])), ["3003 9000/0 - listener"]);
});

Deno.test("attributeProcesses() matches --port if listeners are hidden", () => {
  for (const [machine, port] of [[BARE, 8000], [SYSTEMD, 9000], [TENSOR_PARALLEL, 8000]] as const) {
    const endpoints = [createEndpoint(port), createEndpoint(7777, { modelNames: ["x"] })];
    const shown = describeShares(attribute(machine, endpoints));
    assert(
      shown.every((line) => line.includes(` ${port}/0 `) && line.endsWith(" port")),
      `${shown}`,
    );
  }
});

/** One of each of the other servers that hold GPU memory in processes that they start. */
const MIXED: Machine = {
  ps: `
      1       0       1  20-01:02:03 root /sbin/init
   6000       1    6000     02:00:00 ollama /usr/local/bin/ollama serve
   6010    6000    6000     01:00:00 ollama /usr/local/lib/ollama/llama-server --model /usr/share/ollama/blobs/sha256-d61e40e3 --port 40123 --host localhost -c 4096 -np 1
   6020    6000    6000     01:00:00 ollama /usr/local/bin/ollama runner --model /usr/share/ollama/blobs/sha256-aa01 --port 40124
   6100       1    6100     02:00:00 root /opt/llama.cpp/llama-server --models-dir /srv/models --port 8080
   6110    6100    6100     01:00:00 root /opt/llama.cpp/llama-server --port 45001 --alias small --model /srv/models/small.gguf
   6200       1    6200     02:00:00 root python3 -m sglang.launch_server --model-path m --port 30000
   6210    6200    6200     02:00:00 root sglang::scheduler
   6300       1    6300     02:00:00 root text-generation-launcher --model-id m --port 3000
   6310    6300    6300     02:00:00 root /usr/bin/python3 text-generation-server serve m
   6400       1    6400     02:00:00 root /opt/llama.cpp/llama-server -m /srv/models/big.gguf --port 8081
  `,
  gpus: [[6010, 0], [6020, 0], [6110, 1], [6210, 2], [6310, 3], [6400, 3]],
};

Deno.test("attributeProcesses() gives the memory of other servers' children to the server", () => {
  for (const areHidden of [false, true]) {
    const listen = (port: number, pid: number): GpuEndpoint =>
      createEndpoint(port, { engines: [""], listenerPids: areHidden ? [] : [pid] });
    const shares = attribute(MIXED, [
      listen(11_434, 6000),
      listen(8080, 6100),
      listen(30_000, 6200),
      listen(3000, 6300),
      listen(8081, 6400),
    ]);
    assertEquals(
      shares.map(({ process, owner }) => [process.pid, owner?.endpointKey.split(":").at(-1)]),
      [
        [6010, "11434"],
        [6020, "11434"],
        [6110, "8080"],
        [6210, "30000"],
        [6310, "3000"],
        [6400, "8081"],
      ],
      `listeners hidden: ${areHidden}`,
    );
  }
});

Deno.test("attributeProcesses() follows docker's port forwarding, with listeners hidden or not", () => {
  for (const listenerPids of [[], [710, 711]]) {
    const endpoints = [
      createEndpoint(8000, { modelNames: ["other"] }),
      createEndpoint(8001, { listenerPids, modelNames: ["meta-llama/Llama-3.1-8B-Instruct"] }),
    ];
    assertEquals(describeShares(attribute(CONTAINER, endpoints)), ["2100 8001/0 - port"]);
  }
});

Deno.test("attributeProcesses() matches the model if no port fits, then by elimination", () => {
  const other = createEndpoint(8005, { modelNames: ["x"] });
  const named = createEndpoint(8006, { modelNames: ["prod"] });
  assertEquals(describeShares(attribute(SYSTEMD, [other, named])), ["3003 8006/0 - model"]);
  assertEquals(describeShares(attribute(SYSTEMD, [other])), ["3003 8005/0 - elimination"]);
  const two = [other, createEndpoint(8007, { modelNames: ["y"] })];
  assertEquals(describeShares(attribute(SYSTEMD, two)), ["3003 other"]);
});

Deno.test("attributeProcesses() reads tensor-parallel ranks", () => {
  const shares = attribute(TENSOR_PARALLEL, [createEndpoint(8000, { listenerPids: [4000] })]);
  assertEquals(
    describeShares(shares),
    [0, 1, 2, 3].map((rank) => `401${rank} 8000/0 ${rank} listener`),
  );
});

Deno.test("attributeProcesses() distinguishes data-parallel replicas by titles of every vLLM version", () => {
  const endpoint = createEndpoint(8000, { listenerPids: [5000], engines: ["0", "1"] });
  const shares = attribute(DATA_AND_TENSOR_PARALLEL, [endpoint]);
  assertEquals(describeShares(shares), [
    "5010 8000/0 0 listener",
    "5011 8000/0 1 listener",
    "5012 8000/1 0 listener",
    "5013 8000/1 1 listener",
  ]);
  const { endpointKey } = endpoint;
  const listGpus = (engine: string) =>
    listReplicaProcesses(shares, { endpointKey, engine }).map(({ gpuIndex }) => gpuIndex);
  assertEquals(listGpus("0"), [0, 1]);
  assertEquals(listGpus("1"), [2, 3]);
  assertEquals(listGpus("2"), []);
});

Deno.test("attributeProcesses() maps local ranks to this machine's engines", () => {
  const endpoint = createEndpoint(8000, { listenerPids: [5000], engines: ["3", "10"] });
  const shares = attribute(DATA_AND_TENSOR_PARALLEL, [endpoint]);
  assertEquals(shares.map(({ owner }) => owner?.engine), ["3", "3", "10", "10"]);
});

Deno.test("attributeProcesses() names no engine if several are possible", () => {
  const stages = createEndpoint(8000, {
    listenerPids: [5000],
    engines: ["stage 0 replica 0", "stage 1 replica 0"],
  });
  const owners = attribute(DATA_AND_TENSOR_PARALLEL, [stages]).map(({ owner }) => owner);
  assertEquals(owners.map((owner) => [owner?.endpointKey, owner?.engine]), [
    ...Array(4).fill([stages.endpointKey, null]),
  ]);
  const endpoint = createEndpoint(8000, { listenerPids: [4000], engines: ["0", "1"] });
  assertEquals(attribute(TENSOR_PARALLEL, [endpoint])[0].owner?.engine, null);
});

Deno.test("attributeProcesses() reads titles of older vLLM versions", () => {
  const ps = `
    1       0       1     01:00:00 root /sbin/init
   10       1      10     01:00:00 root vllm serve m
   11      10      10     01:00:00 root VLLM::EngineCoreProc_1
   12      11      10     01:00:00 root VllmWorker-2
   13      10      10     01:00:00 root python3 VllmWorker rank=3
  `;
  const endpoint = createEndpoint(8000, { listenerPids: [10], engines: ["0", "1"] });
  assertEquals(describeShares(attribute({ ps, gpus: [[11, 0], [12, 1], [13, 2]] }, [endpoint])), [
    "11 8000/1 - listener",
    "12 8000/1 2 listener",
    "13 8000/? 3 listener",
  ]);
});

Deno.test("attributeProcesses() reads pipeline-parallel ranks", () => {
  const ps = `
    1       0       1     01:00:00 root /sbin/init
   10       1      10     01:00:00 root vllm serve m
   11      10      10     01:00:00 root VLLM::Worker_PP0_TP1
   12      10      10     01:00:00 root VLLM::Worker_PP1_TP0
   13      12      10     01:00:00 root VLLM::Worker_TP3
   14      10      10     01:00:00 root VLLM::EngineCore
  `;
  const shares = attribute(
    { ps, gpus: [[11, 0], [12, 1], [13, 2], [14, 3]] },
    [createEndpoint(8000, { listenerPids: [10] })],
  );
  assertEquals(shares.map(({ owner }) => [owner?.pipelineRank, owner?.tensorRank]), [
    [0, 1],
    [1, 0],
    [1, 3],
    [null, null],
  ]);
});

Deno.test("attributeProcesses() distinguishes two models and leaves a training job unowned", () => {
  const chat = createEndpoint(8000, { modelNames: ["org/chat"] });
  const embed = createEndpoint(8001, { modelNames: ["org/embed"] });
  assertEquals(describeShares(attribute(TWO_MODELS, [chat, embed])), [
    "6001 8000/0 - port",
    "6101 8001/0 - port",
    "6201 other",
  ]);
  const owned = [{ ...chat, listenerPids: [6000] }, { ...embed, listenerPids: [6100] }];
  const shares = attribute(TWO_MODELS, owned);
  assertEquals(shares.map(({ owner }) => owner?.evidence), ["listener", "listener", undefined]);
  assertEquals(shares[2].name, "python3 train.py --data vllm serve.jsonl");
});

Deno.test("attributeProcesses() never gives one server's memory to another endpoint", () => {
  const chat = createEndpoint(8000, { listenerPids: [6000] });
  const remote = createEndpoint(9999, { port: null, modelNames: ["org/else"], listenerPids: [] });
  assertEquals(describeShares(attribute(TWO_MODELS, [chat]))[1], "6101 other");
  assertEquals(
    describeShares(attribute(TWO_MODELS, [chat, remote]))[1],
    "6101 9999/0 - elimination",
  );
});

Deno.test("attributeProcesses() uses a process group only if one endpoint has it", () => {
  const ps = `
    1       0       1     01:00:00 root /sbin/init
   20       1      20     01:00:00 root python3 serve_llm.py
   21       1      20     01:00:00 root VLLM::EngineCore
   30       1      30     01:00:00 root bash start_both.sh
   31      30      30     01:00:00 root python3 a.py
   32      30      30     01:00:00 root python3 b.py
   33       1      30     01:00:00 root VLLM::EngineCore
  `;
  const endpoints = [
    createEndpoint(8000, { listenerPids: [20] }),
    createEndpoint(8001, { listenerPids: [31] }),
    createEndpoint(8002, { listenerPids: [32] }),
  ];
  assertEquals(describeShares(attribute({ ps, gpus: [[21, 0], [33, 1]] }, endpoints)), [
    "21 8000/0 - group",
    "33 other",
  ]);
});

Deno.test("attributeProcesses() recognizes the same servers and options as the scan", () => {
  const server = "python3 /opt/vllm/entrypoints/openai/api_server.py";
  const ps = (commandLine: string) => `
    1       0       1     01:00:00 root /sbin/init
   40       1      40     01:00:00 root ${commandLine}
   41      40      40     01:00:00 root VLLM::EngineCore
  `;
  const endpoints = [
    createEndpoint(8005, { modelNames: ["m1"] }),
    createEndpoint(8006, { modelNames: ["m2"] }),
  ];
  const shown = (commandLine: string) =>
    describeShares(attribute({ ps: ps(commandLine), gpus: [[41, 0]] }, endpoints));
  assertEquals(shown("vllm serve /models/m --served_model_name m1"), ["41 8005/0 - model"]);
  assertEquals(shown(`${server} --model m2`), ["41 8006/0 - model"]);
  assertEquals(shown(`${server} --model m1 --port 8005`), ["41 8005/0 - port"]);
});

Deno.test("attributeProcesses() recognizes a server that is pid 1 of its container", () => {
  const ps = "1 0 1 01:00:00 root vllm serve m\n8 1 1 01:00:00 root VLLM::EngineCore\n";
  const endpoint = createEndpoint(8000, { listenerPids: [1] });
  assertEquals(describeShares(attribute({ ps, gpus: [[8, 0]] }, [endpoint])), [
    "8 8000/0 - listener",
  ]);
});

Deno.test("attributeProcesses() gives no memory to an init process that listens for others", () => {
  const endpoint = createEndpoint(8000, { listenerPids: [1] });
  const ps = `${BARE.ps}\n 950 1 950 01:00:00 python3 train.py`;
  const shares = attribute({ ps, gpus: [[1002, 0], [950, 1]] }, [endpoint]);
  assertEquals(describeShares(shares), ["1002 8000/0 - port", "950 other"]);
});

Deno.test("attributeProcesses() treats a server behind a tunnel as remote", () => {
  const ps = `${BARE.ps}\n 960 900 960 01:00:00 ssh -N -L 9000:localhost:8000 gpu7`;
  const tunnel = createEndpoint(9000, { listenerPids: [960], modelNames: ["Qwen/Qwen3-8B"] });
  assertEquals(describeShares(attribute({ ps, gpus: [[1002, 0]] }, [tunnel])), ["1002 other"]);
});

Deno.test("attributeProcesses() leaves processes of other namespaces unowned, with the driver's name", () => {
  const [share] = attribute({ ps: "", gpus: [[77, 0, "VLLM::EngineCore"]] }, [
    createEndpoint(8000),
  ]);
  assertEquals([share.owner, share.name], [null, "VLLM::EngineCore"]);
});

Deno.test("attributeProcesses() returns every process once, in order, for any tree", () => {
  const entry = fc.record({ pid: fc.integer({ min: 1, max: 9 }), parent: fc.nat(9) });
  fc.assert(fc.property(
    fc.array(entry, { maxLength: 12 }),
    fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 6 }),
    fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 3 }),
    (entries, gpuPids, listenerPids) => {
      const ps = entries.map(({ pid, parent }) => `${pid} ${parent} ${parent} 01:00 vllm serve m`)
        .join("\n");
      const gpus = gpuPids.map((pid) => [pid, 0] as const);
      const shares = attribute({ ps, gpus }, [createEndpoint(8000, { listenerPids })]);
      assertEquals(shares.map(({ process }) => process.pid), gpuPids);
    },
  ));
});

Deno.test("narrowToSlices() leaves a replica the memory of its own MIG instances", () => {
  const [gpu] = readMigGpus();
  const hold = (...ids: readonly (number | null)[]) =>
    narrowToSlices(
      gpu,
      ids.map((id, index) =>
        createGpuProcess(index, {
          gpuInstanceId: id === null ? absent("missing") : present(id),
        })
      ),
    );
  const one = hold(2);
  assertEquals(one.migInstances.map(({ index }) => index), [0]);
  assertEquals(one.memoryUsedBytes, present(11_091 * MIB));
  assertEquals(one.memoryTotalBytes, present(40_448 * MIB));
  assertEquals(hold(2, 2, 9).memoryUsedBytes, present(11_100 * MIB));
  for (const unknown of [hold(null), hold(2, null), hold(77)]) {
    assertEquals(unknown.memoryUsedBytes, absent("missing"));
    assertEquals(unknown.memoryTotalBytes, absent("missing"));
  }
  const whole = { ...gpu, isMigEnabled: present(false) };
  assertEquals(narrowToSlices(whole, [createGpuProcess(1)]), whole);
});

/** Each process of a server as `pid port/engine role`. */
function describeProcesses({ ps }: Pick<Machine, "ps">, endpoints: readonly GpuEndpoint[]) {
  return listServerProcesses(parseProcessTable(ps), endpoints).map((one) =>
    `${one.pid} ${one.endpointKey.split(":").at(-1)}/${one.engine ?? "?"} ${one.role}`
  );
}

Deno.test("listServerProcesses() tells the API server, the engine cores and their workers", () => {
  assertEquals(describeProcesses(BARE, [createEndpoint(8000, { listenerPids: [1000] })]), [
    "1000 8000/0 api_server",
    "1001 8000/0 other",
    "1002 8000/0 engine_core",
  ]);
  const parallel = createEndpoint(8000, { listenerPids: [5000], engines: ["0", "1"] });
  assertEquals(describeProcesses(DATA_AND_TENSOR_PARALLEL, [parallel]), [
    "5000 8000/? api_server",
    "5001 8000/? other",
    "5002 8000/0 engine_core",
    "5003 8000/1 engine_core",
    "5010 8000/0 worker",
    "5011 8000/0 worker",
    "5012 8000/1 worker",
    "5013 8000/1 other",
  ]);
});

Deno.test("listServerProcesses() tells several API servers by their titles, and by no other sign in a container", () => {
  const prod = createEndpoint(9000, { listenerPids: [3000, 3001, 3002] });
  assertEquals(describeProcesses(SYSTEMD, [prod]), [
    "3000 9000/0 api_server",
    "3001 9000/0 api_server",
    "3002 9000/0 api_server",
    "3003 9000/0 engine_core",
  ]);
  const hidden = createEndpoint(8001, { listenerPids: [710] });
  assertEquals(describeProcesses(CONTAINER, [hidden]), [
    "2000 8001/0 api_server",
    "2100 8001/0 engine_core",
  ]);
});

Deno.test("listServerProcesses() takes no fork of an untitled server for its API server", () => {
  const ps = `
    900     1   900     05:00:00 root -bash
    901   900   901     01:00:00 root python3 /opt/vllm/bin/vllm serve m
    902   901   901     01:00:00 root python3 /opt/vllm/bin/vllm serve m
    903     1   901     01:00:00 root tee server.log
  `;
  const endpoint = createEndpoint(8000, { listenerPids: [901, 902] });
  assertEquals(describeProcesses({ ps }, [endpoint]), [
    "901 8000/0 api_server",
    "902 8000/0 other",
  ]);
  assertEquals(describeProcesses({ ps }, []), []);
});
