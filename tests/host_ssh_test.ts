import { assert, assertEquals, assertMatch } from "@std/assert";
import { parseSshTarget } from "../lib/endpoint.ts";
import {
  computeRetryPause,
  describeMissingSsh,
  describeSshEnd,
  listCheckArguments,
  listForwardArguments,
  listSessionArguments,
  type SshEnd,
} from "../lib/host_ssh.ts";

const TARGET = { name: "gpu1", destination: "admin@gpu1" };
const SETTINGS = { configFile: null, acceptsNewKeys: false };
const OWN = { kind: "own", path: "/run/user/1/vllm-htop-7-0" } as const;
const END: SshEnd = { code: 255, stderr: "", head: "", hasAnswered: false, cause: null };

/** Real runs of OpenSSH 9.2; the file says how they were made. */
interface RecordedRun {
  readonly what: string;
  readonly args: readonly string[];
  readonly rc: number;
  readonly stdout: string;
  readonly stderr: string;
}

const RUNS: readonly RecordedRun[] = JSON.parse(
  Deno.readTextFileSync(new URL("fixtures/ssh-runs.json", import.meta.url)),
).runs;

const RECORDED_KINDS: Readonly<Record<string, string>> = {
  "connection refused": "unreachable",
  "name not known": "name",
  "network unreachable": "unreachable",
  "no route to host": "unreachable",
  "connection timed out": "unreachable",
  "key refused": "key",
  "host key not known": "host_key",
  "host key has changed": "host_key",
  "accepts and says nothing": "unreachable",
  "not an ssh server": "unreachable",
  "closes at once": "unreachable",
  "login shell nologin": "no_shell",
  "login shell false": "no_shell",
  "forced command in authorized_keys": "no_shell",
  "RemoteCommand in the config": "configuration",
  "control path too long": "configuration",
  "unknown option": "configuration",
  "a host that begins with a dash, behind --": "configuration",
  "a host with a shell character": "configuration",
  "no config file": "configuration",
  "remote shell ends with 255": "unreachable",
  "far side frozen, ServerAlive 2 s × 2": "unreachable",
  "far side ends the connection": "unreachable",
};

Deno.test("describeSshEnd() gives each recorded failure its kind and its last line", () => {
  for (const [what, kind] of Object.entries(RECORDED_KINDS)) {
    const run = RUNS.find((one) => one.what === what);
    assert(run !== undefined, what);
    const { rc: code, stderr, stdout: head } = run;
    const failure = describeSshEnd(TARGET, { ...END, code, stderr, head: head.trim() });
    assertEquals([what, failure.kind], [what, kind]);
    const last = stderr.trim().split("\n").at(-1)?.trim() ?? "";
    assert(failure.message.includes(last.slice(0, 60)), failure.message);
    assert(!failure.message.includes("\r"), failure.message);
  }
});

Deno.test("describeSshEnd() says which file has the key that differs", () => {
  const { stderr = "" } = RUNS.find(({ what }) => what === "host key has changed") ?? {};
  const { message } = describeSshEnd(TARGET, { ...END, stderr });
  assertMatch(message, /"Offending ED25519 key in \S+known_hosts_changed:1"/);
});

Deno.test("describeSshEnd() finds a jump host's refusal above the end of the way", () => {
  const stderr = "Banner\r\nme@jump: Permission denied (publickey).\r\n" +
    "Connection closed by UNKNOWN port 65535\r\n";
  const failure = describeSshEnd(TARGET, { ...END, stderr });
  assertEquals(failure.kind, "key");
  assertMatch(failure.message, /"me@jump: Permission denied \(publickey\)\."/);
  // A banner is no reason.
  const banner = "Permission denied to strangers!\r\nConnection reset by gpu1 port 22\r\n";
  assertEquals(describeSshEnd(TARGET, { ...END, stderr: banner }).kind, "unreachable");
});

Deno.test("describeSshEnd() knows a session that ended from a login that failed", () => {
  const hasAnswered = true;
  const describe = (end: Partial<SshEnd>) =>
    describeSshEnd(TARGET, { ...END, hasAnswered, ...end });
  assertEquals(describe({ code: 137, stderr: "Killed\n" }).kind, "unreachable");
  assertEquals(describe({ stderr: "sh: Permission denied\n" }).kind, "unreachable");
  assertMatch(describe({ code: null, cause: "silence" }).message, /stopped answering/);
  assertMatch(describe({ code: null, cause: "flood" }).message, /printed too much/);
  const silent = describe({ code: null, cause: "silence", hasAnswered: false });
  assertMatch(silent.message, /no answer in time.*hardware key/);
});

Deno.test("describeMissingSsh() tells a missing program from one that may not be started", () => {
  assertMatch(describeMissingSsh(TARGET, null).message, /not on the PATH/);
  assertMatch(describeMissingSsh(TARGET, "NotCapable").message, /--allow-run=ssh/);
});

Deno.test("computeRetryPause() backs off by kind, and never hammers with a refused key", () => {
  const pause = (kind: Parameters<typeof computeRetryPause>[0], failures: number) =>
    computeRetryPause(kind, failures, 0.5);
  assertEquals([1, 2, 3, 7, 99].map((n) => pause("unreachable", n)), [1, 2, 4, 60, 60]);
  assertEquals([1, 2].map((n) => pause("name", n)), [5, 10]);
  assertEquals([1, 9].map((n) => pause("key", n)), [300, 300]);
  for (const kind of ["host_key", "configuration", "no_shell", "not_started"] as const) {
    assertEquals(pause(kind, 1), null);
  }
  assertEquals([0, 1].map((chance) => computeRetryPause("unreachable", 1, chance)), [0.8, 1.2]);
});

Deno.test("listSessionArguments() puts the host behind --, and overrules what a configuration may say", () => {
  const words = listSessionArguments(TARGET, SETTINGS, OWN);
  assertEquals(words.slice(-3), ["--", "admin@gpu1", "sh -s"]);
  for (
    const setting of [
      ...["BatchMode=yes", "RemoteCommand=none", "ClearAllForwardings=yes", "ForwardAgent=no"],
      ...["ControlMaster=yes", `ControlPath=${OWN.path}`, "ControlPersist=no"],
    ]
  ) assert(words.includes(setting), setting);
  assert(!words.some((word) => word.startsWith("StrictHostKeyChecking")), "left to the user");
  const other = listSessionArguments(
    TARGET,
    { configFile: "/c", acceptsNewKeys: true },
    { kind: "users" },
  );
  assertEquals(other.slice(0, 3), ["-T", "-F", "/c"]);
  assert(other.includes("StrictHostKeyChecking=accept-new"));
  assert(!other.some((word) => word.startsWith("ControlPath")), "the user's own");
});

Deno.test("listForwardArguments() never logs in anew, and shares nothing where that is impossible", () => {
  const place = "localhost:8000";
  const words = listForwardArguments(TARGET, SETTINGS, { sharing: OWN, place });
  assertEquals(words.slice(-4), ["-W", place, "--", "admin@gpu1"]);
  assert(words.includes("ProxyCommand=false"));
  const alone = listForwardArguments(TARGET, SETTINGS, { sharing: { kind: "none" }, place });
  assert(alone.includes("ControlPath=none"));
  assertEquals(listCheckArguments(TARGET, SETTINGS).slice(-4), ["-O", "check", "--", "admin@gpu1"]);
});

Deno.test("parseSshTarget() takes aliases, user@host and ssh:// URLs, and names them", () => {
  const parse = (text: string) => parseSshTarget(text);
  assertEquals(parse("gpu1"), { name: "gpu1", destination: "gpu1" });
  assertEquals(parse("me@GPU1.example"), {
    name: "gpu1.example",
    destination: "me@GPU1.example",
  });
  assertEquals(parse("ssh://me@gpu1:2222")?.name, "gpu1-2222");
  assertEquals(parse("me%corp@gpu1")?.name, "gpu1");
  assertEquals(parse("localhost")?.name, "ssh-localhost", "this machine has that name");
  assertEquals(parse("a=me@gpu1"), { name: "a", destination: "me@gpu1" });
});

Deno.test("parseSshTarget() refuses what ssh or a shell would take for more than a host", () => {
  for (
    const text of [
      ...["", "-oProxyCommand=id", "ssh://-oProxyCommand", "me@-x", "gpu1;id", "gpu1 id", "$(id)"],
      ...["`id`", "gpu1\n", "a/b", "ssh://gpu1/path", "=gpu1", "a b=gpu1", "localhost=gpu1", "@"],
      "x".repeat(300),
    ]
  ) assertEquals(parseSshTarget(text), null, text);
});
