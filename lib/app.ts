/**
 * The program: from arguments to an exit code. What most calls do not need is loaded on demand: it
 * takes longer than all that `--version` does.
 * @module
 */

import { print, reportInternalError } from "./app_print.ts";
import { EXIT_CONFIGURATION, EXIT_INTERNAL, EXIT_OK } from "./cli_exit.ts";
import { findQuestion } from "./cli_questions.ts";
import { isFullDisk } from "./files.ts";
import type { Platform } from "./platform.ts";
import { VERSION } from "./version.ts";

async function answer(platform: Platform, argv: readonly string[]): Promise<number> {
  switch (findQuestion(argv)) {
    case "version":
      return await print(platform, [`vllm-htop ${VERSION}`]);
    case "help": {
      const { helpText } = await import("./cli_help.ts");
      return await print(platform, [helpText().trimEnd()]);
    }
    case null: {
      const { start } = await import("./app_start.ts");
      return await start(platform, argv);
    }
  }
}

/** Never rejects: internal errors go to standard error, with exit code 70. */
export async function runApp(platform: Platform, argv: readonly string[]): Promise<number> {
  try {
    return await answer(platform, argv);
  } catch (error) {
    if (platform.isBrokenPipe(error)) return EXIT_OK;
    if (isFullDisk(error)) {
      platform.stdio.writeStderr(
        "vllm-htop: the output cannot be written: no space is left there\n",
      );
      return EXIT_CONFIGURATION;
    }
    reportInternalError(platform, error);
    return EXIT_INTERNAL;
  }
}
