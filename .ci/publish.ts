/**
 * The `publish` task: the package on JSR, or a check of it with `--dry-run`.
 *
 * `deno publish` takes its imports from `deno.json` alone. Where JSR does not
 * answer, a dry run is made of a copy whose `deno.json` maps to the adapters of
 * `npm/`: it checks types, the rule against slow types, and which files go in,
 * of the same sources.
 *
 * @module
 */

import denoConfig from "../deno.json" with { type: "json" };
import adapterMap from "./npm/import_map.json" with { type: "json" };

const ADAPTERS = ".ci/npm";

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to, { recursive: true });
  for await (const { name, isDirectory } of Deno.readDir(from)) {
    if (isDirectory) await copyFolder(`${from}/${name}`, `${to}/${name}`);
    else await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

/** What is published and the adapters, with a configuration that maps to them. */
async function copyPackage(folder: string): Promise<void> {
  for (const name of denoConfig.publish.include) {
    if ((await Deno.stat(name)).isDirectory) await copyFolder(name, `${folder}/${name}`);
    else await Deno.copyFile(name, `${folder}/${name}`);
  }
  await copyFolder(ADAPTERS, `${folder}/${ADAPTERS}`);
  const imports = Object.entries(adapterMap.imports)
    .map(([name, target]) => [name, target.replace(/^\.\//, `./${ADAPTERS}/`)]);
  const configuration = {
    ...denoConfig,
    imports: Object.fromEntries(imports),
    publish: { include: [...denoConfig.publish.include, ADAPTERS] },
  };
  await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify(configuration));
}

async function runPublish(folder: string | undefined, parts: readonly string[]): Promise<number> {
  const command = new Deno.Command(Deno.execPath(), { args: ["publish", ...parts], cwd: folder });
  return (await command.spawn().status).code;
}

/** Runs the task by the route that is open, and gives its exit code. */
export async function publishPackage(
  route: "jsr" | "npm",
  parts: readonly string[],
): Promise<number> {
  if (route === "jsr") return await runPublish(undefined, parts);
  if (!parts.includes("--dry-run")) {
    console.error("JSR does not answer: only --dry-run is possible, on a copy");
    return 1;
  }
  const folder = await Deno.makeTempDir();
  try {
    await copyPackage(folder);
    return await runPublish(folder, [...parts, "--allow-dirty"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
