import { assert, assertEquals } from "@std/assert";
import {
  LSOF_ARGUMENTS,
  readLocalHost,
  readLsofPorts,
  readSsPorts,
  SS_ARGUMENTS,
} from "../lib/listening_ports.ts";
import { needsProgram } from "./programs.ts";

// Recorded with iproute2 6.1.0, as root; the socket of port 2024 belongs to no process of this
// machine. Docker's two lines are as its documentation and users show them.
const SS = `
LISTEN 0      5        0.0.0.0:31337 0.0.0.0:* users:(("python3",pid=7894,fd=3))
LISTEN 0      128    127.0.0.1:31341 0.0.0.0:* users:(("python3",pid=7977,fd=5),("python3",pid=7895,fd=5))
LISTEN 0      128      0.0.0.0:2024  0.0.0.0:*
LISTEN 0      128            *:31339       *:* users:(("python3",pid=7977,fd=3),("python3",pid=7895,fd=3))
LISTEN 0      128        [::1]:31340    [::]:* users:(("python3",pid=7977,fd=4),("python3",pid=7895,fd=4))
LISTEN 0      4096       0.0.0.0:8080       0.0.0.0:*    users:(("docker-proxy",pid=910,fd=7))
LISTEN 0      4096          [::]:8080          [::]:*    users:(("docker-proxy",pid=917,fd=7))
LISTEN 0      4096  127.0.0.53%lo:53         0.0.0.0:*
`;

// The same machine as nobody sees it.
const SS_UNPRIVILEGED = `
LISTEN 0      5        0.0.0.0:31337 0.0.0.0:*
LISTEN 0      128        [::1]:31340    [::]:*
`;

// Recorded with lsof 4.95.0 on Linux; on macOS each file has its descriptor, too.
const LSOF = `p7894
n*:31337
p7895
f3
n*:31339
f4
n[::1]:31340
f5
n127.0.0.1:31341
p7977
n*:31339
n[::1]:31340
n127.0.0.1:31341
`;

Deno.test("readSsPorts() reads ports, addresses and owners", () => {
  assertEquals(readSsPorts(SS), [
    { port: 53, addresses: ["127.0.0.53"], ownerPids: [] },
    { port: 2024, addresses: ["0.0.0.0"], ownerPids: [] },
    { port: 8080, addresses: ["0.0.0.0", "::"], ownerPids: [910, 917] },
    { port: 31337, addresses: ["0.0.0.0"], ownerPids: [7894] },
    { port: 31339, addresses: ["*"], ownerPids: [7977, 7895] },
    { port: 31340, addresses: ["::1"], ownerPids: [7977, 7895] },
    { port: 31341, addresses: ["127.0.0.1"], ownerPids: [7977, 7895] },
  ]);
  assertEquals(readSsPorts(SS_UNPRIVILEGED).map(({ port, ownerPids }) => [port, ownerPids]), [
    [31337, []],
    [31340, []],
  ]);
});

Deno.test("readLsofPorts() reads the same", () => {
  const expected = readSsPorts(SS).filter(({ port }) => port > 30_000)
    .map(({ port, ownerPids }) => [port, ownerPids.toSorted()]);
  const ports = readLsofPorts(LSOF);
  assertEquals(ports.map(({ port, ownerPids }) => [port, ownerPids.toSorted()]), expected);
  assertEquals(ports[1].addresses, ["*"]);
  assertEquals(ports[2].addresses, ["::1"]);
});

Deno.test("readSsPorts() and readLsofPorts() pass over what they cannot read", () => {
  for (const read of [readSsPorts, readLsofPorts]) {
    for (
      const text of [
        "",
        "State Recv-Q Send-Q Local Address:Port Peer Address:PortProcess",
        "LISTEN 0 5",
        "LISTEN 0 5 0.0.0.0:0 *:*",
        "LISTEN 0 5 0.0.0.0:99999 *:*",
        "LISTEN 0 5 somewhere *:*",
        "ESTAB 0 0 127.0.0.1:80 127.0.0.1:81",
        "n*:80",
        "p1\nnsomewhere",
        "px\nn*:80",
      ]
    ) {
      assertEquals(read(text), [], text);
    }
  }
});

Deno.test("readLocalHost() names the host by which a port is reached", () => {
  const host = (...addresses: readonly string[]): string =>
    readLocalHost({ port: 80, addresses, ownerPids: [] });
  assertEquals(host("0.0.0.0"), "localhost");
  assertEquals(host("10.0.0.5", "127.0.0.1"), "localhost");
  assertEquals(host("::1"), "localhost");
  assertEquals(host("10.0.0.5"), "10.0.0.5");
  assertEquals(host("fd00::5"), "[fd00::5]");
  assertEquals(host("127.0.0.53"), "127.0.0.53");
});

for (
  const [program, args, read] of [
    ["ss", SS_ARGUMENTS, readSsPorts],
    ["lsof", LSOF_ARGUMENTS, readLsofPorts],
  ] as const
) {
  Deno.test(`${program}'s output has the port of this test`, needsProgram(program), async () => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { stdout } = await new Deno.Command(program, { args: [...args] }).output();
    const { port } = listener.addr;
    listener.close();
    const found = read(new TextDecoder().decode(stdout)).find((one) => one.port === port);
    assertEquals(found?.addresses, ["127.0.0.1"]);
    assert(found?.ownerPids.includes(Deno.pid));
  });
}
