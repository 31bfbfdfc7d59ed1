import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { inFolder, listCommand, type Outcome, readDocument, runProgram } from "./program_runs.ts";
import { measureGrowth, startRecordedServer } from "./recorded_server.ts";

/** By how much two clocks of one machine differ over a test, in seconds. */
const CLOCK_SLACK = 0.1;

const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };

/** Runs the program with the permission to write into the folder. A compiled one has it or not. */
function runWithState(folder: string, ...more: readonly string[]): Promise<Outcome> {
  const args = ["--once", "--state", `${folder}/state.json`, "--output", "json", ...more];
  const [program, run, ...rest] = listCommand(...args);
  return runProgram([], { command: [program, run, `--allow-write=${folder}`, ...rest] });
}

const NEXT_RUN = "rates come with the next run";

/** A compiled program has no permission to write, and is given none from outside. */
const needsFlags = { ignore: Deno.env.has("VLLM_HTOP_BINARY") };

Deno.test("--state writes through a symbolic link", {
  ignore: needsFlags.ignore || Deno.build.os === "windows",
}, async () => {
  const { server } = await startRecordedServer({ engines: [LLAMA] });
  try {
    await inFolder(async (folder) => {
      await Deno.symlink("target.json", `${folder}/state.json`);
      // Made at the first run, replaced at the second.
      for (const remarks of [1, 0]) {
        const { code, stderr, stdout } = await runWithState(folder, server.url);
        assertEquals([code, stderr], [0, ""]);
        assertEquals(readDocument(stdout).notices.length, remarks);
        assert((await Deno.lstat(`${folder}/state.json`)).isSymlink);
        assert((await Deno.lstat(`${folder}/target.json`)).isFile);
      }
    });
  } finally {
    await server.close();
  }
});

Deno.test("--state gives rates since the run before, by one scrape", needsFlags, async () => {
  const servers = await Promise.all([
    startRecordedServer({ engines: [LLAMA, LLAMA] }),
    startRecordedServer({ seed: 2, engines: [LLAMA] }),
  ]);
  const urls = servers.map(({ server }) => server.url);
  try {
    await inFolder(async (folder) => {
      const first = await runWithState(folder, ...urls);
      const firstEndedAt = performance.now() / 1000;
      assertEquals([first.code, first.stderr], [0, ""]);
      const before = readDocument(first.stdout);
      assertEquals(before.notices, [
        `the state file "${folder}/state.json": it is not there yet: ${NEXT_RUN}`,
      ]);
      assertEquals(before.total.lastPoll.reasons?.requestsPerSecond, "first_scrape");

      const second = await runWithState(folder, ...urls);
      const secondEndedAt = performance.now() / 1000;
      assertEquals([second.code, second.stderr], [0, ""]);
      for (const { server, said } of servers) {
        assertEquals(said.length, 2, "one scrape for each run");
        assertEquals(server.violations, []);
      }
      const { notices, replicas, total } = readDocument(second.stdout);
      assertEquals(notices, []);
      assertEquals(replicas.length, 3);
      for (const recorded of servers) {
        const own = replicas.filter(({ url }) => url === `${recorded.server.url}/metrics`);
        const [{ at: from }, { at: to }] = recorded.said;
        let tokens = 0;
        for (const { figures } of own) {
          const { spanSeconds, generationTokensPerSecond } = figures?.lastPoll ?? {};
          assert(typeof spanSeconds === "number" && typeof generationTokensPerSecond === "number");
          // Each run has an answer between its being sent and the end of the run.
          assert(spanSeconds >= to - firstEndedAt - CLOCK_SLACK, `${spanSeconds}`);
          assert(spanSeconds <= secondEndedAt - from + CLOCK_SLACK, `${spanSeconds}`);
          tokens += spanSeconds * generationTokensPerSecond;
          assertEquals(figures?.lastMinute, figures?.lastPoll);
        }
        assertAlmostEquals(tokens, measureGrowth(recorded, "vllm:generation_tokens_total"), 1e-6);
      }
      for (const [key, name] of [["ttft", "time_to_first_token"], ["itl", "inter_token_latency"]]) {
        const counts = servers.map((one) => measureGrowth(one, `vllm:${name}_seconds_count`));
        const { samples, p95 } = total.lastPoll.latency[key];
        assertEquals(samples, counts.reduce((sum, count) => sum + count, 0));
        assert(p95 !== null && p95.seconds > 0);
      }
    });
  } finally {
    await Promise.all(servers.map(({ server }) => server.close()));
  }
});

Deno.test("--state tells a server that was started anew between the runs", needsFlags, async () => {
  const before = await startRecordedServer({ warmUp: 300 });
  const { port } = before.server;
  await inFolder(async (folder) => {
    await runWithState(folder, before.server.url).finally(() => before.server.close());
    // What it has counted by now may be more than before.
    const { server } = await startRecordedServer({ port, seed: 5, warmUp: 900 });
    try {
      const { endpoints, total } = readDocument((await runWithState(folder, server.url)).stdout);
      assertEquals(total.lastPoll.generationTokensPerSecond, null);
      assertEquals(total.lastPoll.reasons?.generationTokensPerSecond, "restarted");
      assertEquals(endpoints[0].scrape?.restartsSeen, 1);
    } finally {
      await server.close();
    }
  });
});

Deno.test("--state keeps the scrape of a server that does not answer", needsFlags, async () => {
  const recorded = await startRecordedServer();
  const { server } = recorded;
  try {
    await inFolder(async (folder) => {
      await runWithState(folder, server.url);
      await server.setState("refusing");
      const failed = await runWithState(folder, server.url);
      assertEquals([failed.code, failed.stderr], [1, ""]);
      const { replicas } = readDocument(failed.stdout);
      assertEquals(replicas.map(({ status, figures }) => [status, figures]), [["DOWN", null]]);
      await server.setState(recorded.answer);
      const { total } = readDocument((await runWithState(folder, server.url)).stdout);
      const { spanSeconds, generationTokensPerSecond: rate } = total.lastPoll;
      assert(spanSeconds !== null && rate !== null);
      const growth = measureGrowth(recorded, "vllm:generation_tokens_total");
      assertAlmostEquals(spanSeconds * rate, growth, 1e-6);
    });
  } finally {
    await server.close();
  }
});

Deno.test("--state passes over a file that is broken, and writes it anew", needsFlags, async () => {
  const { server } = await startRecordedServer();
  try {
    await inFolder(async (folder) => {
      const path = `${folder}/state.json`;
      await Deno.writeTextFile(path, '{"version":1,"scrapes":[{');
      const { code, stdout } = await runWithState(folder, server.url);
      assertEquals(code, 0);
      assertEquals(readDocument(stdout).notices, [
        `the state file "${path}": it is broken, or no file of scrapes: ${NEXT_RUN}`,
      ]);
      const text = await Deno.readTextFile(path);
      assertEquals(JSON.parse(text).scrapes.length, 1);
      assertEquals([...Deno.readDirSync(folder)].length, 1, "no draft is left");
    });
  } finally {
    await server.close();
  }
});

Deno.test("--state keeps no secret", needsFlags, async () => {
  const secret = "tr0ub4dor-and-3";
  const authorization = `Basic ${btoa(`operator:${secret}`)}`;
  const { server } = await startRecordedServer({ authorization });
  try {
    await inFolder(async (folder) => {
      const url = server.url.replace("//", `//operator:${secret}@`);
      assertEquals((await runWithState(folder, url)).code, 0);
      const text = await Deno.readTextFile(`${folder}/state.json`);
      for (const part of [secret, "operator", authorization.slice(6)]) {
        assert(!text.includes(part), `${part} is in ${text}`);
      }
    });
  } finally {
    await server.close();
  }
});

Deno.test("--state without the permission to write prints, says what is missing, and exits 3", async () => {
  const { server } = await startRecordedServer();
  try {
    await inFolder(async (folder) => {
      const { code, stdout, stderr } = await runProgram(
        [server.url, "--once", "--state", `${folder}/state.json`, "--output", "json"],
      );
      assertEquals([code, readDocument(stdout).total.replicas], [3, 1]);
      assertMatch(
        stderr,
        /^vllm-htop: the state file ".*" cannot be written: .*--allow-write=.*\n$/,
      );
      assertEquals([...Deno.readDirSync(folder)], []);
    });
  } finally {
    await server.close();
  }
});
