import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { writeCompletions } from "../lib/cli_completions.ts";
import { OPTION_ROWS, SHELLS } from "../lib/cli_option_table.ts";
import { needsProgram } from "./programs.ts";

/** Lines that the shell prints when it runs the script after the completions are there. */
async function ask(shell: "bash" | "zsh" | "fish", script: string): Promise<readonly string[]> {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/completions`, writeCompletions(shell));
    await Deno.writeTextFile(`${folder}/token`, "");
    const options = { bash: ["--norc", "--noprofile"], zsh: ["-f"], fish: ["--no-config"] }[shell];
    const { code, stdout, stderr } = await new Deno.Command(shell, {
      args: [...options, "-c", script],
      cwd: folder,
      env: { HOME: folder, XDG_CONFIG_HOME: folder },
    }).output();
    const decoder = new TextDecoder();
    assertEquals([code, decoder.decode(stderr)], [0, ""]);
    return decoder.decode(stdout).split("\n").filter((line) => line !== "");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What bash offers for the last of the words, split as bash splits them. */
function askBash(...words: readonly string[]): Promise<readonly string[]> {
  const list = words.map((word) => `'${word}'`).join(" ");
  return ask(
    "bash",
    `source ./completions; COMP_WORDS=(vllm-htop ${list}); COMP_CWORD=${words.length}; ` +
      `_vllm_htop; printf '%s\\n' "\${COMPREPLY[@]}"`,
  );
}

async function askFish(line: string): Promise<readonly string[]> {
  const offered = await ask("fish", `source ./completions; complete -C '${line}'`);
  return offered.map((one) => one.split("\t")[0]);
}

Deno.test("writeCompletions() has every option for every shell", () => {
  for (const shell of SHELLS) {
    const script = writeCompletions(shell);
    for (const { name } of OPTION_ROWS) {
      assertStringIncludes(script, shell === "fish" ? `-l ${name} ` : `--${name}`, shell);
    }
    assert(script.endsWith("\n"));
  }
});

Deno.test(
  "writeCompletions() completes names, words, lists and files in bash",
  needsProgram("bash"),
  async () => {
    assertEquals(await askBash("--th"), ["--theme"]);
    assertEquals(await askBash("gpu1", "-V"), ["-V"]);
    assertEquals(await askBash("--theme", "l"), ["light"]);
    assertEquals(await askBash("--theme", "=", "l"), ["light"]);
    assertEquals((await askBash("--theme", "=")).length, 5);
    assertEquals(await askBash("--sort", "ttft_p95_"), ["ttft_p95_1m"]);
    assertEquals(await askBash("--columns", "kv,runn"), ["kv,running"]);
    assertEquals(await askBash("--token-file", "to"), ["token"]);
    assertEquals(await askBash("--config", "=", "to"), ["token"]);
    assertEquals(await askBash("--demo", "v"), ["vllm"]);
    assertEquals(await askBash("--demo", "--th"), ["--theme"]);
    assertEquals(await askBash("--interval", ""), []);
    assertEquals(await askBash("gp"), []);
  },
);

Deno.test("writeCompletions() is read by bash at its start", needsProgram("bash"), async () => {
  assertEquals(await ask("bash", "source ./completions; complete -p vllm-htop"), [
    "complete -o bashdefault -F _vllm_htop vllm-htop",
  ]);
});

Deno.test(
  "writeCompletions() completes names, words, lists and files in fish",
  needsProgram("fish"),
  async () => {
    assertEquals(await askFish("vllm-htop --them"), ["--theme"]);
    assertEquals(await askFish("vllm-htop --theme l"), ["light"]);
    assertEquals(await askFish("vllm-htop --theme=l"), ["--theme=light"]);
    assertEquals(await askFish("vllm-htop --columns kv,runn"), ["kv,running"]);
    assertEquals(await askFish("vllm-htop --token-file to"), ["token"]);
    assertEquals(await askFish("vllm-htop to"), [], "no files where a URL stands");
  },
);

Deno.test(
  "writeCompletions() gives zsh's _arguments what it takes",
  needsProgram("zsh"),
  async () => {
    const specs = await ask(
      "zsh",
      "compdef() { }; source ./completions; _arguments() { print -rl -- $@ }; _vllm_htop",
    );
    assertEquals(specs.slice(0, 2), ["-s", "-S"]);
    const find = (start: string): string => specs.find((spec) => spec.startsWith(start)) ?? "";
    assertStringIncludes(find("--theme="), ":NAME:(default light mono high-contrast colorblind)");
    assertStringIncludes(find("--metric-prefix="), 'to use instead of "vllm\\:"');
    assertEquals(
      find("*--token-file="),
      "*--token-file=[bearer token, re-read for each scrape]" +
        ":\\[URL=\\]FILE:_files",
    );
    assertStringIncludes(find("(-V --version)-V"), "[print the version]");
    assertStringIncludes(find("(-V --version)--version"), "[print the version]");
  },
);

Deno.test(
  "writeCompletions() is loaded by zsh's own completion system",
  needsProgram("zsh"),
  async () => {
    const registered = await ask(
      "zsh",
      "autoload -Uz compinit && compinit -u -D; source ./completions; print $_comps[vllm-htop]",
    );
    assertEquals(registered, ["_vllm_htop"]);
  },
);
