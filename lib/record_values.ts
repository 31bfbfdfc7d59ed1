/**
 * Values with maps, sets and numbers that JSON lacks <-> JSON. Texts that come back are sanitized:
 * a recording may be anybody's.
 * @module
 */

import { isRecord, type Json } from "./json.ts";
import { sanitizeText } from "./text.ts";

const MAP = "$map", SET = "$set", NUMBER = "$number";

/** Drops what is `undefined`. @throws {TypeError} If it holds a function or an object of a class. */
export function encodeValue(value: unknown): Json {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      return Number.isFinite(value) ? value : { [NUMBER]: String(value) };
  }
  if (value === null) return null;
  if (Array.isArray(value)) return value.map(encodeValue);
  if (value instanceof Map) {
    return { [MAP]: [...value].map(([key, one]) => [encodeValue(key), encodeValue(one)]) };
  }
  if (value instanceof Set) return { [SET]: [...value].map(encodeValue) };
  if (isRecord(value) && Object.getPrototypeOf(value) === Object.prototype) {
    const members = Object.entries(value).filter(([, one]) => one !== undefined);
    return Object.fromEntries(members.map(([key, one]) => [key, encodeValue(one)]));
  }
  throw new TypeError(`Cannot record a value of type "${typeof value}"`);
}

/** @throws {TypeError} If it is not what `encodeValue` writes. */
export function decodeValue(json: unknown): unknown {
  if (typeof json === "string") return sanitizeText(json, Infinity);
  if (Array.isArray(json)) return json.map(decodeValue);
  if (!isRecord(json)) return json;
  if (Array.isArray(json[MAP])) {
    return new Map(json[MAP].map(([key, value]) => [decodeValue(key), decodeValue(value)]));
  }
  if (Array.isArray(json[SET])) return new Set(json[SET].map(decodeValue));
  if (typeof json[NUMBER] === "string") return Number(json[NUMBER]);
  return Object.fromEntries(
    Object.entries(json).map(([key, value]) => [sanitizeText(key, Infinity), decodeValue(value)]),
  );
}
