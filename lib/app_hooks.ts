/**
 * Calls the hooks of the configuration file when a rule fires, and when that is over: runs a program,
 * posts to a webhook, rings the bell. One call at a time for each hook and rule. A failure becomes
 * an event, and never ends the session.
 * @module
 */

import { dispatch, type Session } from "./app_session.ts";
import type { Hook } from "./cli_hooks.ts";
import type { Platform, ProgramOutcome } from "./platform.ts";
import { createNames } from "./report_rules.ts";
import { type HookCall, type HookMemory, listTroubles, planHookCalls } from "./rules_hooks.ts";
import { describeRule } from "./rules_table.ts";
import { describeNetworkError } from "./scrape_errors.ts";
import { chooseProxy } from "./scrape_proxy.ts";
import type { State } from "./state.ts";
import { quote, sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_KIBIBYTE } from "./units.ts";
import { VERSION } from "./version.ts";
import { formatElapsed } from "./view_format.ts";
import { formatFinding } from "./view_words.ts";

const SCHEMA_VERSION = 1;
const BELL = 7;
const MAX_OUTPUT: Bytes = 64 * BYTES_PER_KIBIBYTE;
/** Calls that wait for one that is slow; more drop the oldest. */
const MAX_WAITING = 16;

/** What a hook is told, and posted as JSON. */
function describeCall({ event, repeats, trouble }: HookCall, state: State) {
  const { key, signal, level, since, finding } = trouble;
  const rows = state.fleet.rows.filter((row) => row.key === key || row.state.endpoint.key === key);
  const endpointKey = key.split("\n", 1)[0];
  const fault = rows[0]?.fault ?? null;
  const isStatus = signal === "down" || signal === "stale";
  const cause = state.fleet.verdict.causes.find((one) => one.key === key && one.signal === signal);
  return {
    ...{ schema: SCHEMA_VERSION, program: `vllm-htop ${VERSION}`, event, repeats },
    ...{ rule: signal, title: isStatus ? signal : describeRule(signal).title, level },
    displayName: createNames(state)(key),
    endpoint: endpointKey,
    model: finding === null ? null : rows[0]?.replica?.sample.modelName ?? null,
    evidence: finding === null ? fault?.message ?? "" : formatFinding(finding),
    advice: cause?.advice?.text ?? null,
    timeEpochSeconds: state.nowEpoch,
    beganAtEpochSeconds: state.nowEpoch - (state.now - since),
    durationSeconds: state.now - since,
    verdict: state.fleet.verdict.level,
  };
}

type HookEvent = ReturnType<typeof describeCall>;

/** As Slack takes it; others take the same shape. */
function writeSlackMessage({ event, level, displayName, title, ...rest }: HookEvent): string {
  const { evidence, advice, durationSeconds } = rest;
  const words = event === "firing" ? level.toUpperCase() : "resolved";
  const figures = event === "firing" && evidence !== "" ? ` (${evidence})` : "";
  const elapsed = formatElapsed(event === "firing" ? ", for " : ", after ", durationSeconds);
  const todo = event === "firing" && advice !== null ? `\n→ ${advice}` : "";
  const text = `${displayName}: ${title}${figures}${elapsed}${todo}`
    .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return JSON.stringify({ text: `*${words}* ${text}` });
}

const RUN_WORDS: Readonly<Record<Exclude<ProgramOutcome["kind"], "exited">, string>> = {
  missing: "is not on the PATH: give its full path",
  refused: "may not be run: see docs/monitoring.md for the permission that it needs",
  timeout: "took too long, and was ended",
  flooded: "printed too much, and was ended",
  aborted: "was ended",
};

/** `null` if it went well. */
async function runHook(
  { platform, stop }: Session,
  { exec, timeout }: Hook,
  event: HookEvent,
): Promise<string | null> {
  if (exec === null) return null;
  const [name, ...rest] = exec;
  const outcome = await platform.runProgram({
    ...{ name, arguments: rest, timeout, maxOutputBytes: MAX_OUTPUT, signal: stop.signal },
    input: `${JSON.stringify(event)}\n`,
  });
  if (outcome.kind === "aborted" || (outcome.kind === "exited" && outcome.code === 0)) return null;
  if (outcome.kind !== "exited") return `${quote(name)} ${RUN_WORDS[outcome.kind]}`;
  const said = sanitizeText(outcome.stderr.trim().split("\n", 1)[0]);
  return `${quote(name)} failed with code ${outcome.code}${said === "" ? "" : `: ${said}`}`;
}

/** Names only the origin: the rest of the URL is a secret. */
async function postHook(
  { platform, stop }: Session,
  { webhook, isSlack, timeout }: Hook,
  { event, caCertificates }: {
    readonly event: HookEvent;
    readonly caCertificates: readonly string[];
  },
): Promise<string | null> {
  if (webhook === null) return null;
  const shown = quote(new URL(webhook).origin);
  const proxy = chooseProxy(webhook, platform.environment);
  if (proxy !== null && "error" in proxy) return proxy.error;
  const limit = platform.deadline(timeout, stop.signal);
  try {
    const body = isSlack ? writeSlackMessage(event) : JSON.stringify(event);
    const transport = {
      ...(proxy === null ? {} : { proxy }),
      ...(caCertificates.length === 0 ? {} : { caCertificates }),
    };
    const status = await platform.postJson(transport, { url: webhook, body, signal: limit.signal });
    return status >= 200 && status < 300 ? null : `${shown} answered with status ${status}`;
  } catch (error) {
    if (stop.signal.aborted) return null;
    if (limit.expired()) return `${shown} did not answer in ${timeout} s`;
    return describeNetworkError(error, shown).message;
  } finally {
    limit.cancel();
  }
}

function ringBell({ stdio }: Platform): void {
  if (stdio.stdoutIsTerminal) stdio.writeStdout(Uint8Array.of(BELL)).catch(() => {});
}

type Job = () => Promise<string | null>;

/** Runs jobs one after the other, in order. */
function createLane(fail: (text: string) => void): (job: Job) => void {
  const waiting: Job[] = [];
  let isBusy = false;
  const work = async (): Promise<void> => {
    isBusy = true;
    for (let job = waiting.shift(); job !== undefined; job = waiting.shift()) {
      const problem = await job().catch((error) => sanitizeText(String(error)));
      if (problem !== null) fail(problem);
    }
    isBusy = false;
  };
  return (job) => {
    waiting.push(job);
    if (waiting.length > MAX_WAITING) {
      waiting.shift();
      fail("is too slow: an event was dropped");
    }
    if (!isBusy) void work();
  };
}

/**
 * Returns what to call after each evaluation.
 * @param caCertificates Of authorities that webhooks may have, besides the system's.
 */
export function startHooks(
  session: Session,
  hooks: readonly Hook[],
  caCertificates: readonly string[] = [],
): () => void {
  const lanes = new Map<string, (job: Job) => void>();
  let memory: HookMemory = new Map();
  const enqueue = (kind: "exec" | "webhook", { hook, trouble }: HookCall, job: Job): void => {
    const identity = `${kind} ${hook} ${trouble.signal}`;
    const lane = lanes.get(identity) ?? createLane((text) => {
      if (session.stop.signal.aborted) return;
      dispatch(session, { kind: "hook_failed", name: `hook ${hook + 1}`, text });
    });
    lanes.set(identity, lane);
    lane(job);
  };
  return () => {
    const { state } = session;
    const troubles = listTroubles(state.evaluation);
    const planned = planHookCalls(memory, { hooks, troubles, at: state.now });
    memory = planned.memory;
    for (const call of planned.calls) {
      const hook = hooks[call.hook];
      const event = describeCall(call, state);
      if (hook.hasBell && call.event === "firing") ringBell(session.platform);
      if (hook.exec !== null) enqueue("exec", call, () => runHook(session, hook, event));
      if (hook.webhook !== null) {
        const job = () => postHook(session, hook, { event, caCertificates });
        enqueue("webhook", call, job);
      }
    }
  };
}
