/**
 * Tries the compiled program as a user would: `try_binary.ts PATH`.
 *
 * Against a server on loopback that gives one small exposition, and against a
 * port that nobody listens to, and with a stand-in for nvidia-smi. Prints one line per trial and a summary in the
 * form of `deno test`; exits 1 when a trial failed.
 *
 * @module
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { withStandIns } from "../tests/gpu_stand_in.ts";

/** How long one run of the program may take, in milliseconds. */
const TIME_LIMIT = 20_000;

/** Requests that the server says are running. */
const RUNNING = 37;

const EXPOSITION = `# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} ${RUNNING}.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny"} 0.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.25
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="tiny"} 1000.0
`;

const [path] = Deno.args;
if (path === undefined) throw new TypeError("Cannot try a binary: no path given");

interface Outcome {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs it with folders that go first on its PATH. */
async function runBinaryWith(
  folders: readonly string[],
  ...parts: readonly string[]
): Promise<Outcome> {
  const { code, stdout, stderr } = await new Deno.Command(path, {
    args: [...parts],
    env: { PATH: [...folders, Deno.env.get("PATH") ?? ""].join(":") },
    stdin: "null",
    signal: AbortSignal.timeout(TIME_LIMIT),
  }).output();
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout), errors: decoder.decode(stderr) };
}

function runBinary(...parts: readonly string[]): Promise<Outcome> {
  return runBinaryWith([], ...parts);
}

/** A port of loopback that was free a moment ago. */
function findFreePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  return port;
}

const trials: Record<string, (port: number) => Promise<void>> = {
  "--version prints the version of deno.json": async () => {
    const { default: config } = await import("../deno.json", { with: { type: "json" } });
    const { code, output } = await runBinary("--version");
    assertStringIncludes(output, config.version);
    assertEquals(code, 0);
  },
  "--help shows how to name a server": async () => {
    const { code, output } = await runBinary("--help");
    assertStringIncludes(output, "--url");
    assertEquals(code, 0);
  },
  "--once --output json gives the server's figures on one line": async (port) => {
    const { code, output, errors } = await runBinary(
      "--url",
      `127.0.0.1:${port}`,
      "--once",
      "--interval",
      "0",
      "--output",
      "json",
    );
    assertMatch(output, /^\{.*\}\n$/, errors);
    const report = JSON.parse(output);
    assertEquals(report.schema, 1);
    assertEquals(report.total.running, RUNNING);
    assertEquals(report.replicas[0].figures.kvCacheUsageRatioMax, 0.25);
    assertEquals(report.total.lastPoll.reasons.generationTokensPerSecond, "first_scrape");
    assertEquals(code, 0, errors);
  },
  "a port that nobody listens to gives exit code 1": async () => {
    const url = `127.0.0.1:${findFreePort()}`;
    const { code, output } = await runBinary("--url", url, "--once", "--interval", "0");
    assertEquals(code, 1, output);
  },
  "--demo needs no server and measures rates": async () => {
    const { code, output, errors } = await runBinary(
      ...["--demo", "--once", "--interval", "0.5", "--output", "json"],
    );
    assertEquals(code, 0, errors);
    const { total } = JSON.parse(output);
    assertEquals(total.replicaCounts.up, 5);
    assert(total.lastPoll.generationTokensPerSecond > 0, output);
  },
  "GPUs of a stand-in for nvidia-smi are shown, and a hanging one is told": async (port) => {
    if (Deno.build.os === "windows") return;
    await withStandIns(async ({ folder, setNvidia, behave }) => {
      const once = ["--url", `127.0.0.1:${port}`, "--once", "--interval", "0", "--output", "json"];
      setNvidia({ gpus: "h100x8.tsv" });
      const good = await runBinaryWith([folder], ...once);
      const { gpus, cost } = JSON.parse(good.output);
      assertEquals([gpus.length, cost.gpuCount, cost.isHint], [8, 8, true], good.errors);
      behave("nvidia-smi", "hang");
      const bad = await runBinaryWith([folder], ...once);
      const { gpuFailure, total } = JSON.parse(bad.output);
      assertEquals([bad.code, gpuFailure.kind, total.running], [0, "timeout", RUNNING], bad.errors);
    });
  },
  "--list-prices lists the hints": async () => {
    const { code, output } = await runBinary("--list-prices");
    assertMatch(output, /^H100 +\d+\.\d\d/m);
    assertEquals(code, 0);
  },
  "a wrong flag gives exit code 2 and a word on stderr": async () => {
    const { code, errors } = await runBinary("--no-such-flag");
    assertStringIncludes(errors, "no-such-flag");
    assertEquals(code, 2);
  },
};

const server = Deno.serve(
  { hostname: "127.0.0.1", port: 0, onListen: () => {} },
  () => new Response(EXPOSITION, { headers: { "content-type": "text/plain; version=0.0.4" } }),
);
let passed = 0;
let failed = 0;
for (const [name, run] of Object.entries(trials)) {
  try {
    await run(server.addr.port);
    passed++;
    console.log(`${name} ... ok`);
  } catch (error) {
    failed++;
    console.log(`${name} ... FAILED\n${error instanceof Error ? error.message : error}`);
  }
}
await server.shutdown();
console.log(`${failed === 0 ? "ok" : "FAILED"} | ${passed} passed | ${failed} failed`);
Deno.exit(failed === 0 ? 0 : 1);
