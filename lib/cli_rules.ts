/**
 * Settings of rules as typed -> changes: `queuing.threshold=20`, `full.threshold=90%`,
 * `queuing=off`.
 * @module
 */

import { findNearest, isProblem, type Problem, refuse, type Setting } from "./cli_values.ts";
import {
  type Level,
  RULE_IDS,
  RULE_LEVELS,
  RULE_SETTINGS,
  type RuleChange,
  type RuleSetting,
} from "./rules_table.ts";
import { quote } from "./text.ts";

function suggest(typed: string, names: readonly string[]): string {
  const meant = findNearest(typed.toLowerCase(), names);
  return meant === null ? `: write one of ${names.join(", ")}` : `: did you mean ${quote(meant)}?`;
}

function isLevel(text: string): text is Level {
  return RULE_LEVELS.some((level) => level === text);
}

function parseRuleNumber(
  text: string,
  { unit, min, max }: RuleSetting,
  setting: Setting,
): number | Problem {
  const [, digits, percent] = /^(\d+\.?\d*|\.\d+)(\s*%)?$/.exec(text) ?? [];
  const isPercent = percent !== undefined;
  if (digits === undefined || (isPercent && unit !== "ratio")) {
    return refuse(setting, `is not a number of ${unit}`);
  }
  const value = isPercent ? Number(digits) / 100 : Number(digits);
  if (value >= min && value <= max) return value;
  const range = Number.isFinite(max) ? `from ${min} to ${max}` : `at least ${min}`;
  return refuse(setting, `is out of range: ${range}`);
}

function parseRuleChange(setting: Setting): RuleChange | Problem {
  const [, ruleName, name = "level", text] =
    /^([^.=]+)(?:\.([^=]+))?=(.*)$/.exec(setting.text)?.map((part) => part?.trim()) ?? [];
  if (ruleName === undefined) {
    return refuse(setting, "is not RULE.SETTING=VALUE, such as queuing.threshold=20");
  }
  const rule = RULE_IDS.find((id) => id === ruleName);
  if (rule === undefined) return refuse(setting, `names no rule${suggest(ruleName, RULE_IDS)}`);
  const settings = RULE_SETTINGS.get(rule) ?? [];
  const known = settings.find((one) => one.name === name);
  if (known === undefined) {
    const names = settings.map((one) => one.name);
    return refuse(setting, `names no setting of the rule${suggest(name, names)}`);
  }
  if (known.unit !== null) {
    const value = parseRuleNumber(text, known, setting);
    return isProblem(value) ? value : { rule, name, value };
  }
  if (isLevel(text)) return { rule, name, value: text };
  return refuse(setting, `is not a level${suggest(text, RULE_LEVELS)}`);
}

/** Comma-separated. */
export function parseRuleChanges(setting: Setting): readonly RuleChange[] | Problem {
  const changes: RuleChange[] = [];
  for (const text of setting.text.split(",").map((one) => one.trim())) {
    if (text === "") continue;
    const change = parseRuleChange({ ...setting, text });
    if (isProblem(change)) return change;
    changes.push(change);
  }
  return changes;
}

/** For completions. */
export function listRuleWords(): readonly string[] {
  return [...RULE_SETTINGS].flatMap(([id, settings]) =>
    settings.map(({ name, value }) => `${id}.${name}=${value}`)
  );
}
