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

const GOOD = ["plain", "fish", "tcsh", "noisy", "slow", "jumped", "chatty", "restricted"];
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
          assertEquals(link?.metricsBy, name === "restricted" ? "curl" : "forwarding", name);
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
    await withSshServer("/nowhere", async (ssh) => {
      const args = [...listArguments(ssh, server.port, ["plain"]), "--interval", "0.5"];
      const environment = { XDG_RUNTIME_DIR: ssh.runtime };
      const runs = [startProgram(args, { environment }), startProgram(args, { environment })];
      const isWell = ({ hosts: [, { ssh: link }], replicas: [replica] }: SshDocument): boolean =>
        link?.state === "up" && replica?.status === "OK";
      const isDown = ({ hosts: [, { ssh: link, load }], endpoints }: SshDocument): boolean =>
        link?.failure?.kind === "unreachable" && load === null &&
        endpoints[0]?.failure?.kind === "ssh";
      await Promise.all(runs.map((run) => waitForDocument(run, isWell)));
      await ssh.stop();
      await Promise.all(runs.map((run) => waitForDocument(run, isDown)));
      await ssh.start();
      await Promise.all(runs.map((run) => waitForDocument(run, isWell)));
      const [asked, killed] = runs;
      asked.signal("SIGTERM");
      killed.signal("SIGKILL");
      assertEquals((await asked.ended).code, 143);
      await killed.ended;
      await waitFor(() => ssh.listProcesses().length === 0, () => ssh.listProcesses().join("\n"));
      assertEquals([...Deno.readDirSync(ssh.runtime)], []);
    });
    await server.close();
  },
);
