/**
 * Servers that are processes of their own, with the command lines of real ones, and that start
 * servers for their models as those do. They answer what real ones answered.
 *
 * @module
 */

import type { Answers } from "./fixtures/kinds.ts";

export interface ServerProcess {
  /** The name of its program. */
  readonly program: string;
  readonly args: readonly string[];
  readonly port: number;
  readonly answers: Answers;
  /** Of its answers. */
  readonly serverHeader?: string;
  readonly children?: readonly ServerProcess[];
}

const SCRIPT = `
const spec = JSON.parse(Deno.readTextFileSync(import.meta.filename + "-" + Deno.args.at(-1)));
const { port, answers, serverHeader, children = [] } = spec;
const folder = import.meta.dirname;
const started = children.map(({ program, args, port }) =>
  new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--ext=js", folder + "/" + program, ...args, String(port)],
    stdout: "piped",
  }).spawn()
);
for (const child of started) await child.stdout.getReader().read();
// Without a parent it ends.
const parent = Deno.ppid;
setInterval(() => Deno.ppid === parent || Deno.exit(), 50);
Deno.serve({ hostname: "127.0.0.1", port, onListen: () => console.log("up") }, (request) => {
  const { pathname, search } = new URL(request.url);
  Deno.writeTextFileSync(folder + "/asked", port + " " + pathname + search + "\\n", { append: true });
  const answer = answers[pathname + search] ?? 404;
  const headers = { "content-type": "text/plain", ...(serverHeader ? { server: serverHeader } : {}) };
  return typeof answer === "number"
    ? new Response("", { status: answer, headers })
    : new Response(answer, { headers });
});
`;

function listAll(server: ServerProcess): readonly ServerProcess[] {
  return [server, ...(server.children ?? []).flatMap(listAll)];
}

/** Starts it, and then those that it starts. */
export async function startServerProcess(server: ServerProcess): Promise<{
  /** The paths that the server of a port was asked for. */
  readonly asked: (port: number) => readonly string[];
  readonly close: () => Promise<void>;
}> {
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  for (const one of listAll(server)) {
    await Deno.writeTextFile(`${folder}/${one.program}`, SCRIPT);
    await Deno.writeTextFile(`${folder}/${one.program}-${one.port}`, JSON.stringify(one));
  }
  await Deno.writeTextFile(`${folder}/asked`, "");
  const { program, args, port } = server;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--ext=js", `${folder}/${program}`, ...args, `${port}`],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  return {
    asked: (port) =>
      Deno.readTextFileSync(`${folder}/asked`).trimEnd().split("\n")
        .flatMap((line) => line.startsWith(`${port} `) ? [line.slice(`${port} `.length)] : []),
    close: async () => {
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
}
