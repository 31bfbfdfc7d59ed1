/**
 * What a server says of itself besides metrics: one GET each of `/version`, if its kind has that,
 * and `/v1/models` per server life, as some servers count them, with the endpoint's own
 * credentials. Unusable responses, redirects included, teach nothing and are no failure.
 * @module
 */

import { OWNED_BY_ITSELF } from "./dialect_model.ts";
import { isRecord, parseUntrustedJson } from "./json.ts";
import type { Endpoint, ModelCard } from "./model.ts";
import type { HttpClient, Platform } from "./platform.ts";
import { readBody } from "./scrape_body.ts";
import { type EndpointAccess, joinHeaders } from "./scrape_credentials.ts";
import { sanitizeName } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

export interface ModelList {
  readonly models: readonly ModelCard[];
  /** `owned_by`, which names the server's program on most servers; `OWNED_BY_ITSELF` on some. */
  readonly owners: ReadonlySet<string>;
}

/** Adapters must not fill the screen. */
const MAX_CARDS = 256;
const VERSION = /^\d+\.\d[\w.+!-]{0,60}$/;

export const VERSION_PATH = "/version";

/** `null` if the text holds anything else. */
export function parseVersion(text: string): string | null {
  const value = parseUntrustedJson(text);
  if (!isRecord(value) || Object.keys(value).join() !== "version") return null;
  const { version } = value;
  return typeof version === "string" && VERSION.test(version) ? version : null;
}

function parseModelCard(value: unknown): ModelCard | null {
  if (!isRecord(value) || typeof value.id !== "string" || value.id === "") return null;
  const { id, parent, max_model_len: length } = value;
  const isLength = typeof length === "number" && Number.isSafeInteger(length) && length > 0;
  return {
    id: sanitizeName(id),
    parent: typeof parent === "string" && parent !== "" ? sanitizeName(parent) : null,
    maxModelLength: isLength ? length : null,
  };
}

/** `null` if the text is no list of models. */
export function parseModelList(text: string): ModelList | null {
  const value = parseUntrustedJson(text);
  if (!isRecord(value) || !Array.isArray(value.data)) return null;
  const listed: readonly unknown[] = value.data.slice(0, MAX_CARDS);
  const owners = listed.flatMap((card) => {
    if (!isRecord(card) || typeof card.owned_by !== "string" || card.owned_by === "") return [];
    return card.owned_by === card.id ? [OWNED_BY_ITSELF] : [card.owned_by];
  });
  const models = listed.map(parseModelCard).filter((card) => card !== null);
  return { models, owners: new Set(owners) };
}

/** `null` for what it does not say. */
interface ServerIdentity {
  readonly version: string | null;
  readonly models: ModelList | null;
}

/** Room for some hundred LoRA adapters. */
const MAX_ANSWER_BYTES: Bytes = BYTES_PER_MEBIBYTE;

async function getText(
  client: HttpClient,
  url: string,
  request: { readonly headers: Readonly<Record<string, string>>; readonly signal: AbortSignal },
): Promise<string | null> {
  try {
    const response = await client.get({ url, ...request });
    if (response.status !== 200) {
      await response.body?.cancel();
      return null;
    }
    const { bytes, isWhole } = await readBody(response.body, MAX_ANSWER_BYTES);
    return isWhole ? new TextDecoder().decode(bytes) : null;
  } catch {
    // Scraping the metrics meets the same error, and reports it.
    return null;
  }
}

/** NIM has its metrics at /v1/metrics, TensorRT-LLM at /prometheus/metrics. */
export function findApiBase(metricsUrl: string): string {
  return metricsUrl.replace(/(?:\/v1|\/prometheus)?\/[^/]*$/, "");
}

/** Never rejects. */
export async function fetchServerIdentity(
  platform: Platform,
  endpoint: Endpoint,
  options: {
    readonly access: EndpointAccess;
    /** For both requests together. */
    readonly timeout: Seconds;
    readonly signal?: AbortSignal;
    /** Known already, so that nothing asks for them. */
    readonly models?: ModelList | null;
    /** By default it is; servers without `/version` need not be asked. */
    readonly asksVersion?: boolean;
  },
): Promise<ServerIdentity> {
  const { access, timeout, signal, asksVersion = true } = options;
  const base = findApiBase(endpoint.metricsUrl);
  const limit = platform.deadline(timeout, signal);
  let client: HttpClient | null = null;
  try {
    client = await platform.createHttpClient(access.transport);
    const headers = joinHeaders("application/json", await access.readHeaders());
    const request = { headers, signal: limit.signal };
    const version = asksVersion ? await getText(client, base + VERSION_PATH, request) : null;
    const models = options.models ?? await getText(client, `${base}/v1/models`, request);
    return {
      version: version === null ? null : parseVersion(version),
      models: typeof models === "string" ? parseModelList(models) : models,
    };
  } catch {
    // The scraper reports unusable certificates and credentials.
    return { version: null, models: null };
  } finally {
    limit.cancel();
    client?.close();
  }
}
