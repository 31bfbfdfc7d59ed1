/**
 * The file of `--state`, which keeps the newest scrapes from one run to the next.
 *
 * Layer 5, effects: reads and writes one file through the platform. What stands
 * in it is `kept_scrapes`' matter. A file that says nothing of use holds up no
 * run: it is remarked upon, and written anew.
 *
 * @module
 */

import { describeFileError, isMissingFile } from "./file_errors.ts";
import { isKeptText, type RecalledScrapes, recallScrapes, writeScrapes } from "./kept_scrapes.ts";
import type { KeptScrape } from "./model.ts";
import type { Platform } from "./platform.ts";
import { quote, sanitizeText } from "./text.ts";

function nameFile(path: string): string {
  return `the state file ${quote(path)}`;
}

/** What a remark about the file means for the figures. */
const CONSEQUENCE = "rates come with the next run";

/**
 * The scrapes of the run before that those of this one can be compared with.
 *
 * @returns `remarks`: whole sentences without a full stop.
 */
export async function loadScrapes(
  platform: Pick<Platform, "readTextFile" | "monotonicSeconds" | "epochSeconds">,
  path: string,
  endpointKeys: readonly string[],
): Promise<RecalledScrapes> {
  const file = nameFile(path);
  const describe = (problem: string): string => `${file}: ${problem}: ${CONSEQUENCE}`;
  let text: string;
  try {
    text = await platform.readTextFile(path);
  } catch (error) {
    const remark = isMissingFile(error)
      ? describe("it is not there yet")
      : `${file} ${describeFileError(error)}; ${CONSEQUENCE}`;
    return { scrapes: [], remarks: [remark] };
  }
  const clocks = { now: platform.monotonicSeconds(), nowEpoch: platform.epochSeconds() };
  const { scrapes, remarks } = recallScrapes(text, { ...clocks, endpointKeys });
  return { scrapes, remarks: remarks.map(describe) };
}

function describeWriteError(error: unknown): string {
  switch (error instanceof Error ? error.name : "") {
    case "NotCapable":
      return "this program may not write there: run it by Deno, or compile it, with " +
        "--allow-write=FOLDER (README, Cron)";
    case "PermissionDenied":
      return "its folder may not be written to: check its permissions";
    case "NotFound":
      return "its folder does not exist: make it";
    default:
      return sanitizeText(error instanceof Error ? error.message : String(error));
  }
}

/** Whether a file of somebody else's stands there: a path that was mistyped must destroy nothing. */
async function isForeign(platform: Pick<Platform, "readTextFile">, path: string): Promise<boolean> {
  try {
    const text = await platform.readTextFile(path);
    return text !== "" && !isKeptText(text);
  } catch {
    return false; // What cannot be read is the matter of who writes.
  }
}

/** Puts the scrapes in the place of what the file says. What went wrong in one safe sentence, or `null`. */
export async function saveScrapes(
  platform: Pick<Platform, "readTextFile" | "writeTextFile">,
  path: string,
  scrapes: readonly KeptScrape[],
): Promise<string | null> {
  const file = nameFile(path);
  if (await isForeign(platform, path)) {
    return `${file} is none, and is left as it is: name another, or remove it`;
  }
  const text = writeScrapes(scrapes);
  try {
    await platform.writeTextFile(path, text);
    return null;
  } catch (error) {
    return `${file} cannot be written: ${describeWriteError(error)}`;
  }
}
