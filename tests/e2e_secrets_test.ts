// Secrets of the real program: they reach the server that they are for and nothing else, neither
// another server nor any output, whatever goes wrong.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { findFreePort, type Outcome, readDocument, runProgram } from "./program_runs.ts";
import { startVllmServer } from "./vllm_server.ts";

const SECRET = "tr0ub4dor-and-3";
const USER = "operator";
const BEARER = `Bearer ${SECRET}`;
const BASIC = `Basic ${btoa(`${USER}:${SECRET}`)}`;

const FORMS = ["json", "table", "detail"];

/** Whether nothing that was printed holds the secret, plain, encoded or in parts. */
function checkSilence({ stdout, stderr }: Outcome): void {
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
  readonly environment?: Readonly<Record<string, string>>;
}

const WAYS: readonly Way[] = [
  {
    name: "token variable",
    authorization: BEARER,
    args: (url) => [url],
    environment: { VLLM_HTOP_TOKEN: SECRET },
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
    environment: { VLLM_HTOP_BASIC_AUTH: `${USER}:${SECRET}` },
  },
  {
    name: "header file",
    authorization: BEARER,
    args: (url, folder) => [url, "--header-file", `${folder}/headers`],
  },
];

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
            [...args(server.url, folder), "--once", "--interval", "0", "--output", form],
            { environment },
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
    assertEquals(endpoints.map(({ failure }) => failure?.kind), [undefined, "not_vllm", undefined]);
    assertEquals(heads.length, 1);
    assert(!heads[0].includes("authorization") && !heads[0].includes(SECRET), heads[0]);
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
    const typed = await runProgram([`http://${USER}:${SECRET}@gpu1:99999`]);
    assertEquals(typed.code, 2);
    checkSilence(typed);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
