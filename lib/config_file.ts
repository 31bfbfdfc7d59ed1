/**
 * Finds and reads the file of settings.
 *
 * Layer 5, effects: reads one file and its mode through `Platform`. The usual
 * file may be missing; one that is named may not. A file with a password in it
 * that others can read is refused, as ssh does with keys. What the text says is
 * `config_values`' matter. Where it is: XDG Base Directory Specification 0.8,
 * which wants an absolute path and otherwise passes the variable over; Apple's
 * and Microsoft's folders where it is not set there.
 *
 * @module
 */

import { readConfig } from "./config_values.ts";
import { describeFileError, isMissingFile } from "./file_errors.ts";
import type { FileValues } from "./option_values.ts";
import type { Platform } from "./platform.ts";
import { quote } from "./text.ts";
import type { Bytes } from "./units.ts";

/** What the file says, and what there is to remark. */
export interface ConfigFile {
  readonly values: FileValues;
  readonly warnings: readonly string[];
  readonly path: string;
}

/** What the file says, or why the program cannot go by it. */
export type LoadedConfig = ConfigFile | { readonly error: string };

const NAME = "vllm-htop/config.json";

/** A longer file is none of settings. */
const MAX_LENGTH: Bytes = 2 ** 20;

/** Permission bits of group and others. */
const OTHERS = 0o077;

/** Where the file usually is; `null` where no variable says where the folder for settings is. */
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
 * The settings of the file that is named, or of the usual one, which says
 * nothing where it is missing.
 *
 * @param named The path that the user gave, or `null`.
 * @returns `error`: one sentence without a full stop, with no secret in it.
 */
export async function loadConfig(platform: Platform, named: string | null): Promise<LoadedConfig> {
  const path = named ?? findConfigPath(platform);
  if (path === null) return { values: new Map(), warnings: [], path: "" };
  const shown = `the file of settings ${quote(path)}`;
  let text: string;
  try {
    text = await platform.readTextFile(path);
  } catch (error) {
    if (named === null && isMissingFile(error)) return { values: new Map(), warnings: [], path };
    return { error: `${shown} ${describeFileError(error)}` };
  }
  if (text.length > MAX_LENGTH) return { error: `${shown} is longer than ${MAX_LENGTH} bytes` };
  const folder = /^(.*)[/\\]/s.exec(path)?.[1] ?? ".";
  const config = readConfig(text, folder);
  if ("error" in config) return { error: `${shown}: ${config.error}` };
  const mode = config.hasSecrets ? await platform.fileMode(path) : null;
  if (mode !== null && (mode & OTHERS) !== 0) {
    return { error: `${shown} has a password in it, and others can read it: chmod 600` };
  }
  const warnings = config.warnings.map((warning) => `${shown}: ${warning}`);
  return { values: config.values, warnings, path };
}
