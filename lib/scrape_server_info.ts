/**
 * What a server says of itself beside its metrics.
 *
 * One GET each of `/version` and `/v1/models`, never repeated in the life of a server
 * that is watched: some count them. With the endpoint's own credentials; answers that
 * are no answers, redirects included, are nothing learnt and no failure.
 *
 * @module
 */

import { METRICS_PATH } from "./endpoint.ts";
import { isRecord, parseUntrustedJson } from "./json.ts";
import type { Endpoint, ModelCard } from "./model.ts";
import type { HttpClient, Platform } from "./platform.ts";
import { readBody } from "./scrape_body.ts";
import { type EndpointAccess, joinHeaders } from "./scrape_credentials.ts";
import { sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

/** What a server lists. */
interface ModelList {
  readonly models: readonly ModelCard[];
  /** Who the models belong to, which is the name of the server's program with most of them. */
  readonly owners: ReadonlySet<string>;
}

/** Cards that are kept: a server with more adapters is not to fill the screen. */
const MAX_CARDS = 256;

/** Longest version that is one. */
const VERSION = /^\d+\.\d[\w.+!-]{0,60}$/;

/** The version, or `null` where the text says more or something else. */
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
    id: sanitizeText(id),
    parent: typeof parent === "string" && parent !== "" ? sanitizeText(parent) : null,
    maxModelLength: isLength ? length : null,
  };
}

/** The models of an answer to `/v1/models`, or `null` where the text is none. */
export function parseModelList(text: string): ModelList | null {
  const value = parseUntrustedJson(text);
  if (!isRecord(value) || !Array.isArray(value.data)) return null;
  const listed: readonly unknown[] = value.data.slice(0, MAX_CARDS);
  const owners = listed.flatMap((card) =>
    isRecord(card) && typeof card.owned_by === "string" ? [card.owned_by] : []
  );
  const models = listed.map(parseModelCard).filter((card) => card !== null);
  return { models, owners: new Set(owners) };
}

/** What a server says of itself; `null` where it does not. */
interface ServerIdentity {
  readonly version: string | null;
  readonly models: ModelList | null;
}

/** Largest answer that is read: some hundred LoRA adapters. */
const MAX_ANSWER_BYTES: Bytes = BYTES_PER_MEBIBYTE;

/** The text at a URL, or `null` where there is none to be had. */
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
    // Whatever it was, a scrape of the metrics meets it too and says what to do.
    return null;
  }
}

/** Asks a server what it is. Never rejects. */
export async function fetchServerIdentity(
  platform: Platform,
  endpoint: Endpoint,
  options: {
    readonly access: EndpointAccess;
    /** What both answers together may take. */
    readonly timeout: Seconds;
    readonly signal?: AbortSignal;
  },
): Promise<ServerIdentity> {
  const { access, timeout, signal } = options;
  const base = endpoint.metricsUrl.slice(0, -METRICS_PATH.length);
  const limit = platform.deadline(timeout, signal);
  let client: HttpClient | null = null;
  try {
    client = await platform.createHttpClient(access.transport);
    const headers = joinHeaders("application/json", await access.readHeaders());
    const request = { headers, signal: limit.signal };
    const version = await getText(client, `${base}/version`, request);
    const models = await getText(client, `${base}/v1/models`, request);
    return {
      version: version === null ? null : parseVersion(version),
      models: models === null ? null : parseModelList(models),
    };
  } catch {
    // Certificates or credentials that cannot be read: the scraper says so.
    return { version: null, models: null };
  } finally {
    limit.cancel();
    client?.close();
  }
}
