import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { writeManPage } from "../lib/cli_documents.ts";
import { OPTION_ROWS } from "../lib/cli_option_table.ts";
import { BINDINGS } from "../lib/view_bindings.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { needsProgram } from "./programs.ts";

interface Shown {
  readonly text: string;
  readonly errors: string;
}

async function show(program: string, ...args: readonly string[]): Promise<Shown> {
  const path = await Deno.makeTempFile({ suffix: ".1" });
  try {
    await Deno.writeTextFile(path, writeManPage("1.2.3"));
    const { stdout, stderr } = await new Deno.Command(program, { args: [...args, path] }).output();
    const decoder = new TextDecoder();
    // Bold and underlined by overstriking, where they are.
    return {
      // deno-lint-ignore no-control-regex
      text: decoder.decode(stdout).replaceAll(/.\x08|\x1b\[[0-9;]*m/g, ""),
      errors: decoder.decode(stderr),
    };
  } finally {
    await Deno.remove(path);
  }
}

function assertWhole(text: string): void {
  for (const heading of ["NAME", "SYNOPSIS", "OPTIONS", "KEYS", "COLUMNS", "EXIT STATUS"]) {
    assertMatch(text, new RegExp(`^${heading}$`, "m"));
  }
  for (const { name } of OPTION_ROWS) assertStringIncludes(text, `--${name}`);
  for (const id of COLUMN_IDS) assertMatch(text, new RegExp(`^ +${id}\\b`, "m"));
  for (const { keys } of BINDINGS) assertStringIncludes(text, `\n       ${keys.join(" ")}`);
  assertStringIncludes(text, "%APPDATA%\\vllm-htop\\config.json");
}

Deno.test("writeManPage() starts no line with a request of its texts, and escapes hyphens", () => {
  const page = writeManPage("1.2.3");
  const requests = new Set(
    page.split("\n").filter((line) => /^[.']/.test(line))
      .map((line) => line.split(" ")[0]),
  );
  assertEquals([...requests].sort(), [".B", ".SH", ".SS", ".TH", ".TP", ".br"]);
  assert(!/(?<!\\)-/.test(page));
});

Deno.test("writeManPage() is shown by groff without a warning", needsProgram("groff"), async () => {
  const { text, errors } = await show("groff", "-man", "-Tutf8", "-ww", "-P-cbou");
  assertEquals(errors, "");
  assertWhole(text);
});

Deno.test("writeManPage() is found right by mandoc", needsProgram("mandoc"), async () => {
  const lint = await show("mandoc", "-T", "lint", "-W", "warning");
  // It has no date, so that it is the same each time.
  const remarks = lint.text.split("\n").filter((line) => line !== "" && !/missing date/.test(line));
  assertEquals(remarks, []);
  assertWhole((await show("mandoc", "-T", "utf8")).text);
});
