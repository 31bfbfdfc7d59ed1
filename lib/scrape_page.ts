/**
 * GETs pages other than metrics of an endpoint, such as lists of targets and queries, with its
 * credentials. Redirects are not followed.
 * @module
 */

import type { HttpClient, Platform } from "./platform.ts";
import { MAX_BODY_BYTES, stripUrl } from "./scrape_attempt.ts";
import { inflateBody, readBody } from "./scrape_body.ts";
import { type EndpointAccess, joinHeaders } from "./scrape_credentials.ts";
import {
  describeBodyError,
  describeNetworkError,
  describeProxyError,
  describeStatus,
  describeTimeout,
  type Problem,
  type ScrapePhase,
} from "./scrape_errors.ts";
import { type Bytes, BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

export interface Page {
  readonly status: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface PageClient {
  /** Failures are values. Pages other than 200 are returned, too. */
  readonly get: (
    url: string,
    options?: {
      readonly headers?: Readonly<Record<string, string>>;
      /** Inflated; by default that of a scrape. */
      readonly limit?: Bytes;
      readonly signal?: AbortSignal;
    },
  ) => Promise<Page | Problem>;
  /** What a page with this status means. */
  readonly describeRefusal: (url: string, page: Page) => Problem;
  readonly close: () => void;
}

export async function createPageClient(
  platform: Platform,
  { access, timeout }: { readonly access: EndpointAccess; readonly timeout: Seconds },
): Promise<PageClient> {
  const client: HttpClient = await platform.createHttpClient(access.transport);
  const { proxy } = access.transport;
  const show = (url: string): string =>
    `"${stripUrl(url)}"${proxy === undefined ? "" : ` through ${proxy.name}`}`;

  const get: PageClient["get"] = async (url, options = {}) => {
    const { headers, limit = MAX_BODY_BYTES, signal } = options;
    const deadline = platform.deadline(timeout, signal);
    let phase: ScrapePhase = "credentials";
    let count = 0;
    try {
      const secret = await access.readHeaders();
      phase = "headers";
      const response = await client.get({
        url,
        headers: { ...joinHeaders("application/json", secret), ...headers },
        signal: deadline.signal,
      });
      phase = "body";
      const received = await readBody(response.body, limit, { onBytes: (now) => count = now });
      const { bytes, isWhole } = await inflateBody(received, limit);
      if (isWhole) return { status: response.status, bytes };
      const size = limit / BYTES_PER_MEBIBYTE;
      return { kind: "too_large", message: `${show(url)} sent more than ${size} MiB` };
    } catch (error) {
      if (phase === "credentials") {
        const message = error instanceof Error ? error.message : "the credentials cannot be read";
        return { kind: "credentials", message };
      }
      if (deadline.expired()) return describeTimeout(show(url), { phase, timeout, bytes: count });
      if (phase === "body") return describeBodyError(error, show(url), count);
      const problem = proxy === undefined ? null : describeProxyError(error, show(url), proxy);
      return problem ?? describeNetworkError(error, show(url));
    } finally {
      deadline.cancel();
    }
  };
  return {
    get,
    describeRefusal: (url, { status, bytes }) =>
      describeStatus(status, {
        shown: show(url),
        head: new TextDecoder().decode(bytes.subarray(0, 1024)),
        sendsCredentials: access.sendsCredentials,
        isMetricsPage: false,
      }),
    close: () => client.close(),
  };
}
