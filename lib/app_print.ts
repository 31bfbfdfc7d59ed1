/**
 * Prints what needs no session.
 * @module
 */

import { EXIT_OK } from "./cli_exit.ts";
import type { Platform } from "./platform.ts";

export function reportInternalError(platform: Platform, error: unknown): void {
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  platform.stdio.writeStderr(`vllm-htop: internal error, please report it: ${text}\n`);
}

export async function print(platform: Platform, lines: readonly string[]): Promise<number> {
  const text = lines.map((line) => `${line}\n`).join("");
  if (text !== "") await platform.stdio.writeStdout(new TextEncoder().encode(text));
  return EXIT_OK;
}
