import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Ajv2020 } from "ajv/2020";
import { readDocument, runProgram } from "./program_runs.ts";

const ONCE = ["--once", "--interval", "0", "--output", "json"];

interface Folder {
  readonly environment: Readonly<Record<string, string>>;
  readonly path: string;
  readonly write: (text: string, mode?: number) => Promise<void>;
}

/** A folder for settings of its own, as `XDG_CONFIG_HOME`. */
async function withFolder(use: (folder: Folder) => Promise<void>): Promise<void> {
  const home = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${home}/vllm-htop`);
    const path = `${home}/vllm-htop/config.json`;
    const write = async (text: string, mode = 0o644): Promise<void> => {
      await Deno.writeTextFile(path, text);
      if (Deno.build.os !== "windows") await Deno.chmod(path, mode);
    };
    await use({ environment: { XDG_CONFIG_HOME: home }, path, write });
  } finally {
    await Deno.remove(home, { recursive: true });
  }
}

Deno.test("the configuration file is found, and an option beats it", async () => {
  await withFolder(async ({ environment, path, write }) => {
    await write('{ "demo": true, "interval": 7, // seconds\n "sliders": 1 }');
    const { code, stdout, stderr } = await runProgram([
      "--once",
      "--output",
      "json",
      "--interval",
      "0",
    ], {
      environment,
    });
    assertEquals([code, stderr], [0, ""]);
    const report = readDocument(stdout);
    assertEquals(report.intervalSeconds, 0);
    assertEquals(report.total.replicaCounts.up, 4);
    assertEquals(report.notices, [
      `the configuration file "${path}": unknown key "sliders" (line 2)`,
    ]);
  });
});

Deno.test("a configuration file that is wrong ends with code 3 and names file and line", async () => {
  await withFolder(async ({ environment, path, write }) => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ["{\n", /": line 2: a name in "" is missing\n$/],
      ['{\n"interval": 0.1 }', /": "interval" \(line 2\) "0\.1" is out of range/],
      ['{ "demo": true,\n"columns": ["running", "foo"] }', /": "columns" \(line 2\) "foo" is not/],
      ['{ "demo": true, "sort": "foo" }', /": "sort" \(line 1\) "foo" is not a column/],
      ['{ "demo": true,\n"slo": "ttft=fast" }', /": "slo" \(line 2\) "ttft=fast" has no time/],
      ['{ "api-key": "s3cr3t" }', /"api-key" \(line 1\) would put a secret in this file/],
      ['{\n"rules": { "queing": "off" } }', /"queing" \(line 2\) .*did you mean "queuing"\?/],
      ['{ "url": "http://me:s3cr3t@127.0.0.1:9" }', /others can read it: chmod 600\n$/],
    ];
    for (const [text, message] of cases) {
      await write(text);
      const { code, stdout, stderr } = await runProgram(["--once"], { environment });
      assertEquals([code, stdout], [3, ""], stderr);
      assertStringIncludes(stderr, `vllm-htop: the configuration file "${path}"`);
      assertMatch(stderr, message);
      assert(!stderr.includes("s3cr3t"));
    }
    const wrongOption = await runProgram(["--interval", "x"], { environment: {} });
    assertEquals(wrongOption.code, 2);
    // What a variable says beats the file, and is not the file's fault.
    await write('{ "demo": true, "columns": "bar" }');
    const wrongVariable = await runProgram(["--once"], {
      environment: { ...environment, VLLM_HTOP_COLUMNS: "foo" },
    });
    assertEquals(wrongVariable.code, 2);
    assertStringIncludes(wrongVariable.stderr, 'vllm-htop: VLLM_HTOP_COLUMNS "foo" is not');
  });
});

Deno.test("a password in a configuration file that only its owner reads is used and never shown", async () => {
  await withFolder(async ({ environment, write }) => {
    let sent = "";
    const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      sent = request.headers.get("authorization") ?? "";
      return new Response('vllm:num_requests_running{engine="0",model_name="m"} 1\n');
    });
    try {
      await write(`{ "url": "http://me:s3cr3t@127.0.0.1:${server.addr.port}" }`, 0o600);
      const { code, stdout, stderr } = await runProgram(ONCE, { environment });
      assertEquals([code, stderr], [0, ""]);
      assertEquals(sent, `Basic ${btoa("me:s3cr3t")}`);
      assert(!stdout.includes("s3cr3t"));
    } finally {
      await server.shutdown();
    }
  });
});

Deno.test("--config reads another file, which must be there", async () => {
  await withFolder(async ({ environment, path, write }) => {
    await write('{ "demo": true }');
    const named = await runProgram([...ONCE, "--config", path]);
    assertEquals([named.code, named.stderr], [0, ""]);
    const none = await runProgram([...ONCE, "--demo", "vllm", "--config", "/dev/null"], {
      environment,
    });
    assertEquals(none.code, 0, none.stderr);
    const missing = await runProgram([...ONCE, "--demo", "vllm", "--config", "/nowhere/c.json"]);
    assertEquals(missing.code, 3);
    assertMatch(missing.stderr, /"\/nowhere\/c\.json" does not exist/);
  });
});

Deno.test("the texts about the program are printed, whatever the configuration file says", async () => {
  await withFolder(async ({ environment, write }) => {
    await write("{");
    const starts: readonly (readonly [readonly string[], RegExp])[] = [
      [["--man"], /^\.TH VLLM/],
      [["--completions", "bash"], /^# vllm-htop: completions for bash/],
      [["--completions=powershell"], /^# vllm-htop: completions for PowerShell/],
      [["--print-default-config"], /^\/\/ Configuration of vllm-htop/],
      [["--schema", "config"], /^\{\n {2}"\$schema"/],
    ];
    for (const [args, start] of starts) {
      const { code, stdout, stderr } = await runProgram(args, { environment });
      assertEquals([code, stderr], [0, ""]);
      assertMatch(stdout, start);
    }
    const wrong = await runProgram(["--completions", "tcsh"]);
    assertEquals(wrong.code, 2);
    assertMatch(wrong.stderr, /--completions "tcsh" is not one of bash, zsh, fish, powershell/);
  });
});

Deno.test("--schema report describes what --output json prints", async () => {
  const { stdout } = await runProgram(["--schema", "report"]);
  const validate = new Ajv2020().compile(JSON.parse(stdout));
  for (const args of [["--demo", "vllm"], ["127.0.0.1:9", "--timeout", "1"]]) {
    const run = await runProgram([...args, ...ONCE]);
    assert(validate(JSON.parse(run.stdout)), JSON.stringify(validate.errors));
  }
});
