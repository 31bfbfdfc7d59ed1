import { assert, assertEquals, assertMatch } from "@std/assert";
import { Ajv2020 } from "ajv/2020";
import { createConfigSchema, parseConfig } from "../lib/cli_config.ts";

function parse(hooks: unknown) {
  return parseConfig(JSON.stringify({ hooks }, null, 1), "/etc/vllm-htop");
}

function readError(hooks: unknown): string {
  const config = parse(hooks);
  assert("error" in config, JSON.stringify(config));
  return config.error;
}

Deno.test("parseHooks() takes rules, levels, programs, webhooks and the bell", () => {
  const hooks = [
    { exec: ["page", "--to", "on call"] },
    { rules: "down", exec: ["./page"], timeout: 3 },
    {
      rules: ["down", "full"],
      level: "critical",
      webhook: "https://chat.localhost/x?y",
      slack: true,
    },
    { bell: true, repeat: "30m" },
  ];
  const config = parse(hooks);
  assert(!("error" in config), JSON.stringify(config));
  const [plain, relative, slack, bell] = config.hooks;
  assertEquals(plain, {
    ...{ signals: null, level: "degraded", repeat: null, timeout: 10 },
    ...{ exec: ["page", "--to", "on call"], webhook: null, isSlack: false, hasBell: false },
  });
  assertEquals([relative.exec, relative.timeout], [["/etc/vllm-htop/./page"], 3]);
  assertEquals([...relative.signals ?? []], ["down"]);
  assertEquals([...slack.signals ?? []], ["full", "down"]);
  assertEquals([slack.level, slack.webhook, slack.isSlack], [
    ...["critical", "https://chat.localhost/x?y", true],
  ]);
  assertEquals([bell.hasBell, bell.repeat], [true, 1800]);
  assertEquals(config.hasSecrets, true, "a webhook is a secret");
  const validate = new Ajv2020({ allowUnionTypes: true }).compile({ ...createConfigSchema() });
  assert(validate({ hooks }), JSON.stringify(validate.errors));
  const harmless = parse([{ exec: ["page"] }]);
  assertEquals("error" in harmless || harmless.hasSecrets, false);
});

Deno.test("parseHooks() says what is wrong, and no secret", () => {
  const cases: readonly (readonly [hooks: unknown, error: RegExp])[] = [
    [{}, /"hooks" \(line 2\) must be a list$/],
    [["page"], /must be a list of objects$/],
    [[{}], /nothing to do: give exec, webhook or bell$/],
    [[{ bell: false }], /nothing to do/],
    [[{ exec: "page now" }], /"exec" \(line 4\) of "hooks" .* must be a list: a program/],
    [[{ exec: [] }], /must be a list/],
    [[{ exec: ["page", 1] }], /must be a list/],
    [[{ bell: "yes" }], /"bell" \(line 4\) .* must be true or false$/],
    [[{ bell: true, rules: "queing" }], /names no rule by "queing": did you mean "queuing"\?$/],
    [[{ bell: true, rules: [] }], /must be the name of a rule/],
    [[{ bell: true, level: "off" }], /must be one of degraded, critical$/],
    [[{ bell: true, repeat: "often" }], /must be a time, such as 10s or 30m$/],
    [[{ bell: true, timeout: true }], /must be a time/],
    [[{ bell: true, wehbook: "x" }], /"wehbook" .* is unknown: rules, level, exec, webhook/],
    [[{ webhook: "ftp://hunter2" }], /must be an http or https URL/],
    [[{ webhook: "https://me:hunter2@chat.localhost" }], /must be an http or https URL/],
    [[{ webhook: "hunter2" }], /must be an http or https URL/],
  ];
  for (const [hooks, error] of cases) {
    const message = readError(hooks);
    assertMatch(message, error);
    assert(!message.includes("hunter2"), message);
  }
});
