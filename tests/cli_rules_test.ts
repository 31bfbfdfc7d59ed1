import { assert, assertEquals } from "@std/assert";
import { parseConfig } from "../lib/cli_config.ts";
import { parseRuleChanges } from "../lib/cli_rules.ts";
import { isProblem } from "../lib/cli_values.ts";
import { DEFAULT_RULES, RULE_SETTINGS } from "../lib/rules_table.ts";
import { parseArguments } from "./fixtures/arguments.ts";

const parse = (text: string) => parseRuleChanges({ level: "option", origin: "--rule", text });

function readProblem(text: string): string {
  const parsed = parse(text);
  return isProblem(parsed) ? parsed.problem : "";
}

Deno.test("parseRuleChanges() takes numbers, shares and levels, several with commas", () => {
  assertEquals(parse("queuing.threshold=20"), [{ rule: "queuing", name: "threshold", value: 20 }]);
  assertEquals(parse("full.threshold=90%, hot=off"), [
    { rule: "full", name: "threshold", value: 0.9 },
    { rule: "hot", name: "level", value: "off" },
  ]);
  assertEquals(parse("stalled.level=degraded"), [
    { rule: "stalled", name: "level", value: "degraded" },
  ]);
});

Deno.test("parseRuleChanges() takes every setting with its default", () => {
  for (const settings of RULE_SETTINGS.values()) {
    for (const { rule, name, value } of settings) {
      assertEquals(parse(`${rule}.${name}=${value}`), [{ rule, name, value }]);
    }
  }
});

Deno.test("parseRuleChanges() says what was probably meant", () => {
  assertEquals(
    readProblem("queing.threshold=20"),
    '--rule "queing.threshold=20" names no rule: did you mean "queuing"?',
  );
  assertEquals(
    readProblem("queuing.treshold=20"),
    '--rule "queuing.treshold=20" names no setting of the rule: did you mean "threshold"?',
  );
  assertEquals(
    readProblem("queuing=of"),
    '--rule "queuing=of" is not a level: did you mean "off"?',
  );
  assertEquals(
    readProblem("queuing.hold=soon"),
    '--rule "queuing.hold=soon" is not a number of seconds',
  );
  assertEquals(
    readProblem("queuing.hold=9%"),
    '--rule "queuing.hold=9%" is not a number of seconds',
  );
  assertEquals(
    readProblem("full.threshold=95"),
    '--rule "full.threshold=95" is out of range: from 0 to 1',
  );
  assertEquals(
    readProblem("queuing"),
    '--rule "queuing" is not RULE.SETTING=VALUE, such as queuing.threshold=20',
  );
  for (const text of ["=5", "queuing.=5", ".threshold=5", "queuing.threshold=-1"]) {
    assert(readProblem(text).includes(`"${text}"`), text);
  }
});

Deno.test("resolveOptions() lets the option override variable and file, setting by setting", () => {
  const config = parseConfig(
    `{ "rules": { "queuing": { "threshold": 7, "hold": 30 }, "overloaded": "off" } }`,
    "/",
  );
  assert(!("error" in config), JSON.stringify(config));
  const environment = (name: string) =>
    name === "VLLM_HTOP_RULE" ? "queuing.threshold=8,full.threshold=0.9" : undefined;
  const parsed = parseArguments(
    ["--rule", "queuing.threshold=9", "--rule=hot=off"],
    environment,
    config.values,
  );
  assert(parsed.kind === "run", JSON.stringify(parsed));
  const { queuing, overloaded, full, hot, stalled } = parsed.options.rules;
  assertEquals([queuing.threshold, queuing.hold, overloaded.level], [9, 30, "off"]);
  assertEquals([full.threshold, hot.level, stalled], [0.9, "off", DEFAULT_RULES.stalled]);
});

Deno.test("resolveOptions() names the line of a wrong rule in the file", () => {
  const check = (rules: string) => {
    const config = parseConfig(`{\n  "rules": {\n    ${rules}\n  }\n}`, "/");
    if ("error" in config) return config.error;
    const parsed = parseArguments([], () => undefined, config.values);
    return parsed.kind === "usage_error" ? parsed.message : "";
  };
  assertEquals(
    check('"queing": { "threshold": 5 }'),
    '"threshold" (line 3) "queing.threshold=5" names no rule: did you mean "queuing"?',
  );
  assertEquals(
    check('"queuing": "of"'),
    '"queuing" (line 3) "queuing=of" is not a level: did you mean "off"?',
  );
  assertEquals(
    check('"full": { "hold": true }'),
    '"hold" (line 3) must be a number or a level',
  );
});
