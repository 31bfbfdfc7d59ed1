/**
 * Which kind of server answers, asked without harm. `/v1/models` comes first: it has no effect on
 * any server, whereas `/metrics` wakes a sleeping llama.cpp and empties the queue of trtllm-serve.
 * A look-alike must also give its proofs. A refusal proves nothing.
 * @module
 */

import { DIALECTS } from "./dialect.ts";
import type { Answer, Ask, Dialect } from "./dialect_model.ts";
import { isRecord, parseUntrustedJson } from "./json.ts";
import { type ModelList, parseModelList } from "./scrape_server_info.ts";

/** Without what users type differently. */
function simplify(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "");
}

/** As shown to those who type them. */
export const KIND_NAMES: readonly string[] = DIALECTS.map(({ name }) =>
  name.toLowerCase().replaceAll(" ", "-")
);

/** `null` if there is no such kind. */
export function findKindName(typed: string): string | null {
  return DIALECTS.find(({ name }) => simplify(name) === simplify(typed))?.name ?? null;
}

/** Whether it is an empty OpenAI model list: it does not tell which server answers. */
function listsNothing({ text }: Answer): boolean {
  const value = parseUntrustedJson(text);
  return isRecord(value) && value.object === "list" && "data" in value &&
    (value.data === null || (Array.isArray(value.data) && value.data.length === 0));
}

async function givesProofs(ask: Ask, { proofs = [] }: Dialect): Promise<boolean> {
  for (const { path, pattern } of proofs) {
    const { status, text } = await ask(path);
    if (status !== 200 || !pattern.test(text)) return false;
  }
  return true;
}

interface Identity {
  /** `null` if only its metrics can tell. */
  readonly dialect: Dialect | null;
  /** `null` if it gave none. */
  readonly models: ModelList | null;
}

/** Rejects with the runtime's error. */
export async function identifyKind(ask: Ask): Promise<Identity> {
  const answer = await ask("/v1/models");
  const isEmpty = answer.status === 200 && listsNothing(answer);
  const models = answer.status === 200 ? parseModelList(answer.text) : null;
  const isKind = ({ modelOwner, serverHeader, proofs }: Dialect): boolean => {
    if (serverHeader !== undefined && answer.header("server") === serverHeader) return true;
    return models?.owners.has(modelOwner) === true || (isEmpty && proofs !== undefined);
  };
  for (const dialect of DIALECTS) {
    if (isKind(dialect) && await givesProofs(ask, dialect)) return { dialect, models };
  }
  return { dialect: null, models };
}
