/** Whose port it is, by the processes of a machine. */

import { assertEquals } from "@std/assert";
import { type ListeningPort, parseProcessTable } from "../lib/host_processes.ts";
import { findServerProcess, listStartingServers } from "../lib/host_servers.ts";

const TABLE = parseProcessTable(`
    1     0     1 10-00:00:00 root /sbin/init
  100     1   100    00:40 me   bash -c vllm serve m --port 8000 > log
  101   100   100    00:39 me   /usr/bin/python3 /usr/local/bin/vllm serve m --port 8000
  102   101   100    00:20 me   /usr/bin/python3 /usr/local/bin/vllm serve m --port 8000
  103   101   100    00:20 me   VLLM::EngineCore
  110     1   110    00:40 me   /usr/bin/python3 -m vllm.entrypoints.openai.api_server --model m --port 8001
  120     1   120    00:40 me   python3 /usr/local/bin/vllm serve m --port 8002 --headless
  130     1   130    00:40 me   vim vllm serve notes
  131     1   131    00:40 me   docker run vllm/vllm-openai vllm serve m --port 8003
  140     1   140    00:40 root /usr/bin/containerd-shim-runc-v2 -namespace moby -id 0123
  141   140   141    00:40 root python3 /usr/local/bin/vllm serve m --port 8004
  142     1   142    00:40 root /usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 9004 -container-ip 172.17.0.2 -container-port 8004
  150     1   150    00:40 me   python3 /usr/local/bin/vllm serve a --port 8005
  151     1   151    00:40 me   python3 /usr/local/bin/vllm serve b --port 8005
  160     1   160    00:40 me   nc -l 8006
  170     1   170    00:40 me   VLLM::APIServer_0
`);

const listen = (port: number, ...ownerPids: readonly number[]): ListeningPort => ({
  ...{ port, addresses: ["*"], ownerPids },
});
const find = (port: number, ...listening: readonly ListeningPort[]) =>
  findServerProcess({ processes: TABLE, listening }, port)?.pid ?? null;

Deno.test("findServerProcess() finds a server that does not listen yet, and not its shell or children", () => {
  assertEquals(find(8000), 101);
  assertEquals(find(8001), 110);
  // A node without HTTP, an editor, a client; two that claim one port.
  assertEquals([8002, 8003, 8005, 8006].map((port) => find(port)), [null, null, null, null]);
});

Deno.test("findServerProcess() finds the owner of an open port, through a proxy into its container", () => {
  assertEquals(find(8000, listen(8000, 102)), 101);
  assertEquals(find(8000, listen(8000, 103)), 101);
  assertEquals(find(9004, listen(9004, 142)), 141);
  assertEquals(find(8006, listen(8006, 160)), null);
  assertEquals(find(8007, listen(8007, 170)), 170);
});

Deno.test("listStartingServers() lists servers whose port is closed, but of containers", () => {
  const list = (...listening: readonly ListeningPort[]) =>
    listStartingServers({ processes: TABLE, listening }).map(([port, { pid }]) => [port, pid]);
  assertEquals(list(listen(22)), [[8000, 101], [8001, 110]]);
  assertEquals(list(listen(22), listen(8001, 110)), [[8000, 101]]);
  // The list of ports could not be had.
  assertEquals(list(), []);
});

Deno.test("listStartingServers() leaves out a server whose environment has moved its port", () => {
  const processes = parseProcessTable("200 1 200 00:40 me /usr/local/bin/ollama serve\n");
  const list = (...listening: readonly ListeningPort[]) =>
    listStartingServers({ processes, listening }).map(([port]) => port);
  assertEquals(list(listen(22, 1)), [11434]);
  assertEquals(list(listen(22, 1), listen(21030, 200)), []);
});
