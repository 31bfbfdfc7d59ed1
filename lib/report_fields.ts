/**
 * Descriptors of the report: one list of fields makes an object, its JSON Schema (2020-12) and its
 * reference in docs/json.md. A value without a reading is `null`, with the reason in `reasons`;
 * lower bounds are named in `partial`. Unknown keys are allowed: new keys need no new schema
 * number.
 *
 * @module
 */

import type { Json, JsonObject, Schema } from "./json.ts";
import type { MetricValue } from "./model.ts";
import { ABSENCE_REASONS, mapReading, present, type Reading } from "./reading.ts";

type Definitions = Map<string, Schema>;

export interface ValueType<T> {
  /** "" if it has none. */
  readonly unit: string;
  readonly write: (value: T) => Json;
  /** Adds named objects to `definitions`. */
  readonly describe: (definitions: Definitions) => Schema;
}

export interface Field<Source> {
  readonly key: string;
  readonly type: ValueType<never>;
  readonly description: string;
  /** `figure`: may be `null`, with its reason. `optional`: may be left out. */
  readonly presence: "always" | "figure" | "optional";
  /** `undefined` omits the key. */
  readonly read: (source: Source) => Reading<Json> | undefined;
}

function scalar<T extends Json>(schema: Schema, unit = ""): ValueType<T> {
  return { unit, write: (value) => value, describe: () => schema };
}

export function number(unit = ""): ValueType<number> {
  return scalar({ type: "number" }, unit);
}

/** A whole number of at least 0. */
export function count(unit = ""): ValueType<number> {
  return scalar({ type: "integer", minimum: 0 }, unit);
}

export function oneOf(words: readonly string[]): ValueType<string> {
  return scalar({ enum: words });
}

export const RATIO: ValueType<number> = scalar({ type: "number", minimum: 0 }, "ratio");
export const SECONDS: ValueType<number> = number("seconds");
export const EPOCH: ValueType<number> = number("seconds since 1970");
export const BYTES: ValueType<number> = number("bytes");
export const TOKENS: ValueType<number> = number("tokens");
export const REQUESTS: ValueType<number> = number("requests");
export const USD: ValueType<number> = number("USD");
export const TEXT: ValueType<string> = scalar({ type: "string" });
export const BOOLEAN: ValueType<boolean> = scalar({ type: "boolean" });
export const TEXTS: ValueType<readonly string[]> = list(TEXT);

/** Label value -> number, `null` if not finite. */
export const COUNTS: ValueType<ReadonlyMap<string, number>> = {
  unit: "",
  write: (counts) =>
    Object.fromEntries(
      [...counts].map(([key, value]) => [key, Number.isFinite(value) ? value : null]),
    ),
  describe: () => ({ type: "object", additionalProperties: { type: ["number", "null"] } }),
};

export const LABELS: ValueType<ReadonlyMap<string, string>> = {
  unit: "",
  write: (labels) => Object.fromEntries(labels),
  describe: () => ({ type: "object", additionalProperties: { type: "string" } }),
};

export function list<T>({ unit, write, describe }: ValueType<T>): ValueType<readonly T[]> {
  return {
    unit,
    write: (values) => values.map(write),
    describe: (definitions) => ({ type: "array", items: describe(definitions) }),
  };
}

function allowNull(schema: Schema): Schema {
  return { anyOf: [schema, { type: "null" }] };
}

export function orNull<T>({ unit, write, describe }: ValueType<T>): ValueType<T | null> {
  return {
    unit,
    write: (value) => value === null ? null : write(value),
    describe: (definitions) => allowNull(describe(definitions)),
  };
}

type Source<Property extends string, T> = { readonly [Name in Property]: T };

type Facts<T> = [type: ValueType<T>, description: string];

type FieldRow<S, T, Value = T> = [
  key: string,
  ...Facts<T>,
  read?: string | ((source: S) => Value),
];

/** By function, or from the property of that name, which the overloads check. */
function getValue<S, T>(read: string | ((source: S) => T), source: S): T {
  return typeof read === "function" ? read(source) : (source as Record<string, T>)[read];
}

/** Always there. Read from the property of the same name unless `read` says otherwise. */
export function field<P extends string, T>(
  ...row: [key: P, ...Facts<T>]
): Field<Source<P, T>>;
export function field<P extends string, T>(
  ...row: [key: string, ...Facts<T>, read: P]
): Field<Source<P, T>>;
export function field<S, T>(
  ...row: [key: string, ...Facts<T>, read: (source: S) => T]
): Field<S>;
export function field<S, T>(
  ...[key, type, description, read = key]: FieldRow<S, T>
): Field<S> {
  const readJson = (source: S) => present(type.write(getValue(read, source)));
  return { key, type, description, presence: "always", read: readJson };
}

/** `null` with a reason if its reading is absent. */
export function figure<P extends string, T>(
  ...row: [key: P, ...Facts<T>]
): Field<Source<P, Reading<T>>>;
export function figure<P extends string, T>(
  ...row: [key: string, ...Facts<T>, read: P]
): Field<Source<P, Reading<T>>>;
export function figure<S, T>(
  ...row: [key: string, ...Facts<T>, read: (source: S) => Reading<T>]
): Field<S>;
export function figure<S, T>(
  ...[key, type, description, read = key]: FieldRow<S, T, Reading<T>>
): Field<S> {
  const readJson = (source: S) => mapReading(getValue(read, source), type.write);
  return { key, type, description, presence: "figure", read: readJson };
}

/** Omitted if there is no value. */
export function optional<P extends string, T>(
  ...row: [key: P, ...Facts<T>]
): Field<Source<P, T | null | undefined>>;
export function optional<P extends string, T>(
  ...row: [key: string, ...Facts<T>, read: P]
): Field<Source<P, T | null | undefined>>;
export function optional<S, T>(
  ...row: [key: string, ...Facts<T>, read: (source: S) => T | null | undefined]
): Field<S>;
export function optional<S, T>(
  ...[key, type, description, read = key]: FieldRow<S, T, T | null | undefined>
): Field<S> {
  const readJson = (source: S) => {
    const value = getValue(read, source);
    return value === null || value === undefined ? undefined : present(type.write(value));
  };
  return { key, type, description, presence: "optional", read: readJson };
}

/** Fields of a part of the source. */
export function from<Source, Part>(
  fields: readonly Field<Part>[],
  getPart: (source: Source) => Part,
): readonly Field<Source>[] {
  return fields.map((one) => ({ ...one, read: (source) => one.read(getPart(source)) }));
}

function writeFields<Source>(fields: readonly Field<Source>[], source: Source): JsonObject {
  const values: Record<string, Json> = {};
  const reasons: Record<string, string> = {};
  const partial: string[] = [];
  for (const { key, read } of fields) {
    const reading = read(source);
    if (reading === undefined) continue;
    const { value } = reading;
    const isBroken = typeof value === "number" && !Number.isFinite(value);
    values[key] = isBroken ? null : value;
    if ("reason" in reading) reasons[key] = reading.reason;
    else if (isBroken) reasons[key] = "not_finite";
    else if (reading.partial) partial.push(key);
  }
  return {
    ...values,
    ...(partial.length > 0 ? { partial } : {}),
    ...(Object.keys(reasons).length > 0 ? { reasons } : {}),
  };
}

const REMARKS: Schema = {
  partial: {
    description: "keys whose value is a lower bound",
    type: "array",
    items: { type: "string" },
  },
  reasons: {
    description: "key -> why it is null",
    type: "object",
    additionalProperties: { enum: ABSENCE_REASONS },
  },
};

function describeField(
  { type, description, presence }: Field<never>,
  definitions: Definitions,
): Schema {
  const schema = type.describe(definitions);
  return {
    description: type.unit === "" ? description : `${description} (${type.unit})`,
    ...(presence === "figure" ? allowNull(schema) : schema),
  };
}

export function describeFields(
  fields: readonly Field<never>[],
  definitions: Definitions,
): Schema {
  const properties = fields.map((one) => [one.key, describeField(one, definitions)] as const);
  const hasFigures = fields.some(({ presence }) => presence === "figure");
  return {
    type: "object",
    properties: { ...Object.fromEntries(properties), ...(hasFigures ? REMARKS : {}) },
    required: fields.filter(({ presence }) => presence !== "optional").map(({ key }) => key),
  };
}

/** A named object is defined once in the schema. */
export function object<Source>(
  fields: readonly Field<Source>[],
  name?: string,
): ValueType<Source> {
  return {
    unit: "",
    write: (source) => writeFields(fields, source),
    describe: (definitions) => {
      if (name === undefined) return describeFields(fields, definitions);
      if (!definitions.has(name)) {
        // Reserves its place before its parts.
        definitions.set(name, {});
        definitions.set(name, describeFields(fields, definitions));
      }
      return { $ref: `#/$defs/${name}` };
    },
  };
}

const METRIC = object<MetricValue>([
  field("name", TEXT, "as exported"),
  field("labels", TEXT, "child of a family, or all labels"),
  field("kind", oneOf(["gauge", "counter", "histogram", "info"]), "kind of the metric"),
  field("unit", TEXT, "base unit; empty if unknown", ({ info }) => info?.unit ?? ""),
  figure("value", number(), "value, or observations of a histogram", ({ value }) => present(value)),
  optional("sum", number(), "of the observations"),
  optional("isUnknown", BOOLEAN, "no metric that vllm-htop knows", ({ info }) => {
    return info === null ? true : null;
  }),
], "metric");

export const METRICS: ValueType<readonly MetricValue[]> = list(METRIC);
