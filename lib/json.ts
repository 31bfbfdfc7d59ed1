/**
 * JSON types, and a parser of untrusted JSON with comments and trailing commas. Unlike `@std/jsonc`
 * it keeps line numbers for error messages.
 * @module
 */

export type Schema = { readonly [key: string]: unknown };
export type JsonRecord = Readonly<Record<string, unknown>>;

/** Not a list. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `undefined` if it is not JSON. */
export function parseUntrustedJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export type JsonNode =
  & { readonly line: number }
  & (
    | { readonly kind: "null" }
    | { readonly kind: "boolean"; readonly value: boolean }
    /** `text` is as written. */
    | { readonly kind: "number"; readonly value: number; readonly text: string }
    | { readonly kind: "string"; readonly value: string }
    | { readonly kind: "array"; readonly items: readonly JsonNode[] }
    /** In order; a name may come twice. */
    | { readonly kind: "object"; readonly members: readonly JsonMember[] }
  );

export interface JsonMember {
  readonly name: string;
  readonly line: number;
  readonly value: JsonNode;
}

/** Deeper nesting is refused. */
const MAX_DEPTH = 32;
const BLANKS = /(?:[ \t\r\n]|\/\/[^\n]*|\/\*[^]*?\*\/)*/y;
// deno-lint-ignore no-control-regex
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;

/** Never leaves this module. */
class TextError extends Error {}

interface Cursor {
  readonly text: string;
  position: number;
  line: number;
}

/** Consumes a match at the position; `null` if there is none. */
function take(cursor: Cursor, pattern: RegExp): string | null {
  pattern.lastIndex = cursor.position;
  const found = pattern.exec(cursor.text)?.[0] ?? null;
  if (found === null) return null;
  cursor.position += found.length;
  for (const character of found) if (character === "\n") cursor.line++;
  return found;
}

/** Consumes the sign after blanks and comments, if it is next. */
function takeSign(cursor: Cursor, sign: string): boolean {
  take(cursor, BLANKS);
  if (cursor.text[cursor.position] !== sign) return false;
  cursor.position++;
  return true;
}

function parseString(cursor: Cursor): string {
  const token = take(cursor, STRING);
  if (token === null) throw new TextError("a string is not closed or has an invalid escape");
  const value: unknown = JSON.parse(token);
  return String(value);
}

/** Items with commas between and perhaps one at the end. */
function parseItems<T>(cursor: Cursor, end: "]" | "}", parseItem: () => T): readonly T[] {
  const items: T[] = [];
  while (!takeSign(cursor, end)) {
    if (items.length > 0 && !takeSign(cursor, ",")) {
      throw new TextError(`a "," or "${end}" is missing`);
    }
    if (items.length > 0 && takeSign(cursor, end)) break;
    items.push(parseItem());
  }
  return items;
}

function parseMember(cursor: Cursor, depth: number): JsonMember {
  take(cursor, BLANKS);
  const { line } = cursor;
  if (cursor.text[cursor.position] !== '"') throw new TextError('a name in "" is missing');
  const name = parseString(cursor);
  if (!takeSign(cursor, ":")) throw new TextError('a ":" after the name is missing');
  return { name, line, value: parseValue(cursor, depth) };
}

function parseValue(cursor: Cursor, depth: number): JsonNode {
  if (depth > MAX_DEPTH) throw new TextError("objects and arrays are nested too deeply");
  take(cursor, BLANKS);
  const { line } = cursor;
  if (takeSign(cursor, "{")) {
    const members = parseItems(cursor, "}", () => parseMember(cursor, depth + 1));
    return { kind: "object", line, members };
  }
  if (takeSign(cursor, "[")) {
    return {
      kind: "array",
      line,
      items: parseItems(cursor, "]", () => parseValue(cursor, depth + 1)),
    };
  }
  if (cursor.text[cursor.position] === '"') {
    return { kind: "string", line, value: parseString(cursor) };
  }
  const number = take(cursor, NUMBER);
  if (number !== null) return { kind: "number", line, value: Number(number), text: number };
  const word = take(cursor, WORD);
  if (word === null) throw new TextError("a value is missing or invalid");
  return word === "null"
    ? { kind: "null", line }
    : { kind: "boolean", line, value: word === "true" };
}

export function parseJsonText(
  text: string,
): JsonNode | { readonly problem: string; readonly line: number } {
  const cursor: Cursor = { text: text.replace(/^\ufeff/, ""), position: 0, line: 1 };
  try {
    const value = parseValue(cursor, 0);
    take(cursor, BLANKS);
    if (cursor.position < cursor.text.length) throw new TextError("unexpected text after the end");
    return value;
  } catch (error) {
    if (error instanceof TextError) return { problem: error.message, line: cursor.line };
    throw error;
  }
}

export type Json = null | boolean | number | string | readonly Json[] | {
  readonly [key: string]: Json;
};
export type JsonObject = { readonly [key: string]: Json };
