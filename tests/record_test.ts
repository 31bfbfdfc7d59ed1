import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  BLOCK_SPAN,
  createRecorder,
  type Entry,
  type RecorderStatus,
  type RecordSink,
  START_STREAM,
} from "../lib/record.ts";
import { listBlocks, readBlock } from "../lib/record_file.ts";
import { openBytes } from "./memory_files.ts";

const EPOCH = 1_795_300_000;
const LARGE = { bytes: 1e9, age: 1e9 };

interface Recorded {
  readonly files: readonly Uint8Array<ArrayBuffer>[];
  readonly statuses: readonly RecorderStatus[];
}

function join(blocks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(blocks.flatMap((block) => [...block]));
}

async function record(entries: readonly Entry[], options: {
  readonly limits?: typeof LARGE;
  readonly sink?: Partial<RecordSink>;
} = {}): Promise<Recorded> {
  const files: Uint8Array[][] = [[]];
  const statuses: RecorderStatus[] = [];
  const sink: RecordSink = {
    append: (block) => Promise.resolve(void files[files.length - 1].push(block)),
    rotate: () => Promise.resolve(void files.push([])),
    close: () => {},
    ...options.sink,
  };
  const recorder = createRecorder(sink, {
    limits: options.limits ?? LARGE,
    size: 0,
    describeStart: (previous) => [{ epoch: EPOCH, stream: START_STREAM, value: previous }],
    describeError: () => "cannot be written",
    onChange: (status) => statuses.push(status),
  });
  for (const entry of entries) await recorder.note(entry);
  await recorder.close();
  return { files: files.map(join), statuses };
}

async function read(bytes: Uint8Array<ArrayBuffer>): Promise<readonly Entry[]> {
  const { blocks } = await listBlocks([openBytes(bytes)]);
  const entries = await Promise.all(blocks.map(readBlock));
  return entries.flatMap((some) => some ?? []).map(({ session: _, ...entry }) => entry);
}

/** A body with two streams of numbers. */
function createEntry(number: number, after: number): Entry {
  const text = [`# ${number % 2}`, `a ${number}.0`, `b{x="1"} ${number / 8}`].join("\n");
  const stream = `scraped ${number % 2}`;
  return { epoch: EPOCH + after, stream, value: { number }, text };
}

/** Blocks at 0, 30, 60 … seconds. */
const ENTRIES = Array.from({ length: 24 }, (_, i) => createEntry(i, 10 * i));

Deno.test("createRecorder() writes what readBlock() returns, in order", async () => {
  const value = fc.oneof(fc.integer(), fc.string(), fc.constant(null), fc.array(fc.integer()));
  const text = fc.option(
    fc.array(fc.oneof(fc.string(), fc.constantFrom("a 1.0", "a 2.0", "b 0.5")), { maxLength: 6 })
      .map((lines) => lines.join("\n")),
    { nil: undefined },
  );
  const entry = fc.record({
    after: fc.integer({ min: 0, max: 20_000 }),
    stream: fc.constantFrom("a", "b", "c"),
    value,
    text,
  });
  await fc.assert(
    fc.asyncProperty(fc.array(entry, { maxLength: 20 }), async (some) => {
      let epoch = EPOCH;
      const entries = some.map(({ after, stream, value, text }): Entry => {
        epoch = Math.round(1000 * epoch + after) / 1000;
        return { epoch, stream, value, ...(text === undefined ? {} : { text }) };
      });
      const { files } = await record(entries);
      const [, ...found] = await read(files[0]);
      const ignoring = ({ epoch: _, ...rest }: Entry): Omit<Entry, "epoch"> => rest;
      assertEquals(found.map(ignoring), entries.map(ignoring));
      found.forEach((one, i) => assert(Math.abs(one.epoch - entries[i].epoch) < 0.001));
    }),
    { numRuns: 40 },
  );
});

Deno.test("readBlock() gives of a file cut at any byte what was whole", async () => {
  const { files: [whole] } = await record(ENTRIES);
  const { blocks } = await listBlocks([openBytes(whole)]);
  assertEquals(blocks.length, 1 + 24 * 10 / BLOCK_SPAN);
  const all = await read(whole);
  const ends = blocks.map(({ offset, size }) => offset + size);
  const perBlock = await Promise.all(blocks.map(async (block) => (await readBlock(block))?.length));
  for (let cut = 0; cut < whole.length; cut++) {
    const list = await listBlocks([openBytes(whole.slice(0, cut))]);
    const count = ends.filter((end) => end <= cut).length;
    assertEquals(list.blocks.length, count, `cut at ${cut}`);
    assertEquals(list.lostBytes, cut - (ends[count - 1] ?? 0), `cut at ${cut}`);
  }
  // What a block gives does not depend on where the file ends.
  const some = perBlock.slice(0, 4).reduce<number>((sum, count) => sum + (count ?? 0), 0);
  assertEquals(await read(whole.slice(0, ends[3] + 7)), all.slice(0, some));
});

Deno.test("readBlock() finds the blocks after one that is damaged, at any byte", async () => {
  const { files: [whole] } = await record(ENTRIES);
  const all = (await read(whole)).map((entry) => JSON.stringify(entry));
  const { blocks } = await listBlocks([openBytes(whole)]);
  const [, second] = blocks;
  const later = all.slice(1 + 3);
  for (let at = second.offset; at < second.offset + second.size; at += 3) {
    const damaged = whole.slice();
    damaged[at] ^= 0x41;
    const found = (await read(damaged)).map((entry) => JSON.stringify(entry));
    assertEquals(found[0], all[0], `byte ${at}`);
    // Times in the header are not checked: they only choose what is read.
    const isHeaderTime = at >= second.offset + 20 && at < second.offset + 36;
    const isWhole = isHeaderTime && found.length === all.length;
    assertEquals(found.slice(1), isWhole ? all.slice(1) : later, `byte ${at}`);
  }
});

Deno.test("createRecorder() begins another file at half of a limit, and says whose it continues", async () => {
  const random = Array.from({ length: 60 }, (_, i): Entry => (
    { epoch: EPOCH + 31 * i, stream: "a", value: Math.sin(i).toString(36).repeat(20) }
  ));
  const { files } = await record(random, { limits: { bytes: 4000, age: 1e9 } });
  assert(files.length > 3, `${files.length} files`);
  for (const { length } of files) assert(length <= 2000, `${length} bytes`);
  const entries = await Promise.all(files.map(read));
  const starts = entries.flat().filter(({ stream }) => stream === START_STREAM);
  assertEquals(starts.length, files.length);
  assertEquals(starts[0].value, null);
  assertEquals(starts[1].value, String(EPOCH));
  const values = entries.flat().filter(({ stream }) => stream === "a").map(({ value }) => value);
  assertEquals(values, random.map(({ value }) => value));
});

Deno.test("createRecorder() begins another file at half of an age", async () => {
  const { files } = await record(ENTRIES, { limits: { bytes: 1e9, age: 200 } });
  assertEquals(files.length, 2);
  assertEquals((await read(files[1]))[1].epoch, EPOCH + 120);
});

Deno.test("createRecorder() stops at the first block that cannot be written, and says why", async () => {
  let count = 0;
  const { statuses } = await record(ENTRIES, {
    sink: {
      append: () => ++count === 3 ? Promise.reject(new Error("full")) : Promise.resolve(),
    },
  });
  assertEquals(count, 3);
  assertEquals(statuses.at(-1)?.problem, "cannot be written");
  assertEquals(statuses.filter(({ problem }) => problem !== null).length, 1);
});

Deno.test("createRecorder() stops at its limit where there is but one file", async () => {
  const { files, statuses } = await record(ENTRIES, {
    limits: { bytes: 800, age: 1e9 },
    sink: { rotate: null },
  });
  assertEquals(statuses.at(-1)?.problem, "has reached its limit of size");
  assert(files[0].length > 300 && files[0].length <= 1200, `${files[0].length} bytes`);
});

Deno.test("createRecorder() stops rather than fill the memory where blocks are not taken", async () => {
  const taken = Promise.withResolvers<void>();
  const statuses: RecorderStatus[] = [];
  const recorder = createRecorder({ append: () => taken.promise, rotate: null, close: () => {} }, {
    ...{ limits: LARGE, size: 0, describeStart: () => [], describeError: String },
    onChange: (status) => statuses.push(status),
  });
  for (const entry of [...ENTRIES, ...ENTRIES, ...ENTRIES]) void recorder.note(entry);
  assertEquals(statuses, [{ bytes: 0, problem: "cannot be written as fast as servers answer" }]);
  taken.resolve();
  await recorder.close();
});
