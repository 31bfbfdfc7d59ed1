import { assert, assertEquals } from "@std/assert";
import {
  BLOCKS,
  listBlockNames,
  listDocuments,
  MAX_TABLE_WIDTH,
  updateBlocks,
} from "../.ci/docs_blocks.ts";
import denoConfig from "../deno.json" with { type: "json" };
import { ABSENCE_REASONS } from "../lib/reading.ts";
import { EVENT_KINDS } from "../lib/rules_alerts.ts";
import { measureWidth } from "../lib/text.ts";

const REPOSITORY = new URL("../", import.meta.url);
const names = [...Deno.readDirSync(new URL("docs/", REPOSITORY))].map(({ name }) => name);
const documents = new Map(listDocuments(names).map((path) => [path, readText(path)]));

/** Blocks that other tests hold to the code. */
const HELD_ELSEWHERE = ["areas"];

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(path, REPOSITORY));
}

/** The anchors that GitHub gives to the headings of a document. */
function listAnchors(text: string): readonly string[] {
  const prose = text.replace(/^```[^]*?^```$/gm, "");
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading.toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replaceAll(" ", "-")
  );
}

for (const [path, text] of documents) {
  Deno.test(`${path} has the blocks that the code gives: deno task docs writes them`, () => {
    assertEquals(text, updateBlocks(text));
  });

  Deno.test(`${path} has no table that is wider than ${MAX_TABLE_WIDTH} columns`, () => {
    const wide = text.split("\n").filter((line) =>
      line.startsWith("|") && measureWidth(line) > MAX_TABLE_WIDTH
    );
    assertEquals(wide, []);
  });

  Deno.test(`${path} links to what is published, and to headings that there are`, () => {
    for (const [, file, anchor] of text.matchAll(/\]\((?!http)([^)#]*)(?:#([^)]*))?\)/g)) {
      const url = new URL(file === "" ? path : file, new URL(path, REPOSITORY));
      if (file === "") url.href = new URL(path, REPOSITORY).href;
      const target = url.pathname.slice(REPOSITORY.pathname.length);
      const isPublished = denoConfig.publish.include.some((name) =>
        target === name || target.startsWith(`${name}/`)
      );
      assert(isPublished, target);
      if (anchor === undefined) continue;
      assert(listAnchors(readText(target)).includes(anchor), `${target}#${anchor}`);
    }
  });
}

Deno.test("every block is in one document, and every mark is of a block", () => {
  const marked = [...documents.values()].flatMap(listBlockNames);
  assertEquals(marked.toSorted(), [...Object.keys(BLOCKS), ...HELD_ELSEWHERE].toSorted());
});

Deno.test("README is short, with the two commands on top", () => {
  const readme = readText("README.md");
  const lines = readme.split("\n").length - 1;
  const bytes = new TextEncoder().encode(readme).length;
  assert(lines <= 210 && bytes <= 12_288, `${lines} lines, ${bytes} bytes`);
  const first = /^```sh\n([^]*?)^```$/m.exec(readme)?.[1].split("\n") ?? [];
  assertEquals(first.slice(0, 2).map((line) => line.replace(/\s*#.*/, "")), [
    "npx -y deno@2.9.6 task start",
    "npx -y deno@2.9.6 task test",
  ]);
});

Deno.test("docs name every reason of absence and every kind of event", () => {
  const json = readText("docs/json.md");
  for (const reason of ABSENCE_REASONS) assert(json.includes(`| \`${reason}\``), reason);
  const rules = readText("docs/rules.md");
  for (const kind of Object.keys(EVENT_KINDS)) assert(rules.includes(`\`${kind}\``), kind);
});

Deno.test("CONTRIBUTING names files and modules that there are", () => {
  const text = readText(".github/CONTRIBUTING.md");
  for (const [, path] of text.matchAll(/`((?:lib|tests|docs|\.ci)\/[\w./-]+)`/g)) {
    Deno.statSync(new URL(path, REPOSITORY));
  }
  for (const [, module] of text.matchAll(/`([a-z]+(?:_[a-z]+)+)(?:\.ts)?`/g)) {
    Deno.statSync(new URL(`lib/${module}.ts`, REPOSITORY));
  }
});

Deno.test("updateBlocks() leaves text and unknown blocks alone, and mends known ones", () => {
  const text = "a\n\n<!-- b -->\n\nc\n\n<!-- /b -->\n";
  assertEquals(updateBlocks(text), text);
  const mended = updateBlocks("a\n<!-- rules -->\nold\n<!-- /rules -->\nz");
  assertEquals(mended, `a\n<!-- rules -->\n\n${BLOCKS.rules()}\n\n<!-- /rules -->\nz`);
});
