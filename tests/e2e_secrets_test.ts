import { assert, assertEquals, assertMatch } from "@std/assert";
import { OPTION_ROWS } from "../lib/cli_option_table.ts";
import {
  createEnvironment,
  findFreePort,
  listCommand,
  type Outcome,
  readDocument,
  readDocuments,
  runProgram,
  startProgram,
  waitFor,
} from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { startVllmServer } from "./vllm_server.ts";

const SECRET = "tr0ub4dor-and-3";
const USER = "operator";
const BEARER = `Bearer ${SECRET}`;
const BASIC = `Basic ${btoa(`${USER}:${SECRET}`)}`;

const FORMS = ["json", "table", "detail", "diagnosis", "doctor"];

function chooseForm(form: string): readonly string[] {
  if (form === "doctor") return ["--doctor"];
  return form === "diagnosis" ? ["--diagnose"] : ["--once", "--output", form];
}

/** Whether nothing that was printed holds the secret, plain, encoded or in parts. */
function checkSilence({ stdout, stderr }: Pick<Outcome, "stdout" | "stderr">): void {
  const output = stdout + stderr;
  for (const secret of [SECRET, btoa(SECRET), btoa(`${USER}:${SECRET}`), "tr0ub4dor", "Bearer "]) {
    assert(!output.includes(secret), `${secret} is in ${output}`);
  }
}

/** A way to give the program the secret, for the server that is at `url`. */
interface Way {
  readonly name: string;
  readonly authorization: string;
  readonly args: (url: string, folder: string) => readonly string[];
  readonly environment?: (url: string, folder: string) => Readonly<Record<string, string>>;
}

const WAYS: readonly Way[] = [
  {
    name: "token variable",
    authorization: BEARER,
    args: (url) => [url],
    environment: () => ({ VLLM_HTOP_TOKEN: SECRET }),
  },
  {
    name: "token file",
    authorization: BEARER,
    args: (url, folder) => [url, "--token-file", `${folder}/token`],
  },
  {
    name: "token file of one server",
    authorization: BEARER,
    args: (url, folder) => [url, "--token-file", `${url}=${folder}/token`],
  },
  {
    name: "user and password in the URL",
    authorization: BASIC,
    args: (url) => [url.replace("//", `//${USER}:${SECRET}@`)],
  },
  {
    name: "basic auth file",
    authorization: BASIC,
    args: (url, folder) => [url, "--basic-auth-file", `${folder}/basic`],
  },
  {
    name: "basic auth variable",
    authorization: BASIC,
    args: (url) => [url],
    environment: () => ({ VLLM_HTOP_BASIC_AUTH: `${USER}:${SECRET}` }),
  },
  {
    name: "header file",
    authorization: BEARER,
    args: (url, folder) => [url, "--header-file", `${folder}/headers`],
  },
  {
    name: "header variable",
    authorization: BEARER,
    args: (url) => [url],
    environment: () => ({ VLLM_HTOP_HEADERS: `Authorization: ${BEARER}\nX-Key: ${SECRET}` }),
  },
  {
    name: "user and password in the URL's variable",
    authorization: BASIC,
    args: () => [],
    environment: (url) => ({ VLLM_HTOP_URL: url.replace("//", `//${USER}:${SECRET}@`) }),
  },
  {
    name: "variables that name files",
    authorization: BEARER,
    args: (url) => [url],
    environment: (_url, folder) => ({ VLLM_HTOP_TOKEN_FILE: `${folder}/token` }),
  },
];

/** Options of the credentials that hold nothing secret, and the key, which cannot open a server without TLS. */
const NO_WAYS = ["ca-file", "cert-file", "key-file", "insecure"];

Deno.test("each option and variable that takes a secret is tried here", () => {
  const tried = JSON.stringify(WAYS.map(({ args, environment }) => [
    args("http://a", "b"),
    environment?.("http://a", "b"),
  ]));
  for (
    const { name, group, contentVariable } of OPTION_ROWS.map((row) => ({
      contentVariable: undefined,
      ...row,
    }))
  ) {
    if (group !== "Credentials" || NO_WAYS.includes(name)) continue;
    assert(tried.includes(`"--${name}"`), name);
    if (contentVariable !== undefined) assert(tried.includes(`"${contentVariable}"`), name);
  }
});

async function createFolder(): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  await Deno.writeTextFile(`${folder}/token`, `${SECRET}\n`);
  await Deno.writeTextFile(`${folder}/basic`, `${USER}:${SECRET}\n`);
  await Deno.writeTextFile(`${folder}/headers`, `Authorization: ${BEARER}\nX-Key: ${SECRET}\n`);
  return folder;
}

/** Every header that a server was sent, as one text for each request. */
function recordHeaders(): { readonly heads: string[]; readonly answer: (r: Request) => Response } {
  const heads: string[] = [];
  return {
    heads,
    answer: (request) => {
      heads.push(JSON.stringify([request.url, ...request.headers]));
      return new Response("# TYPE other gauge\nother 1\n");
    },
  };
}

Deno.test("each way to give a secret opens the server, and no output shows it", async () => {
  const folder = await createFolder();
  try {
    for (const { name, authorization, args, environment } of WAYS) {
      const server = await startVllmServer({ warmUp: 60, authorization });
      try {
        const outcomes = await Promise.all(FORMS.map((form) =>
          runProgram(
            [...args(server.url, folder), "--interval", "0", ...chooseForm(form)],
            { environment: environment?.(server.url, folder) },
          )
        ));
        for (const outcome of outcomes) {
          assertEquals([name, outcome.code, outcome.stderr], [name, 0, ""]);
          checkSilence(outcome);
        }
        assertEquals(readDocument(outcomes[0].stdout).total.replicas, 1);
        assertEquals(server.violations, []);
      } finally {
        await server.close();
      }
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Servers that want a secret, each given in its own way, one that takes none of them, and one that is down. */
async function startLocked(folder: string) {
  const wanted = [BEARER, BEARER, BASIC, "Bearer another"];
  const servers = await Promise.all(
    wanted.map((authorization) => startVllmServer({ warmUp: 60, authorization })),
  );
  const [first, second, ...others] = servers.map(({ url }) => url);
  const down = `http://127.0.0.1:${findFreePort()}`;
  const withUser = [...others, down].map((url) => url.replace("//", `//${USER}:${SECRET}@`));
  return {
    args: [
      ...[first, second, ...withUser],
      ...["--token-file", `${first}=${folder}/token`],
      ...["--header-file", `${second}=${folder}/headers`],
    ],
    count: servers.length + 1,
    close: () => Promise.all(servers.map((server) => server.close())),
  };
}

Deno.test("a stream of documents shows no secret", async () => {
  const folder = await createFolder();
  const locked = await startLocked(folder);
  try {
    const run = startProgram([...locked.args, "--output", "json", "--interval", "0.5"]);
    await run.waitFor(() => readDocuments(run.stdout()).length >= 3);
    run.signal("SIGTERM");
    const outcome = await run.ended;
    assertEquals(readDocuments(outcome.stdout)[0].endpoints.length, locked.count);
    checkSilence(outcome);
  } finally {
    await locked.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "the live screen writes no secret to the terminal, whatever it shows",
  ...needsProgram("script"),
  fn: async () => {
    const folder = await createFolder();
    const locked = await startLocked(folder);
    const words = listCommand(...locked.args, "--interval", "0.5");
    const command = words.map((word) => `'${word}'`).join(" ");
    const terminal = new Deno.Command("script", {
      args: ["-qfec", `stty cols 160 rows 40; exec ${command}`, "/dev/null"],
      env: createEnvironment(),
      clearEnv: true,
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    try {
      let written = "";
      const reading = (async () => {
        for await (const text of terminal.stdout.pipeThrough(new TextDecoderStream())) {
          written += text;
        }
      })();
      const keys = terminal.stdin.getWriter();
      const waitForText = (pattern: RegExp, from: number): Promise<void> =>
        waitFor(
          () => pattern.test(written.slice(from)),
          () => `${pattern} in ${written.slice(from)}`,
        );
      await waitForText(/DOWN/, 0);
      // The details of each row, the help, and the filter with what is typed there.
      for (let row = 0; row < locked.count; row++) {
        const from = written.length;
        await keys.write(new TextEncoder().encode("\r"));
        await waitForText(/./, from);
        const shown = written.length;
        await keys.write(new TextEncoder().encode("\x1b"));
        // Only once the table is back the next key is not taken for the rest of a sequence.
        await waitForText(/REPLICA/, shown);
        await keys.write(new TextEncoder().encode("j"));
      }
      const from = written.length;
      await keys.write(new TextEncoder().encode("?"));
      await waitForText(/./, from);
      await keys.write(new TextEncoder().encode("\x03"));
      await terminal.status;
      await reading;
      checkSilence({ stdout: written, stderr: "" });
      assertMatch(written, /127\.0\.0\.1:\d+/);
      await keys.abort().catch(() => {});
    } finally {
      try {
        terminal.kill();
      } catch {
        // It has ended.
      }
      await locked.close();
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("a key of a client that cannot be used is refused without being shown", async () => {
  const folder = await createFolder();
  const pem = (kind: string) => `-----BEGIN ${kind}-----\n${btoa(SECRET)}\n-----END ${kind}-----\n`;
  await Deno.writeTextFile(`${folder}/cert.pem`, pem("CERTIFICATE"));
  await Deno.writeTextFile(`${folder}/key.pem`, pem("PRIVATE KEY"));
  try {
    for (const form of FORMS) {
      const outcome = await runProgram([
        ...[`https://127.0.0.1:${findFreePort()}`, "--interval", "0", ...chooseForm(form)],
        ...["--cert-file", `${folder}/cert.pem`, "--key-file", `${folder}/key.pem`],
      ]);
      assert(outcome.code !== 0);
      checkSilence(outcome);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("a server that is down, refuses, hangs or redirects gets no secret into a message", async () => {
  const folder = await createFolder();
  const { heads, answer } = recordHeaders();
  const other = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
  const otherUrl = `http://127.0.0.1:${other.addr.port}`;
  const locked = await startVllmServer({ authorization: "Bearer another" });
  const hanging = await startVllmServer({ state: "hanging" });
  const moved = await startVllmServer({
    state: () => Response.redirect(`${otherUrl}/metrics?key=${SECRET}`, 307),
  });
  const urls = [
    ...[`http://127.0.0.1:${findFreePort()}`, locked.url, hanging.url, moved.url],
    ...["http://no-such-host.invalid:8000", "https://127.0.0.1:" + other.addr.port],
  ];
  const kinds = ["refused", "unauthorized", "timeout", "redirect", "dns", "tls"];
  const common = ["--once", "--interval", "0", "--timeout", "2"];
  try {
    const withUser = urls.map((url) => url.replace("//", `//${USER}:${SECRET}@`));
    const ways = [
      { args: urls, environment: { VLLM_HTOP_TOKEN: SECRET } },
      { args: [...urls, "--token-file", `${folder}/token`] },
      { args: [...urls, "--header-file", `${folder}/headers`] },
      { args: withUser },
    ];
    const outcomes = await Promise.all(
      ways.map(({ args, environment }, index) =>
        runProgram([...args, ...common, "--output", index === 1 ? "detail" : "json"], {
          environment,
        })
      ),
    );
    for (const [index, outcome] of outcomes.entries()) {
      assertEquals(outcome.code, 1, outcome.stderr);
      checkSilence(outcome);
      if (index === 1) continue;
      const found = readDocument(outcome.stdout).endpoints.map(({ failure }) => failure?.kind);
      // Where no name can be resolved at all it may also take too long.
      assert(["dns", "timeout", "network"].includes(found[4] ?? ""), `${found[4]}`);
      assertEquals(found.toSpliced(4, 1), kinds.toSpliced(4, 1));
    }
    assertEquals(heads, [], "nothing at all was asked of the other server");
  } finally {
    await Promise.all([other.shutdown(), locked.close(), hanging.close(), moved.close()]);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the secret of one server does not go to another", async () => {
  const folder = await createFolder();
  const { heads, answer } = recordHeaders();
  const other = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, answer);
  const otherUrl = `http://127.0.0.1:${other.addr.port}`;
  const server = await startVllmServer({ warmUp: 60, authorization: BEARER });
  const userServer = await startVllmServer({ warmUp: 60, authorization: BASIC });
  try {
    const outcome = await runProgram([
      ...[server.url, otherUrl, userServer.url.replace("//", `//${USER}:${SECRET}@`)],
      ...["--token-file", `${server.url}=${folder}/token`],
      ...["--once", "--interval", "0", "--output", "json"],
    ]);
    checkSilence(outcome);
    const { endpoints } = readDocument(outcome.stdout);
    assertEquals(endpoints.map(({ failure }) => failure?.kind), [
      undefined,
      "other_server",
      undefined,
    ]);
    assertEquals(heads.length, 2);
    for (const head of heads) {
      assert(!head.includes("authorization") && !head.includes(SECRET), head);
    }
  } finally {
    await Promise.all([other.shutdown(), server.close(), userServer.close()]);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("an unusable secret is refused without being shown", async () => {
  const folder = await createFolder();
  await Deno.writeTextFile(`${folder}/two`, `${SECRET}\n${SECRET}2\n`);
  try {
    const outcomes = await Promise.all([
      runProgram(["gpu1", "--token-file", `${folder}/two`]),
      runProgram(["gpu1"], { environment: { VLLM_HTOP_TOKEN: `${SECRET} ${SECRET}` } }),
      runProgram(["gpu1"], { environment: { VLLM_HTOP_BASIC_AUTH: SECRET } }),
      runProgram(["gpu1"], { environment: { VLLM_HTOP_HEADERS: SECRET } }),
    ]);
    for (const outcome of outcomes) {
      assertEquals([outcome.code, outcome.stdout], [3, ""]);
      assertMatch(outcome.stderr, /^vllm-htop: .*"(VLLM_HTOP_\w+|\/.*two)".*\n$/);
      checkSilence(outcome);
    }
    for (
      const url of [
        `http://${USER}:${SECRET}@gpu1:99999`,
        `http://gpu1:8000/metrics?token=${SECRET}`,
        `http://gpu1:8000/#${SECRET}`,
        `ftp://${USER}:${SECRET}@gpu1`,
      ]
    ) {
      const typed = await runProgram([url]);
      assertEquals(typed.code, 2, url);
      checkSilence(typed);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
