import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Ajv2020 } from "ajv/2020";
import { nameBinary, TARGETS } from "../.ci/compile.ts";
import { listDocuments } from "../.ci/docs_blocks.ts";
import { PERMISSIONS } from "../.ci/permissions.ts";
import denoConfig from "../deno.json" with { type: "json" };
import { createConfigSchema, parseConfig } from "../lib/cli_config.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { createEnvironment, listCommand } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";

const REPOSITORY = new URL("../", import.meta.url);
const namesInDocs = [...Deno.readDirSync(new URL("docs/", REPOSITORY))].map(({ name }) => name);
/** README and docs. */
const PAGES = listDocuments(namesInDocs);
const DOCUMENTS = [...PAGES, ".github/CONTRIBUTING.md", ".github/SECURITY.md"];
const pages = PAGES.map(readText).join("\n");

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(path, REPOSITORY));
}

/** The contents of fenced blocks of a language. */
function listBlocks(text: string, language: string): readonly string[] {
  return [...text.matchAll(new RegExp("^```" + language + "\n([^]*?)^```$", "gm"))]
    .map(([, block]) => block);
}

/** The lines of a shell block without their comments. */
function listCommands(block: string): readonly string[] {
  return block.split("\n").map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}

/** A call of the program: installed, from JSR, or from a clone. */
const CALL =
  /(?:^|[\s(])(?:vllm-htop|jsr:@vllm-htop\/vllm-htop|deno(?:@\S+)? task start)((?: [^|>)]*)?)(?=[|>)]|$)/g;

/** The arguments of each call of the program in a line, as a shell would give them. */
function listCalls(line: string): readonly (readonly string[])[] {
  return [...line.matchAll(CALL)].map(([, rest]) =>
    rest.trim().split(/\s+/).filter((word) => word !== "")
      .flatMap((word) => {
        const [, start, list] = /^(.*)\{(.*)\}$/.exec(word) ?? [];
        return list === undefined ? [word] : list.split(",").map((end) => start + end);
      })
  );
}

Deno.test("documentation names only tasks and options that there are", () => {
  let calls = 0;
  for (const path of DOCUMENTS) {
    const text = readText(path);
    for (const line of listBlocks(text, "(?:sh|crontab)").flatMap(listCommands)) {
      const [, task] = /\btask (?:--quiet )?([a-z]+)/.exec(line) ?? [];
      if (task !== undefined) assert(task in denoConfig.tasks, `${path}: ${line}`);
      for (const argv of listCalls(line)) {
        calls++;
        const parsed = parseArguments(argv, () => undefined);
        assert(parsed.kind !== "usage_error", `${path}: ${line}: ${JSON.stringify(parsed)}`);
      }
    }
    for (const [, task] of text.matchAll(/`deno task ([a-z]+)/g)) {
      assert(task in denoConfig.tasks, `${path}: ${task}`);
    }
    for (const [, link] of text.matchAll(/\]\((?!http|#)([^)#]+)(?:#[^)]*)?\)/g)) {
      Deno.statSync(new URL(link, new URL(path, REPOSITORY)));
    }
  }
  assert(calls >= 30, `${calls} calls`);
});

Deno.test("docs say what each permission is for", () => {
  for (const flag of PERMISSIONS) {
    const [name] = flag.split("=");
    assert(new RegExp(`^\\| \`${name}\\b[^|]*\\| \\S`, "m").test(pages), name);
  }
});

Deno.test("the configuration file in docs is right by the program and by the schema", () => {
  const blocks = listBlocks(pages, "json").filter((block) => block.includes('"endpoints"'));
  assertEquals(blocks.length, 1);
  const config = parseConfig(blocks[0], "/");
  assert(!("error" in config) && config.warnings.length === 0, JSON.stringify(config));
  assertEquals(parseArguments([], () => undefined, config.values).kind, "run");
  const validate = new Ajv2020({ allowUnionTypes: true }).compile({ ...createConfigSchema() });
  assert(validate(JSON.parse(blocks[0])), JSON.stringify(validate.errors));
});

/** Runs lines of a shell in a folder of their own, with the program on the path. */
async function runLines(lines: readonly string[]): Promise<Readonly<Record<string, string>>> {
  const folder = await Deno.makeTempDir();
  try {
    const [program, ...args] = listCommand();
    const quoted = [program, ...args].map((word) => `'${word}'`).join(" ");
    await Deno.mkdir(`${folder}/bin`);
    // Deno has its packages in the home that it knows.
    const home = `HOME='${Deno.env.get("HOME")}'`;
    const script = `#!/bin/sh\n${home} exec ${quoted} "$@"\n`;
    await Deno.writeTextFile(`${folder}/bin/vllm-htop`, script, { mode: 0o755 });
    for (const line of lines) {
      const { code, stderr } = await new Deno.Command("sh", {
        args: ["-c", line],
        cwd: folder,
        env: createEnvironment({ PATH: `${folder}/bin:${Deno.env.get("PATH")}`, HOME: folder }),
        clearEnv: true,
      }).output();
      assertEquals([line, code, new TextDecoder().decode(stderr)], [line, 0, ""]);
    }
    return Object.fromEntries(
      [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile)
        .map(({ name }) => [name, Deno.readTextFileSync(`${folder}/${name}`)]),
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const canRun = {
  ignore: needsProgram("flock").ignore || needsProgram("jq").ignore,
};

Deno.test("commands for cron in docs do what they say", canRun, async () => {
  const marked = [...pages.matchAll(/<!-- run -->\n\n(```sh\n[^]*?\n```)/g)]
    .flatMap(([, block]) => listBlocks(block, "sh")).flatMap(listCommands);
  assert(marked.length >= 3);
  const files = await runLines(marked);
  assertEquals(JSON.parse(files["report.json"]).schema, 1);
  assertEquals(files["report.jsonl"].split("\n").length, 2);
  assertStringIncludes(files["report.schema.json"], "json-schema.org");
});

Deno.test("the line for cron in docs skips a run while another goes on", canRun, async () => {
  const [line] = listBlocks(pages, "crontab");
  const command = line.trim().replace(/^(\S+ ){5}/, "")
    .replace("/tmp/vllm-htop.lock", "lock").replace("gpu1:8000", "--demo")
    .replace("--interval 10", "--interval 0");
  const files = await runLines([command, command]);
  assertEquals(files["vllm-htop.jsonl"].split("\n").length, 3);
  const locked = await runLines([`flock lock sh -c '${command}'; test $? -eq 75`]);
  assertEquals(locked["vllm-htop.jsonl"], "");
});

Deno.test(
  "examples for systemd are right by systemd itself",
  needsProgram("systemd-analyze"),
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const service = readText("examples/vllm-htop.service");
      const [, command] = /^ExecStart=\/usr\/local\/bin\/vllm-htop (.*)$/m.exec(service) ?? [];
      assertEquals(parseArguments(command.split(" "), () => undefined).kind, "run");
      // The program is not installed where tests run.
      const here = service.replace("/usr/local/bin/vllm-htop", "/bin/true");
      await Deno.writeTextFile(`${folder}/vllm-htop.service`, here);
      const timer = readText("examples/vllm-htop.timer");
      await Deno.writeTextFile(`${folder}/vllm-htop.timer`, timer);
      const { code, stderr } = await new Deno.Command("systemd-analyze", {
        args: ["verify", `${folder}/vllm-htop.service`, `${folder}/vllm-htop.timer`],
      }).output();
      assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("the example for Docker takes a file that the compile task makes", () => {
  const [, name] = /^COPY (\S+) /m.exec(readText("examples/Dockerfile")) ?? [];
  assert(TARGETS.map(nameBinary).includes(name), name);
});
