/**
 * A server for tests that says byte for byte what a script tells it to.
 *
 * Real sockets on loopback, TCP, TLS or Unix: what it sends may be late, slow,
 * endless, cut off or no HTTP at all. It counts connections and keeps the heads
 * of the requests, so that tests can tell what was sent to it. `close` ends all
 * of it. Certificates are made with openssl on the spot.
 *
 * @module
 */

/** One connection, as a script sees it. */
export interface RawConnection {
  /** Sends all of it. False once the other side is gone. */
  readonly send: (data: string | Uint8Array) => Promise<boolean>;
  /** Ends the connection properly. */
  readonly close: () => void;
  /** Sends nothing more, but goes on reading: the connection is half closed. */
  readonly endWriting: () => Promise<void>;
  /** Resolves after the milliseconds, or as soon as the server is closed. */
  readonly wait: (milliseconds: number) => Promise<void>;
}

/** What a server does with each request on each connection. */
export type Script = (connection: RawConnection, head: string) => Promise<unknown> | void;

export interface RawServer {
  readonly port: number;
  /** Without a path. */
  readonly origin: string;
  readonly connectionCount: () => number;
  /** The head of each request, in the order of arrival. */
  readonly requests: readonly string[];
  readonly close: () => Promise<void>;
}

export interface RawServerOptions {
  readonly hostname?: string;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly unixPath?: string;
  /** Answers before the request was read to its end: closing then resets the connection. */
  readonly answersUnread?: boolean;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function listen({ hostname = "127.0.0.1", tls, unixPath }: RawServerOptions): Deno.Listener {
  if (unixPath !== undefined) return Deno.listen({ transport: "unix", path: unixPath });
  const place = { hostname, port: 0 };
  return tls === undefined
    ? Deno.listen(place)
    : Deno.listenTls({ ...place, cert: tls.cert, key: tls.key });
}

/** Waits that end when the server does. */
function createWaiter(): {
  readonly wait: (milliseconds: number) => Promise<void>;
  readonly end: () => void;
} {
  const pending = new Set<() => void>();
  return {
    wait: (milliseconds) =>
      new Promise((resolve) => {
        const finish = () => {
          clearTimeout(timer);
          pending.delete(finish);
          resolve();
        };
        const timer = setTimeout(finish, milliseconds);
        pending.add(finish);
      }),
    end: () => pending.forEach((finish) => finish()),
  };
}

/** Reads to the end of a request's head; `null` when the connection ends before. */
async function readHead(connection: Deno.Conn, isUnread: boolean): Promise<string | null> {
  const buffer = new Uint8Array(isUnread ? 1 : 4096);
  let head = "";
  while (!head.includes("\r\n\r\n")) {
    const count = await connection.read(buffer);
    if (count === null) return null;
    head += decoder.decode(buffer.subarray(0, count));
    if (isUnread) return head;
  }
  return head;
}

/** Starts a server on a free port of loopback, or on a Unix socket. */
export function startRawServer(script: Script, options: RawServerOptions = {}): RawServer {
  const listener = listen(options);
  const { wait, end } = createWaiter();
  const open = new Set<Deno.Conn>();
  const tasks: Promise<void>[] = [];
  const requests: string[] = [];
  let connectionCount = 0;

  const close = (connection: Deno.Conn): void => {
    if (open.delete(connection)) connection.close();
  };
  const serve = async (connection: Deno.Conn): Promise<void> => {
    const send = async (data: string | Uint8Array): Promise<boolean> => {
      let rest = typeof data === "string" ? encoder.encode(data) : data;
      try {
        while (rest.length > 0) rest = rest.subarray(await connection.write(rest));
        return true;
      } catch {
        return false;
      }
    };
    try {
      for (;;) {
        const head = await readHead(connection, options.answersUnread ?? false);
        if (head === null) break;
        requests.push(head);
        const endWriting = (): Promise<void> => connection.closeWrite();
        await script({ send, wait, close: () => close(connection), endWriting }, head);
      }
    } catch {
      // The other side has gone, or the script has closed the connection.
    } finally {
      close(connection);
    }
  };
  const accept = async (): Promise<void> => {
    for (;;) {
      let connection: Deno.Conn;
      try {
        connection = await listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return;
        continue; // A handshake that failed.
      }
      connectionCount++;
      open.add(connection);
      tasks.push(serve(connection));
    }
  };
  tasks.push(accept());
  const port = "port" in listener.addr ? listener.addr.port : 0;
  const host = options.hostname === "::1" ? "[::1]" : options.hostname ?? "127.0.0.1";
  return {
    port,
    origin: `${options.tls === undefined ? "http" : "https"}://${host}:${port}`,
    connectionCount: () => connectionCount,
    requests,
    close: async () => {
      listener.close();
      end();
      for (const connection of [...open]) close(connection);
      await Promise.all(tasks);
    },
  };
}

/** A whole HTTP response, framed by its length. */
export function formatResponse(
  body: string,
  { status = 200, headers = {} }: {
    readonly status?: number;
    readonly headers?: Readonly<Record<string, string>>;
  } = {},
): string {
  const lines = Object.entries({
    "content-type": "text/plain; version=0.0.4; charset=utf-8",
    "content-length": String(encoder.encode(body).length),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} Status\r\n${lines.join("")}\r\n${body}`;
}

/** The smallest body that is a vLLM server's. */
export const VLLM_BODY = [
  "# HELP vllm:num_requests_running Number of requests in model execution batches.",
  "# TYPE vllm:num_requests_running gauge",
  'vllm:num_requests_running{engine="0",model_name="test/model"} 3.0',
  "# TYPE vllm:prompt_tokens_total counter",
  'vllm:prompt_tokens_total{engine="0",model_name="test/model"} 1234.0',
  "",
].join("\n");

/** PEM texts: an authority, server certificates of it for localhost (one that has expired), a client certificate of it, another authority. */
export interface TestCertificates {
  readonly ca: string;
  readonly server: { readonly cert: string; readonly key: string };
  readonly expired: { readonly cert: string; readonly key: string };
  readonly otherName: { readonly cert: string; readonly key: string };
  readonly selfSigned: { readonly cert: string; readonly key: string };
  readonly client: { readonly cert: string; readonly key: string };
  readonly otherCa: string;
  /** Where the files are; to be removed by the caller. */
  readonly folder: string;
}

async function runOpenssl(folder: string, args: readonly string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("openssl", {
    args: [...args],
    cwd: folder,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`openssl ${args.join(" ")}: ${decoder.decode(stderr)}`);
}

/** Makes certificates that are valid for two days, in a temporary folder. */
export async function createTestCertificates(): Promise<TestCertificates> {
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const read = (name: string) => Deno.readTextFile(`${folder}/${name}`);
  const makeAuthority = (name: string) =>
    runOpenssl(folder, [
      ...["req", "-x509", ...newKey, "-days", "2", "-subj", `/CN=${name}`],
      ...["-keyout", `${name}.key`, "-out", `${name}.pem`],
    ]);
  const makeLeaf = async (name: string, extensions: string, days = 2) => {
    await Deno.writeTextFile(`${folder}/${name}.ext`, `basicConstraints=CA:FALSE\n${extensions}\n`);
    await runOpenssl(folder, [
      ...["req", ...newKey, "-subj", `/CN=${name}`],
      ...["-keyout", `${name}.key`, "-out", `${name}.csr`],
    ]);
    await runOpenssl(folder, [
      ...["x509", "-req", "-in", `${name}.csr`, "-CA", "ca.pem", "-CAkey", "ca.key"],
      ...["-CAcreateserial", "-days", `${days}`, "-extfile", `${name}.ext`, "-out", `${name}.pem`],
    ]);
    return { cert: await read(`${name}.pem`), key: await read(`${name}.key`) };
  };
  await makeAuthority("ca");
  await makeAuthority("other");
  return {
    ca: await read("ca.pem"),
    server: await makeLeaf("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    expired: await makeLeaf("expired", "subjectAltName=DNS:localhost,IP:127.0.0.1", -1),
    otherName: await makeLeaf("elsewhere", "subjectAltName=DNS:elsewhere.example"),
    selfSigned: { cert: await read("other.pem"), key: await read("other.key") },
    client: await makeLeaf("client", "extendedKeyUsage=clientAuth"),
    otherCa: await read("other.pem"),
    folder,
  };
}
