/**
 * Hosts behind ssh: how the user's own `ssh` is called, and what its failures mean.
 * Sources: recorded runs of OpenSSH 9.2 (`tests/fixtures/ssh-runs.json`), ssh(1), ssh_config(5).
 * @module
 */

import { createBackOff } from "./back_off.ts";
import type { SshTarget } from "./endpoint.ts";
import { quote } from "./text.ts";
import { type Seconds, SECONDS_PER_MINUTE } from "./units.ts";

/** Of all hosts. */
export interface SshSettings {
  /** `null` for the user's own. */
  readonly configFile: string | null;
  /** Accept keys of unknown hosts. */
  readonly acceptsNewKeys: boolean;
}

/** How the processes of one host share a connection. */
export type SshSharing =
  /** The socket that our session makes. */
  | { readonly kind: "own"; readonly path: string }
  /** The user's own master runs already. */
  | { readonly kind: "users" }
  | { readonly kind: "none" };

/**
 * Each is here for a failure: prompts, dead hosts, and what a configuration may say of commands,
 * forwardings and agents. The command line wins.
 */
const SETTINGS: readonly string[] = [
  "BatchMode=yes",
  "ConnectTimeout=5",
  "ServerAliveInterval=5",
  "ServerAliveCountMax=2",
  "RemoteCommand=none",
  "PermitLocalCommand=no",
  "ForwardAgent=no",
  "ForwardX11=no",
];

function toOptions(settings: readonly string[]): readonly string[] {
  return settings.flatMap((setting) => ["-o", setting]);
}

function listCommonArguments({ configFile, acceptsNewKeys }: SshSettings): readonly string[] {
  return [
    "-T",
    ...(configFile === null ? [] : ["-F", configFile]),
    ...toOptions(SETTINGS),
    ...toOptions(acceptsNewKeys ? ["StrictHostKeyChecking=accept-new"] : []),
  ];
}

function listSharing(sharing: SshSharing, role: "master" | "client"): readonly string[] {
  switch (sharing.kind) {
    case "own":
      return role === "master"
        ? ["ControlMaster=yes", "ControlPersist=no", `ControlPath=${sharing.path}`]
        // If the master is gone, it must fail: it would log in again at each poll.
        : ["ControlMaster=no", `ControlPath=${sharing.path}`, "ProxyCommand=false"];
    case "users":
      return ["ControlMaster=no"];
    case "none":
      return ["ControlMaster=no", "ControlPath=none"];
  }
}

/** One session that reads a script from standard input, whatever the login shell. */
export function listSessionArguments(
  { destination }: SshTarget,
  settings: SshSettings,
  sharing: SshSharing,
): readonly string[] {
  return [
    ...listCommonArguments(settings),
    ...toOptions(["ClearAllForwardings=yes", ...listSharing(sharing, "master")]),
    ...["--", destination, "sh -s"],
  ];
}

/** A connection to a port there, on standard input and output. */
export function listForwardArguments(
  { destination }: SshTarget,
  settings: SshSettings,
  { sharing, place }: { readonly sharing: SshSharing; readonly place: string },
): readonly string[] {
  return [
    ...listCommonArguments(settings),
    ...toOptions(listSharing(sharing, "client")),
    ...["-W", place, "--", destination],
  ];
}

/** Ends with 0 if the user's own master runs. */
export function listCheckArguments(
  { destination }: SshTarget,
  { configFile }: SshSettings,
): readonly string[] {
  const file = configFile === null ? [] : ["-F", configFile];
  return [...file, ...toOptions(["BatchMode=yes"]), "-O", "check", "--", destination];
}

/** All that ssh needs of the environment: home, agent, Kerberos, and a folder for sockets. */
export const SSH_VARIABLES: readonly string[] = [
  ...["HOME", "PATH", "USER", "SSH_AUTH_SOCK", "XDG_RUNTIME_DIR", "LANG", "KRB5CCNAME"],
];

type SshFailureKind =
  | ("unreachable" | "name" | "key" | "host_key" | "configuration" | "no_shell")
  | "not_started";

export interface SshFailure {
  readonly kind: SshFailureKind;
  /** Safe text with the next step. */
  readonly message: string;
}

/** A session that is over, or never was one. */
export interface SshEnd {
  /** `null` if it did not start or was ended here. */
  readonly code: number | null;
  readonly stderr: string;
  /** The first characters of standard output, if the shell never answered. */
  readonly head: string;
  readonly hasAnswered: boolean;
  /** Why it was ended here. */
  readonly cause: "silence" | "flood" | null;
}

type FailureRow = readonly [pattern: RegExp, kind: SshFailureKind, advice: string];

/** In order of preference: a jump host's refusal comes before the end of the connection. */
const FAILURE_ROWS: readonly FailureRow[] = [
  [
    /Permission denied|Too many authentication failures|signing failed/i,
    "key",
    "let ssh log in there without a question: by a key of that account, and ssh-add for its " +
    "passphrase",
  ],
  [
    /Host key verification failed|IDENTIFICATION HAS CHANGED|host key is known for/i,
    "host_key",
    "log in by hand once and compare the key; --ssh-accept-new takes those of new hosts",
  ],
  [
    /Could not resolve hostname/i,
    "name",
    "check its spelling, and the VPN if it needs one",
  ],
  [
    /bad configuration option|Can't open user config file|Bad owner or permissions|ControlPath too long|invalid characters|Cannot execute command-line|no argument after keyword|unsupported option|^usage:/i,
    "configuration",
    "correct ssh's configuration, or name another with --ssh-config",
  ],
];
const REASON_WIDTH = 160;
/** A jump host's own reason stands this far above the end. */
const REASON_LINES = 6;

/** The first of them are banners, the last says why. */
function listReasons(stderr: string): readonly string[] {
  return stderr.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== "");
}

/** Which file holds the key that differs. */
function findOffender(lines: readonly string[]): string {
  const line = lines.find((line) => /^Offending .* key in /.test(line));
  return line === undefined ? "" : ` (${quote(line, REASON_WIDTH)})`;
}

export function describeSshEnd({ name }: SshTarget, end: SshEnd): SshFailure {
  const { code, stderr, head, hasAnswered, cause } = end;
  const lines = listReasons(stderr);
  const last = lines.at(-1) ?? "";
  const said = last === "" ? "" : `: ${quote(last, REASON_WIDTH)}`;
  if (cause === "silence") {
    const message = hasAnswered
      ? `ssh ${name}: the host stopped answering`
      : `ssh ${name}: no answer in time${said}: a hardware key may wait for a touch, or the ` +
        "login there is slow; try ssh by hand";
    return { kind: "unreachable", message };
  }
  if (cause === "flood") {
    return { kind: "unreachable", message: `ssh ${name}: a program there printed too much` };
  }
  const row = hasAnswered ? undefined : FAILURE_ROWS.find(([pattern]) =>
    // Through a jump host the last line only tells that the way has ended.
    (/UNKNOWN port|jump|proxy/i.test(last) ? lines.slice(-REASON_LINES) : [last])
      .some((line) => pattern.test(line))
  );
  if (row !== undefined) {
    const [pattern, kind, advice] = row;
    const reason = lines.findLast((line) => pattern.test(line)) ?? last;
    const shown = quote(reason, REASON_WIDTH) + findOffender(lines);
    return { kind, message: `ssh ${name}: ${shown}: ${advice}` };
  }
  if (!hasAnswered && code !== 255) {
    const answer = (head + said).trim() === "" ? "nothing" : quote(head || last, REASON_WIDTH);
    return {
      kind: "no_shell",
      message: `ssh ${name}: the account there gives no shell, but answered ${answer}: log in ` +
        "to one that has a shell",
    };
  }
  const advice = "check that the host is up and that ssh reaches it";
  return { kind: "unreachable", message: `ssh ${name}${said || ": the session ended"}: ${advice}` };
}

export function describeMissingSsh({ name }: SshTarget, message: string | null): SshFailure {
  const reason = message === null
    ? "the program ssh is not on the PATH: install OpenSSH's client"
    : "ssh may not be started: run Deno with --allow-run=ssh";
  return { kind: "not_started", message: `ssh ${name}: ${reason}` };
}

/** A refused key is not tried again and again: fail2ban would block the user. */
const KEY_PAUSE: Seconds = 5 * SECONDS_PER_MINUTE;
const JITTER = 0.2;

const PAUSES: Readonly<Record<SshFailureKind, ((failures: number) => Seconds) | null>> = {
  unreachable: createBackOff({ initial: 1, max: SECONDS_PER_MINUTE }),
  name: createBackOff({ initial: 5, max: SECONDS_PER_MINUTE }),
  key: () => KEY_PAUSE,
  host_key: null,
  configuration: null,
  no_shell: null,
  not_started: null,
};

/**
 * Returns the pause before the next attempt, or `null` if only the user can make it worth one.
 * @param chance 0 to 1: so that hosts behind one jump host do not come back together.
 */
export function computeRetryPause(
  kind: SshFailureKind,
  failures: number,
  chance: number,
): Seconds | null {
  const getPause = PAUSES[kind];
  return getPause === null ? null : getPause(failures) * (1 + JITTER * (2 * chance - 1));
}
