import { assertEquals, assertMatch } from "@std/assert";
import { writeEngine } from "./fixtures/expositions.ts";
import { findFreePort, runProgram } from "./program_runs.ts";
import { startVllmServer } from "./vllm_server.ts";

/** A server that says the same at each scrape. */
function startStill(gauges: Readonly<Record<string, number>>) {
  return startVllmServer({ state: () => new Response(writeEngine(Object.entries(gauges))) });
}

const CALM = { num_requests_running: 1, num_requests_waiting: 0, kv_cache_usage_perc: 0.1 };

async function check(...args: readonly string[]) {
  const { code, stdout, stderr } = await runProgram(["--check", "--no-gpu", ...args]);
  assertMatch(stdout, /^VLLM-HTOP [A-Z]+ - [^|\n]+(?: \|[^|\n]+)?\n$/, "one line");
  return [code, stdout.split(" - ")[0].split(" ")[1], stdout, stderr] as const;
}

Deno.test("--check prints one line, with the exit code of each level", async () => {
  const servers = await Promise.all([
    startStill(CALM),
    startStill({ ...CALM, num_requests_waiting: 12 }),
    startVllmServer({ authorization: "Bearer other" }),
  ]);
  const [calm, queuing, locked] = servers.map(({ url }) => url);
  const dead = `localhost:${findFreePort()}`;
  const quick = ["--interval", "0.5"];
  try {
    const outcomes = await Promise.all([
      check(calm, ...quick),
      check(calm, queuing, ...quick),
      check(calm, dead, ...quick),
      check(locked, ...quick),
      check(calm, "--nonsense"),
      check(calm, "--token-file", "/nowhere/token"),
      check("--auto", "--port-range", String(findFreePort())),
    ]);
    const [well, degraded, critical, denied, usage, file, none] = outcomes;
    assertEquals(outcomes.map((one) => one.slice(0, 2)), [
      [0, "OK"],
      [1, "WARNING"],
      [2, "CRITICAL"],
      [2, "CRITICAL"],
      ...Array(3).fill([3, "UNKNOWN"]),
    ]);
    assertMatch(well[2], /- 1 of 1 up, nothing wrong .*\| replicas_up=1;;;0;1 running=1;;;0 /);
    assertMatch(
      degraded[2],
      /- 2 of 2 up, \S+: queuing\b.*12 waiting\) \| .* waiting=12;/,
    );
    assertMatch(critical[2], /- 1 of 2 up, \S+: down \(.* refused the connection: .*\) \|/);
    assertMatch(denied[2], /needs credentials|authorization|401/i);
    assertMatch(usage[2], /unknown option "--nonsense"/);
    assertMatch(file[2], /"\/nowhere\/token"/);
    assertMatch(none[2], /no model server answers/);
    for (const one of [well, degraded, critical, usage, file, none]) assertEquals(one[3], "");
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

Deno.test("--check --for watches so long, and rules count that hold", async () => {
  const full = await startStill({ ...CALM, kv_cache_usage_perc: 0.99 });
  const watch = (...args: readonly string[]) => check(full.url, "--interval", "0.5", ...args);
  try {
    /** Longer on a machine that is too busy for two scrapes. */
    const watchFor = async (hold: number, code: number, span = 1): ReturnType<typeof watch> => {
      const outcome = await watch("--rule", `full.hold=${hold}`, "--for", `${span}s`);
      return outcome[0] === code || span > 8 ? outcome : await watchFor(hold, code, 3 * span);
    };
    const [brief, long, held] = await Promise.all([
      watch("--rule", "full.hold=30"),
      watchFor(30, 0),
      watchFor(0.01, 1),
    ]);
    assertEquals(brief.slice(0, 2), [1, "WARNING"], "of one look, no hold can be asked");
    assertEquals(long.slice(0, 2), [0, "OK"]);
    assertEquals(held.slice(0, 2), [1, "WARNING"]);
    assertMatch(held[2], /: full\b.*KV cache 99 %\) \|/);
  } finally {
    await full.close();
  }
});
