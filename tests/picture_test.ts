import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { drawPictures, drawSvg, PICTURES_URL } from "../.ci/picture.ts";

/** Bytes that a picture may have. */
const MAX_BYTES = 64_000;
/** What each must show. */
const WORDS: Readonly<Record<string, readonly string[]>> = {
  fleet: ["vllm-htop", "REPLICA", "HOT", "STALE", "ALL", "GPUs", "host"],
  detail: ["KV cache", "throughput", "latency", "GPU 2", "Running"],
  latency: ["Latency", ":8002 HOT", "since start"],
};

/** Throws where elements are not closed in order, or text has a character that must be escaped. */
function checkXml(text: string): void {
  const open: string[] = [];
  const isWhole = /^(?:<(\/?)([\w:]+)((?: [\w:-]+="[^"<&]*")*)(\/?)>|(?:[^<>&]|&(?:amp|lt|gt);)+)/;
  for (let rest = text; rest !== "";) {
    const match = isWhole.exec(rest);
    if (match === null) throw new Error(`Not well-formed from here on: ${rest.slice(0, 80)}`);
    const [piece, closing, name, , empty] = match;
    if (closing === "/") assertEquals(open.pop(), name);
    else if (name !== undefined && empty === "") open.push(name);
    rest = rest.slice(piece.length);
  }
  assertEquals(open, []);
}

Deno.test("the pictures of the README are what the program shows", async () => {
  const drawn = await drawPictures();
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const shown = [...readme.matchAll(/\.github\/pictures\/([\w.-]+)/g)].map(([, name]) => name);
  assertEquals(shown.toSorted(), [...drawn.keys()].toSorted());
  for (const [name, picture] of drawn) {
    const kept = await Deno.readTextFile(new URL(name, PICTURES_URL));
    assert(picture === kept, `${name} has changed: run \`deno task picture\`, look at the result`);
    checkXml(kept);
    assert(new TextEncoder().encode(kept).length < MAX_BYTES, `${name} is small enough`);
    for (const text of WORDS[name.replace(/(-light)?\.svg$/, "")]) {
      assertStringIncludes(kept, `>${text}`);
    }
  }
});

Deno.test("README shows each picture in the reader's theme", async () => {
  const readme = await Deno.readTextFile(new URL("../README.md", import.meta.url));
  const blocks = [...readme.matchAll(/^<picture>(.*)<\/picture>$/gm)];
  assertEquals(blocks.length, Object.keys(WORDS).length);
  for (const [, block] of blocks) {
    const [, light, dark] = new RegExp(
      '^<source media="\\(prefers-color-scheme: light\\)" srcset="([^"]+)">' +
        '<img src="([^"]+)" alt="[^"]+">$',
    ).exec(block) ?? [];
    assertEquals(light, dark?.replace(".svg", "-light.svg"));
  }
});

Deno.test("drawSvg() puts words and blocks at their cells, in their colours, escaped", () => {
  const svg = drawSvg(["ab  \x1b[1;31m<&>\x1b[0m \x1b[7mx\x1b[0m▓⡀"], {
    columns: 13,
    title: "A & B",
  });
  checkXml(svg);
  assertMatch(svg, /<text x="14" y="\d+" textLength="20">ab<\/text>/);
  assertMatch(
    svg,
    /<text x="54" y="\d+" textLength="30" fill="#\w+" font-weight="700">&lt;&amp;&gt;</,
  );
  assertMatch(svg, /<rect x="94" y="\d+" width="10" [^>]*\/>\n<text x="94" /);
  assertMatch(svg, /<path fill="#\w+" d="M104 \d+h9v15h-9zM115 \d+h3v3h-3z"\/>/);
});

Deno.test("drawSvg() refuses a style that it does not know", () => {
  assertThrows(() => drawSvg(["\x1b[58mx\x1b[0m"], { columns: 1, title: "A" }), Error, '"58"');
});
