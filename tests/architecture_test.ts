/**
 * The architecture of `lib/`, as one table, and the rules that keep the source readable.
 *
 * A module is called `<area>_<noun>.ts`, or by its area alone. `AREAS` says what each
 * area may import. Sources are read with the parser of `deno lint`, so that comments,
 * examples and strings are not taken for code.
 *
 * @module
 */

import { assertEquals } from "@std/assert";

/** An area, the areas that it may import besides its own (`*`: all), and what it turns into what. */
type AreaRow = readonly [area: string, imports: string, purpose: string];

const AREAS: readonly AreaRow[] = [
  ["base", "", "vocabulary, and the seam to the world"],
  ["prometheus", "base", "exposition text -> samples"],
  ["dialect", "base prometheus", "samples of one kind of server -> engine samples"],
  ["snapshot", "base prometheus dialect stats", "the published library"],
  ["stats", "base", "sample history -> windows, percentiles, aggregates"],
  ["host", "base dialect", "a machine: processes, commands, logs"],
  ["cost", "base", "prices, arithmetic"],
  ["terminal", "base", "frames -> bytes, bytes -> keys"],
  ["demo", "base", "a simulated fleet, as a Platform"],
  ["record", "base", "recording and replay, as Platforms"],
  ["gpu", "base dialect host stats", "nvidia-smi, amd-smi, attribution"],
  ["scrape", "base dialect", "one endpoint -> sample or error"],
  ["rules", "base gpu scrape stats", "what is wrong, with whom, since when"],
  ["state", "base cost gpu host rules scrape stats", "the one State, update(state, message)"],
  ["view", "base cost gpu rules scrape state stats terminal", "State -> Frame"],
  ["report", "base cost gpu rules scrape state stats", "State -> JSON, CSV, Prometheus text"],
  [
    "cli",
    "base report rules scrape state view",
    "arguments, environment, configuration file, help",
  ],
  ["discovery", "base cli demo dialect host scrape", "where endpoints come from"],
  ["app", "*", "the loop, the live screen, --once"],
];

/** The modules of the area `base`: the only ones whose names do not begin with their area. */
const BASE_MODULES: ReadonlySet<string> = new Set([
  ...["units", "reading", "histogram", "model", "endpoint", "text", "json", "files", "version"],
  ...["back_off", "log", "pod", "platform", "platform_deno", "platform_files", "platform_http"],
]);

const MAX_MODULE_LINES = 500;
/** For modules that are one declarative table. */
const MAX_TABLE_LINES = 700;
const TABLE_MODULES: ReadonlySet<string> = new Set([
  "cli_option_table",
  "dialect_vllm_metrics",
  "report",
]);
const MAX_FUNCTION_LINES = 70;

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
const WORLDLY_MODULES: ReadonlySet<string> = new Set([
  ...["platform_deno", "platform_files", "platform_http", "main"],
]);

/** The one file besides modules that is imported, and the one module that does: the version stands there. */
const CONFIGURATION_IMPORT = { module: "version", specifier: "../deno.json" };

/** Packages that compute and do nothing else. */
const PURE_PACKAGES = /^@(std|cliffy)\/|^node:zlib$/;

/** The area of a module; `null` where its name begins with none. */
function findArea(module: string): AreaRow | null {
  const name = BASE_MODULES.has(module) ? "base" : module.split("_")[0];
  if (name === "base" && !BASE_MODULES.has(module)) return null;
  return AREAS.find(([area]) => area === name) ?? null;
}

function mayImport(module: string, imported: string): boolean {
  const to = findArea(imported);
  if (to === null || imported === module) return false;
  if (module === "main") return true;
  const from = findArea(module);
  if (from === null) return false;
  return from[0] === to[0] || from[1] === "*" || from[1].split(" ").includes(to[0]);
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

/** Whether the node is the `Date` of `new Date(time)`, which asks the calendar and no clock. */
function isGivenDate({ name, parent, range }: Deno.lint.Identifier): boolean {
  return name === "Date" && parent.type === "NewExpression" &&
    parent.callee.range[0] === range[0] && parent.arguments.length > 0;
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
      const isWorldly = WORLD_NAMES.has(node.name) && !isPropertyName(node) && !isGivenDate(node);
      if (isWorldly) worldNames.add(node.name);
    },
    FunctionDeclaration: noteFunction,
    FunctionExpression: noteFunction,
    ArrowFunctionExpression: noteFunction,
  });
  Deno.lint.runPlugin({ name: "read", rules: { source: { create } } }, "source.ts", code);
  return { imports, worldNames: [...worldNames], functionLines };
}

/** The imports that the table does not allow, each as a sentence. */
function findWrongImports(module: string, source: Source): string[] {
  const wrong: string[] = [];
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
    if (!mayImport(module, imported)) wrong.push(`${module} must not import ${imported}`);
  }
  return wrong;
}

/** What is wrong with the comment at the start of a module. */
function findHeaderFaults(module: string, code: string): string[] {
  const [header] = /^\/\*\*[^]*?\*\//.exec(code) ?? [""];
  const text = header.slice(3, -2).replace(/\n \*/g, " ").replace(/\s+/g, " ").trim();
  const faults: string[] = [];
  if (!/ @module$/.test(text)) faults.push(`${module} has no header that ends in @module`);
  if (/\bLayer \d/.test(text)) faults.push(`${module} repeats its place: its name says it`);
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
  const most = TABLE_MODULES.has(module) ? MAX_TABLE_LINES : MAX_MODULE_LINES;
  if (lines > most) long.push(`${module} has ${lines} lines, more than ${most}`);
  for (const { firstLine, lines } of source.functionLines) {
    if (lines > MAX_FUNCTION_LINES) {
      long.push(
        `${module}:${firstLine} has a function of ${lines} lines, more than ${MAX_FUNCTION_LINES}`,
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

function readText(path: string): string {
  return Deno.readTextFileSync(new URL(`../${path}`, import.meta.url));
}

/** The modules of `lib`. */
const MODULES: readonly string[] = [...Deno.readDirSync(new URL("../lib", import.meta.url))]
  .map(({ name }) => name.replace(/\.ts$/, "")).sort();

/** The modules that a module of `lib` imports. */
function listImports(code: string): string[] {
  return readSource(code).imports.flatMap((specifier) =>
    /^\.\/(\w+)\.ts$/.exec(specifier)?.[1] ?? []
  );
}

/** The first cycle among modules, as the path back to its begin; `null` where there is none. */
function findCycle(imports: ReadonlyMap<string, readonly string[]>): readonly string[] | null {
  const done = new Set<string>();
  const visit = (module: string, path: readonly string[]): readonly string[] | null => {
    if (path.includes(module)) return [...path.slice(path.indexOf(module)), module];
    if (done.has(module)) return null;
    for (const imported of imports.get(module) ?? []) {
      const cycle = visit(imported, [...path, module]);
      if (cycle !== null) return cycle;
    }
    done.add(module);
    return null;
  };
  for (const module of imports.keys()) {
    const cycle = visit(module, []);
    if (cycle !== null) return cycle;
  }
  return null;
}

Deno.test("lib is flat, and each module's name begins with its area", () => {
  assertEquals(MODULES.filter((module) => !/^[a-z0-9_]+$/.test(module)), []);
  assertEquals(MODULES.filter((module) => findArea(module) === null), []);
});

Deno.test("docs/architecture.md shows the areas as they are", () => {
  const [, block] = /<!-- areas -->\s*```text\n([^]*?)```\s*<!-- \/areas -->/.exec(
    readText("docs/architecture.md"),
  ) ?? [];
  const shown = block.trimEnd().split("\n").map((line) => line.split(/ {2,}/));
  const words = new Map([["", "-"], ["*", "everything"]]);
  assertEquals(
    shown,
    AREAS.map(([area, imports, purpose]) => [area, words.get(imports) ?? imports, purpose]),
  );
});

Deno.test("no module imports itself through others", () => {
  const imports = new Map(
    MODULES.map((module) => [module, listImports(readText(`lib/${module}.ts`))]),
  );
  assertEquals(findCycle(imports), null);
});

for (const module of ["main", ...MODULES]) {
  const path = module === "main" ? "main.ts" : `lib/${module}.ts`;
  Deno.test(`${path} keeps to its area, says what it is, and is short`, () => {
    assertEquals(findFaults(module, readText(path)), []);
  });
}

/** Kinds of servers, as identifiers and texts have them. */
const SERVER_NAME =
  /vllm(?!-htop|_htop)|sglang|llama-?_?\.?cpp|llama-server|ollama|tgi_|\bTGI\b|trtllm|lmdeploy|triton|aphrodite|xinference|dynamo|litellm/i;

/** Modules outside the area `dialect` that may name a server, and why. */
const MODULES_THAT_NAME_SERVERS: ReadonlyMap<string, string> = new Map([
  ["cli_documents", "help"],
  ["cli_help", "help"],
  ["cli_option_table", "help"],
  ["cli_values", "help"],
  ["demo", "it simulates servers of four kinds"],
  ["demo_exposition", "it simulates vLLM"],
  ["demo_kinds", "it simulates servers of three kinds"],
  ["demo_machine", "it simulates processes of servers"],
  ["discovery", "messages"],
  ["discovery_pods", "labels of operators"],
  ["endpoint", "an example in a message"],
  ["report", "descriptions of keys"],
  ["rules_table", "sources of thresholds"],
  ["snapshot", "the library is of vLLM's metrics"],
]);

/** Identifiers and texts of a source that name a server. */
function findServerNames(code: string): string[] {
  const found = new Set<string>();
  const note = (text: string): void => {
    if (SERVER_NAME.test(text)) found.add(text);
  };
  const create = (): Deno.lint.LintVisitor => ({
    Identifier: ({ name }) => note(name),
    Literal: ({ value }) => note(typeof value === "string" ? value : ""),
    TemplateElement: ({ cooked }) => note(cooked),
  });
  Deno.lint.runPlugin({ name: "names", rules: { names: { create } } }, "source.ts", code);
  return [...found];
}

Deno.test("only dialects and texts for users name a server, so that a new one adds no line elsewhere", () => {
  const naming = MODULES.filter((module) => {
    const isDialect = module === "dialect" || module.startsWith("dialect_");
    return !isDialect && findServerNames(readText(`lib/${module}.ts`)).length > 0;
  });
  assertEquals(naming.filter((module) => !MODULES_THAT_NAME_SERVERS.has(module)), []);
  // And those that serve all dialects name none.
  for (const module of ["dialect_model", "dialect_reader", "dialect_sample", "dialect_series"]) {
    assertEquals(findServerNames(readText(`lib/${module}.ts`)), [], module);
  }
});

Deno.test("each module of tests/ is called by the module it tests, or by what it proves", () => {
  // Tests across modules, each a subject of its own.
  const subjects =
    /^(e2e_\w+|frames_\w+|architecture|compile|dependencies|broken_bodies|docs|field_bodies|fuzz|hostile|judged|picture|readme|record_size|recorded_fleet|scenarios|simulation|soak|stillness|text_segments|verdict|workflows)_test$/;
  const tests = [...Deno.readDirSync(new URL(".", import.meta.url))]
    .flatMap(({ name }) => /^(\w+_test)\.ts$/.exec(name)?.[1] ?? []);
  const strangers = tests.filter((test) =>
    !MODULES.includes(test.replace(/_test$/, "")) && !subjects.test(test)
  );
  assertEquals(strangers, []);
});

// The checks themselves.

const HEADER = "/**\n * Text.\n *\n * More.\n *\n * @module\n */\n";

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
  void [text, platform.Date, { console: 1 }, bold, new Date(1000).toISOString()];
}
`;
  assertEquals(findFaults("prometheus", code), []);
});

Deno.test("findWrongImports() finds imports of other areas, of the outside and of unknown packages", () => {
  const find = (module: string, code: string) => findWrongImports(module, readSource(code)).length;
  assertEquals(find("text", 'import { x } from "./prometheus.ts";'), 1, "an area above");
  assertEquals(find("text", 'import type { X } from "./state.ts";'), 1, "types, too");
  assertEquals(find("stats_window", 'import { x } from "./gpu_model.ts";'), 1, "an area beside");
  assertEquals(find("text", 'export * from "./app.ts";'), 1, "re-export of all");
  assertEquals(find("text", 'export { x } from "./app.ts";'), 1, "re-export");
  assertEquals(find("text", 'await import("./app.ts");'), 1, "dynamic");
  assertEquals(find("text", 'await import("./" + x);'), 1, "computed");
  assertEquals(find("text", 'let x: import("./app.ts").X;'), 1, "type");
  assertEquals(find("text", 'import "./text.ts";'), 1, "itself");
  assertEquals(find("text", 'import "./unknown.ts";'), 1, "unknown module");
  assertEquals(find("text", 'import "../tests/programs.ts";'), 1, "outside");
  assertEquals(find("platform_deno", 'import "../tests/programs.ts";'), 1, "outside");
  assertEquals(find("scrape", 'import "undici";'), 1, "package");
  assertEquals(find("scrape", 'import "node:fs";'), 1, "Node's modules");
  assertEquals(find("platform_deno", 'import "undici"; import "node:crypto";'), 0);
  assertEquals(find("stats_window", 'import "./stats_samples.ts"; import "./units.ts";'), 0);
  assertEquals(find("app_live", 'import "./view.ts"; import "./gpu_model.ts";'), 0);
  assertEquals(find("main", 'import "./lib/app.ts";'), 0);
});

Deno.test("findCycle() finds a way back, and none where there is none", () => {
  const find = (...edges: readonly (readonly [string, readonly string[]])[]) =>
    findCycle(new Map(edges));
  assertEquals(find(["a", ["b", "c"]], ["b", ["c"]], ["c", []]), null);
  assertEquals(find(["a", ["b"]], ["b", ["c"]], ["c", ["b"]]), ["b", "c", "b"]);
  assertEquals(find(["a", ["a"]]), ["a", "a"]);
});

Deno.test("findHeaderFaults() finds a missing header, a missing @module and a repeated place", () => {
  assertEquals(findHeaderFaults("text", HEADER), []);
  assertEquals(findHeaderFaults("units", "const x = 1;").length, 1);
  assertEquals(findHeaderFaults("text", HEADER.replace(" * @module\n", "")).length, 1);
  assertEquals(findHeaderFaults("text", HEADER.replace("More", "Layer 1, pure")).length, 1);
  assertEquals(findHeaderFaults("text", `const x = 1;\n${HEADER}`).length, 1);
});

Deno.test("findServerNames() finds names of code and texts, and no comment", () => {
  assertEquals(findServerNames("// vLLM\nconst isVllm = `of ${x} SGLang`;"), ["isVllm", " SGLang"]);
  assertEquals(findServerNames('const program = "vllm-htop";'), []);
});

Deno.test("findWorldNames() finds every way to reach the world", () => {
  const find = (code: string) => findWorldNames("app", readSource(code)).length;
  for (
    const code of [
      "Deno.exit(1);",
      'await fetch("x");',
      "const now = new Date();",
      "const now = new Date(Date.now());",
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
    assertEquals(find(start + body(MAX_FUNCTION_LINES)), 0, start);
    assertEquals(find(start + body(MAX_FUNCTION_LINES + 1)), 1, start);
  }
  assertEquals(find(`class A {\n  m() ${body(MAX_FUNCTION_LINES + 1)}\n}`), 1);
  assertEquals(find("x;\n".repeat(MAX_MODULE_LINES)), 0);
  assertEquals(find("x;\n".repeat(MAX_MODULE_LINES + 1)), 1);
});

Deno.test("AREAS names no area twice, and imports only areas that there are", () => {
  const seen = new Set<string>();
  for (const [area, imports] of AREAS) {
    assertEquals(seen.has(area), false, area);
    if (imports !== "*") {
      for (const imported of imports.split(" ").filter((word) => word !== "")) {
        assertEquals(AREAS.some(([name]) => name === imported), true, `${area} -> ${imported}`);
      }
    }
    seen.add(area);
  }
});
