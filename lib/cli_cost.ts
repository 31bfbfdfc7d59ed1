/**
 * The options about GPUs and money -> checked values.
 *
 * What is not given is `null`, never 0: an amount that nobody
 * has told is no amount. What is wrong goes to the problems, as in
 * `cli_arguments`. Prices in USD; the currency's sign changes none.
 *
 * @module
 */

import {
  chooseLevel,
  findSetting,
  findSwitch,
  type Input,
  isSwitchedOn,
  parseNumberSetting,
} from "./cli_arguments.ts";
import type { OptionName } from "./cli_option_table.ts";
import type { TokenPrices } from "./model.ts";
import { measureWidth, quote, sanitizeText } from "./text.ts";

/** Whether to look at this machine's GPUs: `auto` where a server on it is watched. */
export type GpuOptions = "auto" | "always" | "never";

/** What the user says of money. */
export interface CostOptions {
  readonly tokenPrices: TokenPrices;
  /** USD per GPU and hour, for all alike; `null` for hints by their names. */
  readonly usdPerGpuHour: number | null;
  /** `null` for those that are found. */
  readonly gpuCount: number | null;
  /** Whether GPUs that are found cost something. */
  readonly detectsGpus: boolean;
  /** Path of a file with prices, or `null`. */
  readonly pricesFile: string | null;
  /** What stands before amounts; one to four cells. */
  readonly currency: string;
}

/** USD: a slip of the finger must not look like a price. */
const MAX_PRICE = 1_000_000;

/** GPUs: more than any one place has. */
const MAX_GPUS = 1_000_000;

const MAX_CURRENCY_WIDTH = 4;

/** A number within limits, or `null` where none is given. */
function parseOptionalNumber(
  input: Input,
  name: OptionName,
  limits: { readonly min: number; readonly max: number; readonly unit: string },
): number | null {
  return findSetting(input, name).text === "" ? null : parseNumberSetting(input, name, limits);
}

function parsePrice(input: Input, name: OptionName): number | null {
  return parseOptionalNumber(input, name, { min: 0, max: MAX_PRICE, unit: "USD" });
}

function parseGpuCount(input: Input): number | null {
  const count = parseOptionalNumber(input, "num-gpus", { min: 1, max: MAX_GPUS, unit: "" });
  if (count !== null && !Number.isInteger(count) && input.problems.length === 0) {
    const { origin, text } = findSetting(input, "num-gpus");
    input.problems.push(`${origin} ${quote(text)} is not a whole number`);
  }
  return count;
}

function parseCurrency(input: Input): string {
  const { origin, text } = findSetting(input, "currency");
  const isShort = measureWidth(text) <= MAX_CURRENCY_WIDTH;
  if (sanitizeText(text) !== text || !isShort || /[\d\s.,-]/.test(text)) {
    input.problems.push(
      `${origin} ${quote(text)} is not the sign of a currency: write up to four letters, such ` +
        'as "€" or "USD"',
    );
  }
  return text;
}

/** Whether to look at GPUs. An option beats the variable of the other, and that the file. */
export function parseGpuOptions(input: Input): GpuOptions {
  const level = chooseLevel(input, ["gpus", "no-gpu"]);
  const always = findSwitch(input, "gpus", level);
  const never = findSwitch(input, "no-gpu", level);
  if (always !== "" && never !== "") {
    input.problems.push(`${always} and ${never} exclude each other: give one`);
  }
  return never !== "" ? "never" : always !== "" ? "always" : "auto";
}

/** What the user says of money. */
export function parseCostOptions(input: Input): CostOptions {
  const pricesFile = findSetting(input, "prices").text;
  return {
    tokenPrices: {
      input: parsePrice(input, "cost-in"),
      cachedInput: parsePrice(input, "cost-cached-in"),
      output: parsePrice(input, "cost-out"),
    },
    usdPerGpuHour: parsePrice(input, "gpu-cost-hour"),
    gpuCount: parseGpuCount(input),
    detectsGpus: !isSwitchedOn(input, "no-gpu-detect"),
    pricesFile: pricesFile === "" ? null : pricesFile,
    currency: parseCurrency(input),
  };
}
