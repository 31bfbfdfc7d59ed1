/**
 * HTTP to the servers of a host behind ssh: through `ssh -W`, or by curl in the session where
 * forwarding is forbidden. Nothing listens on this machine. Secrets reach curl on its standard
 * input: arguments can be seen by others there.
 * @module
 */

import { getLocalHost, type ListeningPort } from "./host_processes.ts";
import type { SshHost } from "./host_ssh_connection.ts";
import { quoteForShell } from "./host_ssh_session.ts";
import type { HttpClient, HttpRequest, HttpResponse, Platform, Transport } from "./platform.ts";
import { BYTES_PER_MEBIBYTE, type Seconds } from "./units.ts";

/** Above the limit of bodies, so that these are refused by that. */
const MAX_ANSWER_BYTES = 20 * BYTES_PER_MEBIBYTE;
/** The caller's signal ends the wait; this ends curl. */
const CURL_LIMIT: Seconds = 30;
const FORBIDDEN = /administratively prohibited|Stdio forwarding request failed/i;
/** Exit codes of curl -> words by which a failed connection is recognised. */
const CURL_ERRORS: ReadonlyMap<number, string> = new Map([
  [6, "ENOTFOUND"],
  [7, "connection refused"],
  [28, "timed out"],
  [35, "TLS handshake"],
  [52, "unexpected end"],
  [56, "connection reset"],
  [60, "UNABLE_TO_VERIFY"],
]);

/** In a configuration of curl. */
function quoteForCurl(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

export function writeCurl(
  { url, headers }: Pick<HttpRequest, "url" | "headers">,
  { insecure = false }: Pick<Transport, "insecure">,
): string {
  const config = [
    `url = ${quoteForCurl(url)}`,
    ...Object.entries(headers).map(([name, value]) =>
      `header = ${quoteForCurl(`${name}: ${value}`)}`
    ),
    ...(insecure ? ["insecure"] : []),
  ].join("\n");
  return `printf '%s\\n' ${quoteForShell(config)} | limit ${CURL_LIMIT} curl -q -sS -g -i ` +
    `--http1.1 --noproxy '*' --max-time ${CURL_LIMIT} -K -`;
}

/** @throws {Error} If it is no response of HTTP/1. */
export function parseCurlAnswer(text: string): HttpResponse {
  const end = text.indexOf("\r\n\r\n");
  const [first, ...lines] = text.slice(0, Math.max(0, end)).split("\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(first);
  if (status === null) throw new Error("invalid HTTP");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name = "", value = ""] = /^([^:]+):\s*(.*?)\s*$/.exec(line) ?? [];
    headers.set(name.toLowerCase(), value);
  }
  return {
    status: Number(status[1]),
    header: (name) => headers.get(name) ?? null,
    body: new Blob([text.slice(end + 4)]).stream(),
  };
}

async function getByCurl(
  ssh: SshHost,
  { url, headers, signal }: HttpRequest,
  transport: Transport,
): Promise<HttpResponse> {
  const command = writeCurl({ url, headers }, transport);
  const limits = { timeout: CURL_LIMIT, maxOutputBytes: MAX_ANSWER_BYTES, signal };
  const outcome = await ssh.call({ command, ...limits });
  if (outcome.kind === "missing") throw new Error("no curl there");
  if (outcome.kind !== "exited") throw new Error(NO_CONNECTION);
  if (outcome.code === 0) return parseCurlAnswer(outcome.stdout);
  throw new Error(CURL_ERRORS.get(outcome.code) ?? "curl failed");
}

/** `scrape_errors` recognises it. */
const NO_CONNECTION = "no ssh connection";

/** As a URL names the port there: servers may listen on one address only. */
function findPlace(ports: readonly ListeningPort[], port: number): string {
  const found = ports.find((one) => one.port === port);
  return `${found === undefined ? "localhost" : getLocalHost(found)}:${port}`;
}

/** Shows what was forbidden once, so that later requests take the other way at once. */
export async function createSshHttpClient(
  platform: Platform,
  ssh: SshHost,
  { transport, getPorts }: {
    readonly transport: Transport;
    /** As last listed. */
    readonly getPorts: () => readonly ListeningPort[];
  },
): Promise<HttpClient> {
  const tunnel = await platform.createHttpClient({
    ...transport,
    openTunnel: (port) => ssh.forward(findPlace(getPorts(), port)),
  });
  return {
    get: async (request) => {
      if (ssh.getLink().kind !== "up") throw new Error(NO_CONNECTION);
      const { protocol, port } = new URL(request.url);
      const place = findPlace(getPorts(), Number(port) || (protocol === "https:" ? 443 : 80));
      // A server may answer only to its own names; a certificate is for the host's.
      const headers = protocol === "https:" ? request.headers : { host: place, ...request.headers };
      const near = { ...request, headers };
      const far = { ...near, url: request.url.replace(/^(https?:\/\/)[^/]*/, `$1${place}`) };
      if (ssh.needsCurl()) return await getByCurl(ssh, far, transport);
      try {
        return await tunnel.get(near);
      } catch (error) {
        if (!(error instanceof Error && FORBIDDEN.test(error.message))) throw error;
        const response = await getByCurl(ssh, far, transport);
        ssh.forbidForwarding();
        return response;
      }
    },
    close: () => tunnel.close(),
  };
}
