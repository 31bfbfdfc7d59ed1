/**
 * The `compile` task: the program as one file for each kind of machine.
 *
 * Without `--target` it makes `dist/vllm-htop` for this machine. With
 * `--target NAME`, or `--target all`, it makes `dist/vllm-htop-NAME` for each,
 * `SHA256SUMS`, and a list of the parts (`sbom.ts`). The modules are joined (`deno bundle`), which
 * starts sooner; `deno compile` puts them behind a runtime for the target, `denort`, that it downloads once; a
 * target whose runtime cannot be had is told, the others are made, and the task
 * fails. `DENORT_BIN`, where it is set, is a runtime for this machine, and is
 * used for no other. `--twice` makes each file a second time and fails where
 * the two differ. `--probe` makes `dist/permission-probe` in place of the
 * program, with the same permissions (`permission_probe.ts`).
 *
 * @module
 */

import denoConfig from "../deno.json" with { type: "json" };
import { joinFlags, PERMISSIONS } from "./permissions.ts";
import { createSbom, type ModuleGraph } from "./sbom.ts";

/** What `deno compile` can make, and we ship. */
export const TARGETS: readonly string[] = [
  "x86_64-unknown-linux-gnu",
  "aarch64-unknown-linux-gnu",
  "x86_64-apple-darwin",
  "aarch64-apple-darwin",
  "x86_64-pc-windows-msvc",
];

const FOLDER = "dist";
const SBOM_NAME = "vllm-htop.cdx.json";

/**
 * Who watches a GPU machine is not to take its memory, and V8 by itself lets pile
 * up what is thrown away: `fleet_bench.ts` has the figures. `--single-threaded`
 * would save a tenth of the time and start 3 ms sooner, but the full collections
 * then make keys wait for up to 0.1 s.
 */
const V8_FLAGS: readonly string[] = [
  "--max-semi-space-size=4",
  "--heap-growing-percent=60",
  // Otherwise the first error, usually a missing configuration file, takes V8 8 ms more to find
  // line numbers in the joined modules. `live_bench.ts` has what the whole program gains.
  "--no-enable-lazy-source-positions",
  // By default 400, which optimizes functions that a short run seldom calls again. Fleets take as
  // much CPU with either.
  "--invocation-count-for-maglev=1500",
];

/**
 * No code comes from a file in the folder for temporary files: Deno's runtime
 * would read compiled code from `deno-compile-vllm-htop.cache` there, which
 * anybody may have written. A start that trusts it takes 10 ms less.
 */
const COMPILE_FLAGS: readonly string[] = [
  ...PERMISSIONS,
  "--no-code-cache",
  "--deny-import",
  `--v8-flags=${V8_FLAGS.join(",")}`,
];

/** How `deno` is called: the packages' route, and the environment of the task. */
export interface CompileContext {
  readonly route: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** The file that a target is compiled into. */
export function nameBinary(target: string): string {
  return `vllm-htop-${target}${target.includes("windows") ? ".exe" : ""}`;
}

/** The targets among the arguments, or what is wrong with one. Empty: this machine, without a name. */
export function readTargets(
  parts: readonly string[],
): { readonly targets: readonly string[]; readonly rest: readonly string[] } | {
  readonly error: string;
} {
  const targets: string[] = [];
  const rest: string[] = [];
  for (let i = 0; i < parts.length; i++) {
    const match = /^--target(?:=(.*))?$/.exec(parts[i]);
    if (match === null) {
      rest.push(parts[i]);
      continue;
    }
    const wanted = match[1] ?? parts[++i] ?? "";
    if (wanted !== "all" && !TARGETS.includes(wanted)) {
      return { error: `--target "${wanted}" is not one of all, ${TARGETS.join(", ")}` };
    }
    targets.push(...(wanted === "all" ? TARGETS : [wanted]));
  }
  return { targets: [...new Set(targets)], rest };
}

/** What a person needs of Deno's words on a failure: its errors and their causes, without the stack. */
export function summarizeFailure(output: string): string {
  const lines = output.split(/^Stack backtrace:/m)[0].split("\n");
  const first = lines.findIndex((line) => line.startsWith("error: "));
  return lines.slice(Math.max(first, 0)).map((line) => line.trim())
    .filter((line) => line !== "" && line !== "Caused by:").join("\n  ");
}

async function runDeno(
  parts: readonly string[],
  environment: Readonly<Record<string, string>>,
): Promise<{ readonly success: boolean; readonly stdout: string; readonly stderr: string }> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...parts],
    env: { ...environment, NO_COLOR: "1" },
    clearEnv: true,
    stdin: "null",
  }).output();
  const decoder = new TextDecoder();
  return { success, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** The modules of the program by the route in use. */
async function readModuleGraph({ route, environment }: CompileContext): Promise<ModuleGraph> {
  const { success, stdout, stderr } = await runDeno(
    ["info", "--json", ...route, PROGRAM.entry],
    environment,
  );
  if (!success) throw new Error(`deno info failed: ${summarizeFailure(stderr)}`);
  return JSON.parse(stdout);
}

/** What is compiled: the file that is made, and the module where it begins. */
interface Program {
  readonly name: string;
  readonly entry: string;
  /** Whether its modules are joined into one before. The probe tries to import what is not there. */
  readonly isJoined: boolean;
}

const PROGRAM: Program = { name: "vllm-htop", entry: "main.ts", isJoined: true };
const PROBE: Program = {
  name: "permission-probe",
  entry: ".ci/permission_probe.ts",
  isJoined: false,
};

/** A package that is loaded by `import()`, seldom, and what is taken of it. */
const LATE_PACKAGE = { name: "undici", exports: ["Agent", "request"] } as const;

/**
 * Node's globals that differ from Deno's, as an npm package has them, and `require`, which
 * `deno bundle` of Deno 2.6 leaves out.
 */
const NODE_GLOBALS =
  'import { clearInterval, clearTimeout, setInterval, setTimeout } from "node:timers";\n' +
  'import { createRequire } from "node:module";\n' +
  "const require = createRequire(import.meta.url);\n";

/** Bundles the entry into `folder`. Why it failed, or `null`. */
async function bundle(
  { route, environment }: CompileContext,
  parts: readonly string[],
): Promise<string | null> {
  const { success, stderr } = await runDeno(["bundle", "--quiet", ...route, ...parts], environment);
  return success ? null : summarizeFailure(stderr);
}

/** `deno compile` must be told of them, as no module imports them. */
async function listSourceMaps(folder: string): Promise<readonly string[]> {
  const names = await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
  return names.filter((name) => name.endsWith(".map")).sort().map((name) => `${folder}/${name}`);
}

/** Removes the sources: Deno loads each map with its module, and they would take 3 ms. */
async function shortenSourceMaps(folder: string): Promise<void> {
  for (const path of await listSourceMaps(folder)) {
    const { sourcesContent: _, ...map } = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify(map));
  }
}

/**
 * Joins the modules of the program into few in `folder`: one by one they take 20 ms of every start.
 * Short names save 6 ms more, and source maps keep the stack of an internal error readable.
 * The package goes into a file of its own, for which `import_map.json` stands: npm packages in
 * what is compiled take 4 ms of every start, and what joins them loads parts of Node. Why it
 * failed, or `null`.
 */
async function joinModules(
  context: CompileContext,
  { entry }: Program,
  folder: string,
): Promise<string | null> {
  const { name, exports } = LATE_PACKAGE;
  await Deno.mkdir(folder, { recursive: true });
  // The names of the parts change with what is in them.
  for await (const old of Deno.readDir(folder)) await Deno.remove(`${folder}/${old.name}`);
  const parts = [
    ...["--minify", "--sourcemap=linked", "--code-splitting"],
    ...[`--external=${name}`, `--outdir=${folder}`, entry],
  ];
  const packageEntry = `${folder}/${name}.ts`;
  await Deno.writeTextFile(packageEntry, `export { ${exports.join(", ")} } from "${name}";\n`);
  const problem = await bundle(context, parts) ??
    await bundle(context, ["--minify", `--output=${folder}/${name}.js`, packageEntry]);
  if (problem !== null) return problem;
  await Deno.remove(packageEntry);
  await shortenSourceMaps(folder);
  const packagePath = `${folder}/${name}.js`;
  await Deno.writeTextFile(packagePath, NODE_GLOBALS + await Deno.readTextFile(packagePath));
  const imports = { [name]: `./${name}.js` };
  await Deno.writeTextFile(`${folder}/import_map.json`, JSON.stringify({ imports }));
  for await (const part of Deno.readDir(folder)) {
    // Deno puts it into what it compiles, and the same sources are to give the same file.
    await Deno.utime(`${folder}/${part.name}`, 0, 0);
  }
  return null;
}

async function hashFile(path: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", await Deno.readFile(path));
  return new Uint8Array(digest).toHex();
}

/** Compiles for one target, `null` for this machine. Why it failed, or `null`. */
async function compileTarget(
  context: CompileContext,
  output: string,
  { program, target, more }: {
    readonly program: Program;
    readonly target: string | null;
    readonly more: readonly string[];
  },
): Promise<string | null> {
  const { route, environment } = context;
  // The path is part of what is compiled.
  const folder = `${FOLDER}/modules`;
  const entry = program.isJoined ? `${folder}/main.js` : program.entry;
  const problem = program.isJoined ? await joinModules(context, program, folder) : null;
  if (problem !== null) return problem;
  const maps = program.isJoined ? await listSourceMaps(folder) : [];
  const packages = program.isJoined
    ? [`--import-map=${folder}/import_map.json`, ...maps.map((path) => `--include=${path}`)]
    : route;
  const { DENORT_BIN, ...others } = environment;
  const usesOwnRuntime = DENORT_BIN !== undefined &&
    (target === null || target === Deno.build.target);
  const parts = [
    // The program stays as quiet: else it tells at each start which programs it may run are not there.
    // What is joined has been checked, and has no types any more.
    ...["compile", "--quiet", "--no-check", ...packages, ...joinFlags(COMPILE_FLAGS, more)],
    ...(target === null || usesOwnRuntime ? [] : [`--target=${target}`]),
    ...[`--output=${output}`, entry],
  ];
  const { success, stderr } = await runDeno(parts, usesOwnRuntime ? environment : others);
  return success ? null : summarizeFailure(stderr);
}

/** Compiles a second time, elsewhere. What is wrong, or `null` when both files are the same. */
async function compileAgain(
  context: CompileContext,
  target: string,
  { hash, more }: { readonly hash: string; readonly more: readonly string[] },
): Promise<string | null> {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/${nameBinary(target)}`;
    const problem = await compileTarget(context, path, { program: PROGRAM, target, more });
    if (problem !== null) return problem;
    return await hashFile(path) === hash ? null : "made twice, the two files differ";
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function writeSbom({ environment }: CompileContext, graph: ModuleGraph): Promise<string> {
  const subject = {
    name: denoConfig.name,
    version: denoConfig.version,
    denoVersion: environment.DENORT_BIN === undefined ? Deno.version.deno : null,
  };
  const sbom = createSbom(graph, subject);
  const path = `${FOLDER}/${SBOM_NAME}`;
  await Deno.writeTextFile(path, JSON.stringify(sbom, null, 2) + "\n");
  return path;
}

/** Makes the files of a release. Exit code 0 only when every target was made. */
async function compileRelease(
  context: CompileContext,
  targets: readonly string[],
  { isTwice, more }: { readonly isTwice: boolean; readonly more: readonly string[] },
): Promise<number> {
  const sums: string[] = [];
  let failures = 0;
  for (const target of targets) {
    const name = nameBinary(target);
    const path = `${FOLDER}/${name}`;
    await Deno.remove(path).catch(() => {});
    let problem = await compileTarget(context, path, { program: PROGRAM, target, more });
    const hash = problem === null ? await hashFile(path) : "";
    if (problem === null && isTwice) problem = await compileAgain(context, target, { hash, more });
    if (problem === null) {
      const megabytes = ((await Deno.stat(path)).size / 1e6).toFixed(1);
      console.log(`${target}: ${path}, ${megabytes} MB${isTwice ? ", twice the same" : ""}`);
      sums.push(`${hash}  ${name}`);
    } else {
      failures++;
      console.error(`${target}: NOT COMPILED\n  ${problem}`);
    }
  }
  const sbom = await writeSbom(context, await readModuleGraph(context));
  sums.push(`${await hashFile(sbom)}  ${SBOM_NAME}`);
  await Deno.writeTextFile(`${FOLDER}/SHA256SUMS`, sums.join("\n") + "\n");
  console.log(`${sbom}, ${FOLDER}/SHA256SUMS: ${targets.length - failures} of ${targets.length}`);
  return failures === 0 ? 0 : 1;
}

/** Runs the task with the arguments given after its name, and gives its exit code. */
export async function compileProgram(
  context: CompileContext,
  parts: readonly string[],
): Promise<number> {
  const wanted = readTargets(parts);
  if ("error" in wanted) {
    console.error(wanted.error);
    return 2;
  }
  await Deno.mkdir(FOLDER, { recursive: true });
  const isTwice = wanted.rest.includes("--twice");
  const isProbe = wanted.rest.includes("--probe");
  const more = wanted.rest.filter((part) => part !== "--twice" && part !== "--probe");
  if (wanted.targets.length > 0) {
    if (isProbe) {
      console.error("--probe is for this machine only, without --target");
      return 2;
    }
    return await compileRelease(context, wanted.targets, { isTwice, more });
  }
  const program = isProbe ? PROBE : PROGRAM;
  const path = `${FOLDER}/${program.name}`;
  const problem = await compileTarget(context, path, { program, target: null, more });
  if (problem === null) console.log(path);
  else console.error(problem);
  return problem === null ? 0 : 1;
}
