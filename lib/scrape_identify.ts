/**
 * Which kind of server answers, asked without harm. `/v1/models` comes first: it has no effect on
 * any server, whereas `/metrics` wakes a sleeping llama.cpp and empties the queue of trtllm-serve.
 * A look-alike must also give its proofs. A refusal proves nothing.
 * @module
 */

import { DIALECTS } from "./dialect.ts";
import type { Answer, Ask, Dialect } from "./dialect_model.ts";
import { isRecord, parseUntrustedJson } from "./json.ts";
import { parseModelList } from "./scrape_server_info.ts";

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

/** `null` if only its metrics can tell. Rejects with the runtime's error. */
export async function identifyKind(ask: Ask): Promise<Dialect | null> {
  const answer = await ask("/v1/models");
  const isEmpty = answer.status === 200 && listsNothing(answer);
  const owners = answer.status === 200 ? parseModelList(answer.text)?.owners : undefined;
  const isKind = ({ modelOwner, serverHeader, proofs }: Dialect): boolean => {
    if (serverHeader !== undefined && answer.serverHeader === serverHeader) return true;
    return owners?.has(modelOwner) === true || (isEmpty && proofs !== undefined);
  };
  for (const dialect of DIALECTS) {
    if (isKind(dialect) && await givesProofs(ask, dialect)) return dialect;
  }
  return null;
}
