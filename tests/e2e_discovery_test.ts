import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { runApp } from "../lib/app.ts";
import { SCAN_INTERVAL } from "../lib/discovery.ts";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { VLLM_BODY } from "./hostile_server.ts";
import {
  findFreePorts,
  readDocument,
  readDocuments,
  type ReportDocument,
  runProgram,
} from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { checkReturn, startLive, withScreens } from "./tmux_screens.ts";
import { startVllmServer } from "./vllm_server.ts";

const SECRET = "s3cr3t-key-of-a-server";

/** A server that is a process of its own, with the command line of vLLM. */
async function startProcess(
  folder: string,
  port: number,
): Promise<{ readonly asked: () => Promise<string>; readonly close: () => Promise<void> }> {
  const path = `${folder}/vllm`;
  const log = `${folder}/asked`;
  await Deno.writeTextFile(
    path,
    `const answers = {
      "/metrics": ${JSON.stringify(VLLM_BODY)},
      "/version": '{"version":"0.32.0"}',
      "/v1/models": '{"object":"list","data":[{"id":"test/model","owned_by":"vllm","parent":null,' +
        '"max_model_len":4096},{"id":"sql","parent":"test/model","max_model_len":null}]}',
    };
    Deno.serve({ hostname: "127.0.0.1", port: ${port}, onListen: () => console.log("up") }, (request) => {
      const { pathname } = new URL(request.url);
      Deno.writeTextFileSync(${JSON.stringify(log)}, request.method + " " + pathname + "\\n", {
        append: true,
      });
      const answer = answers[pathname];
      return new Response(answer ?? "", {
        status: answer === undefined ? 404 : 200,
        headers: { "cache-control": "no-transform" },
      });
    });`,
  );
  const options = ["--port", `${port}`, "--api-key", SECRET, "-tp", "2"];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--ext=js", path, "serve", "test/model", ...options],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  return {
    asked: () => Deno.readTextFile(log),
    close: async () => {
      child.kill("SIGKILL");
      await reader.cancel();
      await child.status;
    },
  };
}

interface ServerDocument {
  readonly version: string | null;
  readonly maxModelLenTokens: number | null;
  readonly servedModels: readonly string[];
  readonly loraAdapters: readonly string[];
  readonly parallelism: Readonly<Record<string, number>> | null;
  readonly commandLine: string | null;
}

Deno.test("a server far from the usual ports is found by its process, and how it was started", {
  ...needsProgram("ss"),
}, async () => {
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  const port = findFreePorts(1);
  const process = await startProcess(folder, port);
  try {
    const { code, stdout, stderr } = await runProgram(
      ["--auto", "--once", "--interval", "0", "--output", "json", "--name", `${port}=mine`],
    );
    assertEquals(stderr, "");
    const { endpoints, replicas } = readDocument(stdout);
    const url = `http://localhost:${port}/metrics`;
    const found = endpoints.find((endpoint) => endpoint.url === url);
    assert(found !== undefined, stdout);
    assertEquals([found.status, found.failure], ["OK", null]);
    assertEquals(replicas.find((replica) => replica.url === url)?.displayName, "mine");
    if (endpoints.length === 1) assertEquals(code, 0);

    const { commandLine, ...server } = (found as unknown as { server: ServerDocument }).server;
    assertEquals(server, {
      version: "0.32.0",
      maxModelLenTokens: 4096,
      servedModels: ["test/model"],
      loraAdapters: ["sql"],
      parallelism: { "tensor-parallel-size": 2 },
    });
    assertStringIncludes(
      commandLine ?? "",
      `/vllm serve test/model --port ${port} --api-key *** -tp 2`,
    );
    assert(!stdout.includes(SECRET));
    // The scan, the one scrape, and who it is.
    const asked = (await process.asked()).trimEnd().split("\n").toSorted();
    assertEquals(asked, ["GET /metrics", "GET /metrics", "GET /v1/models", "GET /version"]);
  } finally {
    await process.close();
    await Deno.remove(folder, { recursive: true });
  }
});

/** The program in this process, with scans that come soon; its output so far, and how to end it. */
function startProgram(args: readonly string[]): {
  readonly documents: () => readonly ReportDocument[];
  readonly waitFor: (condition: (newest: ReportDocument) => boolean) => Promise<void>;
  readonly end: () => Promise<number>;
} {
  const real = createDenoPlatform();
  let output = "";
  let hasEnded = false;
  let terminate = (): void => {};
  let look = (): void => {};
  const platform: Platform = {
    ...real,
    environment: () => undefined,
    sleep: (span, signal) => {
      // Without a signal only the end of the process is waited for.
      if (signal === undefined) return new Promise(() => {});
      return real.sleep(span === SCAN_INTERVAL ? 0.5 : span, signal);
    },
    onSignal: (signal, handler) => {
      if (signal === "SIGTERM") terminate = handler;
      return () => {};
    },
    onFatalError: () => {},
    exit: () => {
      throw new Error("It did not end by itself");
    },
    stdio: {
      ...real.stdio,
      stdinIsTerminal: false,
      stdoutIsTerminal: false,
      writeStdout: (bytes) => {
        output += new TextDecoder().decode(bytes);
        look();
        return Promise.resolve();
      },
    },
  };
  const running = runApp(platform, args);
  const documents = (): readonly ReportDocument[] => readDocuments(output);
  return {
    documents,
    waitFor: (condition) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`Waited in vain:\n${output}`)), 20_000);
        look = () => {
          const newest = documents().at(-1);
          if (newest === undefined || !condition(newest)) return;
          clearTimeout(timer);
          resolve();
        };
        look();
      }),
    end: () => {
      if (!hasEnded) terminate();
      hasEnded = true;
      return running;
    },
  };
}

Deno.test("a server that starts later is found by the next scan, and keeps everybody's names", async () => {
  const first = findFreePorts(4);
  const early = await startVllmServer({ port: first + 1, warmUp: 30 });
  const range = `${first}-${first + 3}`;
  const run = startProgram([
    ...["--auto", "--port-range", range, "--output", "json", "--interval", "0.5"],
  ]);
  const namesOf = ({ replicas }: ReportDocument): string[] =>
    replicas.map(({ displayName }) => displayName);
  try {
    await run.waitFor(({ replicas }) => replicas[0]?.status === "OK");
    const [name] = namesOf(run.documents().at(-1) ?? run.documents()[0]);
    const late = await startVllmServer({
      port: first + 2,
      warmUp: 30,
      seed: 2,
      engines: [{ model: "meta-llama/Llama-3.1-8B-Instruct" }, { model: "Qwen/Qwen3-32B" }],
    });
    try {
      await run.waitFor(({ replicas }) =>
        replicas.length === 3 && replicas.every(({ status }) => status === "OK")
      );
      const names = namesOf(run.documents()[run.documents().length - 1]);
      assertEquals(names[0], name);
      assertEquals(new Set(names).size, 3);
      // Later scans asked neither of them: what is there beside scrapes is who they are.
      await run.waitFor(({ replicas }) => replicas[2].figures?.lastPoll.spanSeconds !== null);
      for (const { requests, violations } of [early, late]) {
        assertEquals(violations, []);
        assertEquals(requests.filter((one) => one !== "GET /metrics").toSorted(), [
          ...["GET /v1/models", "GET /v1/models"],
          "GET /version",
        ]);
      }
      assertEquals(await run.end(), 143);
    } finally {
      await late.close();
    }
  } finally {
    await run.end();
    await early.close();
  }
});

Deno.test("a targets list that hangs does not delay the servers that are named", async () => {
  const [named, listed] = await Promise.all([
    startVllmServer({ warmUp: 30 }),
    startVllmServer({ warmUp: 30, seed: 2 }),
  ]);
  const { promise: isReady, resolve: release } = Promise.withResolvers<void>();
  const list = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async () => {
    await isReady;
    return Response.json([{ targets: [new URL(listed.url).host] }]);
  });
  const address = `http://127.0.0.1:${list.addr.port}/list`;
  const prometheus = `http://127.0.0.1:${list.addr.port}`;
  const run = startProgram([
    ...["--targets", address, "--timeout", "0.5", "--output", "json", "--interval", "0.5"],
    ...["--prometheus", prometheus, named.url],
  ]);
  try {
    await run.waitFor(({ replicas }) => replicas[0]?.status === "OK");
    assertEquals(
      run.documents().at(-1)?.notices,
      [`asking "${address}"`, `asking "${prometheus}"`],
    );
    release();
    await run.waitFor(({ replicas }) =>
      replicas.length === 2 && replicas.every(({ status }) => status === "OK")
    );
    assert(!run.documents().at(-1)?.notices.includes(`asking "${address}"`));
  } finally {
    release();
    await run.end();
    await Promise.all([list.shutdown(), named.close(), listed.close()]);
  }
});

Deno.test("a server that fails is asked less and less often, and at once on r", {
  ...needsProgram("tmux"),
}, async () => {
  const asked: { readonly server: "well" | "ill"; readonly at: number }[] = [];
  const ask = (server: "well" | "ill"): void => void asked.push({ server, at: performance.now() });
  const [well, ill] = await Promise.all([
    startVllmServer({
      warmUp: 30,
      state: (_request, body) => {
        ask("well");
        return new Response(body, { headers: { "cache-control": "no-transform" } });
      },
    }),
    startVllmServer({
      warmUp: 30,
      seed: 2,
      state: () => {
        ask("ill");
        return new Response("Internal Server Error", { status: 500 });
      },
    }),
  ]);
  const listInstants = () => asked.filter(({ server }) => server === "ill").map(({ at }) => at);
  try {
    await withScreens(async (screens, folder) => {
      const often = await startLive(screens, {
        folder,
        args: [well.url, ill.url, "--interval", "0.5"],
      });
      // Asked after 0, 0.5, 1.5, 3.5 and 7.5 seconds; a machine that is busy makes each of them late.
      await often.screen.waitFor(() => listInstants().length >= 5);
      const [first, second, third, fourth, fifth] = listInstants();
      assert(third - first < fifth - third, `${listInstants()}`);
      assert(second - first < fifth - fourth, `${listInstants()}`);
      const counts = ["well", "ill"].map((name) =>
        asked.filter(({ server, at }) => server === name && at <= fifth).length
      );
      assert(counts[0] > counts[1], `${counts}`);
      await often.screen.press("q");
      await checkReturn(often, 0);

      // By itself it asks again after longer than any wait of these tests.
      const before = listInstants().length;
      const run = await startLive(screens, {
        folder,
        args: [well.url, ill.url, "--interval", "300"],
      });
      const isDown = (rows: readonly string[]) => rows.some((row) => row.includes("1 of 2 up"));
      await run.screen.waitFor(isDown);
      assertEquals(listInstants().length, before + 1);
      await run.screen.press("r");
      await run.screen.waitFor(() => listInstants().length === before + 2);
      await ill.setState("up");
      await run.screen.press("r");
      await run.screen.waitFor((rows) => rows.some((row) => row.includes("2 of 2 up")));
      await run.screen.press("q");
      await checkReturn(run, 0);
    });
    for (const { violations } of [well, ill]) assertEquals(violations, []);
  } finally {
    await Promise.all([well.close(), ill.close()]);
  }
});
