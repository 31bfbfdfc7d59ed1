/**
 * Descriptors of the report: one list of fields makes an object, its JSON Schema (2020-12) and its
 * reference in docs/json.md. A value without a reading is `null`, with the reason in `reasons`;
 * lower bounds are named in `partial`. Unknown keys are allowed: new keys need no new schema
 * number.
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
  /** Of an object. */
  readonly fields?: readonly Field<never>[];
  /** One number, text or truth value. */
  readonly isScalar?: true;
}

export interface Field<Source> {
  readonly key: string;
  readonly type: ValueType<never>;
  readonly description: string;
  /** `figure`: may be `null`, with its reason. `optional`: may be left out. */
  readonly presence: Presence;
  /** `undefined` omits the key. */
  readonly read: (source: Source) => Reading<Json> | undefined;
}

function scalar<T extends Json>(schema: Schema, unit = ""): ValueType<T> {
  return { unit, write: (value) => value, describe: () => schema, isScalar: true };
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

export function orNull<T>(type: ValueType<T>): ValueType<T | null> {
  const { write, describe } = type;
  return {
    ...type,
    write: (value) => value === null ? null : write(value),
    describe: (definitions) => allowNull(describe(definitions)),
  };
}

type Source<Property extends string, T> = { readonly [Name in Property]: T };
type Facts<T> = [type: ValueType<T>, description: string];

/** What `read` gives for a value of type `T`. */
interface Sources<T> {
  readonly always: T;
  readonly figure: Reading<T>;
  readonly optional: T | null | undefined;
}

type Presence = keyof Sources<unknown>;

/** Defines a key. Its value comes from `read`: a function, or the name of a property, by default the key. */
interface DefineField<P extends Presence> {
  <K extends string, T>(...row: [key: K, ...Facts<T>]): Field<Source<K, Sources<T>[P]>>;
  <K extends string, T>(
    ...row: [key: string, ...Facts<T>, read: K]
  ): Field<Source<K, Sources<T>[P]>>;
  <S, T>(...row: [key: string, ...Facts<T>, read: (source: S) => Sources<T>[P]]): Field<S>;
}

function defineFields<P extends Presence>(
  presence: P,
  toJson: <T>(value: Sources<T>[P], write: (value: T) => Json) => Reading<Json> | undefined,
): DefineField<P> {
  return <S, T>(
    ...[key, type, description, read = key]: [
      key: string,
      ...Facts<T>,
      read?: string | ((source: S) => Sources<T>[P]),
    ]
  ): Field<S> => {
    // The overloads check that the property has this type.
    const getValue = typeof read === "function"
      ? read
      : (source: S) => (source as Record<string, Sources<T>[P]>)[read];
    return {
      key,
      type,
      description,
      presence,
      read: (source) => toJson(getValue(source), type.write),
    };
  };
}

/** A key that is always there. */
export const field: DefineField<"always"> = defineFields(
  "always",
  (value, write) => present(write(value)),
);
/** A key that is `null` with a reason if its reading is absent. */
export const figure: DefineField<"figure"> = defineFields("figure", mapReading);
/** A key that is omitted if there is no value. */
export const optional: DefineField<"optional"> = defineFields(
  "optional",
  (value, write) => value === null || value === undefined ? undefined : present(write(value)),
);

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

export function describeFields(fields: readonly Field<never>[], definitions: Definitions): Schema {
  const properties = fields.map((one) => [one.key, describeField(one, definitions)] as const);
  const hasFigures = fields.some(({ presence }) => presence === "figure");
  return {
    type: "object",
    properties: { ...Object.fromEntries(properties), ...(hasFigures ? REMARKS : {}) },
    required: fields.filter(({ presence }) => presence !== "optional").map(({ key }) => key),
  };
}

/** A named object is defined once in the schema. */
export function object<Source>(fields: readonly Field<Source>[], name?: string): ValueType<Source> {
  return {
    unit: "",
    fields,
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

/** Paths of the scalars in an object, without those in lists and maps. */
export function listScalars(fields: readonly Field<never>[]): readonly (readonly string[])[] {
  return fields.flatMap(({ key, type }) => {
    if (type.isScalar) return [[key]];
    return listScalars(type.fields ?? []).map((path) => [key, ...path]);
  });
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

/** Adds to each part what its fields need besides. */
export function extend<T, More>(parts: readonly T[], more: More): readonly (T & More)[] {
  return parts.map((part) => ({ ...part, ...more }));
}
