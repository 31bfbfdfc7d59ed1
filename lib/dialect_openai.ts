/**
 * Any other server with OpenAI's API, such as LM Studio, TabbyAPI or mlx_lm: which models it lists,
 * and whether it answers. It has no metrics. Sources: their documentation, read 2026-11; answers of
 * mlx_lm 0.32.2.
 * @module
 */

import {
  type Dialect,
  gauge,
  type Round,
  UNDESCRIBED,
  UNTITLED,
  USUAL_CONCLUSIONS,
} from "./dialect_model.ts";
import { createSampleWriter } from "./dialect_rounds.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";

const PREFIX = "openai:";
const MODELS_PATH = "/v1/models";
/** Models shown. */
const MAX_MODELS = 256;

const writeSample = createSampleWriter(PREFIX);

/** `null` if the text is no list of models. */
function parseModels(text: string): readonly JsonRecord[] | null {
  const value = parseUntrustedJson(text);
  if (!isRecord(value) || !Array.isArray(value.data)) return null;
  const listed: readonly unknown[] = value.data.slice(0, MAX_MODELS);
  return listed.filter(isRecord).filter(({ id }) => typeof id === "string");
}

function createRound(): Round {
  let owner: string | null = null;
  return async (ask) => {
    const answer = await ask(MODELS_PATH);
    const models = answer.status === 200 ? parseModels(answer.text) : null;
    if (models === null) return answer;
    const [newest] = models.map(({ owned_by }) => String(owned_by));
    owner ??= newest ?? null;
    // Another server stands there now: its kind is to be asked again.
    if (newest !== undefined && newest !== owner) return { ...answer, status: 404 };
    return `# TYPE ${PREFIX}model_listed gauge\n` +
      models.map(({ id }) => writeSample("model_listed", String(id), 1)).join("");
  };
}

export const OPENAI: Dialect = {
  name: "OpenAI API",
  prefixes: [PREFIX],
  rows: [
    gauge("model_listed", "state", "Listed", "Loaded or not.", {
      role: "presence",
    }),
  ],
  defaultPort: 8080,
  paths: [{ path: MODELS_PATH, when: "each_round" }],
  // Any.
  modelOwner: "",
  createRound,
  answersVersion: false,
  labels: { model: "model", engine: "engine", workers: [], parts: [], aliases: new Map() },
  tokensAreBooked: "finish",
  ...UNDESCRIBED,
  processes: UNTITLED,
  conclude: () => USUAL_CONCLUSIONS,
};
