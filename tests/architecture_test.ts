/**
 * The order of the modules, and the rules that keep the source readable.
 *
 * `LAYERS` is the one list: README shows it, every module's header names its
 * place in it, and a module imports only from a lower layer or from an earlier
 * row of its own. Sources are read with the parser of `deno lint`, so that
 * comments, examples and strings are not taken for code.
 *
 * @module
 */

import { assertEquals, assertMatch } from "@std/assert";

/**
 * The layers from the bottom up, the modules of each in the order in which they
 * may be imported. A line that is indented goes on with the one above it.
 */
const LAYERS = `
0 vocabulary: units steps version reading families secret histogram significance model gpu_model
    platform
1 codecs: text foreign_json command_secrets process_table listening_ports server_commands
    server_processes exposition_metadata exposition_bytes prometheus exposition_layout vllm_names engine_builder
    vllm_series vllm_metrics
    server_kinds server_info scrape_failures endpoint_url format glyphs keys bindings frame
    gpu_option_rows option_table exit_codes help_text option_values
    json_text file_errors config_values config_schema credential_options cost_options options completions man_page
    gpu_failures nvidia_smi nvidia_mig amd_smi gpu_prices kept_scrapes
    simulator_families simulator_text simulator_engine simulator
2 analysis: trace window snapshot_reader snapshot percentiles aggregate pace tally rules slowness imbalance
    health alarms trends gpu_peers gpu_trends gpu_attribution idleness cost pricing
3 state: ui names events gpu_state judgement endpoint_state state gpu_owners overview bill columns
    preferences listing
4 view: gpu_view cost_view judgement_view headline_view strips table_view
    panel latency_panel trend_panel events_panel balance_panel gpu_panel cost_panel totals_panel panels
    panel_layout detail_view help_view view
    json gpu_report cost_report report json_schema gpu_report_schema report_schema documents
5 edge: credentials config_file price_file state_file body_reader scraper inspector process_lister scanner gpu_sampler demo
    terminal
6 shell: platform_deno session targets server_launch discovery gpu_watch live app
`;

const MODULE_LINES = 500;
const FUNCTION_LINES = 70;

/** Names through which a module reaches the world, its clocks or its timers. */
const WORLD_NAMES: ReadonlySet<string> = new Set([
  "Deno",
  "fetch",
  "Date",
  "performance",
  "setTimeout",
  "setInterval",
  "console",
  "globalThis",
]);

/** The modules that may use them, and packages other than those of `PURE_PACKAGES`. */
const WORLDLY_MODULES: ReadonlySet<string> = new Set(["platform_deno", "main"]);

/** The one file besides modules that is imported, and the one module that does: the version stands there. */
const CONFIGURATION_IMPORT = { module: "version", specifier: "../deno.json" };

/** Packages that compute and do nothing else. */
const PURE_PACKAGES = /^@(std|cliffy)\//;

/** One line per layer: `0 vocabulary: units reading`. */
function readLayers(text: string): string[] {
  return text.trim().replace(/\n +/g, " ").split("\n");
}

function listModules(layer: string): string[] {
  return layer.slice(layer.indexOf(":") + 1).trim().split(" ");
}

const MODULE_ORDER: readonly string[] = readLayers(LAYERS).flatMap(listModules);

function layerOf(module: string): number {
  return readLayers(LAYERS).findIndex((layer) => listModules(layer).includes(module));
}

/** What the checks look at in a source. */
interface Source {
  /** Specifiers of imports and re-exports; `COMPUTED` where it is no string. */
  readonly imports: readonly string[];
  readonly worldNames: readonly string[];
  readonly functionLines: readonly { readonly firstLine: number; readonly lines: number }[];
}

/** Stands for a specifier that cannot be read off the source. */
const COMPUTED = "<computed>";

/** The text of a string literal. */
function textOf(node: Deno.lint.Node): string {
  return node.type === "Literal" && typeof node.value === "string" ? node.value : COMPUTED;
}

/** Whether the node only names a property, parameter of a type or member: `platform.fetch`, `{ fetch: f }`. */
function isPropertyName(node: Deno.lint.Identifier): boolean {
  const { parent } = node;
  switch (parent.type) {
    case "MemberExpression":
      return parent.property.range[0] === node.range[0] && !parent.computed;
    case "Property":
      return parent.key.range[0] === node.range[0] && !parent.computed && !parent.shorthand;
    case "PropertyDefinition":
    case "MethodDefinition":
    case "TSPropertySignature":
    case "TSMethodSignature":
      return parent.key.range[0] === node.range[0] && !parent.computed;
    default:
      return false;
  }
}

function readSource(code: string): Source {
  const imports: string[] = [];
  const worldNames = new Set<string>();
  const functionLines: { firstLine: number; lines: number }[] = [];
  const lineOf = (offset: number) => code.slice(0, offset).split("\n").length;
  const noteFunction = (node: { readonly range: Deno.lint.Range }) => {
    const firstLine = lineOf(node.range[0]);
    functionLines.push({ firstLine, lines: lineOf(node.range[1]) - firstLine + 1 });
  };
  const create = (): Deno.lint.LintVisitor => ({
    ImportDeclaration: (node) => void imports.push(node.source.value),
    ExportAllDeclaration: (node) => void imports.push(node.source.value),
    ExportNamedDeclaration: (node) => {
      if (node.source) imports.push(node.source.value);
    },
    ImportExpression: (node) => void imports.push(textOf(node.source)),
    TSImportType: (node) => {
      imports.push(
        node.argument.type === "TSLiteralType" ? textOf(node.argument.literal) : COMPUTED,
      );
    },
    Identifier: (node) => {
      if (WORLD_NAMES.has(node.name) && !isPropertyName(node)) worldNames.add(node.name);
    },
    FunctionDeclaration: noteFunction,
    FunctionExpression: noteFunction,
    ArrowFunctionExpression: noteFunction,
  });
  Deno.lint.runPlugin({ name: "read", rules: { source: { create } } }, "source.ts", code);
  return { imports, worldNames: [...worldNames], functionLines };
}

/** The imports that break the order, each as a sentence. */
function findWrongImports(module: string, source: Source): string[] {
  const wrong: string[] = [];
  const place = MODULE_ORDER.indexOf(module);
  for (const specifier of source.imports) {
    const [, imported] = /^\.\/(?:lib\/)?(\w+)\.ts$/.exec(specifier) ?? [];
    if (imported === undefined) {
      const isConfiguration = module === CONFIGURATION_IMPORT.module &&
        specifier === CONFIGURATION_IMPORT.specifier;
      const isAllowed = isConfiguration || PURE_PACKAGES.test(specifier) ||
        (WORLDLY_MODULES.has(module) && !specifier.startsWith("."));
      if (!isAllowed) wrong.push(`${module} must not import ${specifier}`);
      continue;
    }
    const importedPlace = MODULE_ORDER.indexOf(imported);
    const isBelow = importedPlace >= 0 && (module === "main" || importedPlace < place);
    if (!isBelow) wrong.push(`${module} must not import ${imported}: it does not stand below`);
  }
  return wrong;
}

/** What is wrong with the comment at the start of a module. */
function findHeaderFaults(module: string, code: string): string[] {
  const [header] = /^\/\*\*[^]*?\*\//.exec(code) ?? [""];
  const text = header.slice(3, -2).replace(/\n \*/g, " ").replace(/\s+/g, " ").trim();
  const faults: string[] = [];
  if (!/ @module$/.test(text)) faults.push(`${module} has no header that ends in @module`);
  if (module === "main") return faults;
  const [, layer] = / Layer (\d), (?:pure|types|effects:)[ .]/.exec(text) ?? [];
  if (layer !== String(layerOf(module))) {
    faults.push(`${module} must say "Layer ${layerOf(module)}, pure." or what its effects are`);
  }
  return faults;
}

function findWorldNames(module: string, source: Source): string[] {
  if (WORLDLY_MODULES.has(module)) return [];
  return source.worldNames.map((name) =>
    `${module} must not name ${name}: take it from a Platform`
  );
}

function findLongParts(module: string, code: string, source: Source): string[] {
  const long: string[] = [];
  const lines = code.trimEnd().split("\n").length;
  if (lines > MODULE_LINES) long.push(`${module} has ${lines} lines, more than ${MODULE_LINES}`);
  for (const { firstLine, lines } of source.functionLines) {
    if (lines > FUNCTION_LINES) {
      long.push(
        `${module}:${firstLine} has a function of ${lines} lines, more than ${FUNCTION_LINES}`,
      );
    }
  }
  return long;
}

function findFaults(module: string, code: string): string[] {
  const source = readSource(code);
  return [
    ...findWrongImports(module, source),
    ...findHeaderFaults(module, code),
    ...findWorldNames(module, source),
    ...findLongParts(module, code, source),
  ];
}

/** The layers between the README's marks, in a fenced block. */
function readLayerBlock(readme: string): string[] | null {
  const [, block] = /<!-- layers -->\s*```\w*\n([^]*?)```\s*<!-- \/layers -->/.exec(readme) ?? [];
  return block === undefined ? null : readLayers(block);
}

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(`../${path}`, import.meta.url));
}

Deno.test("LAYERS lists the modules of lib, each once", () => {
  const files = [...Deno.readDirSync(new URL("../lib", import.meta.url))];
  assertEquals(
    files.filter((file) => !file.name.endsWith(".ts")),
    [],
    "lib is flat, and TypeScript",
  );
  const modules = files.map((file) => file.name.slice(0, -3));
  assertEquals([...MODULE_ORDER].sort(), modules.sort());
});

for (const module of ["main", ...MODULE_ORDER]) {
  const path = module === "main" ? "main.ts" : `lib/${module}.ts`;
  Deno.test(`${path} keeps to its layer, says what it is, and is short`, () => {
    assertEquals(findFaults(module, readText(path)), []);
  });
}

Deno.test("README shows the layers as they are", () => {
  assertEquals(readLayerBlock(readText("README.md")), readLayers(LAYERS));
});

// The checks themselves.

const HEADER = "/**\n * Text.\n *\n * Layer 1, pure. More.\n *\n * @module\n */\n";

Deno.test("findFaults() finds nothing in a module that keeps the rules", () => {
  const code = `${HEADER}
import { a } from "./units.ts";
import type { B } from "./text.ts";
import { bold } from "@std/fmt/colors";
export type { C } from "./model.ts";
// Deno.exit(), fetch("x") and new Date() in a comment
/** @example \`performance.now()\` */
const text = "setTimeout" + 'console.log' + \`Date \${a} fetch( "\` + /Deno"/.source;
export function f(platform: { fetch(): void; Date: B }): void {
  platform.fetch();
  void [text, platform.Date, { console: 1 }, bold];
}
`;
  assertEquals(findFaults("prometheus", code), []);
});

Deno.test("findWrongImports() finds imports from above, beside, outside and of unknown packages", () => {
  const find = (module: string, code: string) => findWrongImports(module, readSource(code)).length;
  assertEquals(find("text", 'import { x } from "./prometheus.ts";'), 1, "a later row");
  assertEquals(find("text", 'import type { X } from "./state.ts";'), 1, "a higher layer");
  assertEquals(find("text", 'export * from "./app.ts";'), 1, "re-export of all");
  assertEquals(find("text", 'export { x } from "./app.ts";'), 1, "re-export");
  assertEquals(find("text", 'await import("./app.ts");'), 1, "dynamic");
  assertEquals(find("text", 'await import("./" + x);'), 1, "computed");
  assertEquals(find("text", 'let x: import("./app.ts").X;'), 1, "type");
  assertEquals(find("text", 'import "./text.ts";'), 1, "itself");
  assertEquals(find("text", 'import "./unknown.ts";'), 1, "unknown module");
  assertEquals(find("text", 'import "../tests/programs.ts";'), 1, "outside");
  assertEquals(find("platform_deno", 'import "../tests/programs.ts";'), 1, "outside");
  assertEquals(find("scraper", 'import "undici";'), 1, "package");
  assertEquals(find("scraper", 'import "node:fs";'), 1, "Node's modules");
  assertEquals(find("platform_deno", 'import "undici"; import "node:crypto";'), 0);
  assertEquals(find("main", 'import "./lib/app.ts";'), 0);
});

Deno.test("findHeaderFaults() finds a missing header, a wrong layer and a missing @module", () => {
  assertEquals(findHeaderFaults("text", HEADER), []);
  assertEquals(findHeaderFaults("units", HEADER).length, 1);
  assertEquals(findHeaderFaults("text", HEADER.replace(" * @module\n", "")).length, 1);
  assertEquals(findHeaderFaults("text", HEADER.replace("pure", "fast")).length, 1);
  assertEquals(findHeaderFaults("text", `const x = 1;\n${HEADER}`).length, 2);
  assertEquals(findHeaderFaults("text", HEADER.replace("pure.", "effects: network.")), []);
  assertEquals(findHeaderFaults("text", HEADER.replace("pure.", "types\n * only.")), []);
  assertEquals(findHeaderFaults("main", HEADER.replace("Layer 1, pure.", "")), []);
});

Deno.test("findWorldNames() finds every way to reach the world", () => {
  const find = (code: string) => findWorldNames("app", readSource(code)).length;
  for (
    const code of [
      "Deno.exit(1);",
      'await fetch("x");',
      "const now = new Date();",
      "let when: Date;",
      "performance.now();",
      "setTimeout(f, 1);",
      "const o = { setInterval };",
      "const o = { go: fetch };",
      "x[fetch] = 1;",
      "f(console);",
      "globalThis.x;",
      "let f: typeof fetch;",
      "`${Deno.pid}`;",
    ]
  ) {
    assertEquals(find(code), 1, code);
  }
  assertEquals(findWorldNames("platform_deno", readSource("Deno.exit(1);")), []);
});

Deno.test("findLongParts() finds long modules and functions", () => {
  const find = (code: string) => findLongParts("app", code, readSource(code)).length;
  const body = (lines: number) => `{${"\n".repeat(lines - 1)}}`;
  for (const start of ["function f() ", "const f = () => ", "const f = function () "]) {
    assertEquals(find(start + body(FUNCTION_LINES)), 0, start);
    assertEquals(find(start + body(FUNCTION_LINES + 1)), 1, start);
  }
  assertEquals(find(`class A {\n  m() ${body(FUNCTION_LINES + 1)}\n}`), 1);
  assertEquals(find("x;\n".repeat(MODULE_LINES)), 0);
  assertEquals(find("x;\n".repeat(MODULE_LINES + 1)), 1);
});

Deno.test("readLayerBlock() reads the lines between the marks, and joins indented ones", () => {
  const readme =
    "# A\n<!-- layers -->\n\n```text\n0 a: b c\n    d\n1 e: f\n```\n\n<!-- /layers -->\n";
  assertEquals(readLayerBlock(readme), ["0 a: b c d", "1 e: f"]);
  assertEquals(readLayerBlock("# A\n"), null);
});

Deno.test("LAYERS numbers its layers from 0 and names no module twice", () => {
  readLayers(LAYERS).forEach((layer, i) => assertMatch(layer, new RegExp(`^${i} \\w+: [\\w ]+$`)));
  assertEquals(new Set(MODULE_ORDER).size, MODULE_ORDER.length);
});
