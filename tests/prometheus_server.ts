/**
 * A real Prometheus, and servers that play recordings for it to scrape.
 *
 * @module
 */

import { findFreePort, waitFor } from "./program_runs.ts";

/** A server that answers scrape after scrape with the next body, and goes on with the last. */
export interface PlayedServer {
  readonly address: string;
  /** `null` answers with status 500. */
  readonly play: (bodies: readonly (string | null)[]) => void;
  /** How many scrapes it has answered. */
  readonly count: () => number;
  readonly close: () => Promise<void>;
}

export function startPlayedServer(first: readonly (string | null)[] = [null]): PlayedServer {
  let bodies = first;
  let next = 0;
  let count = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, () => {
    const body = bodies[Math.min(next++, bodies.length - 1)];
    count++;
    if (body === null) return new Response("no", { status: 500 });
    return new Response(body, { headers: { "content-type": "text/plain; version=0.0.4" } });
  });
  return {
    address: `127.0.0.1:${server.addr.port}`,
    play: (some) => [bodies, next] = [some, 0],
    count: () => count,
    close: () => server.shutdown(),
  };
}

export interface Prometheus {
  readonly url: string;
  readonly folder: string;
  readonly close: () => Promise<void>;
}

/** @param config What follows `scrape_configs:`, as JSON; a job may name files in `folder`. */
export async function startPrometheus(
  jobs: (folder: string) => readonly unknown[],
  scrapeInterval: string,
): Promise<Prometheus> {
  const folder = await Deno.makeTempDir({ prefix: "vllm-htop-test-" });
  const port = await findFreePort();
  const config = {
    global: {
      scrape_interval: scrapeInterval,
      scrape_timeout: scrapeInterval,
      external_labels: { cluster: "demo", prometheus_replica: "a" },
    },
    scrape_configs: jobs(folder),
  };
  await Deno.writeTextFile(`${folder}/prometheus.yml`, JSON.stringify(config));
  const child = new Deno.Command("timeout", {
    args: [
      ...["--kill-after=1", "300", "prometheus", `--config.file=${folder}/prometheus.yml`],
      ...[`--storage.tsdb.path=${folder}/data`, `--web.listen-address=127.0.0.1:${port}`],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  const url = `http://localhost:${port}`;
  const isReady = async (): Promise<boolean> => {
    const response = await fetch(`${url}/-/ready`).catch(() => null);
    await response?.body?.cancel();
    return response?.status === 200;
  };
  await waitFor(isReady, () => "Prometheus is ready");
  const close = async (): Promise<void> => {
    child.kill("SIGTERM");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  };
  return { url, folder, close };
}
