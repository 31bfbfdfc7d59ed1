/**
 * JSON of other programs, of which nothing is certain.
 *
 * Layer 1, pure.
 *
 * @module
 */

/** An object of unknown values by name. */
export type JsonRecord = Readonly<Record<string, unknown>>;

/** Whether a value is an object, and no list. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What the text says, or `undefined`, which no JSON says, where it is none. */
export function parseForeignJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
