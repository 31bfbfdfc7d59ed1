/**
 * The parts of which the JSON Schema of the report is made.
 *
 * Layer 4, pure. Source: JSON Schema 2020-12.
 *
 * @module
 */

import type { Schema } from "./config_schema.ts";
import { ABSENCE_REASONS } from "./reading.ts";

/** Schemas by the keys of an object. */
export type Properties = Readonly<Record<string, Schema>>;

/** A finite number. */
export const NUMBER: Schema = { type: "number" };
/** A whole number of at least 0. */
export const COUNT: Schema = { type: "integer", minimum: 0 };
/** A share, or how many times: at least 0. */
export const RATIO: Schema = { type: "number", minimum: 0 };
/** A text. */
export const TEXT: Schema = { type: "string" };
/** True or false. */
export const BOOLEAN: Schema = { type: "boolean" };
/** A list of texts. */
export const TEXTS: Schema = { type: "array", items: TEXT };
/** Label value -> figure. */
export const FAMILY: Schema = {
  type: "object",
  additionalProperties: { type: ["number", "null"] },
};

/** What stands under that name among the definitions. */
export function refer(name: string): Schema {
  return { $ref: `#/$defs/${name}` };
}

/** The same, or `null`. */
export function orNull(schema: Schema): Schema {
  return { anyOf: [schema, { type: "null" }] };
}

/** An object in which every one of the keys is there. */
export function object(properties: Properties, optional: Properties = {}): Schema {
  return {
    type: "object",
    properties: { ...properties, ...optional },
    required: Object.keys(properties),
  };
}

/** Keys of readings, each `null` where `reasons` says why, with what stands beside them. */
export function readings(
  keys: Properties,
  others: Properties = {},
  optional: Properties = {},
): Schema {
  const nullable = Object.fromEntries(
    Object.entries(keys).map(([key, schema]) => [key, orNull(schema)]),
  );
  return object({ ...nullable, ...others }, {
    ...optional,
    partial: { description: "keys whose value is a lower bound", ...TEXTS },
    reasons: {
      description: "key -> why it is null",
      type: "object",
      additionalProperties: { enum: ABSENCE_REASONS },
    },
  });
}
