/**
 * Described fleets and what is said of them: `tests/judged/*.txt`. Above the
 * line stands the fleet (`fixtures/described_fleet.ts` has the words), below it
 * the verdicts as they change, the events, how many replicas each rule compared
 * at the end, and the sums and peaks.
 *
 * @module
 */

import { assertEquals } from "@std/assert";
import { watchDescription } from "./fixtures/described_fleet.ts";
import { wantsUpdate } from "./fixtures/goldens.ts";

const FOLDER = new URL("./judged/", import.meta.url);
const LINE = "\n---\n";

const files = [...Deno.readDirSync(FOLDER)].map(({ name }) => name).filter((name) =>
  name.endsWith(".txt")
).sort();

for (const name of files) {
  Deno.test(`update() says of ${name.replace(/\.txt$/, "").replaceAll("_", " ")} what is expected`, () => {
    const file = new URL(name, FOLDER);
    const [description, expected = ""] = Deno.readTextFileSync(file).split(LINE);
    const said = watchDescription(description);
    if (wantsUpdate()) Deno.writeTextFileSync(file, description + LINE + said);
    else assertEquals(said, expected);
  });
}
