/**
 * Records half a minute after half a minute as fast as the disk takes it, and tells the number of each
 * entry whose block is written: to be killed at any moment.
 *
 * deno run -A tests/record_writer.ts FILE
 *
 * @module
 */

import { createDenoPlatform } from "../lib/platform_deno.ts";
import { BLOCK_SPAN, createRecorder } from "../lib/record.ts";

if (import.meta.main) {
  const file = await createDenoPlatform().openGrowingFile(Deno.args[0]);
  const recorder = createRecorder({ append: file.append, rotate: null, close: file.close }, {
    limits: { bytes: Infinity, age: Infinity },
    size: file.size(),
    describeStart: () => [],
    describeError: String,
    onChange: () => {},
  });
  // Blocks of many sizes: numbers that do not repeat are not packed.
  for (let i = 0;; i++) {
    const text = Array.from({ length: i % 7 * 3000 }, () => Math.random()).join("\n");
    const epoch = 1_795_300_000 + i * BLOCK_SPAN;
    await recorder.note({ epoch, stream: "scraped", value: i, text });
    // What was noted before fills a block of its own.
    if (i > 0) console.log(i - 1);
  }
}
