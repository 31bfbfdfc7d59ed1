import { assert, assertEquals, assertMatch } from "@std/assert";
import { joinFlags } from "../.ci/permissions.ts";
import { writeEngine } from "./fixtures/expositions.ts";
import { findFreePort, listCommand, startProgram, waitFor } from "./program_runs.ts";
import { startVllmServer } from "./vllm_server.ts";

/** A compiled program may run no others, and is given no permission from outside. */
const needsFlags = {
  ignore: Deno.env.has("VLLM_HTOP_BINARY") || Deno.build.os === "windows",
};

const SECRET = "tr0ub4dor-and-3";

interface HookEvent {
  readonly event: string;
  readonly rule: string;
  readonly level: string;
  readonly displayName: string;
  readonly endpoint: string;
  readonly evidence: string;
  readonly durationSeconds: number;
}

/** Notes what is posted to it, and answers as the path says. */
function startReceiver() {
  const posted = new Map<string, unknown[]>();
  const over = new AbortController();
  const hanging = new Promise<Response>((resolve) => {
    over.signal.addEventListener("abort", () => resolve(new Response()));
  });
  const server = Deno.serve(
    { port: 0, hostname: "localhost", onListen: () => {} },
    async (request) => {
      const path = new URL(request.url).pathname;
      posted.set(path, [...posted.get(path) ?? [], await request.json()]);
      if (path === `/hang/${SECRET}`) return hanging;
      return new Response("", { status: path === `/fail/${SECRET}` ? 500 : 200 });
    },
  );
  const list = (path: string) => (posted.get(`${path}/${SECRET}`) ?? []) as readonly HookEvent[];
  return {
    url: (path: string) => `http://localhost:${server.addr.port}${path}/${SECRET}`,
    list,
    count: (path: string, event: string) => list(path).filter((one) => one.event === event).length,
    close: () => {
      over.abort();
      return server.shutdown();
    },
  };
}

Deno.test("hooks run a program, post and go on, whatever fails", needsFlags, async () => {
  let waiting = 12;
  const state = () =>
    new Response(writeEngine([["num_requests_running", 1], ["num_requests_waiting", waiting]]));
  const servers = await Promise.all([startVllmServer({ state }), startVllmServer({ state })]);
  const receiver = startReceiver();
  const folder = await Deno.makeTempDir();
  try {
    const script = `${folder}/page`;
    const log = `${folder}/log`;
    await Deno.writeTextFile(
      script,
      `#!/bin/sh\necho "start $1" >> '${log}'\ncat >> '${log}'\nsleep 0.2\necho end >> '${log}'\n`,
      { mode: 0o755 },
    );
    const hooks = [
      { rules: "queuing", exec: ["./page", "two words; $(false)"] },
      { webhook: receiver.url("/good") },
      { webhook: receiver.url("/slack"), slack: true, level: "degraded" },
      { webhook: receiver.url("/never"), level: "critical" },
      { webhook: receiver.url("/fail") },
      { webhook: receiver.url("/hang"), timeout: "1s" },
      { webhook: `http://localhost:${findFreePort()}/${SECRET}` },
      { exec: ["/bin/false"] },
      { bell: true },
    ];
    const path = `${folder}/config.json`;
    await Deno.writeTextFile(path, JSON.stringify({ hooks }), { mode: 0o600 });
    const args = [
      ...servers.map(({ url }) => url),
      "--config",
      path,
      "--no-gpu",
      "--output",
      "json",
    ];
    const [program, command, ...rest] = listCommand(
      ...args,
      ...["--interval", "0.5", "--rule", "queuing.hold=0", "--rule", "queuing.release=0"],
    );
    const flags = joinFlags(rest, [`--allow-run=${script}`]);
    const run = startProgram([], { command: [program, command, ...flags] });
    await waitFor(() => receiver.count("/good", "firing") === 2, () => run.stderr());
    await run.waitFor(() => [5, 6, 7, 8].every((i) => run.stdout().includes(`"hook ${i}"`)));
    waiting = 0;
    await waitFor(() => receiver.count("/good", "resolved") === 2, () => run.stderr());
    await waitFor(async () => (await Deno.readTextFile(log)).split("end\n").length === 5);
    run.signal("SIGTERM");
    const { code, stdout, stderr } = await run.ended;
    assertEquals([code, stderr], [143, ""]);
    assert(!stdout.includes(SECRET), "a secret is in the events");

    const [first] = receiver.list("/good");
    assertEquals([first.rule, first.level, first.evidence], [
      ...["queuing", "degraded", "12 waiting"],
    ]);
    assertEquals(
      new Set(receiver.list("/good").map(({ endpoint }) => endpoint)),
      new Set(servers.map(({ url }) => url)),
    );
    const slack = receiver.list("/slack") as unknown as readonly { readonly text: string }[];
    assertMatch(slack[0].text, /^\*DEGRADED\* .+: queuing \(12 waiting\)/);
    assertMatch(slack.at(-1)?.text ?? "", /^\*resolved\* .+: queuing, after \d+s$/);
    assertEquals(receiver.list("/never"), []);

    // One after the other, each with its event on standard input and its argument as it is.
    const runs = (await Deno.readTextFile(log)).split("end\n").slice(0, -1);
    const events = runs.map((text): HookEvent => {
      const [start, line, ...more] = text.trimEnd().split("\n");
      assertEquals([start, more], ["start two words; $(false)", []]);
      return JSON.parse(line);
    });
    assertEquals(events.map(({ event }) => event), ["firing", "firing", "resolved", "resolved"]);

    const messages = [...stdout.matchAll(/"message":"((?:[^"\\]|\\.)*)"/g)].map(([, text]) => text);
    for (
      const wanted of [
        /answered with status 500$/,
        /did not answer in 1 s$/,
        /refused the connection/,
        /\/bin\/false\\" may not be run: see docs\/monitoring\.md/,
      ]
    ) {
      assert(messages.some((text) => wanted.test(text)), `${wanted} in ${[...new Set(messages)]}`);
    }
    for (const server of servers) assertEquals(server.violations, []);
  } finally {
    await Promise.all([...servers.map((server) => server.close()), receiver.close()]);
    await Deno.remove(folder, { recursive: true });
  }
});
