import { assertEquals, assertMatch } from "@std/assert";
import { withStandIns } from "./gpu_stand_in.ts";
import {
  type ProgramRun,
  readDocument,
  readDocuments,
  type ReportDocument,
  runProgram,
  startProgram,
  waitFor,
} from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { type SshServer, withSshServer } from "./ssh_server.ts";
import { checkReturn, isDrawn, startLive, withScreens } from "./tmux_screens.ts";
import { startVllmServer } from "./vllm_server.ts";

interface HostDocument {
  readonly name: string;
  readonly ssh: {
    readonly state: string;
    readonly latencySeconds: number | null;
    readonly metricsBy: string | null;
    readonly failure: { readonly kind: string; readonly message: string } | null;
    readonly retryInSeconds: number | null;
  } | null;
  readonly load: { readonly memoryTotalBytes: number; readonly processorCount: number } | null;
  readonly gpus: readonly { readonly name: string }[] | null;
}

type SshDocument = ReportDocument & { readonly hosts: readonly HostDocument[] };

function readSsh(output: string): SshDocument {
  return readDocument(output) as SshDocument;
}

function listArguments({ config }: SshServer, port: number, hosts: readonly string[]): string[] {
  return [
    ...hosts.flatMap((host) => ["--ssh", host]),
    ...["--ssh-config", config, "--port-range", `${port}-${port}`, "--output", "json"],
  ];
}

function getHost({ hosts }: SshDocument, name: string): HostDocument {
  const found = hosts.find((host) => host.name === name);
  if (found === undefined) throw new Error(`There is no host ${name}`);
  return found;
}

const GOOD = [
  "plain",
  "fish",
  "tcsh",
  "noisy",
  "slow",
  "jumped",
  "chatty",
  "restricted",
  "unforwarded",
];
const BY_CURL: ReadonlySet<string> = new Set(["restricted", "unforwarded"]);
const BAD: readonly (readonly [alias: string, kind: string, message: RegExp])[] = [
  ["forced", "no_shell", /This account runs reports only\./],
  ["noshell", "no_shell", /This account is currently not available\./],
  ["refused", "key", /Permission denied/],
  ["changed", "host_key", /verification failed.*Offending .*known:2/],
  ["unknown", "host_key", /verification failed/],
  ["badname", "name", /Could not resolve hostname/],
  ["closed", "unreachable", /Connection refused/],
];

/** What the doctor and a check say of a host that is up and one that is not. */
async function checkDoctor(ssh: SshServer, port: number): Promise<void> {
  const args = [...listArguments(ssh, port, ["plain", "refused"]), "--timeout", "20"];
  const [doctor, check] = await Promise.all(
    [["--doctor", ...args], ["--check", ...args.filter((one) => !/^--output$|^json$/.test(one))]]
      .map((all) =>
        runProgram(all, {
          environment: { XDG_RUNTIME_DIR: ssh.runtime, LD_LIBRARY_PATH: "/nowhere" },
        })
      ),
  );
  assertEquals([doctor.code, doctor.stderr], [1, ""]);
  const { checks }: { readonly checks: readonly Readonly<Record<string, string>>[] } = JSON.parse(
    doctor.stdout,
  );
  const find = (subject: string) =>
    checks.filter((one) => one.subject === subject).map(({ level, text }) => `${level} ${text}`)
      .join("\n");
  assertMatch(find("plain"), /^ok reached by ssh.*metrics come by forwarding$/);
  assertMatch(find("plain: processes"), /^ok \d+ processes, \d+ listening ports$/);
  assertMatch(find("plain: GPUs"), /^ok nvidia-smi tells \d+ GPUs? in /m);
  assertMatch(find("refused"), /^fail .*Permission denied/);
  assertMatch(find("servers"), /^ok 1 server, found by ssh$/m);
  // Nothing is wrong, but one host was not seen.
  assertEquals([check.code, check.stderr], [3, ""]);
  assertMatch(check.stdout, /^VLLM-HTOP UNKNOWN - 1 of 1 up, .*; refused is not reached \(/);
}

Deno.test(
  "--ssh reads servers, load and GPUs of hosts of every kind, and names what fails with each",
  {
    ...needsProgram("sshd"),
  },
  async () => {
    const server = await startVllmServer();
    await withStandIns(async ({ folder, setNvidia }) => {
      setNvidia({ gpus: "h100.tsv" });
      await withSshServer(folder, async (ssh) => {
        const hosts = [...GOOD, ...BAD.map(([alias]) => alias)];
        const args = [...listArguments(ssh, server.port, hosts), "--once", "--timeout", "50"];
        const outcome = await runProgram([...args, "--interval", "0"], {
          // Where it is set, Deno starts no program with an inherited environment.
          environment: { XDG_RUNTIME_DIR: ssh.runtime, LD_LIBRARY_PATH: "/nowhere" },
        });
        assertEquals(outcome.stderr, "");
        assertEquals(outcome.code, 1, "some hosts are down");
        const document = readSsh(outcome.stdout);
        for (const name of GOOD) {
          const { ssh: link, load, gpus } = getHost(document, name);
          assertEquals([name, link?.state, link?.failure], [name, "up", null]);
          assertEquals(link?.metricsBy, BY_CURL.has(name) ? "curl" : "forwarding", name);
          assertEquals(load?.memoryTotalBytes, Deno.systemMemoryInfo().total, name);
          assertMatch(gpus?.[0].name ?? "", /H100/, name);
          const url = `http://${name}:${server.port}/metrics`;
          const replica = document.replicas.find((one) => one.url === url);
          assertEquals([replica?.status, replica?.figures?.running !== null], ["OK", true], name);
        }
        for (const [name, kind, message] of BAD) {
          const { ssh: link, load, gpus } = getHost(document, name);
          assertEquals([name, link?.state, link?.failure?.kind], [name, "down", kind]);
          assertMatch(link?.failure?.message ?? "", message);
          assertEquals([load, gpus], [null, null]);
        }
        assertEquals(Number(getHost(document, "refused").ssh?.retryInSeconds) > 200, true);
        assertEquals(getHost(document, "changed").ssh?.retryInSeconds, null);
        await checkDoctor(ssh, server.port);
        await waitFor(() => ssh.listProcesses().length === 0, () => ssh.listProcesses().join("\n"));
        assertEquals([...Deno.readDirSync(ssh.runtime)], []);
      });
    });
    await server.close();
  },
);

/** Waits for a document, printed from now on, of which the condition holds. */
async function waitForDocument(
  run: ProgramRun,
  condition: (document: SshDocument) => boolean,
): Promise<void> {
  let seen = run.stdout().length;
  let isFound = false;
  await run.waitFor(() => {
    const text = run.stdout();
    const whole = text.slice(seen, text.lastIndexOf("\n") + 1);
    seen += whole.length;
    isFound ||= (readDocuments(whole) as SshDocument[]).some(condition);
    return isFound;
  });
}

Deno.test(
  "--ssh connects again to a host that comes back, and leaves nothing behind, however it ends",
  needsProgram("sshd"),
  async () => {
    const server = await startVllmServer();
    const folder = await Deno.makeTempDir();
    await Deno.writeTextFile(`${folder}/nvidia-smi`, "#!/bin/sh\nexec sleep 100\n", {
      mode: 0o755,
    });
    await withSshServer(folder, async (ssh) => {
      const args = [...listArguments(ssh, server.port, ["plain"]), "--interval", "0.5"];
      const environment = { XDG_RUNTIME_DIR: ssh.runtime };
      const runs = Array.from({ length: 3 }, () => startProgram(args, { environment }));
      const isWell = ({ hosts: [, { ssh: link }], replicas: [replica] }: SshDocument): boolean =>
        link?.state === "up" && replica?.status === "OK";
      const isDown = ({ hosts: [, { ssh: link, load }], endpoints }: SshDocument): boolean =>
        link?.failure?.kind === "unreachable" && load === null &&
        endpoints[0]?.failure?.kind === "ssh";
      const waitForAll = (condition: (document: SshDocument) => boolean) =>
        Promise.all(runs.map((run) => waitForDocument(run, condition)));
      await waitForAll(isWell);
      await ssh.stop();
      await waitForAll(isDown);
      await ssh.start();
      await waitForAll(isWell);
      // In mid sample: this program does not end by itself.
      await waitFor(() => ssh.listProcesses().includes("sleep 100"), () => "a sample");
      ssh.endSessions();
      await waitForAll(isDown);
      await waitForAll(isWell);
      // ssh notices by itself that a host says nothing.
      ssh.freezeSessions();
      await waitForAll(isDown);
      ssh.endSessions();
      await waitForAll(isWell);
      const [asked, killed, interrupted] = runs;
      asked.signal("SIGTERM");
      killed.signal("SIGKILL");
      interrupted.signal("SIGINT");
      assertEquals((await asked.ended).code, 143);
      assertEquals((await interrupted.ended).code, 130);
      await killed.ended;
      await waitFor(() => ssh.listProcesses().length === 0, () => ssh.listProcesses().join("\n"));
      assertEquals([...Deno.readDirSync(ssh.runtime)], []);
    });
    await Deno.remove(folder, { recursive: true });
    await server.close();
  },
);

Deno.test(
  "--ssh shows hosts and their servers on a live screen, and q leaves nothing behind",
  { ignore: ["sshd", "tmux"].some((name) => needsProgram(name).ignore) },
  async () => {
    const server = await startVllmServer();
    await withScreens((screens, folder) =>
      withSshServer("/nowhere", async (ssh) => {
        const args = listArguments(ssh, server.port, ["plain", "other"]).slice(0, -2);
        const variables = `XDG_RUNTIME_DIR=${ssh.runtime}`;
        const size = { columns: 120, rows: 40 };
        const run = await startLive(screens, { folder, args, variables, size });
        const isShown = (rows: readonly string[]) => (name: string) =>
          rows.some((row) => new RegExp(`^.${name}:${server.port} +OK `).test(row)) &&
          rows.some((row) => row.includes(` ${name}  ssh `));
        await run.screen.waitFor((rows) =>
          isDrawn(rows) && ["plain", "other"].every(isShown(rows))
        );
        await run.screen.press("q");
        await checkReturn(run, 0);
        await waitFor(() => ssh.listProcesses().length === 0, () => ssh.listProcesses().join("\n"));
        assertEquals([...Deno.readDirSync(ssh.runtime)], []);
      })
    );
    await server.close();
  },
);
