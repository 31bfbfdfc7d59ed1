import { assert, assertEquals } from "@std/assert";
import { findTagFaults } from "../.ci/tag.ts";
import denoConfig from "../deno.json" with { type: "json" };

const FOLDER = new URL("../.github/workflows/", import.meta.url);

Deno.test("every step of a workflow is a task of deno.json, but for the release itself", async () => {
  let steps = 0;
  for (const { name } of Deno.readDirSync(FOLDER)) {
    const text = await Deno.readTextFile(new URL(name, FOLDER));
    assert(/^permissions:/m.test(text), `${name} limits what its token may do`);
    assert(!/run: [|>]/.test(text), `${name} has a script in it`);
    for (const [, command] of text.matchAll(/\brun: (.*)$/gm)) {
      steps++;
      const [, task] = /^deno task (\S+)/.exec(command) ?? [];
      const isKnown = task === undefined
        ? command.startsWith("gh release create ")
        : task in denoConfig.tasks;
      assert(isKnown, `${name}: ${command}`);
    }
  }
  assert(steps >= 8);
});

Deno.test("findTagFaults() wants the version of deno.json, and its date in the changelog", () => {
  const changelog = "# Changelog\n\n## [1.2.3] - 2026-11-25\n\n## [1.2.2] - Unreleased\n";
  assertEquals(findTagFaults("v1.2.3", { version: "1.2.3", changelog }), []);
  assertEquals(findTagFaults("1.2.3", { version: "1.2.3", changelog }).length, 1);
  assertEquals(findTagFaults("v1.2.2", { version: "1.2.2", changelog }).length, 1);
  assertEquals(findTagFaults("v1.2.4", { version: "1.2.3", changelog: "" }).length, 2);
});
