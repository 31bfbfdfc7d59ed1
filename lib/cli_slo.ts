/**
 * Parser of service-level objectives: `[MODEL:]LATENCY=LIMIT[@pN],…`, such as
 * `ttft=1s,itl=50ms@p99`. A model's name holds for what follows it.
 * @module
 */

import { levenshteinDistance } from "@std/text/levenshtein-distance";
import { isProblem, type Problem, refuse, type Setting } from "./cli_values.ts";
import { type Objective, OBJECTIVE_KEYS } from "./model.ts";
import { quote } from "./text.ts";
import { type Ratio, type Seconds, SECONDS_PER_DAY } from "./units.ts";

const DEFAULT_TARGET: Ratio = 0.95;
const EXAMPLES = '"ttft=1s" or "itl=50ms@p99"';

interface ParsedObjective extends Objective {
  readonly setting: Setting;
}

/** Objectives as typed, until all sources are known. */
type Objectives = readonly ParsedObjective[];

function suggest(words: readonly string[]): string {
  return words.length === 0
    ? ""
    : `: did you mean ${words.map((word) => quote(word)).join(" or ")}?`;
}

function findNearestLatency(typed: string): string | null {
  const distance = (key: string): number => levenshteinDistance(key, typed.toLowerCase());
  const nearest = OBJECTIVE_KEYS.reduce((a, b) => distance(b) < distance(a) ? b : a);
  return distance(nearest) <= 2 && distance(nearest) < typed.length ? nearest : null;
}

function parseLimit(text: string, setting: Setting): Seconds | Problem {
  const [, number, unit] = /^(\d+\.?\d*|\.\d+)(ms|s|)$/.exec(text) ?? [];
  if (number === undefined) {
    return refuse(setting, `has no time as its limit: write it as in ${EXAMPLES}`);
  }
  if (unit === "") {
    const words = ["s", "ms"].map((one) => setting.text.replace(`=${text}`, `=${number}${one}`));
    return refuse(setting, `has a limit without a unit${suggest(words)}`);
  }
  // Not divided, so that it is the same number as the bound of a bucket.
  const limit = Number(unit === "ms" ? `${number}e-3` : number);
  return limit > 0 && limit <= SECONDS_PER_DAY
    ? limit
    : refuse(setting, "has a limit out of range: above 0, and at most a day");
}

function parseTarget(text: string, setting: Setting): Ratio | Problem {
  const [, percent] = /^p?(\d{1,3}(?:\.\d+)?)%?$/i.exec(text) ?? [];
  const target = Number(`${percent}e-2`);
  const isTarget = target > 0 && target <= 1;
  if (isTarget && text === `p${percent}`) return target;
  const meant = isTarget
    ? suggest([setting.text.replace(`@${text}`, `@p${percent}`)])
    : ': write it as in "p95", for 95 % of the requests';
  return refuse(setting, `has a target that is not p1 to p100${meant}`);
}

function parseObjective(setting: Setting, model: string | null): ParsedObjective | Problem {
  const [, name, limitText, targetText] = /^([^=@]+)=([^@]+)(?:@(.*))?$/.exec(setting.text) ?? [];
  if (name === undefined) return refuse(setting, `is not LATENCY=LIMIT, such as ${EXAMPLES}`);
  const latency = OBJECTIVE_KEYS.find((key) => key === name);
  if (latency === undefined) {
    const nearest = findNearestLatency(name);
    const words = nearest === null
      ? `: ${OBJECTIVE_KEYS.join(", ")} are known`
      : suggest([setting.text.replace(name, nearest)]);
    return refuse(setting, `names an unknown latency${words}`);
  }
  const limit = parseLimit(limitText, setting);
  if (isProblem(limit)) return limit;
  const target = targetText === undefined ? DEFAULT_TARGET : parseTarget(targetText, setting);
  return isProblem(target) ? target : { model, latency, limit, target, setting };
}

/** Comma-separated. */
export function parseObjectives(setting: Setting): Objectives | Problem {
  const objectives: ParsedObjective[] = [];
  let model: string | null = null;
  for (const part of setting.text.split(",").map((one) => one.trim())) {
    // Names of models may have colons, limits have none.
    const colon = part.lastIndexOf(":");
    if (colon >= 0) model = part.slice(0, colon).trim();
    if (model === "") return refuse({ ...setting, text: part }, "names no model before its colon");
    const text = part.slice(colon + 1).trim();
    const objective = parseObjective({ ...setting, text }, model);
    if (isProblem(objective)) return objective;
    objectives.push(objective);
  }
  return objectives;
}

/** Two limits for one latency need two targets. */
export function resolveObjectives(
  given: Objectives,
  problems: Problem[],
): readonly Objective[] {
  const seen = new Set<string>();
  for (const { model, latency, target, setting } of given) {
    const identity = JSON.stringify([model, latency, target]);
    if (seen.has(identity)) problems.push(refuse(setting, "sets the same objective twice"));
    seen.add(identity);
  }
  return given.map(({ model, latency, limit, target }) => ({ model, latency, limit, target }));
}
