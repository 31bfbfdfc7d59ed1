import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { findFreePort, listCommand, runProgram, startProgram, waitUntil } from "./program_runs.ts";
import { startVllmServer } from "./vllm_server.ts";

const LLAMA = { model: "meta-llama/Llama-3.1-8B-Instruct" };

/** A compiled program has no permission to write, and is given none from outside. */
const needsFlags = { ignore: Deno.env.has("VLLM_HTOP_BINARY") };

Deno.test("--serve answers GET /metrics while it polls, here alone, and ends with the program", async () => {
  const server = await startVllmServer({ warmUp: 60, engines: [LLAMA] });
  const port = findFreePort();
  const args = [server.url, "--no-gpu", "--interval", "0.5"];
  const run = startProgram([...args, "--serve", String(port)]);
  try {
    const ask = async (init?: RequestInit) => {
      const response = await fetch(`http://localhost:${port}/metrics`, init);
      return { status: response.status, text: await response.text() };
    };
    const text = await waitUntil(async () => {
      const { text } = await ask().catch(() => ({ text: "" }));
      return text.includes('latency_min_seconds{replica="') ? text : null;
    }, () => `figures; ${run.stderr()}`);
    assertStringIncludes(text, 'vllm_htop_replicas{state="up"} 1');
    const { status } = await ask({ method: "POST", body: "x".repeat(100_000) });
    assertEquals(status, 405);
    const second = await runProgram([...args, "--serve", `localhost:${port}`]);
    assertEquals(second.code, 3);
    assertMatch(second.stderr, /^vllm-htop: cannot listen on "localhost:\d+": .*in use/);
    run.signal("SIGTERM");
    const { code, stdout, stderr } = await run.ended;
    assertEquals([code, stdout, stderr], [143, "", ""]);
    await ask().then(() => assert(false, "it still answers"), () => {});
    assertEquals(server.violations, []);
  } finally {
    run.signal("SIGKILL");
    await run.ended;
    await server.close();
  }
});

Deno.test("--output csv prints its header once, and a line for each replica and poll", async () => {
  const server = await startVllmServer({ warmUp: 60, engines: [LLAMA, LLAMA] });
  const run = startProgram([server.url, "--no-gpu", "--interval", "0.5", "--output", "csv"]);
  try {
    await run.waitFor(() => run.stdout().split(",OK,").length > 4);
    run.signal("SIGTERM");
    const { stdout } = await run.ended;
    const [header, ...all] = stdout.trimEnd().split("\n");
    // Before it has answered, a server has one line.
    const lines = all.filter((line) => !line.includes(",PENDING,"));
    assertMatch(header, /^time,timeEpochSeconds,displayName,/);
    assert(lines.every((line) => /^\d{4}-\d\d-\d\dT/.test(line)), stdout);
    const times = lines.map((line) => line.split(",", 1)[0]);
    for (let i = 0; i + 1 < times.length; i += 2) assertEquals(times[i], times[i + 1]);
    assert(new Set(times).size > 1);
  } finally {
    await server.close();
  }
});

Deno.test("--output-file replaces the file whole, for others to read", {
  ignore: needsFlags.ignore || Deno.build.os === "windows",
}, async () => {
  const server = await startVllmServer({ warmUp: 60, engines: [LLAMA] });
  const folder = await Deno.makeTempDir();
  const path = `${folder}/vllm.prom`;
  try {
    const args = [server.url, "--no-gpu", "--output", "prometheus", "--output-file", path];
    const [program, command, ...rest] = listCommand(...args, "--once", "--interval", "0.5");
    const written = await runProgram([], {
      command: [program, command, `--allow-write=${folder}`, ...rest],
    });
    assertEquals([written.code, written.stdout, written.stderr], [0, "", ""]);
    assertMatch(
      await Deno.readTextFile(path),
      /^# HELP [^]*\nvllm_htop_replicas\{state="up"\} 1\n/,
    );
    assertEquals((Deno.statSync(path).mode ?? 0) & 0o777, 0o644);
    assertEquals([...Deno.readDirSync(folder)].map(({ name }) => name), ["vllm.prom"]);
    // While polling, too, the first failure ends it.
    const refused = await runProgram([...args, "--interval", "0.5"]);
    assertEquals([refused.code, refused.stdout], [3, ""]);
    assertMatch(
      refused.stderr,
      /^vllm-htop: the output file ".*" cannot be written: .*--allow-write=.*\n$/,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
    await server.close();
  }
});
