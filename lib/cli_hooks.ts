/**
 * Hooks of the configuration file: which rules, and what to run, post or ring. They have no option,
 * as they hold arguments and addresses that are secrets.
 * @module
 */

import { findNearest, isProblem, parseSpan } from "./cli_values.ts";
import { isAbsolutePath } from "./files.ts";
import type { JsonMember, JsonNode, Schema } from "./json.ts";
import type { HookSignal, HookTrigger } from "./rules_hooks.ts";
import { RULE_IDS } from "./rules_table.ts";
import { quote } from "./text.ts";
import type { Seconds } from "./units.ts";

export interface Hook extends HookTrigger {
  /** A program and its arguments. */
  readonly exec: readonly [string, ...string[]] | null;
  /** A secret: only its origin may be shown. */
  readonly webhook: string | null;
  /** The webhook wants a message as Slack takes it. */
  readonly isSlack: boolean;
  readonly hasBell: boolean;
  /** For a run, and for an answer. */
  readonly timeout: Seconds;
}

type HookProblem = { readonly error: string };
type Draft = { -readonly [Key in keyof Hook]: Hook[Key] };

const DEFAULT_TIMEOUT: Seconds = 10;
const LEVELS = ["degraded", "critical"] as const;
/** What a hook may name as its rules. */
const HOOK_SIGNALS: readonly HookSignal[] = [...RULE_IDS, "down", "stale"];

function readTexts(value: JsonNode): readonly string[] | null {
  if (value.kind === "string") return [value.value];
  if (value.kind !== "array") return null;
  const texts = value.items.flatMap((item) => item.kind === "string" ? item.value : []);
  return texts.length === value.items.length ? texts : null;
}

function parseSignals(value: JsonNode): ReadonlySet<HookSignal> | string {
  const names = readTexts(value);
  if (names === null || names.length === 0) return "must be the name of a rule, or a list of them";
  const unknown = names.find((name) => !HOOK_SIGNALS.some((signal) => signal === name));
  if (unknown === undefined) {
    return new Set(HOOK_SIGNALS.filter((signal) => names.includes(signal)));
  }
  const nearest = findNearest(unknown, HOOK_SIGNALS);
  const meant = nearest === null ? HOOK_SIGNALS.join(", ") : `did you mean ${quote(nearest)}?`;
  return `names no rule by ${quote(unknown)}: ${meant}`;
}

function parseExec(value: JsonNode, folder: string): Hook["exec"] | string {
  const [program = "", ...rest] = value.kind === "array" ? readTexts(value) ?? [] : [];
  if (program === "") return "must be a list: a program and its arguments";
  // A bare name is looked up on the PATH.
  const isRelative = /[/\\]/.test(program) && !isAbsolutePath(program);
  return [isRelative ? `${folder}/${program}` : program, ...rest];
}

function parseWebhook(value: JsonNode): { readonly url: string } | string {
  const url = value.kind === "string" && URL.canParse(value.value) ? new URL(value.value) : null;
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  return url !== null && isHttp && url.username === "" && url.password === ""
    ? { url: url.href }
    : "must be an http or https URL without user and password";
}

/** A time, or why it is none. */
function readSpan(value: JsonNode, origin: string): Seconds | string {
  const text = value.kind === "string" ? value.value : value.kind === "number" ? value.text : "";
  const span = parseSpan({ level: "file", origin, text });
  return isProblem(span) ? "must be a time, such as 10s or 30m" : span;
}

function readSwitch(value: JsonNode): boolean | string {
  return value.kind === "boolean" ? value.value : "must be true or false";
}

/** Sets what the member says. The result is what is wrong with it. */
function applyMember(draft: Draft, { name, value }: JsonMember, folder: string): string | null {
  const set = <Key extends keyof Hook>(key: Key, parsed: Hook[Key] | string): string | null => {
    if (typeof parsed === "string") return parsed;
    draft[key] = parsed;
    return null;
  };
  switch (name) {
    case "rules":
      return set("signals", parseSignals(value));
    case "level": {
      const level = LEVELS.find((one) => value.kind === "string" && value.value === one);
      if (level === undefined) return `must be one of ${LEVELS.join(", ")}`;
      draft.level = level;
      return null;
    }
    case "exec":
      return set("exec", parseExec(value, folder));
    case "webhook": {
      const parsed = parseWebhook(value);
      if (typeof parsed === "string") return parsed;
      draft.webhook = parsed.url;
      return null;
    }
    case "slack":
      return set("isSlack", readSwitch(value));
    case "bell":
      return set("hasBell", readSwitch(value));
    case "repeat":
      return set("repeat", readSpan(value, name));
    case "timeout":
      return set("timeout", readSpan(value, name));
    default:
      return `is unknown: ${Object.keys(PROPERTIES).join(", ")} are known`;
  }
}

function parseHook(node: JsonNode, origin: string, folder: string): Hook | HookProblem {
  if (node.kind !== "object") return { error: `${origin} must be a list of objects` };
  const hook: Draft = {
    ...{ signals: null, level: "degraded", repeat: null },
    ...{ exec: null, webhook: null, isSlack: false, hasBell: false, timeout: DEFAULT_TIMEOUT },
  };
  for (const member of node.members) {
    const problem = applyMember(hook, member, folder);
    if (problem === null) continue;
    return { error: `${quote(member.name)} (line ${member.line}) of ${origin} ${problem}` };
  }
  const isIdle = hook.exec === null && hook.webhook === null && !hook.hasBell;
  if (!isIdle) return hook;
  return { error: `${origin} has a hook with nothing to do: give exec, webhook or bell` };
}

/** @param folder That of the file: relative paths of programs begin there. */
export function parseHooks(
  { value }: JsonMember,
  origin: string,
  folder: string,
): readonly Hook[] | HookProblem {
  if (value.kind !== "array") return { error: `${origin} must be a list` };
  const hooks: Hook[] = [];
  for (const item of value.items) {
    const hook = parseHook(item, origin, folder);
    if ("error" in hook) return hook;
    hooks.push(hook);
  }
  return hooks;
}

const SPAN = { type: ["string", "number"] } as const;
const TEXTS = { type: "array", items: { type: "string" } } as const;

/** Key -> its schema. */
const PROPERTIES: Readonly<Record<string, Schema>> = {
  rules: {
    description: "rules that call it, down and stale; all if unset",
    type: ["string", "array"],
    items: { enum: HOOK_SIGNALS },
  },
  level: { description: "the lightest level that calls it", enum: LEVELS, default: "degraded" },
  exec: {
    description: "program and arguments; no shell; it gets the event as JSON on standard input",
    ...TEXTS,
    minItems: 1,
  },
  webhook: { description: "URL to which the same JSON is posted; a secret", type: "string" },
  slack: { description: "post a message as Slack takes it", type: "boolean", default: false },
  bell: { description: "ring the bell of the terminal", type: "boolean", default: false },
  repeat: { description: "call again after so long while it lasts, such as 30m", ...SPAN },
  timeout: {
    description: "time limit of a run and of an answer",
    ...SPAN,
    default: `${DEFAULT_TIMEOUT}s`,
  },
};

export function describeHooks(): Schema {
  return {
    description: "what to run, post or ring when a rule fires, and when that is over",
    type: "array",
    items: { type: "object", properties: PROPERTIES, additionalProperties: false },
  };
}
