/**
 * A server of vLLM's shape that keeps what it says, for tests that work out from
 * the raw text what the figures of a report must be.
 *
 * The arithmetic is a few lines that share nothing with the program. Half a
 * minute goes by in the server between two scrapes, so that enough requests end.
 *
 * @module
 */

import { assert } from "@std/assert";
import {
  type MetricsHandler,
  startVllmServer,
  type VllmServer,
  type VllmServerOptions,
} from "./vllm_server.ts";

/** Time of the simulation between two scrapes, in seconds. */
const SIMULATED_STEP = 30;

const HEADERS = {
  "content-type": "text/plain; version=1.0.0; charset=utf-8",
  "cache-control": "no-transform",
};

/** What a server said, and when, in seconds. */
export interface Said {
  readonly at: number;
  readonly text: string;
}

export interface RecordedServer {
  readonly server: VllmServer;
  /** In the order of the scrapes. */
  readonly said: readonly Said[];
  /** How it answers and keeps it: the state to go back to after another one. */
  readonly answer: MetricsHandler;
}

/** Starts a server that keeps what it says. */
export async function startRecordedServer(
  options: VllmServerOptions = {},
): Promise<RecordedServer> {
  const said: Said[] = [];
  const answer: MetricsHandler = (_request, body) => {
    said.push({ at: performance.now() / 1000, text: new TextDecoder().decode(body) });
    return new Response(body, { headers: HEADERS });
  };
  const server = await startVllmServer({
    warmUp: 120,
    elapsed: () => said.length * SIMULATED_STEP,
    state: answer,
    ...options,
  });
  return { server, said, answer };
}

/** Series of exactly that name: the labels as text, and the value. */
export function listSeries(
  text: string,
  name: string,
): readonly (readonly [labels: string, value: number])[] {
  const found = text.split("\n").flatMap((line): (readonly [string, number])[] => {
    const match = /^([\w:]+)\{(.*)\} (\S+)$/.exec(line);
    return match?.[1] === name ? [[match[2], Number(match[3])]] : [];
  });
  assert(found.length > 0, `no series ${name}`);
  return found;
}

export function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** The sum of all series of that name. */
export function sumSeries(text: string, name: string): number {
  return sum(listSeries(text, name).map(([, value]) => value));
}

/** What the counter grew by between a server's first two scrapes, all engines together. */
export function measureGrowth({ said: [first, second] }: RecordedServer, name: string): number {
  return sumSeries(second.text, name) - sumSeries(first.text, name);
}
