/**
 * A real sshd on loopback, with accounts of every kind: each alias in its ssh configuration has a
 * key of its own, whose `command=` stands for a login shell or a restriction.
 *
 * sshd runs as the user of the test, so every alias logs in to that account.
 *
 * @module
 */

import { findFreePorts, waitFor } from "./program_runs.ts";

/** Runs what ssh was asked to run in another shell, as a login shell would. */
function asLoginShell(shell: string): string {
  return `exec ${shell} -c \\"$SSH_ORIGINAL_COMMAND\\"`;
}

/** Alias -> options of its key (`none`: it is not accepted), and more lines of its ssh configuration. */
const ALIASES: Readonly<Record<string, { readonly key?: string; readonly config?: string }>> = {
  plain: {},
  other: {},
  fish: { key: `command="${asLoginShell("fish")}"` },
  tcsh: { key: `command="${asLoginShell("tcsh")}"` },
  // What .bashrc, motd and conda print.
  noisy: { key: `command="echo Welcome; echo to stderr >&2; ${asLoginShell("sh")}"` },
  slow: { key: `command="sleep 0.5; ${asLoginShell("sh")}"` },
  restricted: { key: "restrict" },
  // At another port of the server, which forwards nothing.
  unforwarded: { config: "Port PRIVATE" },
  forced: { key: 'command="echo This account runs reports only."' },
  noshell: { key: 'command="echo This account is currently not available.; exit 1"' },
  jumped: { config: "ProxyJump plain" },
  chatty: {
    config: "RemoteCommand htop\nRequestTTY force\nPermitLocalCommand yes\nLocalCommand id",
  },
  refused: { key: "none" },
  changed: { config: "HostKeyAlias changed" },
  unknown: { config: "HostKeyAlias unknown" },
  badname: { config: "HostName no-such-host.invalid" },
};

export interface SshServer {
  /** For `--ssh-config`. */
  readonly config: string;
  /** For XDG_RUNTIME_DIR: the control sockets. */
  readonly runtime: string;
  /** Ends sessions and server, as a host that goes down. */
  readonly stop: () => Promise<void>;
  readonly start: () => Promise<void>;
  /** Ends the sessions only. */
  readonly endSessions: () => void;
  /** Stops them without an end: to a client, the host is frozen. */
  readonly freezeSessions: () => void;
  /** Processes of sessions, there, and of clients, here. */
  readonly listProcesses: () => readonly string[];
}

function run(program: string, ...args: readonly string[]): string {
  const { success, stdout, stderr } = new Deno.Command(program, { args: [...args] }).outputSync();
  if (!success) {
    throw new Error(`${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout);
}

function writeKeys(folder: string): void {
  const authorized: string[] = [];
  for (const name of ["host", "stranger", ...Object.keys(ALIASES)]) {
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", `${folder}/${name}`);
  }
  for (const [name, { key = "" }] of Object.entries(ALIASES)) {
    if (key === "none") continue;
    authorized.push(`${key} ${Deno.readTextFileSync(`${folder}/${name}.pub`)}`.trimStart());
  }
  Deno.writeTextFileSync(`${folder}/authorized`, authorized.join(""));
  const [host, stranger] = ["host", "stranger"].map((name) =>
    Deno.readTextFileSync(`${folder}/${name}.pub`)
  );
  Deno.writeTextFileSync(`${folder}/known`, `server ${host}changed ${stranger}`);
}

function writeConfig(
  folder: string,
  { ports: [port, privatePort], path }: {
    readonly ports: readonly [number, number];
    readonly path: string;
  },
): void {
  const aliases = Object.entries(ALIASES).map(([name, { config = "" }]) =>
    [`Host ${name}`, config.replace("PRIVATE", `${privatePort}`), `IdentityFile ${folder}/${name}`]
      .join("\n")
  );
  // A host where nobody listens.
  aliases.push("Host closed\nPort 1");
  const common = [
    "Host *",
    "HostName localhost",
    `Port ${port}`,
    "HostKeyAlias server",
    "IdentitiesOnly yes",
    "IdentityAgent none",
    `UserKnownHostsFile ${folder}/known`,
    "GlobalKnownHostsFile none",
    "UpdateHostKeys no",
  ].join("\n");
  Deno.writeTextFileSync(`${folder}/config`, [...aliases, common].join("\n") + "\n");
  const server = [
    ...[port, privatePort].map((one) => `Port ${one}`),
    "ListenAddress 127.0.0.1",
    `HostKey ${folder}/host`,
    "PidFile none",
    `AuthorizedKeysFile ${folder}/authorized`,
    "StrictModes no",
    "UsePAM no",
    "PermitRootLogin yes",
    // -W is no session, and we need but one.
    "MaxSessions 1",
    // No start-up files of the user's: a session that is killed in them may leave locks.
    `SetEnv PATH=${path}:${Deno.env.get("PATH")} HOME=${folder}`,
    `Match LocalPort ${privatePort}`,
    "AllowTcpForwarding no",
  ].join("\n");
  Deno.writeTextFileSync(`${folder}/sshd_config`, server + "\n");
}

async function accepts(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

/** Pids, parents and command lines. */
function listAll(): readonly { pid: number; parent: number; command: string }[] {
  return run("ps", "-A", "-ww", "-o", "pid=,ppid=,args=").split("\n").flatMap((line) => {
    const [, pid, parent, command] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    return pid === undefined ? [] : [{ pid: Number(pid), parent: Number(parent), command }];
  });
}

/**
 * Runs the test with a server, and ends it whatever happens.
 * @param path Goes first on the PATH there.
 */
export async function withSshServer(
  path: string,
  test: (server: SshServer) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "ssh-" });
  Deno.mkdirSync(`${folder}/run`, { mode: 0o700 });
  const port = findFreePorts(2);
  if (Deno.uid() === 0) Deno.mkdirSync("/run/sshd", { recursive: true });
  writeKeys(folder);
  writeConfig(folder, { ports: [port, port + 1], path });
  let child: Deno.ChildProcess | null = null;
  const start = async (): Promise<void> => {
    const path = run("sh", "-c", "command -v sshd").trim();
    child = new Deno.Command(path, {
      args: ["-D", "-e", "-f", `${folder}/sshd_config`],
      ...{ stdin: "null", stdout: "null", stderr: "null" },
    }).spawn();
    await waitFor(() => accepts(port), () => "sshd to listen");
  };
  const listSessions = () => {
    const all = listAll();
    const own = new Set(all.filter(({ parent }) => parent === child?.pid).map(({ pid }) => pid));
    for (let size = 0; size !== own.size;) {
      size = own.size;
      for (const { pid, parent } of all) if (own.has(parent)) own.add(pid);
    }
    return all.filter(({ pid }) => own.has(pid));
  };
  const signalSessions = (signal: Deno.Signal): void => {
    for (const { pid } of listSessions()) {
      try {
        Deno.kill(pid, signal);
      } catch {
        // Its parent has ended it.
      }
    }
  };
  const endSessions = (): void => signalSessions("SIGKILL");
  const stop = async (): Promise<void> => {
    endSessions();
    child?.kill("SIGKILL");
    await child?.status;
    child = null;
  };
  try {
    await start();
    await test({
      config: `${folder}/config`,
      runtime: `${folder}/run`,
      ...{ stop, start, endSessions },
      freezeSessions: () => signalSessions("SIGSTOP"),
      listProcesses: () => [
        ...listSessions().map(({ command }) => command),
        ...listAll().filter(({ command }) =>
          /^(?:\S*\/)?ssh /.test(command) && command.includes(folder)
        )
          .map(({ command }) => command),
      ],
    });
  } finally {
    await stop();
    Deno.removeSync(folder, { recursive: true });
  }
}
