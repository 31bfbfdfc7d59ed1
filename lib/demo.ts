/**
 * The simulated fleet in the place of the network.
 *
 * Layer 5, effects: none of its own; it stands in for the platform's HTTP
 * client. Requests for the demo's addresses are answered with the text that
 * `simulator` makes, at the platform's own time, so that a demo runs through
 * the same scraper and parser as everything else. A server that is down refuses
 * the connection, in the words of the runtime.
 *
 * @module
 */

import { parseEndpointUrl, type TypedEndpoint } from "./endpoint_url.ts";
import type { HttpClient, HttpResponse, Platform } from "./platform.ts";
import { createDemoFleet } from "./simulator.ts";

/** A platform whose network is the fleet, and the fleet's endpoints. */
export interface Demo {
  readonly platform: Platform;
  readonly endpoints: readonly TypedEndpoint[];
}

function createResponse(body: Uint8Array): HttpResponse {
  const headers = new Map([
    ["content-type", "text/plain; version=1.0.0; charset=utf-8"],
    ["content-length", String(body.length)],
  ]);
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(body);
      controller.close();
    },
  });
  return { status: 200, header: (name) => headers.get(name) ?? null, body: stream };
}

/** The demo's fleet, beginning now. The same seed gives the same fleet. */
export function createDemo(platform: Platform, seed: number): Demo {
  const startedAt = platform.monotonicSeconds();
  const fleet = createDemoFleet(seed, platform.epochSeconds());
  const endpoints = fleet.map(({ url }): TypedEndpoint => {
    const typed = parseEndpointUrl(url);
    if ("error" in typed) throw new Error(`Cannot simulate "${url}": ${typed.error}`);
    return typed;
  });
  const servers = new Map(fleet.map(({ server }, i) => [endpoints[i].endpoint.metricsUrl, server]));
  const client: HttpClient = {
    get: ({ url }) => {
      const body = servers.get(url)?.expositionAt(platform.monotonicSeconds() - startedAt);
      return body
        ? Promise.resolve(createResponse(body))
        : Promise.reject(new Error("tcp connect error: Connection refused (os error 111)"));
    },
    close: () => {},
  };
  return { endpoints, platform: { ...platform, createHttpClient: () => Promise.resolve(client) } };
}
