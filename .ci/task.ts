/**
 * Runs a task of `deno.json` by the route that is open: `task.ts NAME [arguments]`.
 *
 * The code imports bare names. `deno.json` maps them to JSR, for users;
 * `npm/import_map.json` maps them to adapters over npm packages, for machines
 * that cannot reach JSR. Here it is tried whether JSR answers: by importing the
 * same modules from it, so that `JSR_URL` and what is cached count. This program
 * itself runs by the npm route, which is always open where the program can run
 * at all (`undici` is an npm package): it must be able to read the variables of
 * `lib/cli_option_table.ts` before it knows whether JSR answers.
 *
 * @module
 */

import denoConfig from "../deno.json" with { type: "json" };
import { compileProgram } from "./compile.ts";
import adapterMap from "./npm/import_map.json" with { type: "json" };
import { PERMISSIONS } from "./permissions.ts";
import { publishPackage } from "./publish.ts";
import { checkTag } from "./tag.ts";

/** How long JSR has to answer, in milliseconds. */
const JSR_TIME_LIMIT = 2000;

const NPM_ROUTE = ["--import-map=.ci/npm/import_map.json"];
const SIGNALS: readonly Deno.Signal[] = Deno.build.os === "windows"
  ? ["SIGINT"]
  : ["SIGINT", "SIGTERM", "SIGHUP"];

/** The `jsr:` specifiers of the modules that have an adapter. */
function listJsrModules(): string[] {
  const packages: Record<string, string> = denoConfig.imports;
  return Object.entries(adapterMap.imports)
    .filter(([, target]) => target.startsWith("./"))
    .map(([name]) => {
      const [scope, base, ...path] = name.split("/");
      return [packages[`${scope}/${base}`], ...path].join("/");
    });
}

/** Whether every module can be had from JSR, or its cache, in time. */
async function answersJsr(): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const imports = Promise.all(listJsrModules().map((specifier) => import(specifier)));
  const limit = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), JSR_TIME_LIMIT);
  });
  try {
    return await Promise.race([imports.then(() => true, () => false), limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** The command lines of a task, for `deno`; `null` when there is no such task. */
function listCommands(
  task: string,
  route: readonly string[],
  more: readonly string[],
): readonly (readonly string[])[] | null {
  switch (task) {
    case "start":
      return [["run", "--quiet", ...route, ...PERMISSIONS, "main.ts", "--or-demo", ...more]];
    case "test":
      return [
        ["test", "--parallel", ...route, "-A", ...more],
        // All tests are asked for: the examples in the documentation, too.
        ...(more.length === 0
          ? [["test", "--doc", "--quiet", ...route, "-A", "lib", "docs", "README.md"]]
          : []),
      ];
    case "bench":
      return [["bench", ...route, "-A", ...more]];
    case "check":
      return [
        ["fmt", "--check"],
        ["lint"],
        ["check", ...route, "main.ts", "lib", "tests", ".ci"],
        ["doc", ...route, "--lint", ...Object.values(denoConfig.exports)],
      ];
    case "simulate":
      return [["run", "--quiet", ...route, "tests/simulate.ts", ...more]];
    case "try":
      return [[
        ...["run", "--quiet", ...route, "-A", ".ci/try_binary.ts"],
        ...(more.length > 0 ? more : ["dist/vllm-htop", "dist/permission-probe"]),
      ]];
    case "docs":
      return [["run", "--quiet", ...route, "-A", ".ci/docs.ts"]];
    case "picture":
      return [["run", "--quiet", ...route, "-A", ".ci/picture.ts"]];
    default:
      return null;
  }
}

/**
 * Runs `deno` to its end and hands signals on to it. A terminal's Ctrl-C
 * reaches both processes; only this one must not end before the other has put
 * the terminal right.
 */
async function runDeno(parts: readonly string[], environment: Record<string, string>) {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...parts],
    env: environment,
    clearEnv: true,
  }).spawn();
  for (const signal of SIGNALS) {
    Deno.addSignalListener(signal, () => {
      if (signal === "SIGINT" && Deno.stdin.isTerminal()) return;
      try {
        child.kill(signal);
      } catch {
        // It has ended already.
      }
    });
  }
  return (await child.status).code;
}

const [task = "", ...more] = Deno.args;
const route = await answersJsr() ? [] : NPM_ROUTE;
const environment = Deno.env.toObject();
if (environment.REQUIRE_JSR === "1" && route === NPM_ROUTE) {
  console.error("JSR does not answer, and REQUIRE_JSR asks for its packages.");
  Deno.exit(1);
}
if (task !== "start" && route === NPM_ROUTE) {
  console.error("JSR does not answer: the packages come from npm.");
}
if (task === "tag") Deno.exit(await checkTag(more[0] ?? "", denoConfig.version));
if (task === "publish") Deno.exit(await publishPackage(route.length === 0 ? "jsr" : "npm", more));
if (task === "compile") Deno.exit(await compileProgram({ route, environment }, more));
const commands = listCommands(task, route, more);
if (commands === null) {
  console.error(`There is no task "${task}": see the tasks of deno.json`);
  Deno.exit(2);
}
// Tests look at painted text, which NO_COLOR would take from them.
if (task === "test") delete environment.NO_COLOR;
let exitCode = 0;
for (const command of commands) exitCode ||= await runDeno(command, environment);
Deno.exit(exitCode);
