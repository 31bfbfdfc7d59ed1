/**
 * Readings into JSON: a value, or `null` with its reason.
 *
 * Layer 4, pure. The reason of a figure without a value stands under its key in
 * `reasons` of the same object; a sum that is a lower bound is named in
 * `partial`. Every number is finite.
 *
 * @module
 */

import { isPresent, type Reading } from "./reading.ts";

/** What a JSON document is made of. */
export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [key: string]: Json;
};
/** An object in it. */
export type JsonObject = { readonly [key: string]: Json };

/** An object of readings, with the reasons of those that are absent. */
export function reportReadings(readings: Readonly<Record<string, Reading<Json>>>): JsonObject {
  const values: Record<string, Json> = {};
  const reasons: Record<string, string> = {};
  const partial: string[] = [];
  for (const [key, reading] of Object.entries(readings)) {
    const { value } = reading;
    const isBroken = typeof value === "number" && !Number.isFinite(value);
    values[key] = isBroken ? null : value;
    if (!isPresent(reading)) reasons[key] = reading.reason;
    else if (isBroken) reasons[key] = "not_finite";
    else if (reading.partial) partial.push(key);
  }
  return {
    ...values,
    ...(partial.length > 0 ? { partial } : {}),
    ...(Object.keys(reasons).length > 0 ? { reasons } : {}),
  };
}
