import { assert, assertEquals, assertMatch } from "@std/assert";
import { writeEngine } from "./fixtures/expositions.ts";
import { withStandIns } from "./gpu_stand_in.ts";
import { findFreePort, type Outcome, runProgram } from "./program_runs.ts";
import { startVllmServer } from "./vllm_server.ts";

const SECRET = "tr0ub4dor-and-3";

interface DoctorDocument {
  readonly schema: number;
  readonly level: string;
  readonly checks: readonly {
    readonly level: string;
    readonly subject: string;
    readonly text: string;
  }[];
}

function readRemarks({ stdout }: Outcome): DoctorDocument {
  assert(stdout.endsWith("}\n"), stdout);
  return JSON.parse(stdout);
}

/** Metrics of a server whose clock is an hour ahead. */
function answerAhead(): Response {
  const date = new Date(Date.now() + 3_600_000).toUTCString();
  return new Response(writeEngine([["num_requests_running", 1]]), { headers: { date } });
}

Deno.test("doctor tells what is found and what stands in the way, and no secret", {
  ignore: Deno.build.os === "windows",
}, async () => {
  const [good, ahead] = await Promise.all([
    startVllmServer({ warmUp: 60 }),
    startVllmServer({ warmUp: 60, state: answerAhead }),
  ]);
  const dead = `http://localhost:${findFreePort()}`;
  const folder = await Deno.makeTempDir();
  try {
    const config = {
      endpoints: [
        good.url,
        ahead.url.replace("//", `//me:${SECRET}@`),
        dead,
        "http://gpu.invalid:8000",
      ],
      interval: 3,
      hooks: [{ rules: "down", webhook: `http://localhost:9/${SECRET}`, bell: true }],
      colour: "red",
    };
    const path = `${folder}/config.json`;
    await Deno.writeTextFile(path, JSON.stringify(config, null, 1), { mode: 0o600 });
    await withStandIns(async (standIns) => {
      standIns.setNvidia({ gpus: "h100.tsv" });
      standIns.behave("nvidia-smi", {
        code: 18,
        stdout: "Failed to initialize NVML: Driver/library version mismatch\n",
      });
      const environment = {
        PATH: `${standIns.folder}:${Deno.env.get("PATH")}`,
        VLLM_HTOP_CONFIG: path,
        VLLM_HTOP_TOKEN: SECRET,
        VLLM_HTOP_TIMEOUT: "5",
        http_proxy: `http://me:${SECRET}@proxy.localhost:3128`,
        LANG: "C",
      };
      const [text, json] = await Promise.all([
        runProgram(["doctor"], { environment }),
        runProgram(["doctor", "--json"], { environment }),
      ]);
      for (const { code, stdout, stderr } of [text, json]) {
        assertEquals([code, stderr], [1, ""]);
        assert(!stdout.includes(SECRET) && !stdout.includes("tr0ub4dor"), stdout);
      }
      const { schema, level, checks } = readRemarks(json);
      assertEquals([schema, level], [1, "fail"]);
      const check = (level: string, subject: string | RegExp, text: RegExp) =>
        assert(
          checks.some((one) =>
            level.split(" or ").includes(one.level) && one.text.search(text) >= 0 &&
            (typeof subject === "string"
              ? one.subject.endsWith(subject)
              : subject.test(one.subject))
          ),
          `no ${level} ${subject} ${text} in\n${JSON.stringify(checks, null, 1)}`,
        );
      check("ok", "configuration", /config\.json" is in force$/);
      check("warn", "configuration", /unknown key "colour" \(line \d+\)/);
      check("ok", "settings", /interval by "interval" \(line \d+\)/);
      check("ok", "settings", /timeout by VLLM_HTOP_TIMEOUT.*token-file by VLLM_HTOP_TOKEN/);
      check(
        "ok",
        "hook 1",
        /^posts to http:\/\/localhost:9, rings the bell, within 10 s, by down from degraded on$/,
      );
      check("warn", "locale", /^ASCII only, by LANG=C: set LANG/);
      check("ok", "terminal", /^none here/);
      check("fail", "GPUs", /nvidia-smi does not match the loaded driver.*: reboot/);
      check("ok", "servers", /^4 servers, named$/);
      check("ok", `:${good.port}`, /^vLLM 0\.32\.0: 1 engine of \S+/);
      check("ok or warn", `:${good.port}`, /^a scrape takes .* samples[;:] polled every \d/);
      check("ok", `:${good.port}`, /^n\/a, not exported without --speculative-config: Drafts/);
      check("ok", `:${good.port}`, /^its clock agrees with ours$/);
      check("warn", `:${ahead.port}`, /^its clock is (?:59m \d\ds|1h 00m) ahead of ours: .*NTP$/);
      check("warn", `:${ahead.port}`, /^n\/a, not exported: .*KV-cache usage/);
      check(
        "ok",
        "proxy",
        /^gpu\.invalid:8000 is reached through the proxy proxy\.localhost:3128 \(from http_proxy\)$/,
      );
      check("fail", /gpu\.invalid/, /the proxy proxy\.localhost:3128 \(from http_proxy\)/);
      check("fail", /:\d+/, /refused the connection: check that the server has started/);
      const lines = text.stdout.trimEnd().split("\n");
      assertEquals(lines.length, checks.length + 1);
      for (const line of lines.slice(0, -1)) {
        assertMatch(line, /^(?:ok {2}|warn|fail) {2}\S.* {2}\S/);
      }
      assertMatch(lines.at(-1) ?? "", /^\d+ ok, \d+ warn, 3 fail$/);
      for (const server of [good, ahead]) assertEquals(server.violations, []);
      const requests = good.requests.filter((path) => path === "GET /metrics");
      assertEquals(requests.length, 4, "each run scrapes once, and asks for the time once");
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
    await Promise.all([good, ahead].map((server) => server.close()));
  }
});

Deno.test("doctor tells servers that Prometheus scrapes", async () => {
  const labels = 'job="vllm",instance="gpu1:8000"';
  const own = `model_name="m",engine="0",${labels}`;
  const time = Date.now();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    const lines = [`up{${labels}} 1`, `vllm:num_requests_running{${own}} 3`];
    return new Response(lines.map((line) => `${line} ${time}\n`).join(""));
  });
  try {
    const url = `http://127.0.0.1:${server.addr.port}/federate`;
    const outcome = await runProgram(["doctor", "--json", "--no-gpu", "--prometheus", url], {
      environment: {},
    });
    const { checks } = readRemarks(outcome);
    const find = (wanted: string) =>
      checks.filter(({ subject }) => subject === wanted).map(({ level, text }) => [level, text]);
    assertEquals(find("servers"), [["ok", "1 server, found in Prometheus"]]);
    assertEquals(find("gpu1:8000")[0], ["ok", "vLLM: 1 engine of m, metrics begin with vllm:"]);
    assert(!find("gpu1:8000").some(([, text]) => text.includes("polled every")));
    assertEquals(find("proxy"), [["ok", "servers are reached directly"]]);
    const far = await runProgram(["doctor", "--json", "--no-gpu", "--prometheus", "far.invalid"], {
      environment: { http_proxy: "http://proxy.localhost:3128" },
    });
    assertMatch(
      readRemarks(far).checks.find(({ subject }) => subject === "proxy")?.text ?? "",
      /^far\.invalid:9090 is reached through the proxy proxy\.localhost:3128/,
    );
  } finally {
    await server.shutdown();
  }
});

Deno.test("doctor goes on without a configuration file that is wrong, and without servers", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/config.json`;
    await Deno.writeTextFile(path, `{ "interval": `);
    const port = String(findFreePort());
    const environment = { VLLM_HTOP_CONFIG: path };
    const none = await runProgram(["doctor", "--json", "--no-gpu", "--port-range", port], {
      environment: {},
    });
    assertEquals([none.code, none.stderr], [1, ""]);
    assertEquals(readRemarks(none).checks.at(-1)?.level, "fail");
    assertMatch(readRemarks(none).checks.at(-1)?.text ?? "", /^no model server answers on .*--url/);
    const demo = await runProgram(["doctor", "--json", "--no-gpu", "--demo", "vllm"], {
      environment,
    });
    assertEquals(demo.code, 1);
    const failed = readRemarks(demo).checks.filter(({ level }) => level === "fail");
    assertEquals(failed.map(({ subject }) => subject), ["configuration"]);
    assertMatch(failed[0].text, /config\.json": line 1: /);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
