import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { drawPicture, drawSvg, PICTURE_URL } from "../.ci/picture.ts";

/** Bytes that the picture may have. */
const MAX_BYTES = 40_000;

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

Deno.test("the picture of the README is what the program shows", async () => {
  const drawn = await drawPicture();
  const kept = await Deno.readTextFile(PICTURE_URL);
  assert(drawn === kept, "The screen has changed: run `deno task picture`, and look at the result");
  checkXml(kept);
  assert(new TextEncoder().encode(kept).length < MAX_BYTES, "small enough for a README");
  for (const text of ["vllm-htop", "REPLICA", "STALE", "ALL"]) {
    assertMatch(kept, new RegExp(`>${text}\\b`));
  }
});

Deno.test("drawSvg() puts words and blocks at their cells, in their colours, escaped", () => {
  const svg = drawSvg(["ab  \x1b[1;31m<&>\x1b[0m \x1b[7mx\x1b[0m▓⡀"], 13);
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
  assertThrows(() => drawSvg(["\x1b[58mx\x1b[0m"], 1), Error, '"58"');
});
