import { assertEquals } from "@std/assert";
import { writeScrapes } from "../lib/kept_scrapes.ts";
import { loadScrapes, saveScrapes } from "../lib/state_file.ts";
import {
  createEndpoint,
  createScraped,
  encode,
  START_EPOCH,
  writeEngine,
} from "./fixtures/expositions.ts";

const ENDPOINT = createEndpoint(8000);
const MESSAGE = createScraped(ENDPOINT, 0, encode(writeEngine([["generation_tokens_total", 5]])));
const SCRAPES = MESSAGE.kind === "scraped" ? [MESSAGE.scrape] : [];

function load(readTextFile: () => Promise<string>, path = "s.json") {
  const platform = {
    readTextFile,
    monotonicSeconds: () => 4,
    epochSeconds: () => START_EPOCH + 60,
  };
  return loadScrapes(platform, path, [ENDPOINT.key]);
}

function fail(name: string, message = "reason"): () => Promise<never> {
  return () => Promise.reject(Object.assign(new Error(message), { name }));
}

Deno.test("loadScrapes() gives what the run before has kept", async () => {
  const { scrapes, remarks } = await load(() => Promise.resolve(writeScrapes(SCRAPES)));
  assertEquals(scrapes.map(({ endpointKey, receivedAt }) => [endpointKey, receivedAt]), [
    [ENDPOINT.key, -56],
  ]);
  assertEquals(remarks, []);
});

Deno.test("loadScrapes() remarks, safe to print, where there is nothing to compare with", async () => {
  const cases = [
    [fail("NotFound"), ": it is not there yet: "],
    [fail("PermissionDenied"), " may not be read: check its permissions; "],
    [fail("IsADirectory"), " is a directory: name a file in it; "],
    [() => Promise.resolve("{"), ": it is broken, or no file of scrapes: "],
  ] as const;
  for (const [read, problem] of cases) {
    assertEquals(await load(read, "a\x1b[31m"), {
      scrapes: [],
      remarks: [`the state file "a\\x1b[31m"${problem}rates come with the next run`],
    });
  }
});

Deno.test("saveScrapes() writes what loadScrapes() reads", async () => {
  const written = new Map<string, string>();
  const platform = {
    readTextFile: fail("NotFound"),
    writeTextFile: (path: string, text: string) => Promise.resolve(void written.set(path, text)),
  };
  assertEquals(await saveScrapes(platform, "s.json", SCRAPES), null);
  const { scrapes } = await load(() => Promise.resolve(written.get("s.json") ?? ""));
  assertEquals(scrapes.length, 1);
});

Deno.test("saveScrapes() leaves a file of somebody else's as it is, and mends its own", async () => {
  const save = async (there: string) => {
    let written = "";
    const problem = await saveScrapes(
      {
        readTextFile: () => Promise.resolve(there),
        writeTextFile: (_path, text) => Promise.resolve(void (written = text)),
      },
      "notes.txt",
      SCRAPES,
    );
    return [problem, written === ""];
  };
  const refusal = 'the state file "notes.txt" is none, and is left as it is: ' +
    "name another, or remove it";
  for (const foreign of ["my notes", "{}", '{"version":1}', "\n"]) {
    assertEquals(await save(foreign), [refusal, true]);
  }
  const own = writeScrapes(SCRAPES);
  for (const kept of ["", own, own.slice(0, 40)]) assertEquals(await save(kept), [null, false]);
});

Deno.test("saveScrapes() says why it could not write, and what to do", async () => {
  const cases = [
    ["NotCapable", /: this program may not write there: run it by Deno.* --allow-write=FOLDER/],
    ["PermissionDenied", /: its folder may not be written to: check its permissions$/],
    ["NotFound", /: its folder does not exist: make it$/],
    ["Error", /: reason$/],
  ] as const;
  for (const [name, expected] of cases) {
    const problem = await saveScrapes(
      { readTextFile: fail("NotFound"), writeTextFile: fail(name) },
      "a\x1bb",
      SCRAPES,
    ) ?? "";
    assertEquals(problem.startsWith('the state file "a\\x1bb" cannot be written: '), true, problem);
    assertEquals(expected.test(problem), true, problem);
  }
});
