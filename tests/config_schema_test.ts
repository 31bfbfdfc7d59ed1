import { assert, assertEquals } from "@std/assert";
import { Ajv2020 } from "ajv/2020";
import { createConfigSchema, writeDefaultConfig } from "../lib/config_schema.ts";
import { readConfig, SETTABLE_ROWS } from "../lib/config_values.ts";
import { type JsonNode, parseJsonText } from "../lib/json_text.ts";
import { parseArguments } from "../lib/options.ts";

const validate = new Ajv2020({ allowUnionTypes: true }).compile({ ...createConfigSchema() });

/** The default file with the slashes taken from its settings, but for those that have only a placeholder. */
function uncommentDefaults(): string {
  const names = SETTABLE_ROWS.filter((row) => row.value === null || row.default !== undefined)
    .map((row) => row.name);
  return writeDefaultConfig().replaceAll(
    /^( *)\/\/ ("([a-z-]+)": .*)$/gm,
    (line, indent, setting, name) => names.includes(name) ? indent + setting : line,
  );
}

function toValue(node: JsonNode): unknown {
  if (node.kind === "null") return null;
  if (node.kind === "array") return node.items.map(toValue);
  if (node.kind !== "object") return node.value;
  return Object.fromEntries(node.members.map(({ name, value }) => [name, toValue(value)]));
}

Deno.test("writeDefaultConfig() says nothing as it is, and the defaults when its slashes are gone", () => {
  const asPrinted = readConfig(writeDefaultConfig(), "/");
  assert(!("error" in asPrinted));
  assertEquals(asPrinted.values.size, 0);
  const config = readConfig(uncommentDefaults(), "/");
  assert(!("error" in config), JSON.stringify(config));
  assertEquals(config.warnings, []);
  assert(config.values.size >= 5);
  const withDefaults = parseArguments(["gpu1"], () => undefined, config.values);
  assertEquals(withDefaults, parseArguments(["gpu1"], () => undefined));
});

Deno.test("createConfigSchema() takes the default file, and names every setting once", () => {
  const node = parseJsonText(uncommentDefaults());
  assert(!("problem" in node));
  assert(validate(toValue(node)), JSON.stringify(validate.errors));
  const { properties } = createConfigSchema() as { properties: Record<string, unknown> };
  assertEquals(
    Object.keys(properties).sort(),
    ["$schema", "endpoints", ...SETTABLE_ROWS.map((row) => row.name)].sort(),
  );
});

Deno.test("createConfigSchema() and readConfig() agree on what may stand in a file", () => {
  const cases: readonly (readonly [unknown, boolean])[] = [
    [{ endpoints: ["gpu1", { url: "https://gpu2", "token-file": "t", insecure: true }] }, true],
    [{ columns: ["kv", "replica"], theme: "light", interval: 5, "no-mouse": true }, true],
    [{ endpoints: [{ "token-file": "t" }] }, false],
    [{ endpoints: [{ url: "a", insecure: "yes" }] }, false],
    [{ "no-mouse": "yes" }, false],
    [{ theme: "pink" }, false],
    [{ interval: [] }, false],
    [[], false],
  ];
  for (const [value, isRight] of cases) {
    const text = JSON.stringify(value);
    assertEquals(validate(value), isRight, text);
    const config = readConfig(text, "/");
    const parsed = "error" in config ? null : parseArguments([], () => undefined, config.values);
    assertEquals(parsed?.kind === "run", isRight, text);
  }
  assertEquals(validate({ intervall: 1 }), false, "of which the program warns");
});
