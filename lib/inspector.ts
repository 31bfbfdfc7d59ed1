/**
 * What a server says of itself beside its metrics.
 *
 * Layer 5, effects: HTTP through `Platform`. One GET each of `/version` and
 * `/v1/models`, never repeated in the life of a server that is watched: vLLM
 * counts the second in `http_requests_total`, and a person reads that. How often
 * a port that is not known to be vLLM's is asked is `scanner`'s matter. With the
 * endpoint's own credentials; answers that are no answers, redirects included,
 * are nothing learnt and no failure. What the answers say is `server_info`'s
 * matter.
 *
 * @module
 */

import { readBody } from "./body_reader.ts";
import { type EndpointAccess, joinHeaders } from "./credentials.ts";
import type { Endpoint } from "./model.ts";
import type { HttpClient, Platform } from "./platform.ts";
import { type ModelList, readModelList, readVersion } from "./server_info.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

/** What a server says of itself; `null` where it does not. */
export interface SelfDescription {
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
export async function askServer(
  platform: Platform,
  endpoint: Endpoint,
  options: {
    readonly access: EndpointAccess;
    /** What both answers together may take. */
    readonly timeout: Seconds;
    readonly signal?: AbortSignal;
  },
): Promise<SelfDescription> {
  const { access, timeout, signal } = options;
  const base = endpoint.metricsUrl.replace(/\/metrics$/, "");
  const limit = platform.deadline(timeout, signal);
  let client: HttpClient | null = null;
  try {
    client = await platform.createHttpClient(access.transport);
    const headers = joinHeaders("application/json", await access.readHeaders());
    const request = { headers, signal: limit.signal };
    const version = await getText(client, `${base}/version`, request);
    const models = await getText(client, `${base}/v1/models`, request);
    return {
      version: version === null ? null : readVersion(version),
      models: models === null ? null : readModelList(models),
    };
  } catch {
    // Certificates or credentials that cannot be read: the scraper says so.
    return { version: null, models: null };
  } finally {
    limit.cancel();
    client?.close();
  }
}
