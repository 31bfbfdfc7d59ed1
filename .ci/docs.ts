/**
 * The `docs` task: regenerates the blocks of README.md and docs/.
 *
 * @module
 */

import { listDocuments, updateBlocks } from "./docs_blocks.ts";

const ROOT = new URL("../", import.meta.url);

const names = [...Deno.readDirSync(new URL("docs/", ROOT))].map(({ name }) => name);
for (const path of listDocuments(names)) {
  const url = new URL(path, ROOT);
  const text = Deno.readTextFileSync(url);
  const updated = updateBlocks(text);
  if (updated === text) continue;
  Deno.writeTextFileSync(url, updated);
  console.log(`${path} updated`);
}
