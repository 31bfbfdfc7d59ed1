/**
 * What a server's `/version` and `/v1/models` say.
 *
 * Layer 1, pure. vLLM's `/version` is an object with a version and nothing
 * else, which no other model server has; its models are cards with their
 * longest context, and LoRA adapters are cards with a parent (vLLM
 * 0.4 and newer). Other servers list models, too, and say by `owned_by` who they
 * are. Texts are made safe here; what is malformed is left out.
 *
 * @module
 */

import { isRecord, parseForeignJson } from "./foreign_json.ts";
import type { ModelCard } from "./model.ts";
import { sanitizeText } from "./text.ts";

/** What a server lists. */
export interface ModelList {
  readonly models: readonly ModelCard[];
  /** Who the models belong to, which is the name of the server's program with most of them. */
  readonly owners: ReadonlySet<string>;
}

/** Cards that are kept: a server with more adapters is not to fill the screen. */
const MAX_CARDS = 256;

/** Longest version that is one. */
const VERSION = /^\d+\.\d[\w.+!-]{0,60}$/;

/**
 * vLLM's version, or `null` where the text is no answer of vLLM's.
 *
 * @example
 * ```ts
 * import { readVersion } from "./server_info.ts";
 * readVersion('{"version":"0.10.2"}'); // "0.10.2"
 * ```
 */
export function readVersion(text: string): string | null {
  const value = parseForeignJson(text);
  if (!isRecord(value) || Object.keys(value).join() !== "version") return null;
  const { version } = value;
  return typeof version === "string" && VERSION.test(version) ? version : null;
}

function readCard(value: unknown): ModelCard | null {
  if (!isRecord(value) || typeof value.id !== "string" || value.id === "") return null;
  const { id, parent, max_model_len: length } = value;
  const isLength = typeof length === "number" && Number.isSafeInteger(length) && length > 0;
  return {
    id: sanitizeText(id),
    parent: typeof parent === "string" && parent !== "" ? sanitizeText(parent) : null,
    maxModelLength: isLength ? length : null,
  };
}

/** The models of an answer to `/v1/models`, or `null` where the text is none. */
export function readModelList(text: string): ModelList | null {
  const value = parseForeignJson(text);
  if (!isRecord(value) || !Array.isArray(value.data)) return null;
  const listed: readonly unknown[] = value.data.slice(0, MAX_CARDS);
  const owners = listed.flatMap((card) =>
    isRecord(card) && typeof card.owned_by === "string" ? [card.owned_by] : []
  );
  const models = listed.map(readCard).filter((card) => card !== null);
  return { models, owners: new Set(owners) };
}
