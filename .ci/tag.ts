/**
 * The `tag` task: whether the sources are ready to be released as a tag.
 *
 * @module
 */

/** What is wrong with releasing the version as `tag`; empty where nothing is. */
export function findTagFaults(
  tag: string,
  { version, changelog }: { readonly version: string; readonly changelog: string },
): readonly string[] {
  const heading = changelog.split("\n").find((line) => line.startsWith(`## [${version}]`));
  return [
    tag === `v${version}` ? [] : `the tag "${tag}" is not v${version}, the version of deno.json`,
    heading !== undefined && /\] - \d{4}-\d{2}-\d{2}$/.test(heading)
      ? []
      : `CHANGELOG.md has no heading "## [${version}] - YYYY-MM-DD"`,
  ].flat();
}

/** Runs the task and gives its exit code. */
export async function checkTag(tag: string, version: string): Promise<number> {
  const changelog = await Deno.readTextFile("CHANGELOG.md");
  const faults = findTagFaults(tag, { version, changelog });
  for (const fault of faults) console.error(fault);
  return faults.length === 0 ? 0 : 1;
}
