/**
 * The `llama-server` that Ollama starts for each loaded model, from 0.30 on. They are found by the
 * processes of this machine. Neither names the other's model: they are joined by the number of
 * parameters and the context, and only where one model alone fits.
 * @module
 */

import { askModel, createTokenCounter, PREFIX } from "./dialect_llamacpp.ts";
import type { Ask, ListInner } from "./dialect_model.ts";
import { isRecord, type JsonRecord, parseUntrustedJson } from "./json.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

interface InnerServer {
  readonly port: number;
  /** NaN if it does not say. */
  readonly parameters: number;
  /** Of one request. */
  readonly contextTokens: number;
  asksMetrics: boolean;
  readonly countTokens: ReturnType<typeof createTokenCounter>;
}

/** A model that loads, or whose server does not answer, is looked for again after this. */
const RETRY_INTERVAL: Seconds = 30;

const PARAMETERS = /^(\d+)(?:\.(\d+))?([KMB])$/;
const UNITS: Readonly<Record<string, number>> = { K: 1e3, M: 1e6, B: 1e9 };

/** Whether `23.93M` is that number, rounded. */
function areParameters(text: unknown, count: number): boolean {
  const match = PARAMETERS.exec(String(text));
  if (match === null || Number.isNaN(count)) return true;
  const [, whole, decimals = "", unit] = match;
  const step = UNITS[unit] / 10 ** decimals.length;
  // Some versions cut, others round.
  return Math.abs(Number(`${whole}.${decimals || 0}`) * UNITS[unit] - count) < step;
}

async function askRecord(ask: Ask, path: string, port: number): Promise<JsonRecord | null> {
  try {
    const { status, text } = await ask(path, port);
    const value = status === 200 ? parseUntrustedJson(text) : undefined;
    return isRecord(value) ? value : null;
  } catch {
    return null;
  }
}

/** `null` if another server answers at its port, such as that of a container's process. */
async function meetInner(
  ask: Ask,
  { port, commandLine }: Awaited<ReturnType<ListInner>>[number],
): Promise<InnerServer | null> {
  const props = await askRecord(ask, "/props", port);
  const path = /\s--model[ =](\S+)/.exec(commandLine)?.[1];
  if (props === null || path === undefined || props.model_path !== path) return null;
  const models = await askRecord(ask, "/v1/models", port);
  const listed: readonly unknown[] = Array.isArray(models?.data) ? models.data : [];
  const meta = isRecord(listed[0]) && isRecord(listed[0].meta) ? listed[0].meta : {};
  const settings = props.default_generation_settings;
  return {
    port,
    parameters: Number(meta.n_params ?? NaN),
    contextTokens: Number(isRecord(settings) ? settings.n_ctx : NaN),
    asksMetrics: true,
    countTokens: createTokenCounter(),
  };
}

/** The only model that fits, or `null`. */
function chooseModel(server: InnerServer, loaded: readonly JsonRecord[]): string | null {
  const fitting = loaded.filter(({ details }) =>
    areParameters(isRecord(details) ? details.parameter_size : null, server.parameters)
  );
  const inContext = fitting.filter((model) => model.context_length === server.contextTokens);
  const [model, ...more] = fitting.length > 1 ? inContext : fitting;
  return model === undefined || more.length > 0 ? null : String(model.name);
}

/** By model. */
function joinModels(
  servers: readonly InnerServer[],
  loaded: readonly JsonRecord[],
): Map<string, InnerServer> {
  if (servers.length === 1 && loaded.length === 1) {
    return new Map([[String(loaded[0].name), servers[0]]]);
  }
  const byModel = Map.groupBy(servers, (server) => chooseModel(server, loaded));
  return new Map(
    [...byModel].flatMap(([model, all]) =>
      model === null || all.length > 1 ? [] : [[model, all[0]] as const]
    ),
  );
}

/** Asks for the figures of each loaded model; returns metrics with the given prefix. */
export function createInnerRound(
  listInner: ListInner | undefined,
  prefix: string,
): (ask: Ask, loaded: readonly JsonRecord[], now: EpochSeconds) => Promise<string> {
  let joined = new Map<string, InnerServer>();
  let joinedFor = "";
  let joinedAt: EpochSeconds = -Infinity;

  const join = async (ask: Ask, loaded: readonly JsonRecord[]): Promise<typeof joined> => {
    const servers: InnerServer[] = [];
    for (const one of loaded.length === 0 ? [] : await listInner?.() ?? []) {
      const server = await meetInner(ask, one);
      if (server !== null) servers.push(server);
    }
    return joinModels(servers, loaded);
  };

  const askServer = async (
    ask: Ask,
    model: string,
    { isFirst, server }: { readonly isFirst: boolean; readonly server: InnerServer },
  ): Promise<string | null> => {
    const { port, asksMetrics, countTokens } = server;
    const questions = { model, query: "", asksMetrics, asksSlots: true, isFirst, countTokens };
    const answer = await askModel((path) => ask(path, port), questions).catch(() => null);
    if (typeof answer !== "string") return null;
    // Switched off for its whole life.
    server.asksMetrics &&= !answer.startsWith(`${PREFIX}metrics_off`);
    return answer.replaceAll(new RegExp(`^(# \\w+ )?${PREFIX}`, "gm"), `$1${prefix}`);
  };

  return async (ask, loaded, now) => {
    const wanted = loaded.map(({ name, context_length: context }) => `${name} ${context}`).join();
    const isDue = joined.size < loaded.length && Math.abs(now - joinedAt) >= RETRY_INTERVAL;
    if (wanted !== joinedFor || isDue) {
      joined = await join(ask, loaded);
      joinedFor = wanted;
      joinedAt = now;
    }
    let text = "";
    for (const [model, server] of joined) {
      const answer = await askServer(ask, model, { isFirst: text === "", server });
      if (answer === null) joined.delete(model);
      else text += answer;
    }
    return text;
  };
}
