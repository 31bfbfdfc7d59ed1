/**
 * HTTP clients, and a server, made of Deno's own. Clients go through `fetch`, except for unchecked
 * certificates (`fetch` can do that only for the whole process), Unix sockets (`fetch` treats them
 * as proxies: full URLs, and bypassed for `NO_PROXY`, Deno 2.6 to 2.9) and tunnels; those load
 * undici on demand.
 * @module
 */

import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Agent, buildConnector } from "undici";
import type {
  HttpClient,
  HttpRequest,
  HttpResponse,
  IncomingRequest,
  OutgoingResponse,
  RunningProgram,
  Transport,
} from "./platform.ts";
import { writeAll } from "./platform_files.ts";
import {
  type Bytes,
  BYTES_PER_KIBIBYTE,
  BYTES_PER_MEBIBYTE,
  MILLISECONDS_PER_SECOND,
  type Seconds,
} from "./units.ts";

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

/** As much of a program's errors as can hold the reason. */
const MAX_REASON_LENGTH = 4096;

/** The last line says why, and Node's code of a refused connection makes it one. */
async function readReason(stderr: ReadableStream<Uint8Array>): Promise<string> {
  let text = "";
  for await (const chunk of stderr.pipeThrough(new TextDecoderStream())) {
    text = (text + chunk).slice(-MAX_REASON_LENGTH);
  }
  return text.trim().split(/\r?\n/).slice(-2).join("; ");
}

/**
 * The streams of a program as a socket. What the program says as it ends becomes the error.
 * @throws {Error} If there is no program.
 */
async function createTunnelSocket(program: RunningProgram): Promise<Duplex> {
  const { Duplex } = await import("node:stream");
  const writer = program.stdin.getWriter();
  const reader = program.stdout.getReader();
  const reason = readReason(program.stderr as ReadableStream<Uint8Array<ArrayBuffer>>).catch(() =>
    ""
  );
  const end = async (socket: Duplex): Promise<void> => {
    // The server has closed its side; the program waits for ours.
    writer.close().catch(() => {});
    const text = await reason;
    if (text === "") socket.push(null);
    else socket.destroy(new Error(text));
  };
  const socket = new Duplex({
    read() {
      reader.read().then(
        ({ value, done }) => done ? void end(this) : void this.push(value),
        (error) => this.destroy(error),
      );
    },
    write(chunk, _encoding, done) {
      // After the program's end its reason says more.
      writer.write(chunk).then(() => done(), () => done());
    },
    destroy(error, done) {
      program.end();
      // Closed already if the program has ended.
      writer.abort().catch(() => {});
      reader.cancel().catch(() => {});
      done(error);
    },
  });
  // Asked of a socket, and of no use here.
  for (const name of ["setNoDelay", "setKeepAlive", "setTimeout", "ref", "unref"]) {
    Object.assign(socket, { [name]: () => socket });
  }
  return socket;
}

interface TlsOptions {
  readonly rejectUnauthorized: boolean;
  readonly ca?: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

async function openTunnelSocket(
  open: NonNullable<Transport["openTunnel"]>,
  { hostname, port, protocol }: buildConnector.Options,
  { ca, ...rest }: TlsOptions,
): Promise<Duplex> {
  const program = open(Number(port) || (protocol === "https:" ? 443 : 80));
  if ("kind" in program) throw new Error(program.kind === "missing" ? "missing" : program.message);
  const socket = await createTunnelSocket(program);
  if (protocol !== "https:") return socket;
  const { connect, rootCertificates } = await import("node:tls");
  const authorities = ca === undefined ? {} : { ca: [...rootCertificates, ...ca] };
  return await new Promise((resolve, reject) => {
    const secured = connect({ socket, servername: hostname, ...authorities, ...rest });
    secured.once("secureConnect", () => resolve(secured)).once("error", reject);
  });
}

/** For undici, which loses a connection that is there before its own function returns. */
function createTunnelConnector(
  open: NonNullable<Transport["openTunnel"]>,
  tls: TlsOptions,
): buildConnector.connector {
  return (options, done) => {
    openTunnelSocket(open, options, tls).then(
      // Undici asks no more of a socket than a stream has.
      (socket) => done(null, socket as Socket),
      (error) => done(error, null),
    );
  };
}

/** Longer than most intervals: through ssh, each connection is a process. */
const KEEP_ALIVE: Seconds = 60;

/**
 * Sends once more what fails on a connection that was there before: the server may have closed it
 * meanwhile, as uvicorn does after 5 s. Failures of a new connection are the server's.
 */
function createRetry(agent: Agent): <T>(send: () => Promise<T>, signal: AbortSignal) => Promise<T> {
  let connections = 0;
  const count = (): void => void connections++;
  agent.on("connect", count).on("connectionError", count);
  return async (send, signal) => {
    const before = connections;
    try {
      return await send();
    } catch (error) {
      if (connections !== before || signal.aborted) throw error;
      return await send();
    }
  };
}

/** For tunnels, Unix sockets and unchecked certificates; uses no proxy. */
async function createUndiciClient(transport: Transport): Promise<HttpClient> {
  const { Agent, request } = await import("undici");
  const { unixSocketPath, clientCertificate, clientKey, openTunnel } = transport;
  if (unixSocketPath !== undefined) await checkSocketPermission(unixSocketPath);
  // Check first: the agent reads certificates at its first request, when Deno 2.6 may end the
  // process.
  (await createRuntimeClient(transport))?.close();
  const tls = {
    rejectUnauthorized: transport.insecure !== true,
    ...(clientCertificate === undefined ? {} : { cert: clientCertificate, key: clientKey }),
  };
  const agent = new Agent({
    // The caller's signal limits the time.
    headersTimeout: 0,
    bodyTimeout: 0,
    keepAliveTimeout: MILLISECONDS_PER_SECOND * KEEP_ALIVE,
    ...(openTunnel === undefined
      ? {
        connect: {
          timeout: 0,
          ...tls,
          ...(unixSocketPath === undefined ? {} : { socketPath: unixSocketPath }),
        },
      }
      : {
        connections: 1,
        connect: createTunnelConnector(openTunnel, { ...tls, ca: transport.caCertificates }),
      }),
  });
  const retry = createRetry(agent);
  return {
    get: async ({ url, headers, signal }: HttpRequest): Promise<HttpResponse> => {
      const options = { dispatcher: agent, headers: { ...headers }, signal };
      const response = await retry(() => request(url, options), signal);
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
  const isSpecial = transport.insecure === true || transport.unixSocketPath !== undefined ||
    transport.openTunnel !== undefined;
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

const STATUS_TEXTS: ReadonlyMap<number, string> = new Map([
  ...[[200, "OK"], [400, "Bad Request"], [404, "Not Found"], [405, "Method Not Allowed"]] as const,
]);
/** More are closed as they come. */
const MAX_CONNECTIONS = 16;
const MAX_REQUEST_BYTES: Bytes = 8 * BYTES_PER_KIBIBYTE;
/** How much of a request's body is read and dropped: closing sooner would lose the answer. */
const MAX_IGNORED_BYTES: Bytes = BYTES_PER_MEBIBYTE;
/** For a request, its answer and all. */
const CONNECTION_LIMIT: Seconds = 10;
/** After a failure to accept, such as too many open files. */
const ACCEPT_PAUSE: Seconds = 1;

/** `null` if it is no request. */
function parseRequest(head: string): IncomingRequest | null {
  const [, method, target] = /^([A-Z]{1,16}) (\S+) HTTP\/1\.[01]\r?\n/.exec(head) ?? [];
  if (target === undefined || !URL.canParse(target, "http://localhost")) return null;
  return { method, path: new URL(target, "http://localhost").pathname };
}

/** What comes before the first empty line, or as much as is allowed. */
async function readHead(connection: Deno.Conn): Promise<string> {
  const bytes = new Uint8Array(MAX_REQUEST_BYTES);
  let length = 0;
  let text = "";
  while (length < bytes.length && !/\r?\n\r?\n/.test(text)) {
    const count = await connection.read(bytes.subarray(length));
    if (count === null) break;
    length += count;
    text = new TextDecoder().decode(bytes.subarray(0, length));
  }
  return text;
}

async function answerConnection(
  connection: Deno.Conn,
  answer: (request: IncomingRequest) => OutgoingResponse,
): Promise<void> {
  const request = parseRequest(await readHead(connection));
  const refusal = { status: 400, contentType: "text/plain", body: "no request\n" };
  const { status, contentType, body } = request === null ? refusal : answer(request);
  const bytes = new TextEncoder().encode(body);
  const head = [
    `HTTP/1.1 ${status} ${STATUS_TEXTS.get(status) ?? ""}`,
    `content-type: ${contentType}`,
    `content-length: ${bytes.length}`,
    "connection: close",
  ].join("\r\n");
  const whole = new Blob([`${head}\r\n\r\n`, request?.method === "HEAD" ? "" : bytes]).stream();
  for await (const part of whole) await writeAll(connection, part);
  await connection.closeWrite();
  const ignored = new Uint8Array(MAX_REQUEST_BYTES);
  for (let left = MAX_IGNORED_BYTES; left > 0;) {
    const count = await connection.read(ignored);
    if (count === null) break;
    left -= count;
  }
}

/**
 * Answers a request a connection until the signal aborts. `Deno.serve` bounds neither the number of
 * connections nor their time, and Deno 2.6 not those of `node:http`.
 * @throws {Error} If it cannot listen there.
 */
export function serveHttp(
  { host, port }: { readonly host: string; readonly port: number },
  answer: (request: IncomingRequest) => OutgoingResponse,
  signal: AbortSignal,
): void {
  const listener = Deno.listen({ hostname: host.replace(/^\[|\]$/g, ""), port });
  const open = new Set<Deno.Conn>();
  const close = (connection: Deno.Conn): void => {
    if (!open.delete(connection)) return;
    connection.close();
  };
  signal.addEventListener("abort", () => {
    listener.close();
    for (const connection of open) close(connection);
  });
  const serve = async (connection: Deno.Conn): Promise<void> => {
    open.add(connection);
    const timer = setTimeout(() => close(connection), MILLISECONDS_PER_SECOND * CONNECTION_LIMIT);
    // A client may leave at any time.
    await answerConnection(connection, answer).catch(() => {});
    clearTimeout(timer);
    close(connection);
  };
  const accept = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        const connection = await listener.accept();
        if (open.size < MAX_CONNECTIONS) void serve(connection);
        else connection.close();
      } catch {
        if (!signal.aborted) {
          await new Promise((resolve) =>
            setTimeout(resolve, MILLISECONDS_PER_SECOND * ACCEPT_PAUSE)
          );
        }
      }
    }
  };
  void accept();
}
