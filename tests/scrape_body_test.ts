import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { createBufferPool, readBody } from "../lib/scrape_body.ts";

/** A stream of those chunks, of bytes or of any objects. */
function streamOf(chunks: readonly Uint8Array[], type?: "bytes"): ReadableStream<Uint8Array> {
  const rest = chunks.map((chunk) => chunk.slice());
  const pull = (controller: { enqueue: (chunk: Uint8Array) => void; close: () => void }) => {
    const next = rest.shift();
    if (next === undefined) controller.close();
    else controller.enqueue(next);
  };
  if (type === undefined) return new ReadableStream<Uint8Array>({ pull });
  return new ReadableStream({
    type,
    pull: (controller) => {
      pull(controller);
      // A read into memory of ours that the end leaves open has to be answered.
      if (controller.byobRequest !== null && rest.length === 0) controller.byobRequest.respond(0);
    },
  });
}

function join(chunks: readonly Uint8Array[]): number[] {
  return chunks.flatMap((chunk) => [...chunk]);
}

Deno.test("readBody() puts the chunks of any stream together, up to the limit", async () => {
  const chunk = fc.uint8Array({ minLength: 1, maxLength: 40 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(chunk, { maxLength: 6 }),
      fc.nat(120),
      fc.constantFrom(undefined, "bytes" as const),
      fc.option(fc.integer({ min: 1, max: 50 }), { nil: null }),
      async (chunks, limit, type, spareLength) => {
        const buffer = spareLength === null ? undefined : new Uint8Array(spareLength);
        const counts: number[] = [];
        const body = await readBody(streamOf(chunks, type), limit, {
          buffer,
          onBytes: (count) => counts.push(count),
        });
        const all = join(chunks);
        assertEquals([...body.bytes], all.slice(0, limit));
        assertEquals(body.isWhole, all.length <= limit);
        assertEquals(counts, counts.toSorted((a, b) => a - b));
        if (body.isWhole && all.length > 0) assertEquals(counts.at(-1), all.length);
      },
    ),
    { numRuns: 300 },
  );
});

Deno.test("readBody() reads nothing where there is nothing", async () => {
  const none = { bytes: new Uint8Array(), isWhole: true };
  assertEquals(await readBody(null, 10), none);
  assertEquals(await readBody(streamOf([]), 10), none);
});

Deno.test("readBody() ends a stream that gives more than it may", async () => {
  let isCancelled = false;
  const stream = new ReadableStream<Uint8Array>({
    pull: (controller) => controller.enqueue(new Uint8Array(1000)),
    cancel: () => void (isCancelled = true),
  });
  const { bytes, isWhole } = await readBody(stream, 2500);
  assertEquals([bytes.length, isWhole, isCancelled], [2500, false, true]);
});

Deno.test("readBody() uses the buffer that it is given, and a larger one where that is too small", async () => {
  const spare = new Uint8Array(8);
  const small = await readBody(streamOf([new Uint8Array([1, 2, 3])]), 100, { buffer: spare });
  assert(small.bytes.buffer === spare.buffer);
  const large = await readBody(streamOf([new Uint8Array(20).fill(7)]), 100, { buffer: spare });
  assert(large.bytes.buffer !== spare.buffer);
  assertEquals([...large.bytes], new Array(20).fill(7));
});

Deno.test("readBody() reads a response's body into the buffer that it gave before", async () => {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => new Response("x".repeat(Number(new URL(request.url).pathname.slice(1)))),
  );
  const fetchBody = async (length: number, buffer: Uint8Array<ArrayBuffer> | undefined) => {
    const { body } = await fetch(`http://127.0.0.1:${server.addr.port}/${length}`);
    return await readBody(body, 1_000_000, { buffer });
  };
  try {
    let spare: Uint8Array<ArrayBuffer> | undefined;
    for (const length of [50_000, 10, 300_000, 299_999]) {
      const { bytes, isWhole } = await fetchBody(length, spare);
      assertEquals([new TextDecoder().decode(bytes), isWhole], ["x".repeat(length), true]);
      spare = new Uint8Array(bytes.buffer);
    }
    assert(spare !== undefined && spare.length < 600_000, `${spare?.length}`);
  } finally {
    await server.shutdown();
  }
});

Deno.test("readBody() passes on what ends a stream", async () => {
  for (const type of [undefined, "bytes" as const]) {
    const stream = new ReadableStream({
      type: type as undefined,
      pull: (controller) => controller.error(new Error("broken")),
    });
    await assertRejects(() => readBody(stream, 10), Error, "broken");
  }
});

Deno.test("createBufferPool() gives what it has, where that has room for a byte more", () => {
  const pool = createBufferPool();
  const first = pool.take(100_000);
  assertEquals(first.length, 131_072);
  pool.give(first);
  assert(pool.take(131_072) !== first);
  assert(pool.take(131_071) === first);
  // It is the taker's now.
  assert(pool.take(100) !== first);
  assertEquals(pool.take(0).length, 65_536);
});

Deno.test("createBufferPool() keeps the largest of many, and gives the smallest that does", () => {
  const pool = createBufferPool();
  for (const mebibytes of [1, 3, 2, 4]) pool.give(new Uint8Array(mebibytes * 2 ** 20));
  const takeAll = () => Array.from({ length: 4 }, () => pool.take(1).length);
  assertEquals(takeAll(), [3 * 2 ** 20, 4 * 2 ** 20, 65_536, 65_536]);
  // One of any size is kept.
  pool.give(new Uint8Array(2 ** 24));
  assertEquals(takeAll(), [2 ** 24, 65_536, 65_536, 65_536]);
});
