import { assert } from "@std/assert";
import { createSimulatedServer } from "../lib/demo.ts";
import { createRecorder } from "../lib/record.ts";
import { listBlocks, readBlock } from "../lib/record_file.ts";
import { openBytes } from "./memory_files.ts";

const REPLICAS = 8;
const INTERVAL = 2;
const BYTES_PER_MEGABYTE = 1e6;
/** MB an hour. Half as much again as docs/recording.md says; 20 is what it must never be. */
const LIMIT = 8;

/** MB an hour of 8 replicas, polled every 2 s. Each body comes as `--record` notes it. */
async function measure(
  polls: number,
  getBody: (poll: number, replica: number) => string,
): Promise<number> {
  let size = 0;
  const recorder = createRecorder({
    append: (block) => {
      size += block.length;
      return Promise.resolve();
    },
    rotate: null,
    close: () => {},
  }, {
    limits: { bytes: Infinity, age: Infinity },
    size: 0,
    describeStart: () => [],
    describeError: String,
    onChange: () => {},
  });
  for (let poll = 0; poll < polls; poll++) {
    const at = INTERVAL * poll;
    for (let replica = 0; replica < REPLICAS; replica++) {
      const endpointKey = `http://gpu${replica}:8000`;
      // Times with as many digits as a clock gives.
      const receivedAt = at + Math.sin(poll + replica) ** 2 / 100;
      const receivedAtEpoch = 1_795_300_000 + receivedAt;
      const duration = 0.008 + Math.cos(poll * replica) / 1000;
      const value = { endpointKey, receivedAt, receivedAtEpoch, duration, isBinary: false };
      const text = getBody(poll, replica);
      await recorder.note({
        epoch: receivedAtEpoch,
        stream: `scraped ${endpointKey}`,
        value,
        text,
      });
    }
    const epoch = 1_795_300_000 + at + 0.02;
    await recorder.note({
      epoch,
      stream: "round",
      value: { kind: "clock", now: at, nowEpoch: epoch },
    });
  }
  await recorder.close();
  return size / BYTES_PER_MEGABYTE * 3600 / (INTERVAL * polls);
}

Deno.test("createRecorder() stays within 20 MB an hour for 8 simulated replicas at 2 s", async () => {
  const servers = Array.from({ length: REPLICAS }, (_, seed) =>
    createSimulatedServer({
      seed,
      startEpoch: 1_795_200_000,
      engines: [{ model: "meta-llama/Llama-3.1-8B-Instruct" }],
      warmUp: 60,
    }));
  const size = await measure(
    90,
    (poll, replica) =>
      new TextDecoder().decode(servers[replica].expositionAt(INTERVAL * poll) ?? new Uint8Array()),
  );
  assert(size > 1 && size < LIMIT, `${size} MB`);
});

Deno.test("createRecorder() stays within 20 MB an hour for the bodies of a real vLLM", async () => {
  const bytes = await Deno.readFile(new URL("recorded/closed-loop.rec", import.meta.url));
  const { blocks } = await listBlocks([openBytes(bytes)]);
  const entries = (await Promise.all(blocks.map(readBlock))).flatMap((block) => block ?? []);
  const bodies = entries.flatMap(({ stream, text = "" }) =>
    stream.startsWith("scraped ") ? text : []
  );
  // Replicas as far apart as a block is long have no figures alike in it.
  const distance = 4;
  const polls = bodies.length - distance * (REPLICAS - 1);
  const size = await measure(polls, (poll, replica) => bodies[poll + distance * replica]);
  assert(polls > 40 && size > 1 && size < LIMIT, `${size} MB of ${polls} polls`);
});
