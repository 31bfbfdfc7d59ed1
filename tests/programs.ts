/**
 * Programs that tests start: other people's, and the one under test.
 *
 * A test that needs `tmux`, `promtool` or `openssl` says so with
 * `needsProgram`, and is left out with a word where it is missing. Where
 * `REQUIRE_ALL_TOOLS=1` is set nothing is left out: the test runs, and fails on
 * the missing program.
 *
 * @module
 */

import { PERMISSIONS } from "../.ci/permissions.ts";

const REPOSITORY = new URL("../", import.meta.url);

function isOnPath(name: string): boolean {
  const isWindows = Deno.build.os === "windows";
  const folders = (Deno.env.get("PATH") ?? "").split(isWindows ? ";" : ":");
  return folders.filter((folder) => folder !== "").some((folder) => {
    try {
      return Deno.statSync(`${folder}/${name}${isWindows ? ".exe" : ""}`).isFile;
    } catch {
      return false;
    }
  });
}

/**
 * Options for a test that starts a program.
 *
 * @example
 * ```ts
 * import { needsProgram } from "./programs.ts";
 * Deno.test("app() draws in a terminal", needsProgram("tmux"), async () => {});
 * ```
 */
export function needsProgram(name: string): { ignore: boolean } {
  if (isOnPath(name) || Deno.env.get("REQUIRE_ALL_TOOLS") === "1") return { ignore: false };
  console.warn(`Left out: a test that needs "${name}", which is not on the PATH`);
  return { ignore: true };
}

/** What `promtool check metrics` says of an exposition. */
export async function checkMetrics(
  text: string,
): Promise<{ readonly code: number; readonly output: string; readonly errors: string }> {
  const child = new Deno.Command("promtool", {
    args: ["check", "metrics"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const [output, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, output, errors };
}

/**
 * The arguments that give `Deno.execPath()` the packages of the route that the
 * test itself runs by. `IMPORT_MAP` names the map where that is neither of the two.
 */
export function listRouteArguments(): string[] {
  const isNpmRoute = import.meta.resolve("@std/fmt/colors").endsWith("/.ci/npm/colors.ts");
  const importMap = Deno.env.get("IMPORT_MAP") ??
    (isNpmRoute ? new URL(".ci/npm/import_map.json", REPOSITORY).href : null);
  return [
    `--config=${new URL("deno.json", REPOSITORY).pathname}`,
    ...(importMap === null ? [] : [`--import-map=${importMap}`]),
  ];
}

/** The arguments with which `Deno.execPath()` runs the real program, with the permissions it has for users. */
export function listProgramArguments(...more: readonly string[]): string[] {
  return [
    "run",
    "--quiet",
    ...listRouteArguments(),
    ...PERMISSIONS,
    new URL("main.ts", REPOSITORY).href,
    ...more,
  ];
}
