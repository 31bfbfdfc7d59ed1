/**
 * Keeps texts of bodies across scrapes: names of models, engines and labels recur.
 * @module
 */

import { sanitizeName } from "./text.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** Beyond it, all are forgotten: servers may make up labels. */
const MAX_KEPT_TEXTS = 10_000;
/** In characters. */
const MAX_KEPT_LENGTH = 256;

/** Sanitizes and copies: a slice would keep the whole body in memory. */
export type KeepText = (raw: string) => string;

/** Remembers texts across scrapes. */
export function createTextKeeper(): KeepText {
  const kept = new Map<string, string>();
  return (raw) => {
    let text = kept.get(raw);
    if (text === undefined) {
      const own = decoder.decode(encoder.encode(raw));
      text = sanitizeName(own);
      if (own.length > MAX_KEPT_LENGTH) return text;
      if (kept.size >= MAX_KEPT_TEXTS) kept.clear();
      kept.set(own, text);
    }
    return text;
  };
}
