import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { startRawServer } from "./hostile_server.ts";
import {
  CONTROL_CHARACTER,
  createEnvironment,
  listCommand,
  type ProgramRun,
  readDocument,
  readDocuments,
  type ReplicaDocument,
  type ReportDocument,
  runProgram,
  startProgram,
  TIME_LIMIT,
  waitFor,
  type WindowDocument,
} from "./program_runs.ts";
import { startVllmServer, type VllmServer } from "./vllm_server.ts";

/** The shortest interval that the program takes, in seconds. */
const INTERVAL = 0.5;

const EVERY_HALF_SECOND = ["--interval", `${INTERVAL}`];

function countMatches(text: string, pattern: RegExp): number {
  return [...text.matchAll(pattern)].length;
}

/** Whether the documents so far satisfy the condition. */
function waitForDocuments(
  run: ProgramRun,
  condition: (documents: readonly ReportDocument[]) => boolean,
): Promise<void> {
  return run.waitFor(() => condition(readDocuments(run.stdout())));
}

/** The rate of each document; `null` until two scrapes are there. */
function listTotalRates(documents: readonly ReportDocument[]): readonly (number | null)[] {
  return documents.map(({ total }) => total.lastPoll.generationTokensPerSecond);
}

function countPolls({ requests }: VllmServer): number {
  return requests.filter((request) => request === "GET /metrics").length;
}

/** Ends the run as a service manager would. */
async function terminate(run: ProgramRun): Promise<void> {
  run.signal("SIGTERM");
  assertEquals((await run.ended).code, 143);
}

Deno.test("--output json writes one whole document for each poll until SIGTERM", async () => {
  const server = await startVllmServer({ warmUp: 60 });
  try {
    const run = startProgram([server.url, "--output", "json", ...EVERY_HALF_SECOND]);
    await waitForDocuments(
      run,
      (documents) => listTotalRates(documents).filter((rate) => rate !== null).length >= 2,
    );
    run.signal("SIGTERM");
    const { code, stdout, stderr } = await run.ended;
    assertEquals([code, stderr], [143, ""]);
    assert(stdout.endsWith("}\n"), "the last line is whole");
    const documents = readDocuments(stdout);
    for (const document of documents) {
      assertEquals([document.schema, document.intervalSeconds], [1, INTERVAL]);
    }
    const rates = listTotalRates(documents);
    const first = rates.findIndex((rate) => rate !== null);
    assert(first >= 1, "no rate after one scrape");
    assert(rates.slice(first).every((rate) => rate !== null), `${rates}`);
    assertEquals(server.violations, []);
  } finally {
    await server.close();
  }
});

/** Polls of a program until it notices that its reader has left: two, and some until a busy machine has ended that reader. */
const MAX_UNREAD_POLLS = 8;

Deno.test("a reader that leaves ends the program quietly, within a poll", async () => {
  const servers = await Promise.all([1, 2].map((seed) => startVllmServer({ seed, warmUp: 60 })));
  const urls = servers.map(({ url }) => url);
  // The code of the program goes to standard error, after all that it says there itself.
  const script = '{ "$@"; echo "code $?" >&2; } | head -n 1';
  const forms = ["--output=json", "--output=table", "--output=detail"];
  try {
    await Promise.all(forms.map(async (form) => {
      const program = listCommand(...urls, form, ...EVERY_HALF_SECOND);
      const { stdout, stderr } = await runProgram([], {
        command: ["sh", "-c", script, "sh", ...program],
      });
      assertEquals(stderr, "code 0\n", form);
      assertMatch(stdout, /^[^\n]+\n$/, form);
    }));
    for (const server of servers) {
      const polls = countPolls(server);
      assert(polls <= forms.length * MAX_UNREAD_POLLS, `${polls} polls`);
    }
  } finally {
    await Promise.all(servers.map((server) => server.close()));
  }
});

/** More bytes than a document without engines has. */
const MAX_EMPTY_DOCUMENT = 100_000;
const NEWLINE = 10;

Deno.test("a reader that does not read cannot keep the program from ending", async () => {
  const engines = Array.from({ length: 24 }, () => ({ model: "m" }));
  const server = await startVllmServer({ warmUp: 20, engines });
  const [program, ...args] = listCommand(server.url, "--output", "json", ...EVERY_HALF_SECOND);
  const child = new Deno.Command(program, {
    args,
    env: createEnvironment(),
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const kill = setTimeout(() => child.kill("SIGKILL"), TIME_LIMIT);
  try {
    // A document with engines is larger than a pipe: within it the program waits for us. On a busy
    // machine a document without any may come first, which is shorter.
    const reader = child.stdout.getReader({ mode: "byob" });
    for (let length = 0; length <= MAX_EMPTY_DOCUMENT;) {
      const { value, done } = await reader.read(new Uint8Array(1024));
      assert(!done, "the program has ended");
      const end = value.lastIndexOf(NEWLINE);
      length = end < 0 ? length + value.length : value.length - end - 1;
    }
    // It goes on asking meanwhile.
    const polls = countPolls(server);
    await waitFor(() => countPolls(server) > polls);
    child.kill("SIGTERM");
    // One that waits for its reader is killed by the limit, which is another code.
    assertEquals((await child.status).code, 143);
    reader.releaseLock();
    const rest = await Array.fromAsync(child.stdout.pipeThrough(new TextDecoderStream()));
    assert(!rest.join("").includes("\n"), "the document was never written to its end");
  } finally {
    clearTimeout(kill);
    await server.close();
  }
});

/** Processor time that the process has used, in seconds (Linux). */
async function readProcessorTime(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** Polls over which processor time is measured. */
const MEASURED_POLLS = 6;

/**
 * Processor time that one poll may take, in seconds: six times what it takes on a
 * fast machine. A program that spins uses the whole interval, or its share of a busy processor.
 */
const MAX_POLL_PROCESSOR_TIME = 0.075;

Deno.test("without a terminal each poll appends plain text, and nothing spins", {
  ignore: Deno.build.os !== "linux",
}, async () => {
  const servers = await Promise.all([1, 2].map((seed) => startVllmServer({ seed, warmUp: 60 })));
  const arguments_ = [...servers.map(({ url }) => url), ...EVERY_HALF_SECOND];
  const runs = [
    startProgram(arguments_, { stdin: "null" }),
    startProgram(arguments_, { stdin: "piped" }),
    startProgram([...arguments_, "--detail"], { environment: { LC_ALL: "C" } }),
    startProgram(arguments_, { environment: { LC_ALL: "C", TERM: "dumb" } }),
    startProgram(arguments_, {
      command: ["sh", "-c", 'exec "$@" <&-', "sh", ...listCommand(...arguments_)],
    }),
  ];
  try {
    await Promise.all(runs.map(async (run, index) => {
      const countShown = (): number => countMatches(run.stdout(), /^ vllm-htop /gm);
      await run.waitFor(() => countShown() > 0);
      const first = countShown();
      const before = await readProcessorTime(run.pid);
      await run.waitFor(() => countShown() >= first + MEASURED_POLLS);
      const used = await readProcessorTime(run.pid) - before;
      await terminate(run);
      const { stdout, stderr } = await run.ended;
      const perPoll = used / MEASURED_POLLS;
      assert(perPoll < MAX_POLL_PROCESSOR_TIME, `run ${index} used ${perPoll} s per poll`);
      assertEquals(stderr, "");
      assert(!CONTROL_CHARACTER.test(stdout), "no control character but newlines");
      assert(countMatches(stdout, /^ vllm-htop /gm) >= 3, stdout);
      const isAscii = /^[\x20-\x7e\n]*$/.test(stdout);
      assertEquals(isAscii, index === 2 || index === 3, stdout);
      if (index === 2) assert(countMatches(stdout, /Llama.*:\d+$/gm) >= 6, stdout);
      else assert(countMatches(stdout, /^ REPLICA .*STATE/gm) >= 3, stdout);
    }));
  } finally {
    runs.forEach((run) => run.signal("SIGKILL"));
    await Promise.all(runs.map((run) => run.ended));
    await Promise.all(servers.map((server) => server.close()));
  }
});

/** All rates of a document. */
function listRates(document: ReportDocument): number[] {
  const figures = [document.total, ...document.replicas.map((replica) => replica.figures)];
  const windows = figures.flatMap((each) => each === null ? [] : [each.lastPoll, each.lastMinute]);
  return windows.flatMap((window) =>
    [window.generationTokensPerSecond, window.promptTokensPerSecond, window.requestsPerSecond]
      .filter((rate) => rate !== null)
  );
}

/** By how much two clocks of one machine differ over a test, in seconds; less than between two scrapes. */
const CLOCK_SLACK = 0.1;

function isRestarted(window: WindowDocument | undefined): boolean {
  return window?.reasons?.generationTokensPerSecond === "restarted";
}

Deno.test("a server that restarts gives no rate once, and never a spike or a negative one", async () => {
  const counted: { readonly at: number; readonly tokens: number }[] = [];
  const record = (body: Uint8Array<ArrayBuffer>): Response => {
    const text = new TextDecoder().decode(body);
    const names = ["vllm:prompt_tokens_total", "vllm:generation_tokens_total"];
    const tokens = Math.max(
      ...names.map((name) =>
        Number(text.split("\n").find((line) => line.startsWith(`${name}{`))?.split(" ").at(-1))
      ),
    );
    counted.push({ at: performance.now() / 1000, tokens });
    return new Response(body, { headers: { "content-type": "text/plain" } });
  };
  const state = (_request: Request, body: Uint8Array<ArrayBuffer>) => record(body);
  const old = await startVllmServer({ warmUp: 900, state });
  let young: VllmServer | null = null;
  const run = startProgram([old.url, "--output", "json", ...EVERY_HALF_SECOND]);
  try {
    await waitForDocuments(run, (documents) => documents.length >= 3);
    const oldTokens = counted[counted.length - 1].tokens;
    await old.close();
    young = await startVllmServer({ port: old.port, seed: 5, warmUp: 1, state });
    const restartedAt = counted.length;
    await run.waitFor(() => counted.length >= restartedAt + 4);
    await terminate(run);

    const documents = readDocuments(run.stdout());
    const last = documents[documents.length - 1];
    assertEquals(last.endpoints[0].scrape?.restartsSeen, 1);
    assertEquals(last.replicas.length, 1);

    // A document is of a poll; two may be of one scrape where a poll is late.
    const restarts = documents.filter(({ total }) => isRestarted(total.lastPoll));
    assert(restarts.length >= 1, "no window says that it was restarted");
    const scrapedAt = restarts.map(({ timeEpochSeconds, endpoints }) =>
      timeEpochSeconds - (endpoints[0].scrape?.ageSeconds ?? NaN)
    );
    for (const at of scrapedAt) assertAlmostEquals(at, scrapedAt[0], CLOCK_SLACK);
    const window = last.replicas[0].figures?.lastPoll;
    assert(window !== undefined && window.generationTokensPerSecond !== null);

    const growths = counted.slice(1).map(({ at, tokens }, index) =>
      (tokens - counted[index].tokens) / (at - counted[index].at)
    ).filter((rate) => rate >= 0);
    // Receipts on a busy machine may be closer together than the answers.
    const highest = 10 * Math.max(1000, ...growths);
    assert(oldTokens / INTERVAL > 10 * highest, "a spike would be seen");
    for (const rate of documents.flatMap(listRates)) {
      assert(rate >= 0 && rate <= highest, `a rate of ${rate}, of at most ${highest}`);
    }
  } finally {
    run.signal("SIGKILL");
    await run.ended;
    await Promise.all([old.close(), young?.close()]);
  }
});

Deno.test("a server that goes is stale and out of the totals until it comes back", async () => {
  const [staying, going] = await Promise.all(
    [1, 2].map((seed) => startVllmServer({ seed, warmUp: 60 })),
  );
  const urls = [staying.url, going.url];
  const run = startProgram([...urls, "--output", "json", ...EVERY_HALF_SECOND]);
  const table = startProgram([...urls, "--table", ...EVERY_HALF_SECOND]);
  const findGoing = (document: ReportDocument): ReplicaDocument | undefined =>
    document.replicas.find(({ url }) => url.startsWith(going.url));
  const countStale = (documents: readonly ReportDocument[]): number =>
    documents.filter((document) => findGoing(document)?.status === "STALE").length;
  try {
    await waitForDocuments(run, (documents) => documents.length >= 2);
    await table.waitFor(() => table.stdout().includes("2 of 2 up"));
    await going.setState("refusing");
    await waitForDocuments(run, (documents) => countStale(documents) >= 2);
    await table.waitFor(() => /STALE \d/.test(table.stdout()));
    await going.setState("up");
    await waitForDocuments(run, (documents) => {
      const found = documents[documents.length - 1];
      const window = findGoing(found)?.figures?.lastPoll;
      return findGoing(found)?.status === "OK" && window?.generationTokensPerSecond !== null;
    });
    await Promise.all([terminate(run), terminate(table)]);

    const documents = readDocuments(run.stdout());
    const stale = documents.filter((document) => findGoing(document)?.status === "STALE");
    for (const { replicas, endpoints, total } of stale) {
      assertEquals(total.replicaCounts, {
        ...{ total: 2, up: 1, stale: 1, down: 0, pending: 0 },
        ...{ loading: 0, unloaded: 0, countedElsewhere: 0 },
      });
      assertEquals(total.replicas, 1);
      assertEquals(total.running, replicas[0].figures?.running);
      assertEquals(
        total.lastPoll.generationTokensPerSecond,
        replicas[0].figures?.lastPoll.generationTokensPerSecond,
      );
      assertEquals(endpoints[1].failure?.kind, "refused");
      assertEquals(replicas[0].status, "OK");
    }
    // All of them show the last good scrape, and how long ago it was.
    const ages = stale.map((document) => findGoing(document)?.ageSeconds ?? NaN);
    assert(ages[0] > 0 && ages[1] > ages[0], `ages ${ages}`);
    stale.forEach(({ timeEpochSeconds }, index) => {
      const span = timeEpochSeconds - stale[0].timeEpochSeconds;
      assertAlmostEquals(ages[index] - ages[0], span, CLOCK_SLACK);
    });
    const last = documents[documents.length - 1];
    assertEquals(last.total.replicas, 2);
    assertEquals(last.endpoints[1].scrape?.restartsSeen, 0);
    assert(documents.flatMap(listRates).every((rate) => rate >= 0 && rate < 1e6));
  } finally {
    for (const each of [run, table]) each.signal("SIGKILL");
    await Promise.all([run.ended, table.ended, staying.close(), going.close()]);
  }
});

/** What could drive a terminal, end a label or break JSON. */
const HOSTILE = '\x1b]0;pwn\x07\x1b[2J}"\\,{x="1"\n\r\b\x9b31m\u2028\u202eevil\x00';

Deno.test("hostile names and reasons reach neither the terminal nor break the JSON", async () => {
  const servers = await Promise.all([1, 2].map((seed) =>
    startVllmServer({
      seed,
      warmUp: 60,
      engines: ["0", "\x1b[6n"].map((engine) => ({ model: `a/${HOSTILE}`, engine })),
    })
  ));
  const rude = startRawServer(async ({ send, close }) => {
    await send(
      "HTTP/1.1 500 \x1b[2Jpwned\x07\r\ncontent-type: text/\x1b[2J\r\nserver: \x9b31m\r\n" +
        "content-length: 9\r\n\r\n\x1b[2J{pwn}",
    );
    close();
  });
  const urls = [...servers.map(({ url }) => url), rude.origin];
  try {
    const forms = ["json", "table", "detail"];
    const outcomes = await Promise.all(
      forms.map((form) => runProgram([...urls, "--once", ...EVERY_HALF_SECOND, "--output", form])),
    );
    for (const [index, { code, stdout, stderr }] of outcomes.entries()) {
      assertEquals([code, stderr], [1, ""], forms[index]);
      assert(!CONTROL_CHARACTER.test(stdout), JSON.stringify(stdout));
      assert(!/[\u202e\u200f]/.test(stdout), "no bidirectional control");
      assertMatch(stdout, /pwn/, "the name is there, made visible");
    }
    const { replicas } = readDocument(outcomes[0].stdout);
    assertEquals(replicas.filter(({ status }) => status === "OK").length, 4);
    const names = replicas.map(({ displayName }) => displayName);
    assertEquals(new Set(names).size, names.length, `${names}`);
    for (const text of [...names, ...replicas.map(({ model }) => model ?? "")]) {
      assert(!CONTROL_CHARACTER.test(text) && !text.includes("\n"), JSON.stringify(text));
    }
  } finally {
    await Promise.all([...servers, rude].map((server) => server.close()));
  }
});
