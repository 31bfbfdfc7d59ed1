/**
 * Measuring what views draw starts no segmenter: the first one takes about 20 ms of the time to the
 * first figures. A file of its own, as no other test may have made a segmenter before.
 * @module
 */

import { assertEquals, assertThrows } from "@std/assert";
import { cutText, measureWidth } from "../lib/text.ts";

const GOLDENS = new URL("goldens/", import.meta.url);

Deno.test("every line of the golden frames is measured without a segmenter", async () => {
  const original = Intl.Segmenter;
  const replaceSegmenter = (value: unknown) =>
    Object.defineProperty(Intl, "Segmenter", { value, configurable: true, writable: true });
  replaceSegmenter(
    class {
      constructor() {
        throw new Error("a segmenter was made");
      }
    },
  );
  try {
    assertThrows(() => measureWidth("日本語"), Error, "a segmenter was made");
    for await (const { name } of Deno.readDir(GOLDENS)) {
      if (!name.endsWith(".txt")) continue;
      for (const line of (await Deno.readTextFile(new URL(name, GOLDENS))).split("\n")) {
        // deno-lint-ignore no-control-regex
        for (const text of line.split(/\x1b\[[\d;]*m/)) {
          assertEquals(measureWidth(text), text.length, `${name}: ${text}`);
          cutText(text, 3);
        }
      }
    }
  } finally {
    replaceSegmenter(original);
  }
});
