import { assert, assertEquals, assertMatch } from "@std/assert";
import { Ajv2020 } from "ajv/2020";
import fc from "fast-check";
import {
  type Config,
  createConfigSchema,
  ENDPOINT_ROWS,
  parseConfig,
  SETTABLE_ROWS,
  writeDefaultConfig,
} from "../lib/cli_config.ts";
import { findConfigPath, loadConfig } from "../lib/cli_config_file.ts";
import { OPTION_ROWS } from "../lib/cli_option_table.ts";
import type { Options } from "../lib/cli_options.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { type JsonNode, parseJsonText } from "../lib/json.ts";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";

interface World {
  readonly files?: Readonly<Record<string, string>>;
  readonly variables?: Readonly<Record<string, string>>;
  readonly operatingSystem?: string;
  readonly mode?: number | null;
}

function createWorld(
  { files = {}, variables = {}, operatingSystem = "linux", mode = 0o644 }: World,
): Platform {
  return {
    ...createDenoPlatform(),
    operatingSystem,
    environment: (name) => variables[name],
    readTextFile: (path) => {
      const text = files[path];
      return text === undefined
        ? Promise.reject(new Deno.errors.NotFound(path))
        : Promise.resolve(text);
    },
    fileMode: () => Promise.resolve(mode),
  };
}

Deno.test("findConfigPath() follows XDG where its path is absolute, and each system's folder", () => {
  const find = (operatingSystem: string, variables: Record<string, string>): string | null =>
    findConfigPath(createWorld({ operatingSystem, variables }));
  const file = "vllm-htop/config.json";
  assertEquals(find("linux", { XDG_CONFIG_HOME: "/x", HOME: "/h" }), `/x/${file}`);
  assertEquals(find("linux", { XDG_CONFIG_HOME: "x", HOME: "/h" }), `/h/.config/${file}`);
  assertEquals(find("linux", { XDG_CONFIG_HOME: "", HOME: "/h" }), `/h/.config/${file}`);
  assertEquals(find("linux", { HOME: "" }), null);
  assertEquals(find("darwin", { HOME: "/h" }), `/h/Library/Application Support/${file}`);
  assertEquals(find("darwin", { HOME: "/h", XDG_CONFIG_HOME: "/x" }), `/x/${file}`);
  const roaming = "C:\\Users\\me\\AppData\\Roaming";
  assertEquals(find("windows", { APPDATA: roaming, HOME: "/h" }), `${roaming}/${file}`);
  assertEquals(find("windows", {}), null);
});

Deno.test("loadConfig() reads the usual file, which may be missing, and the one that is named, which may not", async () => {
  const variables = { HOME: "/h" };
  const path = "/h/.config/vllm-htop/config.json";
  const files = { [path]: '{ "interval": 5 }', "other.json": '{ "token-file": "t" }' };
  const usual = await loadConfig(createWorld({ files, variables }), null);
  assert(!("error" in usual));
  assertEquals([...usual.values.keys()], ["interval"]);
  const named = await loadConfig(createWorld({ files, variables }), "other.json");
  assert(!("error" in named));
  assertEquals(named.values.get("token-file")?.map(({ text }) => text), ["./t"]);
  const none = await loadConfig(createWorld({ variables }), null);
  assert(!("error" in none) && none.values.size === 0);
  const missing = await loadConfig(createWorld({ variables }), "/no\x1bwhere");
  assertEquals(missing, {
    error: 'the configuration file "/no\\x1bwhere" does not exist: check the path',
  });
});

Deno.test("loadConfig() names the file and the line of what is wrong", async () => {
  const files = { "/c": '{\n"x": 1 }', "/d": "{\n", "/e": `"${"x".repeat(2 ** 20)}"` };
  const platform = createWorld({ files });
  const warned = await loadConfig(platform, "/c");
  assert(!("error" in warned));
  assertEquals(warned.warnings, ['the configuration file "/c": unknown key "x" (line 2)']);
  const broken = await loadConfig(platform, "/d");
  assertMatch("error" in broken ? broken.error : "", /^the configuration file "\/d": line 2: /);
  const long = await loadConfig(platform, "/e");
  assertMatch("error" in long ? long.error : "", /is longer than 1048576 bytes/);
});

Deno.test("loadConfig() refuses a file with a password that others can read", async () => {
  const files = { "/c": '{ "url": "http://me:pw@gpu1" }', "/d": '{ "url": "gpu1" }' };
  for (const mode of [0o644, 0o640, 0o604, 0o660]) {
    const config = await loadConfig(createWorld({ files, mode }), "/c");
    assertEquals(config, {
      error:
        'the configuration file "/c" holds a password or webhook, and others can read it: chmod 600',
    });
    assert(!("error" in await loadConfig(createWorld({ files, mode }), "/d")));
  }
  for (const mode of [0o600, 0o400, null]) {
    assert(!("error" in await loadConfig(createWorld({ files, mode }), "/c")));
  }
});

Deno.test("loadConfig() refuses a file that names programs to run and that others can write to", async () => {
  const files = {
    "/c": '{ "hooks": [{ "exec": ["page"] }] }',
    "/d": '{ "hooks": [{ "bell": true }] }',
  };
  for (const mode of [0o664, 0o646, 0o622]) {
    const config = await loadConfig(createWorld({ files, mode }), "/c");
    assertEquals(config, {
      error:
        'the configuration file "/c" names programs to run, and others can write to it: chmod go-w',
    });
    assert(!("error" in await loadConfig(createWorld({ files, mode }), "/d")));
  }
  for (const mode of [0o644, 0o600, null]) {
    assert(!("error" in await loadConfig(createWorld({ files, mode }), "/c")));
  }
});

Deno.test("fileMode() of the platform gives the bits of a file, and null for none", async () => {
  const { fileMode } = createDenoPlatform();
  const path = await Deno.makeTempFile();
  try {
    if (Deno.build.os !== "windows") {
      await Deno.chmod(path, 0o640);
      assertEquals((await fileMode(path) ?? 0) & 0o777, 0o640);
    }
  } finally {
    await Deno.remove(path);
  }
  assertEquals(await fileMode(path), null);
});

const FOLDER = "/etc/vllm-htop";

function read(text: string): Config {
  const config = parseConfig(text, FOLDER);
  assert(!("error" in config), JSON.stringify(config));
  return config;
}

function readError(text: string): string {
  const config = parseConfig(text, FOLDER);
  return "error" in config ? config.error : "";
}

/** Name -> texts. */
function show({ values }: Config): unknown {
  return Object.fromEntries(
    [...values].map(([name, given]) => [name, given.map(({ text }) => text)]),
  );
}

/** What the program makes of arguments, variables and a file. */
function parse(
  argv: readonly string[],
  variables: Readonly<Record<string, string>>,
  file: string,
): Options {
  const parsed = parseArguments(argv, (name) => variables[name], read(file).values);
  assert(parsed.kind === "run", JSON.stringify(parsed));
  return parsed.options;
}

function listKeys({ endpoints }: Options): readonly string[] {
  return endpoints.map(({ endpoint }) => endpoint.key);
}

Deno.test("parseConfig() gives values as they would be typed", () => {
  const config = read(`{
    "$schema": "./config.schema.json",
    "url": ["gpu1", "gpu2:9000"], // two
    "interval": 2.50,
    "columns": ["replica", "kv"],
    "filter": "",
    "no-mouse": true,
    "ascii": false,
    "token-file": "token",
    "ca-file": ["/abs/ca.pem"],
  }`);
  assertEquals(show(config), {
    url: ["gpu1", "gpu2:9000"],
    interval: ["2.50"],
    columns: ["replica,kv"],
    filter: [""],
    "no-mouse": [""],
    "token-file": ["/etc/vllm-htop/token"],
    "ca-file": ["/abs/ca.pem"],
  });
  assertEquals(config.warnings, []);
  assertEquals(config.values.get("interval")?.[0].origin, '"interval" (line 4)');
  assertEquals(show(read("")), {});
  assertEquals(show(read(" {} ")), {});
});

Deno.test("parseConfig() gives each endpoint what is for it alone", () => {
  const config = read(`{ "endpoints": [
    "gpu1",
    { "url": "https://gpu2/", "token-file": "gpu2.token", "ca-file": "/ca.pem", "insecure": true },
    { "url": "gpu4", "engine": "sglang", "log": "journal:sglang" },
    { "url": "https://gpu3", "insecure": false }
  ] }`);
  assertEquals(show(config), {
    url: ["gpu1", "https://gpu2/", "gpu4", "https://gpu3"],
    engine: ["http://gpu4:8000=sglang"],
    log: ["http://gpu4:8000=journal:sglang"],
    "token-file": ["https://gpu2=/etc/vllm-htop/gpu2.token"],
    "ca-file": ["https://gpu2=/ca.pem"],
    insecure: ["https://gpu2"],
  });
});

Deno.test("parseConfig() warns of unknown keys with their line, and knows what was meant", () => {
  const { warnings } = read('{\n"intervall": 2,\n"endpoints": [{ "url": "gpu1",\n"colour": 1 }] }');
  assertEquals(warnings, [
    'unknown key "intervall" (line 2): did you mean "interval"?',
    'unknown key "colour" (line 4)',
  ]);
  assertEquals(read('{ "config": "x", "man": true, "table": true }').warnings.length, 3);
  assertMatch(
    read('{ "\x7f\u202e": 1 }').warnings[0],
    /^unknown key "\\x7f\\u\{202e\}" \(line 1\)$/,
  );
});

Deno.test("parseConfig() refuses values of the wrong type, and says where", () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    ["[]", /^line 1: it must be one object/],
    ["{", /^line 1: a name/],
    ['{\n"interval": true }', /^"interval" \(line 2\) must be a string$/],
    ['{ "interval": null }', /must be a string/],
    ['{ "url": [1, {}] }', /^"url" \(line 1\) must be a list of strings$/],
    ['{ "no-mouse": "yes" }', /^"no-mouse" \(line 1\) must be true or false$/],
    ['{ "endpoints": {} }', /must be a list/],
    ['{ "endpoints": [{}] }', /objects with a "url"/],
    ['{ "endpoints": [{ "url": 1 }] }', /objects with a "url"/],
    ['{ "endpoints": [{ "url": "a", "insecure": "a" }] }', /true or false/],
    ['{ "interval": 1, "interval": 2 }', /^"interval" \(line 1\) appears twice$/],
    ['{ "token": "s3cr3t" }', /^"token" \(line 1\) would put a secret.*"token-file": "FILE"$/],
    ['{ "endpoints": [{ "url": "a", "api-key": "s3cr3t" }] }', /"api-key".*"token-file"/],
  ];
  for (const [text, message] of cases) {
    assertMatch(readError(text), message);
    assert(!readError(text).includes("s3cr3t"));
  }
});

Deno.test("parseConfig() notes whether a password is in the file", () => {
  assertEquals(read('{ "url": "http://me:pw@gpu1" }').hasSecrets, true);
  assertEquals(read('{ "endpoints": [{ "url": "http://me:pw@gpu1" }] }').hasSecrets, true);
  assertEquals(read('{ "url": "me:pw@gpu1:x" }').hasSecrets, true, "even where it is no URL");
  assertEquals(read('{ "url": "http://gpu1", "token-file": "t" }').hasSecrets, false);
});

Deno.test("parseConfig() never throws, and gives only options that may be set", () => {
  const names = [...OPTION_ROWS.map((row) => row.name), "endpoints", "$schema", "token", "x"];
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.array(
      fc.dictionary(fc.constantFrom(...names), fc.jsonValue({ maxDepth: 1 }), { maxKeys: 4 }),
    ),
  );
  const objects = fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 6 });
  const mutated = fc.tuple(objects, fc.nat(200), fc.string({ maxLength: 3 })).map(
    ([object, at, text]) => {
      const whole = JSON.stringify(object, null, 1);
      return whole.slice(0, at) + text + whole.slice(at + text.length);
    },
  );
  const texts = fc.oneof(objects.map((object) => JSON.stringify(object)), mutated, fc.string());
  const settable = new Set<string>(SETTABLE_ROWS.map((row) => row.name));
  fc.assert(
    fc.property(texts, (text) => {
      const config = parseConfig(text, FOLDER);
      if ("error" in config) return;
      for (const name of config.values.keys()) assert(settable.has(name), name);
      const parsed = parseArguments([], () => undefined, config.values);
      assert(parsed.kind === "run" || parsed.kind === "usage_error");
    }),
    { numRuns: 500 },
  );
});

Deno.test("ENDPOINT_ROWS are the options that name a URL beside their value", () => {
  const names = ENDPOINT_ROWS.map((row) => row.name);
  for (const name of ["token-file", "ca-file", "cert-file", "key-file", "insecure"]) {
    assert(names.some((one) => one === name), name);
  }
  assert(!names.includes("url"));
});

Deno.test("parseArguments() prefers an option to a variable, that to the file, and that to the default", () => {
  const file = '{ "interval": 9, "no-mouse": true, "theme": "light" }';
  const variables = { VLLM_HTOP_INTERVAL: "7", VLLM_HTOP_THEME: "mono" };
  assertEquals(parse(["--interval", "5"], variables, file).interval, 5);
  assertEquals(parse([], variables, file).interval, 7);
  assertEquals(parse([], {}, file).interval, 9);
  assertEquals(parse([], {}, "").interval, 2);
  assertEquals(parse([], variables, file).theme, "mono");
  assertEquals(parse([], {}, file).theme, "light");
  assertEquals(parse([], {}, file).noMouse, true);
  assertEquals(parse([], {}, '{ "no-mouse": false }').noMouse, false);
});

Deno.test("parseArguments() takes the servers from the strongest source that names any", () => {
  const file = '{ "endpoints": ["gpu1", { "url": "https://gpu2", "token-file": "t" }] }';
  assertEquals(listKeys(parse([], {}, file)), ["http://gpu1:8000", "https://gpu2"]);
  assertEquals(parse([], {}, file).credentialSources, [
    { kind: "token", endpointKey: "https://gpu2", from: { file: "/etc/vllm-htop/t" } },
  ]);
  assertEquals(listKeys(parse([], { VLLM_HTOP_URL: "gpu9" }, file)), ["http://gpu9:8000"]);
  const named = parse(["gpu8"], { VLLM_HTOP_URL: "gpu9" }, file);
  assertEquals(listKeys(named), ["http://gpu8:8000"]);
  assertEquals(named.credentialSources, [], "what is for another server is passed over");
  assertEquals(parse(["--demo"], {}, file).demo, true);
  assertEquals(listKeys(parse(["--auto"], {}, file)), []);
  assertEquals(listKeys(parse([], { VLLM_HTOP_AUTO: "0" }, file)).length, 2);
  assertEquals(parse(["gpu8"], {}, '{ "auto": true, "host": "gpu1" }').auto, false);
});

Deno.test("parseArguments() takes credentials of one kind from one source", () => {
  const file = '{ "token-file": "t" }';
  const byFile = parse(["gpu1"], {}, file).credentialSources;
  assertEquals(byFile.map(({ from }) => from), [{ file: "/etc/vllm-htop/t" }]);
  const byVariable = parse(["gpu1"], { VLLM_HTOP_BASIC_AUTH: "a:b" }, file).credentialSources;
  assertEquals(byVariable.map(({ kind }) => kind), ["basic_auth"]);
  const byOption = parse(["gpu1", "--token-file", "o"], {}, file).credentialSources;
  assertEquals(byOption.map(({ from }) => from), [{ file: "o" }]);
  assertEquals(parse([], {}, file).credentialSources, [], "none goes to a scan");
});

Deno.test("parseArguments() names the file's line in what is wrong with its values", () => {
  const tell = (file: string): string => {
    const parsed = parseArguments([], () => undefined, read(file).values);
    return parsed.kind === "usage_error" ? parsed.message : "";
  };
  assertEquals(
    tell('{\n"interval": 0.1 }'),
    '"interval" (line 2) "0.1" is out of range: from 0.5 to 3600 seconds',
  );
  assertEquals(tell('{ "demo-seed": 1.5 }'), '"demo-seed" (line 1) "1.5" is not a whole number');
  assertMatch(tell('{ "theme": "pink" }'), /^"theme" \(line 1\) "pink" is not one of default, /);
  assertMatch(
    tell('{ "url": "a", "auto": true }'),
    /^"auto" \(line 1\) and "url" \(line 1\) exclude/,
  );
  assertMatch(
    tell('{ "endpoints": [{ "url": "https://a", "cert-file": "c" }] }'),
    /--cert-file for "https:\/\/a" needs --key-file/,
  );
});

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
  const asPrinted = parseConfig(writeDefaultConfig(), "/");
  assert(!("error" in asPrinted));
  assertEquals(asPrinted.values.size, 0);
  const config = parseConfig(uncommentDefaults(), "/");
  assert(!("error" in config), JSON.stringify(config));
  assertEquals(config.warnings, []);
  assert(config.values.size >= 5);
  const withDefaults = parseArguments(["gpu1"], () => undefined, config.values);
  assertEquals(withDefaults, parseArguments(["gpu1"], () => undefined));
});

Deno.test("parseConfig() takes hosts with name, ports and log, as --ssh does", () => {
  const read = (hosts: unknown) => {
    const config = parseConfig(JSON.stringify({ hosts }), "/");
    if ("error" in config) return [config.error];
    return [...config.values.get("ssh")?.map(({ text }) => text) ?? [], ...config.warnings];
  };
  assertEquals(
    read([
      "gpu1",
      { host: "me@gpu2", name: "b200", ports: "8000-8010", container: "vllm" },
      { host: "gpu3", log: "journal:vllm", container: "vllm" },
    ]),
    [
      "gpu1",
      "b200=me@gpu2,ports=8000-8010,log=docker:vllm",
      "gpu3,log=journal:vllm",
      '"hosts" (line 1): the "container" of "gpu3" is ignored, as it has a "log"',
    ],
  );
  assertEquals(read([{ host: "gpu1", port: "1" }]), ["gpu1", 'unknown key "port" (line 1)']);
});

Deno.test("createConfigSchema() takes the default file, and names every setting once", () => {
  const node = parseJsonText(uncommentDefaults());
  assert(!("problem" in node));
  assert(validate(toValue(node)), JSON.stringify(validate.errors));
  const { properties } = createConfigSchema() as { properties: Record<string, unknown> };
  assertEquals(
    Object.keys(properties).sort(),
    ["$schema", "endpoints", "hosts", "rules", "hooks", ...SETTABLE_ROWS.map((row) => row.name)]
      .sort(),
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
    [{ hooks: [{ rules: ["down"], exec: ["page"], repeat: "30m", timeout: 3 }] }, true],
    [{ hosts: ["gpu1", { host: "gpu2", name: "b", ports: "1-9", container: "c" }] }, true],
    [{ hosts: [{ host: "gpu1", log: "/var/log/vllm.log" }, { host: "gpu2", log: "/b" }] }, true],
    [{ hosts: [{ name: "gpu1" }] }, false],
    [{ hosts: [{ host: "gpu1", ports: 8000 }] }, false],
    [{ hosts: "gpu1" }, false],
    [{ hooks: [{ exec: "page" }] }, false],
    [{ hooks: [{ bell: true, level: "off" }] }, false],
    [[], false],
  ];
  for (const [value, isRight] of cases) {
    const text = JSON.stringify(value);
    assertEquals(validate(value), isRight, text);
    const config = parseConfig(text, "/");
    const parsed = "error" in config ? null : parseArguments([], () => undefined, config.values);
    assertEquals(parsed?.kind === "run", isRight, text);
  }
  assertEquals(validate({ intervall: 1 }), false, "of which the program warns");
});
