/**
 * The file with the user's prices of GPUs.
 *
 * Layer 5, effects: reads one file through the platform. What stands in it is
 * `gpu_prices`' matter.
 *
 * @module
 */

import { describeFileError } from "./file_errors.ts";
import { type GpuPrice, readPriceFile } from "./gpu_prices.ts";
import type { Platform } from "./platform.ts";
import { quote } from "./text.ts";

/** The prices of the file, none where there is no file; or why it cannot be used, in one safe sentence. */
export async function loadPrices(
  platform: Pick<Platform, "readTextFile">,
  path: string | null,
): Promise<readonly GpuPrice[] | { readonly error: string }> {
  if (path === null) return [];
  const file = `the price file ${quote(path)}`;
  let text: string;
  try {
    text = await platform.readTextFile(path);
  } catch (error) {
    return { error: `${file} ${describeFileError(error)}` };
  }
  const read = readPriceFile(text);
  return "prices" in read
    ? read.prices
    : { error: `${file} ${read.error}: write lines of a GPU's name, a tab and USD per hour` };
}
