/**
 * Reads SGLang's metrics and, in the same round, what `/v1/loads` says of each data-parallel rank.
 * @module
 */

import type { Answer, Ask, Round } from "./dialect_model.ts";
import { quoteLabel } from "./dialect_rounds.ts";
import { METRICS_PATH } from "./endpoint.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";

export const SGLANG_PREFIX = "sglang:";
export const LOADS_PATH = "/v1/loads";
export const MODELS_PATH = "/v1/models";

/** Of each data-parallel rank; `null` if the answer has none. */
function parseLoads({ status, text }: Answer): readonly JsonRecord[] | null {
  const value = status === 200 ? parseUntrustedJson(text) : undefined;
  if (!isRecord(value) || !Array.isArray(value.loads)) return null;
  const loads: readonly unknown[] = value.loads;
  const areRanks = loads.every((load): load is JsonRecord =>
    isRecord(load) && typeof load.dp_rank === "number"
  );
  return loads.length > 0 && areRanks ? loads : null;
}

/** Labels as the metrics have them, so that both are of one engine. */
function writeLoads(loads: readonly JsonRecord[], model: string, hasRanks: boolean): string {
  return loads.flatMap((load) => {
    const { dp_rank: rank, queues } = load;
    const labels = `model_name=${model}${hasRanks ? `,dp_rank="${rank}"` : ""}`;
    const figures = {
      running_reqs: load.num_running_reqs,
      // Without those in other stages.
      waiting_reqs: isRecord(queues) ? queues.waiting : undefined,
      token_usage: load.token_usage,
      total_tokens: load.max_total_num_tokens,
      max_running_reqs: load.max_running_requests,
    };
    return Object.entries(figures).map(([name, value]) =>
      typeof value === "number" ? `${SGLANG_PREFIX}loads_${name}{${labels}} ${value}\n` : ""
    );
  }).join("");
}

/** In quotes and escaped. */
const MODEL_LABEL = /^sglang:\w+\{[^}\n]*?model_name=("(?:[^"\\\n]|\\.)*")/m;

async function askModelName(ask: Ask): Promise<string> {
  const { text } = await ask(MODELS_PATH);
  const value = parseUntrustedJson(text);
  const [first] = isRecord(value) && Array.isArray(value.data) ? value.data : [];
  return quoteLabel(isRecord(first) ? String(first.id) : "");
}

export function createLoadsRound(): Round {
  let asksLoads = true;
  let model: string | null = null;
  return async (ask) => {
    const metrics = await ask(METRICS_PATH);
    const isOff = metrics.status === 404;
    if (metrics.status !== 200 && !isOff) return metrics;
    const body = isOff ? "" : metrics.text;
    const answer = asksLoads ? await ask(LOADS_PATH) : null;
    // Before 0.5.9 there are none, and with --api-key they need the key, unlike metrics.
    asksLoads = answer !== null && ![401, 403, 404].includes(answer.status);
    const loads = answer === null ? null : parseLoads(answer);
    if (loads === null) return isOff ? metrics : body;
    model ??= MODEL_LABEL.exec(body)?.[1] ?? await askModelName(ask);
    const hasRanks = loads.length > 1 || body.includes('dp_rank="');
    const end = body === "" || body.endsWith("\n") ? "" : "\n";
    const off = isOff ? `${SGLANG_PREFIX}metrics_off 1\n` : "";
    return body + end + off + writeLoads(loads, model, hasRanks);
  };
}
