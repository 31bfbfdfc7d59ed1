/**
 * Keeps the session to a host behind ssh: at most so many logins at once, back-off by kind of
 * failure, and the way to the ports there, which is forwarding or, where that is forbidden, curl.
 * @module
 */

import type { SshTarget } from "./endpoint.ts";
import { createHost, type Host } from "./host.ts";
import {
  computeRetryPause,
  describeMissingSsh,
  describeSshEnd,
  listCheckArguments,
  listForwardArguments,
  listSessionArguments,
  SSH_VARIABLES,
  type SshFailure,
  type SshSettings,
  type SshSharing,
} from "./host_ssh.ts";
import { createSshMachine } from "./host_ssh_machine.ts";
import { type ShellCall, type SshSession, startSshSession } from "./host_ssh_session.ts";
import type { Gate, NotStarted, Platform, ProgramOutcome, RunningProgram } from "./platform.ts";
import { BYTES_PER_KIBIBYTE, type Seconds, SECONDS_PER_MINUTE } from "./units.ts";

/** The state of the connection to a host. */
export type HostLink =
  | { readonly kind: "connecting" }
  | {
    readonly kind: "up";
    /** Of an empty command, there and back; `null` before the first. */
    readonly latency: Seconds | null;
    /** By which `/metrics` comes. */
    readonly way: "forwarding" | "curl";
  }
  | {
    readonly kind: "down";
    readonly failure: SshFailure;
    /** Attempts in a row that failed. */
    readonly failures: number;
    /** `null` if it is tried again only when asked. */
    readonly retryAt: Seconds | null;
  };

/** Few servers take more than ten logins at once, and one jump host answers for many hosts. */
export const MAX_LOGINS = 8;
/** A list of processes and ports costs a host tens of milliseconds of its time. */
const LISTING_LIFETIME: Seconds = 15;
const LATENCY_INTERVAL: Seconds = 5;
/** After so long a session the next failure counts as the first. */
const HEALTHY_AFTER: Seconds = SECONDS_PER_MINUTE;
const CHECK_LIMIT: Seconds = 3;
/** The kernel's limit, less the suffix that ssh adds while it binds. */
const MAX_SOCKET_PATH = 87;

export interface SshHost {
  readonly target: SshTarget;
  readonly host: Host;
  readonly getLink: () => HostLink;
  /** Connects, and again after each failure, until the signal. */
  readonly keep: (stop: AbortSignal, onChange: (link: HostLink) => void) => Promise<void>;
  /** Ends a pause before the next attempt. */
  readonly retry: () => void;
  /** Starts a connection to a place there, such as `localhost:8000`. */
  readonly forward: (place: string) => RunningProgram | NotStarted;
  /** A command line of the shell there. */
  readonly call: (call: ShellCall) => Promise<ProgramOutcome>;
  /** Whether forwarding was refused, or cannot be shared with the session. */
  readonly needsCurl: () => boolean;
  readonly forbidForwarding: () => void;
}

interface Parts {
  readonly platform: Platform;
  readonly target: SshTarget;
  readonly settings: SshSettings;
  /** Of logins. */
  readonly gate: Gate;
  /** Distinct among the hosts. */
  readonly index: number;
}

interface Connection extends Parts {
  onChange: (link: HostLink) => void;
  link: HostLink;
  session: SshSession | null;
  sharing: SshSharing;
  system: string;
  failures: number;
  /** Ends the pause. */
  wake: () => void;
}

function startSsh(platform: Platform, arguments_: readonly string[]): RunningProgram | NotStarted {
  return platform.startProgram({ name: "ssh", arguments: arguments_, variables: SSH_VARIABLES });
}

function setLink(connection: Connection, link: HostLink): void {
  connection.link = link;
  connection.onChange(link);
}

/** Where ssh makes the socket; `null` where there is no folder of the user's own. */
async function findSocketPath({ platform, index }: Parts): Promise<string | null> {
  // Windows has no such sockets.
  if (platform.operatingSystem === "windows") return null;
  const home = platform.environment("HOME") ?? "";
  const folders = [platform.environment("XDG_RUNTIME_DIR") ?? "", home && `${home}/.ssh`];
  for (const folder of folders) {
    const path = `${folder}/vllm-htop-${platform.processId}-${index}`;
    // Percent signs and blanks mean something to ssh.
    if (!/^\/[^\s%"]+$/.test(path) || path.length > MAX_SOCKET_PATH) continue;
    if (await platform.fileMode(folder) !== null) return path;
  }
  return null;
}

async function chooseSharing(parts: Parts): Promise<SshSharing> {
  const { platform, target, settings } = parts;
  const check = startSsh(platform, listCheckArguments(target, settings));
  if (!("kind" in check)) {
    const cancel = platform.startTimer(CHECK_LIMIT, check.end);
    await Promise.allSettled([check.stdin.close(), check.stdout.cancel(), check.stderr.cancel()]);
    const code = await check.exitCode;
    cancel();
    if (code === 0) return { kind: "users" };
  }
  const path = await findSocketPath(parts);
  return path === null ? { kind: "none" } : { kind: "own", path };
}

async function watchLatency(connection: Connection, session: SshSession): Promise<void> {
  const { platform } = connection;
  const limits = { timeout: LATENCY_INTERVAL, maxOutputBytes: BYTES_PER_KIBIBYTE };
  const over = new AbortController();
  void session.ended.then(() => over.abort());
  while (!over.signal.aborted) {
    const startedAt = platform.monotonicSeconds();
    const { kind } = await session.call({ command: ":", ...limits });
    const { link } = connection;
    if (kind === "exited" && link.kind === "up") {
      setLink(connection, { ...link, latency: platform.monotonicSeconds() - startedAt });
    }
    await platform.sleep(LATENCY_INTERVAL, over.signal);
  }
}

/** One login and its session; resolves with its failure. */
async function runSession(connection: Connection, stop: AbortSignal): Promise<SshFailure> {
  const { platform, target, settings, gate } = connection;
  await gate.enter();
  let program: RunningProgram | NotStarted;
  let session: SshSession;
  let system: string | null;
  try {
    connection.sharing = await chooseSharing(connection);
    const words = listSessionArguments(target, settings, connection.sharing);
    program = startSsh(platform, words);
    if ("kind" in program) {
      return describeMissingSsh(target, program.kind === "missing" ? null : program.message);
    }
    session = startSshSession(platform, program, crypto.randomUUID());
    stop.addEventListener("abort", session.end);
    if (stop.aborted) session.end();
    system = await session.hello;
  } finally {
    gate.leave();
  }
  const startedAt = platform.monotonicSeconds();
  if (system !== null) {
    connection.system = system;
    connection.session = session;
    const way = connection.sharing.kind === "none" ? "curl" : "forwarding";
    setLink(connection, { kind: "up", latency: null, way });
    void watchLatency(connection, session);
  }
  const end = await session.ended;
  stop.removeEventListener("abort", session.end);
  connection.session = null;
  const hasLasted = platform.monotonicSeconds() - startedAt >= HEALTHY_AFTER;
  if (end.hasAnswered && hasLasted) connection.failures = 0;
  return describeSshEnd(target, end);
}

async function keep(
  connection: Connection,
  stop: AbortSignal,
  onChange: Connection["onChange"],
): Promise<void> {
  const { platform } = connection;
  connection.onChange = onChange;
  while (!stop.aborted) {
    const { link } = connection;
    // It stays down, with its failure, until it is up.
    if (link.kind === "down") {
      setLink(connection, { ...link, retryAt: platform.monotonicSeconds() });
    }
    const failure = await runSession(connection, stop);
    if (stop.aborted) return;
    const failures = ++connection.failures;
    const pause = computeRetryPause(failure.kind, failures, Math.random());
    const now = platform.monotonicSeconds();
    const retryAt = pause === null ? null : now + pause;
    setLink(connection, { kind: "down", failure, failures, retryAt });
    const woken = new AbortController();
    connection.wake = () => woken.abort();
    await platform.sleep(pause ?? Infinity, AbortSignal.any([stop, woken.signal]));
  }
}

export function createSshHost(parts: Parts): SshHost {
  const { platform, target, settings } = parts;
  const connection: Connection = {
    ...parts,
    onChange: () => {},
    link: { kind: "connecting" },
    session: null,
    sharing: { kind: "none" },
    system: "Linux",
    failures: 0,
    wake: () => {},
  };
  const call = (call: ShellCall): Promise<ProgramOutcome> =>
    connection.session?.call(call) ?? Promise.resolve({ kind: "aborted" });
  const machine = createSshMachine(platform, call, () => connection.system);
  return {
    target,
    host: createHost(target.name, machine, LISTING_LIFETIME),
    getLink: () => connection.link,
    keep: (stop, onChange) => keep(connection, stop, onChange),
    retry: () => connection.wake(),
    forward: (place) => {
      const { sharing } = connection;
      return startSsh(platform, listForwardArguments(target, settings, { sharing, place }));
    },
    call,
    needsCurl: () => connection.link.kind === "up" && connection.link.way === "curl",
    forbidForwarding: () => {
      const { link } = connection;
      if (link.kind === "up") setLink(connection, { ...link, way: "curl" });
    },
  };
}
