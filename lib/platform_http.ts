/**
 * HTTP clients, and a server, made of Deno's own. Clients go through `fetch`, except for unchecked certificates
 * (`fetch` can do that only for the whole process) and Unix sockets (`fetch` treats them as proxies:
 * full URLs, and bypassed for `NO_PROXY`, Deno 2.6 to 2.9); those load undici on demand.
 * @module
 */

import type {
  HttpClient,
  HttpRequest,
  HttpResponse,
  IncomingRequest,
  OutgoingResponse,
  Transport,
} from "./platform.ts";

const CERTIFICATE_BLOCK = /-----BEGIN [A-Z0-9 ]*CERTIFICATE-----([^-]*)-----END/;
const KEY_BLOCK = /-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*-----END [A-Z ]*PRIVATE KEY-----/;

/**
 * Deno 2.6 ends the whole process over a broken or foreign key. Loads its parser on demand, to keep
 * the first frame fast.
 * @throws {Error} If they cannot be read or do not belong together.
 */
async function checkKeyPair(certificate: string, key: string): Promise<void> {
  const { createPrivateKey, createPublicKey, X509Certificate } = await import("node:crypto");
  new X509Certificate(certificate);
  let publicKey: Uint8Array;
  try {
    const privateKey = createPrivateKey(KEY_BLOCK.exec(key)?.[0] ?? key);
    publicKey = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  } catch (error) {
    // Unknown kind of key: leave it to the TLS library.
    if (error instanceof Error && /unsupported|not supported/.test(error.message)) return;
    throw error;
  }
  // A certificate holds these very bytes; its own export knows fewer kinds of key.
  const bytes = atob(CERTIFICATE_BLOCK.exec(certificate)?.[1] ?? "");
  if (!bytes.includes(String.fromCharCode(...publicKey))) {
    throw new Error("the key does not belong to the certificate");
  }
}

/** `undefined` for the runtime's own client: one per endpoint would cost 0.1 MiB. */
async function createRuntimeClient(
  { caCertificates, clientCertificate, clientKey, proxy }: Transport,
): Promise<Deno.HttpClient | undefined> {
  const common = {
    ...(caCertificates === undefined ? {} : { caCerts: [...caCertificates] }),
    ...(proxy === undefined ? {} : { proxy: { url: proxy.url, basicAuth: proxy.basicAuth } }),
  };
  if (clientCertificate === undefined || clientKey === undefined) {
    return Object.keys(common).length === 0 ? undefined : Deno.createHttpClient(common);
  }
  await checkKeyPair(clientCertificate, clientKey);
  return Deno.createHttpClient({ ...common, cert: clientCertificate, key: clientKey });
}

/** Checks certificates and uses the proxy. */
async function createFetchClient(transport: Transport): Promise<HttpClient> {
  const client = await createRuntimeClient(transport);
  return {
    get: async ({ url, headers, signal }: HttpRequest): Promise<HttpResponse> => {
      const response = await fetch(url, { client, headers, signal, redirect: "manual" });
      return {
        status: response.status,
        header: (name) => response.headers.get(name),
        body: response.body,
      };
    },
    close: () => client?.close(),
  };
}

/**
 * To Deno, connecting to a Unix socket is writing to its path. The error that would follow does not
 * say so.
 * @throws {Deno.errors.NotCapable} Without that permission.
 */
async function checkSocketPermission(path: string): Promise<void> {
  const { state } = await Deno.permissions.query({ name: "write", path });
  if (state !== "granted") throw new Deno.errors.NotCapable("Requires write access to the socket");
}

/** For Unix sockets and unchecked certificates; uses no proxy. */
async function createUndiciClient(transport: Transport): Promise<HttpClient> {
  const { Agent, request } = await import("undici");
  const { unixSocketPath, clientCertificate, clientKey } = transport;
  if (unixSocketPath !== undefined) await checkSocketPermission(unixSocketPath);
  // Check first: the agent reads certificates at its first request, when Deno 2.6 may end the
  // process.
  (await createRuntimeClient(transport))?.close();
  const agent = new Agent({
    // The caller's signal limits the time.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: {
      timeout: 0,
      rejectUnauthorized: transport.insecure !== true,
      ...(unixSocketPath === undefined ? {} : { socketPath: unixSocketPath }),
      ...(clientCertificate === undefined ? {} : { cert: clientCertificate, key: clientKey }),
    },
  });
  return {
    get: async ({ url, headers, signal }: HttpRequest): Promise<HttpResponse> => {
      const response = await request(url, { dispatcher: agent, headers: { ...headers }, signal });
      return {
        status: response.statusCode,
        header: (name) => {
          const value = response.headers[name];
          return value === undefined ? null : Array.isArray(value) ? value.join(", ") : value;
        },
        body: ReadableStream.from<Uint8Array>(response.body),
      };
    },
    close: () => void agent.destroy().catch(() => {}),
  };
}

/** Rejects over a bad certificate. */
export async function createHttpClient(transport: Transport): Promise<HttpClient> {
  const isSpecial = transport.insecure === true || transport.unixSocketPath !== undefined;
  return await (isSpecial ? createUndiciClient(transport) : createFetchClient(transport));
}

/**
 * Returns the status of the answer, whose body is not read.
 * @throws {Error} The runtime's error.
 */
export async function postJson(
  transport: Transport,
  { url, body, signal }: {
    readonly url: string;
    readonly body: string;
    readonly signal: AbortSignal;
  },
): Promise<number> {
  const client = await createRuntimeClient(transport);
  try {
    const headers = { "content-type": "application/json" };
    const request = { method: "POST", client, headers, body, signal, redirect: "manual" } as const;
    const response = await fetch(url, request);
    await response.body?.cancel();
    return response.status;
  } finally {
    client?.close();
  }
}

/**
 * Listens until the signal aborts.
 * @throws {Error} If it cannot listen there.
 */
export function serveHttp(
  { host, port }: { readonly host: string; readonly port: number },
  answer: (request: IncomingRequest) => OutgoingResponse,
  signal: AbortSignal,
): void {
  const hostname = host.replace(/^\[|\]$/g, "");
  Deno.serve({ hostname, port, signal, onListen: () => {} }, ({ method, url }) => {
    const { status, contentType, body } = answer({ method, path: new URL(url).pathname });
    return new Response(body, { status, headers: { "content-type": contentType } });
  });
}
