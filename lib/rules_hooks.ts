/**
 * Which hooks are due: what fires and what is over since they were last told, and what still lasts.
 * @module
 */

import type { RuleEvaluation } from "./rules_evaluate.ts";
import type { Finding } from "./rules_finding.ts";
import type { CauseLevel } from "./rules_status.ts";
import type { RuleId } from "./rules_table.ts";
import type { Seconds } from "./units.ts";

export type HookSignal = RuleId | "down" | "stale";

/** When a hook is called. */
export interface HookTrigger {
  /** `null` for all. */
  readonly signals: ReadonlySet<HookSignal> | null;
  /** The lightest. */
  readonly level: CauseLevel;
  /** Called again after so long while it lasts; `null`: once. */
  readonly repeat: Seconds | null;
}

/** What fires. */
export interface Trouble {
  /** Replica or endpoint key. */
  readonly key: string;
  readonly signal: HookSignal;
  readonly level: CauseLevel;
  readonly since: Seconds;
  /** `null` for `down` and `stale`. */
  readonly finding: Finding | null;
}

export interface HookCall {
  /** Index of the hook. */
  readonly hook: number;
  readonly event: "firing" | "resolved";
  /** How often it was told before that it fires. */
  readonly repeats: number;
  /** As of now; of what is over, as it was told last. */
  readonly trouble: Trouble;
}

interface Told {
  readonly trouble: Trouble;
  readonly firedAt: Seconds;
  readonly repeats: number;
  readonly isOver: boolean;
}

/** By hook, signal and key. */
export type HookMemory = ReadonlyMap<string, Told>;

/** What comes and goes is told at most so often. */
const MIN_GAP: Seconds = 60;

export function listTroubles({ alerts, events }: RuleEvaluation): readonly Trouble[] {
  const ofRules = alerts.flatMap(({ isFiring, since, newest }): Trouble[] => {
    const { key, rule: signal, level } = newest;
    return isFiring && level !== "off" ? [{ key, signal, level, since, finding: newest }] : [];
  });
  const failing = events.lines.flatMap(({ kind, endedAt, beganAt, subject }): Trouble[] => {
    if (endedAt !== null || (kind !== "DOWN" && kind !== "STALE")) return [];
    const signal = kind === "DOWN" ? "down" : "stale";
    const level = kind === "DOWN" ? "critical" : "degraded";
    return [{ key: subject.key, signal, level, since: beganAt, finding: null }];
  });
  return [...ofRules, ...failing];
}

function isMeant({ signals, level }: HookTrigger, trouble: Trouble): boolean {
  return (signals === null || signals.has(trouble.signal)) &&
    (level === "degraded" || trouble.level === "critical");
}

/** What is told of a trouble that goes on; `null` for nothing. */
function continueTrouble(
  told: Told,
  trouble: Trouble,
  { repeat, at }: { readonly repeat: Seconds | null; readonly at: Seconds },
): Told | null {
  const isWorse = trouble.level === "critical" && told.trouble.level !== "critical";
  const isDue = repeat !== null && at - told.firedAt >= repeat;
  if (!isWorse && !isDue) return null;
  return { trouble, firedAt: at, repeats: told.repeats + 1, isOver: false };
}

/** Returns the calls that are due, and what to remember of them. */
export function planHookCalls(
  memory: HookMemory,
  { hooks, troubles, at }: {
    readonly hooks: readonly HookTrigger[];
    readonly troubles: readonly Trouble[];
    readonly at: Seconds;
  },
): { readonly calls: readonly HookCall[]; readonly memory: HookMemory } {
  const calls: HookCall[] = [];
  const next = new Map<string, Told>();
  hooks.forEach((trigger, hook) => {
    for (const trouble of troubles.filter((one) => isMeant(trigger, one))) {
      const identity = `${hook}\n${trouble.signal}\n${trouble.key}`;
      const told = memory.get(identity);
      const isNew = told === undefined || (told.isOver && at - told.firedAt >= MIN_GAP);
      const change = isNew
        ? { trouble, firedAt: at, repeats: 0, isOver: false }
        : told.isOver
        ? null
        : continueTrouble(told, trouble, { ...trigger, at });
      if (change !== null) calls.push({ hook, event: "firing", repeats: change.repeats, trouble });
      const kept = change ?? told;
      if (kept !== undefined) next.set(identity, kept);
    }
  });
  for (const [identity, told] of memory) {
    if (next.has(identity)) continue;
    const { trouble, repeats, isOver, firedAt } = told;
    const hook = Number(identity.split("\n", 1)[0]);
    if (!isOver) calls.push({ hook, event: "resolved", repeats, trouble });
    if (at - firedAt < MIN_GAP) next.set(identity, { ...told, isOver: true });
  }
  return { calls, memory: next };
}
