import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  BLOCK_HEADER_BYTES,
  findBlock,
  packBlock,
  parseBlockHeader,
  unpackBlock,
} from "../lib/record_block.ts";

const TEXT = "first line\n" + "a line of metrics 12.5\n".repeat(200);
const TIMES = { from: 1_795_300_000.25, to: 1_795_300_029.5 };

Deno.test("unpackBlock() returns what packBlock() was given, and the header its size and times", async () => {
  const block = await packBlock(TEXT, TIMES);
  assertEquals(parseBlockHeader(block), { ...TIMES, size: block.length });
  assertEquals(await unpackBlock(block), TEXT);
  assertNotEquals(block.length, TEXT.length);
});

Deno.test("packBlock() writes members of gzip that other readers join", async () => {
  const parts = [await packBlock("one\n", TIMES), await packBlock("two\n", TIMES)];
  const texts = await Promise.all(parts.map((part) => {
    const stream = new Blob([part]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }));
  assertEquals(texts, ["one\n", "two\n"]);
});

Deno.test("unpackBlock() never gives another text, whichever byte is another", async () => {
  const block = await packBlock(TEXT, TIMES);
  let harmless = 0;
  for (let at = BLOCK_HEADER_BYTES; at < block.length; at++) {
    const damaged = block.slice();
    damaged[at] ^= 0x10;
    const text = await unpackBlock(damaged);
    // A few bits mean nothing, such as those after the last code.
    if (text !== null) harmless++;
    assert(text === null || text === TEXT, `byte ${at}`);
  }
  assert(harmless < 5, `${harmless} bytes`);
});

Deno.test("parseBlockHeader() and findBlock() know a block from other bytes", async () => {
  const block = await packBlock("text\n", TIMES);
  const bytes = new Uint8Array([...new TextEncoder().encode("\x1f\x1f\x8b text"), ...block]);
  assertEquals(findBlock(bytes, 0), bytes.length - block.length);
  assertEquals(findBlock(bytes, bytes.length - block.length + 1), -1);
  assertEquals(parseBlockHeader(bytes), null);
  assertEquals(parseBlockHeader(block.subarray(0, BLOCK_HEADER_BYTES - 1)), null);
});
