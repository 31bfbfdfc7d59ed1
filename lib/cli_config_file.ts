/**
 * Finds and loads the configuration file. The usual file may be missing, a named one may not. A file
 * with a password that others can read is refused, as ssh does with keys, and one that names
 * programs if others can write to it. Paths: XDG Base Directory Specification 0.8 (relative values
 * are ignored), else Apple's and Microsoft's folders.
 * @module
 */

import type { Config } from "./cli_config.ts";
import { describeFileError, isMissingFile } from "./files.ts";
import type { Platform } from "./platform.ts";
import { quote } from "./text.ts";
import type { Bytes } from "./units.ts";

export interface ConfigFile extends Omit<Config, "hasSecrets"> {
  readonly path: string;
  readonly isFound: boolean;
}

const NAME = "vllm-htop/config.json";
const MAX_LENGTH: Bytes = 2 ** 20;
const OTHERS = 0o077;
const OTHERS_WRITE = 0o022;

/** `null` if no variable names the folder. */
export function findConfigPath(
  platform: Pick<Platform, "environment" | "operatingSystem">,
): string | null {
  const { environment, operatingSystem } = platform;
  const isWindows = operatingSystem === "windows";
  const absolute = isWindows ? /^(?:[a-z]:[/\\]|[/\\]{2})/i : /^\//;
  const xdg = environment("XDG_CONFIG_HOME") ?? "";
  if (absolute.test(xdg)) return `${xdg}/${NAME}`;
  const home = environment(isWindows ? "APPDATA" : "HOME") ?? "";
  if (!absolute.test(home)) return null;
  if (isWindows) return `${home}/${NAME}`;
  return operatingSystem === "darwin"
    ? `${home}/Library/Application Support/${NAME}`
    : `${home}/.config/${NAME}`;
}

/**
 * Loads the named file, or the usual one if it exists. An error is one sentence without a full stop
 * or secret.
 */
export async function loadConfig(
  platform: Platform,
  named: string | null,
): Promise<ConfigFile | { readonly error: string }> {
  const path = named ?? findConfigPath(platform);
  const nothing = { values: new Map(), warnings: [], hooks: [], isFound: false };
  if (path === null) return { ...nothing, path: "" };
  const shown = `the configuration file ${quote(path)}`;
  let text: string;
  try {
    text = await platform.readTextFile(path);
  } catch (error) {
    if (named === null && isMissingFile(error)) return { ...nothing, path };
    return { error: `${shown} ${describeFileError(error)}` };
  }
  if (text.length > MAX_LENGTH) return { error: `${shown} is longer than ${MAX_LENGTH} bytes` };
  const folder = /^(.*)[/\\]/s.exec(path)?.[1] ?? ".";
  // Loaded here: many have no file.
  const { parseConfig } = await import("./cli_config.ts");
  const config = parseConfig(text, folder);
  if ("error" in config) return { error: `${shown}: ${config.error}` };
  const runsPrograms = config.hooks.some(({ exec }) => exec !== null);
  const mode = config.hasSecrets || runsPrograms ? await platform.fileMode(path) ?? 0 : 0;
  if (config.hasSecrets && (mode & OTHERS) !== 0) {
    return { error: `${shown} holds a password or webhook, and others can read it: chmod 600` };
  }
  if (runsPrograms && (mode & OTHERS_WRITE) !== 0) {
    return { error: `${shown} names programs to run, and others can write to it: chmod go-w` };
  }
  const warnings = config.warnings.map((warning) => `${shown}: ${warning}`);
  return { values: config.values, warnings, hooks: config.hooks, path, isFound: true };
}
