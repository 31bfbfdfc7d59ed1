import { DEFAULT_RULES } from "../lib/rules_table.ts";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { findConfigPath } from "../lib/cli_config_file.ts";
import { helpText } from "../lib/cli_help.ts";
import { findQuestion } from "../lib/cli_questions.ts";
import { ENVIRONMENT_VARIABLES } from "../.ci/permissions.ts";
import { OPTION_ROWS } from "../lib/cli_option_table.ts";
import {
  createStartUi,
  getConfigPath,
  listColumns,
  listSettings,
  type Options,
  parseCommandLine,
} from "../lib/cli_options.ts";
import { parseSort } from "../lib/cli_values.ts";
import type { CredentialSource } from "../lib/scrape_credentials.ts";
import type { Ui } from "../lib/state_ui.ts";
import { revealSecret } from "../lib/text.ts";
import { COLUMN_IDS } from "../lib/view_column_table.ts";
import { choosePlainWidth } from "../lib/view.ts";
import { chooseColorDepth, hasUtf8Locale } from "../lib/view_theme.ts";
import { parseArguments } from "./fixtures/arguments.ts";
import { assertGolden } from "./fixtures/goldens.ts";

type Variables = Readonly<Record<string, string>>;

function parse(argv: readonly string[], variables: Variables = {}) {
  return parseArguments(
    argv,
    (name) => Object.hasOwn(variables, name) ? variables[name] : undefined,
  );
}

function run(argv: readonly string[], variables: Variables = {}): Options {
  const parsed = parse(argv, variables);
  if (parsed.kind !== "run") throw new Error(JSON.stringify(parsed));
  return parsed.options;
}

function readMessage(argv: readonly string[], variables: Variables = {}): string {
  const parsed = parse(argv, variables);
  if (parsed.kind !== "usage_error") throw new Error(JSON.stringify(parsed));
  return parsed.message;
}

function readKeys(argv: readonly string[], variables: Variables = {}): readonly string[] {
  return run(argv, variables).endpoints.map(({ endpoint }) => endpoint.key);
}

function readSources(
  argv: readonly string[],
  variables: Variables = {},
): readonly CredentialSource[] {
  return run(argv, variables).credentialSources;
}

Deno.test("parseArguments() without arguments gives the defaults of the help", () => {
  assertEquals(run([]), {
    endpoints: [],
    sshTargets: [],
    sshConfig: null,
    acceptsNewSshKeys: false,
    targetLists: [],
    prometheus: [],
    prometheusMatcher: "",
    kubernetes: null,
    namesTargets: false,
    grouping: "model",
    auto: false,
    host: "localhost",
    portRange: { first: 8000, last: 8015 },
    scansProcesses: true,
    objectives: [],
    logs: new Map(),
    labels: new Map(),
    engines: new Map(),
    interval: 2,
    timeout: 4,
    once: false,
    watchSpan: null,
    doctor: false,
    stateFile: null,
    recordFile: null,
    recordLimits: { bytes: 1e9, age: 604_800 },
    isRecorder: false,
    replayFile: null,
    replaySpeed: null,
    replayFrom: null,
    replayTo: null,
    comparedSpans: [],
    output: "auto",
    serve: null,
    outputFile: null,
    metricPrefix: null,
    demo: false,
    orDemo: false,
    demoFleet: "",
    demoSeed: 1,
    credentialSources: [],
    insecureEndpointKeys: [],
    theme: "default",
    noColor: false,
    ascii: false,
    noKeyLine: false,
    noMouse: false,
    filter: "",
    sort: null,
    columns: [],
    gpuWatch: "auto",
    cost: {
      tokenPrices: { input: null, cachedInput: null, output: null },
      usdPerGpuHour: null,
      gpuCount: null,
      detectsGpus: true,
      pricesFile: null,
      currency: "$",
    },
    rules: DEFAULT_RULES,
    listPrices: false,
  });
});

Deno.test("parseArguments() takes the kind of one server, or of all, and only named servers have one", () => {
  const read = (
    argv: readonly string[],
    variables: Variables = {},
  ) => [...run(argv, variables).engines];
  assertEquals(read(["a", "--engine", "sglang"]), [[null, "SGLang"]]);
  assertEquals(read(["a", "b", "--engine=Llama.cpp", "--engine=http://b:8000/=trtllm-serve"]), [
    [null, "llama.cpp"],
    ["http://b:8000", "trtllm-serve"],
  ]);
  assertEquals(read(["a"], { VLLM_HTOP_ENGINE: "ollama" }), [[null, "Ollama"]]);
  // It may be for other calls.
  assertEquals(read([], { VLLM_HTOP_ENGINE: "ollama" }), []);
  assertEquals(read(["a"], { VLLM_HTOP_ENGINE: "b:8000=ollama" }), []);
});

Deno.test("parseArguments() takes URLs bare, after --url, with commas, after --, in this order", () => {
  const expected = ["http://a:8000", "http://b:8000", "http://c:8000"];
  const spellings = [
    ["a", "b", "c"],
    ["--url", "a", "b", "c"],
    ["--url", "a,b", "c"],
    ["--url=a,b,c"],
    ["--url=a", "--url", "b", "--", "c"],
    ["a", "--url", "b", "c"],
    ["a", "--once", "b", "--interval", "3", "c"],
    ["a", "b", "a:8000", "http://A:8000/", "c", "http://c:8000/metrics"],
  ];
  for (const argv of spellings) assertEquals(readKeys(argv), expected, argv.join(" "));
  assertEquals(readKeys([], { VLLM_HTOP_URL: "a,b\nc" }), expected);
  assertEquals(readKeys([], { VLLM_HTOP_URL: " a, b c " }), expected);
});

Deno.test("parseArguments() looks beyond the range of ports where none is given", () => {
  assert(!run(["--port-range", "8000-8015"]).scansProcesses);
  assert(!run([], { VLLM_HTOP_PORT_RANGE: "9000" }).scansProcesses);
  assert(run(["--auto"]).scansProcesses);
});

Deno.test("--log names the place of a server's log", () => {
  const logs = (argv: readonly string[], variables: Variables = {}): unknown =>
    Object.fromEntries(run(argv, variables).logs);
  assertEquals(logs(["--log", "gpu1=docker:vllm", "--log=8001=/var/log/a=b.log"]), {
    "http://gpu1:8000": { kind: "docker", container: "vllm" },
    "http://localhost:8001": { kind: "file", path: "/var/log/a=b.log" },
  });
  const variables = { VLLM_HTOP_LOG: "gpu1=podman:a, gpu2=journal:vllm@1.service" };
  assertEquals(logs([], variables), {
    "http://gpu1:8000": { kind: "podman", container: "a" },
    "http://gpu2:8000": { kind: "journal", unit: "vllm@1.service", isUser: false },
  });
  for (const text of ["x", "a:1=docker:--rm", "a:1=vllm.log", "=docker:a", "a:1=journal:"]) {
    assertStringIncludes(readMessage(["--log", text]), "is not URL=PLACE");
  }
  assertStringIncludes(readMessage(["--log", "a:99999=/x"]), "invalid port");
});

Deno.test("parseArguments() takes names for servers, and refuses what is none", () => {
  const labels = (argv: readonly string[], variables: Variables = {}): unknown =>
    Object.fromEntries(run(argv, variables).labels);
  const argv = ["gpu1", "gpu2", "--name", "gpu1:8000=prod a", "--name=http://gpu2:8000/=b"];
  assertEquals(labels(argv), { "http://gpu1:8000": "prod a", "http://gpu2:8000": "b" });
  // Those of a scan are not known yet; a variable may be there for other calls.
  assertEquals(labels(["--name", "8001=b"]), { "http://localhost:8001": "b" });
  const variables = { VLLM_HTOP_NAME: "gpu1=a,gpu3=c" };
  assertEquals(labels(["gpu1"], variables), { "http://gpu1:8000": "a" });
  assertEquals(labels(["gpu1", "--name", "gpu1=x"], variables), { "http://gpu1:8000": "x" });
  for (
    const [name, problem] of [
      ["gpu1", "is not URL=LABEL"],
      ["gpu1=", "is not URL=LABEL"],
      ["=x", "is not URL=LABEL"],
      ["ftp://gpu1=x", "use http, https or unix"],
      ["gpu3=x", "names a URL that is not watched"],
      [`gpu1=${"x".repeat(33)}`, "longer than 32"],
      ["gpu1=\x1b[2J", "cannot be shown"],
    ]
  ) {
    assertStringIncludes(readMessage(["gpu1", "gpu2", "--name", name]), problem);
  }
  assertStringIncludes(
    readMessage(["gpu1", "gpu2", "--name=gpu1=x", "--name=gpu2=x"]),
    "already in use",
  );
  assertStringIncludes(readMessage(["gpu1", "--name=gpu1=x", "--name=gpu1:8000=y"]), "twice");
});

Deno.test("parseArguments() keeps the password of a URL that is given twice", () => {
  for (const argv of [["a", "me:hunter2@a"], ["me:hunter2@a", "a"]]) {
    const [typed, ...others] = run(argv).endpoints;
    assertEquals(others, []);
    assert(typed.basicAuth !== null);
    assertEquals(revealSecret(typed.basicAuth), "me:hunter2");
  }
});

Deno.test("parseArguments() reads --flag value and --flag=value alike, in any order", () => {
  const expected = run(["a", "--interval", "3", "--timeout", "0.5", "--output", "json", "--once"]);
  assertEquals(expected.interval, 3);
  assertEquals(expected.timeout, 0.5);
  assertEquals(expected.output, "json");
  assertEquals(expected.once, true);
  const pieces = [["a"], ["--interval=3"], ["--timeout", ".5"], ["--output=json"], ["--once"]];
  fc.assert(
    fc.property(fc.shuffledSubarray(pieces, { minLength: pieces.length }), (order) => {
      assertEquals(run(order.flat()), expected);
    }),
  );
});

Deno.test("parseArguments() takes an empty prefix of metrics, but no other empty value", () => {
  for (const argv of [["--metric-prefix", ""], ["--metric-prefix="]]) {
    assertEquals(run(["a", ...argv]).metricPrefix, "");
  }
  assertEquals(run(["a"], { VLLM_HTOP_METRIC_PREFIX: "" }).metricPrefix, null);
});

Deno.test("parseArguments() honours an interval exactly", () => {
  for (const text of ["0.5", "1", "3", "60", "2.75", "3600", "+2", "7."]) {
    assertEquals(run(["--interval", text]).interval, Number(text));
  }
  assertEquals(run(["--once", "--interval", "0"]).interval, 0);
  assertEquals(run(["--interval=0.0", "--once"]).interval, 0);
  assertEquals(run(["--once"], { VLLM_HTOP_INTERVAL: "0" }).interval, 0);
});

Deno.test("parseArguments() takes the option, else its variable", () => {
  const variables = {
    VLLM_HTOP_HOST: "gpu1",
    VLLM_HTOP_PORT_RANGE: "1-2",
    VLLM_HTOP_INTERVAL: "5",
    VLLM_HTOP_TIMEOUT: "6",
    VLLM_HTOP_OUTPUT: "json",
    VLLM_HTOP_METRIC_PREFIX: "my_vllm:",
    VLLM_HTOP_AUTO: "1",
  };
  const { host, portRange, interval, timeout, output, metricPrefix, auto } = run([], variables);
  assertEquals([host, interval, timeout, output], ["gpu1", 5, 6, "json"]);
  assertEquals([metricPrefix, auto, portRange.last], ["my_vllm:", true, 2]);
  const argv = ["--host=b", "--port-range=7", "--interval=8", "--timeout=9", "--output=detail"];
  const typed = run([...argv, "--metric-prefix=x_", "--auto"], variables);
  assertEquals([typed.host, typed.interval, typed.timeout, typed.output], ["b", 8, 9, "detail"]);
  assertEquals([typed.metricPrefix, typed.portRange], ["x_", { first: 7, last: 7 }]);
  assertEquals(run([], { VLLM_HTOP_INTERVAL: "", VLLM_HTOP_URL: "" }).interval, 2);
});

Deno.test("parseArguments() lets a URL, --auto or --demo beat the variables of the others", () => {
  const variables = { VLLM_HTOP_URL: "a", VLLM_HTOP_OUTPUT: "table" };
  assertEquals(readKeys(["b"], variables), ["http://b:8000"]);
  assertEquals(run(["--auto"], variables).endpoints, []);
  assertEquals(run(["--demo"], variables).endpoints, []);
  assertEquals(run(["--demo"], variables).demo, true);
  assertEquals(run(["b"], { VLLM_HTOP_DEMO: "1", VLLM_HTOP_AUTO: "yes" }).demo, false);
  assertEquals(run([], { VLLM_HTOP_DEMO: "TRUE" }).demo, true);
  assertEquals(run([], { VLLM_HTOP_DEMO: "off", VLLM_HTOP_URL: "a" }).demo, false);
  const { demo: isDemo, demoFleet: fleet } = run([], { VLLM_HTOP_DEMO: "vllm" });
  assertEquals([isDemo, fleet], [true, "vllm"]);
  assertEquals(run(["--demo", "--demo-seed", "42"]).demoSeed, 42);
  // A word may follow, but no other one.
  for (const argv of [["--demo", "vllm", "--ascii"], ["--demo=vllm", "--ascii"]]) {
    const { demo, demoFleet, ascii, endpoints } = run(argv);
    assertEquals([demo, demoFleet, ascii, endpoints], [true, "vllm", true, []]);
  }
  assertEquals(run(["--demo", "--ascii"]).demoFleet, "");
});

Deno.test("parseArguments() takes --table and --detail for --output, beating the variable", () => {
  assertEquals(run(["--table"]).output, "table");
  assertEquals(run(["--detail", "a", "b"]).output, "detail");
  assertEquals(run(["--table", "--output", "table", "--table"]).output, "table");
  assertEquals(run(["--detail"], { VLLM_HTOP_OUTPUT: "json" }).output, "detail");
});

Deno.test("parseArguments() takes names and addresses as --host", () => {
  const hosts = { "GPU1": "gpu1", "10.0.0.1": "10.0.0.1", "::1": "[::1]", "[::1]": "[::1]" };
  for (const [text, host] of Object.entries(hosts)) {
    assertEquals(run(["--host", text]).host, host);
  }
  for (const text of ["", "a:1", "http://a", "a/b", "me@a", "a b", "8000", "[::1", "a\x1b"]) {
    assertStringIncludes(readMessage([`--host=${text}`]), "--host");
  }
});

Deno.test("findQuestion() gives --help before --version before everything else", () => {
  for (const argv of [["-h"], ["--help"], ["--nonsense", "--interval", "-h"], ["-V", "--help"]]) {
    assertEquals(findQuestion(argv), "help");
  }
  for (const argv of [["-V"], ["--version"], ["--interval=x", "--version"]]) {
    assertEquals(findQuestion(argv), "version");
  }
  assertEquals(findQuestion(["--", "-h"]), null);
  assertEquals(parse(["--", "-h"]).kind, "usage_error");
});

Deno.test("parseArguments() limits a credential to the endpoint before the =", () => {
  assertEquals(readSources(["a", "b", "--token-file", "all", "--token-file=http://b:8000/=only"]), [
    { kind: "token", endpointKey: "http://b:8000", from: { file: "only" } },
    { kind: "token", endpointKey: null, from: { file: "all" } },
  ]);
  const files: readonly (readonly [string, string | null, string])[] = [
    ["/etc/a=b", null, "/etc/a=b"],
    ["a=/etc/x=y", "http://a:8000", "/etc/x=y"],
    ["a:8000=x", "http://a:8000", "x"],
    ["a/metrics=x", "http://a:8000", "x"],
    ["me:hunter2@a=x", "http://a:8000", "x"],
    ["https://c/k=v=x", "https://c/k=v", "x"],
    ["unix:/run/s=x", "unix:/run/s", "x"],
    ["a=a=x", "http://a:8000", "a=x"],
    ["C:\\keys=1", null, "C:\\keys=1"],
    ["=x", null, "=x"],
  ];
  for (const [text, endpointKey, file] of files) {
    const [source] = readSources(["a", "https://c/k=v", "unix:/run/s", "--header-file", text]);
    assertEquals(source, { kind: "headers", endpointKey, from: { file } });
  }
});

Deno.test("parseArguments() reads each credential from its option and from its variables", () => {
  const expected: readonly (readonly [string, string, CredentialSource["kind"], string | null])[] =
    [
      ["--token-file", "VLLM_HTOP_TOKEN_FILE", "token", "VLLM_HTOP_TOKEN"],
      ["--basic-auth-file", "VLLM_HTOP_BASIC_AUTH_FILE", "basic_auth", "VLLM_HTOP_BASIC_AUTH"],
      ["--header-file", "VLLM_HTOP_HEADER_FILE", "headers", "VLLM_HTOP_HEADERS"],
      ["--ca-file", "VLLM_HTOP_CA_FILE", "ca_certificates", null],
    ];
  for (const [option, variable, kind, content] of expected) {
    const source = { kind, endpointKey: null, from: { file: "f" } };
    assertEquals(readSources(["a", option, "f"]), [source]);
    assertEquals(readSources(["a"], { [variable]: "f" }), [source]);
    assertEquals(readSources([], { VLLM_HTOP_URL: "a", [variable]: "a=f" }), [
      { ...source, endpointKey: "http://a:8000" },
    ]);
    assertEquals(readSources(["a", option, "f"], { [variable]: "other" }), [source]);
    if (content === null) continue;
    assertEquals(readSources(["a"], { [content]: "hunter2" }), [
      { kind, endpointKey: null, from: { variable: content } },
    ]);
    assertEquals(readSources(["a", option, "a=f"], { [content]: "hunter2" }), [
      { ...source, endpointKey: "http://a:8000" },
    ]);
  }
  assertEquals(readSources(["a", "--cert-file", "c", "--key-file", "k"]).map(({ kind }) => kind), [
    "client_certificate",
    "client_key",
  ]);
});

Deno.test("parseArguments() lets an option for a token switch off variables for a password", () => {
  const variables = { VLLM_HTOP_BASIC_AUTH: "me:hunter2", VLLM_HTOP_HEADER_FILE: "h" };
  assertEquals(readSources(["a", "--token-file", "t"], variables).map(({ kind }) => kind), [
    "token",
    "headers",
  ]);
});

Deno.test("parseArguments() passes over variables that name other endpoints, and all in a scan", () => {
  const variables = {
    VLLM_HTOP_TOKEN_FILE: "http://other:8000=f",
    VLLM_HTOP_INSECURE: "https://other",
  };
  assertEquals(run(["a"], variables).credentialSources, []);
  assertEquals(run(["a"], variables).insecureEndpointKeys, []);
  assertEquals(run([], { VLLM_HTOP_TOKEN: "hunter2" }).credentialSources, []);
  assertEquals(run(["--demo"], { VLLM_HTOP_TOKEN: "hunter2" }).credentialSources, []);
});

Deno.test("parseArguments() reads where a Prometheus is, and label matchers", () => {
  const read = (...argv: string[]) => {
    const { prometheus, prometheusMatcher, namesTargets } = run(argv);
    return [...prometheus.map(({ endpoint }) => endpoint.key), prometheusMatcher, namesTargets];
  };
  for (
    const [text, key] of [
      ["prom", "http://prom:9090"],
      ["prom/select/0/prometheus", "http://prom:9090/select/0/prometheus"],
      ["prom:80", "http://prom"],
      ["https://user:secret@mimir.example.org/prometheus/", "https://mimir.example.org/prometheus"],
      ["http://prom:9090/federate", "http://prom:9090/federate"],
    ]
  ) {
    assertEquals(read("--prometheus", text), [key, "", true], text);
  }
  for (
    const [text, matchers] of [
      ['a="b"', 'a="b"'],
      ['a = "b", c!~"d|e,f{}"', 'a = "b", c!~"d|e,f{}"'],
      ['{a=~"x\\"y"}', 'a=~"x\\"y"'],
      ['{a!="b",}', 'a!="b"'],
    ]
  ) {
    assertEquals(read("--prometheus", "p", "--prometheus-matcher", text)[1], matchers, text);
  }
  for (const wrong of ["a=b", 'a="b" c="d"', '{a="b"', 'a="b"} or x', "1", 'a>"b"']) {
    assertEquals(
      readMessage(["--prometheus", "p", "--prometheus-matcher", wrong]),
      `--prometheus-matcher "${wrong}" is not a list of label matchers, such as namespace="prod"`,
    );
  }
  assertEquals(
    readMessage(["--prometheus", "p", "--auto"]),
    "--auto and --prometheus exclude each other: give one",
  );
});

Deno.test("parseArguments() marks the endpoints that --insecure names, and no others", () => {
  const argv = ["https://a", "https://b", "https://c", "--insecure", "https://a/,https://b:443"];
  for (
    const { endpoints, insecureEndpointKeys } of [
      run(argv),
      run(argv.slice(0, 3), { VLLM_HTOP_INSECURE: "https://a https://b" }),
    ]
  ) {
    assertEquals(insecureEndpointKeys, ["https://a", "https://b"]);
    assertEquals(endpoints.map(({ endpoint }) => endpoint.warnings.length), [1, 1, 0]);
  }
});

/** Each is one usage error; the message stands in the golden file. */
const WRONG: readonly (readonly [argv: readonly string[], variables?: Variables])[] = [
  [["--intervl", "3"]],
  [["--intreval=3"]],
  [["--int", "3"]],
  [["--Interval", "3"]],
  [["--port_range=1"]],
  [["--frobnicate"]],
  [["-x"]],
  [["-ume:hunter2"]],
  [["-"]],
  [["--frobnicate=hunter2"]],
  [["--token", "hunter2"]],
  [["--token=hunter2"]],
  [["--tokn", "hunter2"]],
  [["--api-key=hunter2"]],
  [["--basic-auth", "me:hunter2"]],
  [["--header", "X-Key: hunter2"]],
  [["--interval"]],
  [["--interval", "--once"]],
  [["--interval="]],
  [["--interval", "-1"]],
  [["--interval=-1"]],
  [["--interval", "0"]],
  [["--interval", "0.4"]],
  [["--interval", "3601"]],
  [["--interval", "2s"]],
  [["--interval", "1e1"]],
  [["--interval", "1", "--interval", "2"]],
  [[], { VLLM_HTOP_INTERVAL: "0" }],
  [[], { VLLM_HTOP_INTERVAL: "soon" }],
  [["--timeout", "0"]],
  [["--timeout", "121"]],
  [["--once=maybe"]],
  [["--demo-seed", "1.5"]],
  [["--demo-seed", "-1"]],
  [["--output", "jsn"]],
  [[], { VLLM_HTOP_OUTPUT: "xml" }],
  [["--table", "--detail"]],
  [["--diagnose", "--output", "json"]],
  [["--table", "--output", "json"]],
  [["--metric-prefix", "my vllm"]],
  [["--host", "http://me:hunter2@gpu1"]],
  [["--host", "gpu1:8000"]],
  [["--port-range", "8000-"]],
  [["--port-range", "8015-8000"]],
  [["--port-range", "0-10"]],
  [["--port-range", "1-65536"]],
  [["--port-range", "1000-2024"]],
  [["gpu1", "--port-range", "1-2"]],
  [["--demo", "--host", "gpu1"]],
  [["--demo", "gpu1"]],
  [["--demo", "sglang", "--once"]],
  [[], { VLLM_HTOP_DEMO: "sglang" }],
  [["--demo=gpu1"]],
  [["--auto", "--url", "gpu1"]],
  [["--auto", "--demo"]],
  [[], { VLLM_HTOP_AUTO: "1", VLLM_HTOP_URL: "gpu1" }],
  [[], { VLLM_HTOP_DEMO: "maybe" }],
  [[""]],
  [["gpu1,,gpu2"]],
  [["ftp://me:hunter2@gpu1"]],
  [["http://gpu1:70000"]],
  [["http://gpu1/metrics?key=hunter2"]],
  [["http://me:80,hunter2@gpu1"]],
  [["gpu1\x1b[2J"]],
  [["--\x1b[2J"]],
  [["gpu1", "--token-file", "http://me:hunter2@gpu2=f"]],
  [["gpu1", "--token-file", "gpu2:8000=f"]],
  [["gpu1", "--token-file", "gpu1="]],
  [["gpu1"], { VLLM_HTOP_TOKEN_FILE: "gpu1=" }],
  [["gpu1", "--token-file", "f", "--token-file", "g"]],
  [["gpu1", "--token-file", "f", "--basic-auth-file", "g"]],
  [["gpu1"], { VLLM_HTOP_TOKEN: "hunter2", VLLM_HTOP_TOKEN_FILE: "f" }],
  [["gpu1"], { VLLM_HTOP_TOKEN: "hunter2", VLLM_HTOP_BASIC_AUTH: "me:hunter2" }],
  [["--token-file", "f"]],
  [["gpu1", "--engine", "vlm"]],
  [["gpu1", "--engine", "gpu1=x"]],
  [["gpu1", "--engine", "gpu2:8000=vllm"]],
  [["gpu1", "--engine", "vllm", "--engine", "sglang"]],
  [["--engine", "vllm"]],
  [["--demo", "--ca-file", "f"]],
  [["https://gpu1", "--cert-file", "f"]],
  [["https://gpu1", "--cert-file", "f", "--key-file", "https://gpu1=f"]],
  [["https://gpu1", "--key-file", "f"]],
  [["https://gpu1", "--insecure", "https://gpu2"]],
  [["gpu1", "--insecure", "gpu1"]],
  [["--insecure", "https://gpu1"]],
  [["--cost-in", "-1"]],
  [["--cost-in", "free"]],
  [["--cost-out", "1e3"]],
  [["--cost-cached-in", "2000000"]],
  [["--gpu-cost-hour", "$3"]],
  [[], { VLLM_HTOP_GPU_COST_HOUR: "three" }],
  [["--num-gpus", "0"]],
  [["--num-gpus", "1.5"]],
  [[], { VLLM_HTOP_NUM_GPUS: "1.5" }],
  [["--currency", "dollars"]],
  [["--currency", "1"]],
  [["--currency", "\x1b[2J"]],
  [["--gpus", "--no-gpu"]],
  [[], { VLLM_HTOP_GPUS: "1", VLLM_HTOP_NO_GPU: "1" }],
  [[], { VLLM_HTOP_NO_GPU_DETECT: "perhaps" }],
  [["--prices"]],
  [["--cost"]],
  [["--state", "f"]],
  [["--state", "f", "--once", "--demo"]],
  [["--state", "--once"]],
  [["record"]],
  [["record", "--demo"]],
  [["record", "r", "--once"]],
  [["--record", "-"]],
  [["--record", "r", "--record-limit", "9"]],
  [["--record", "r", "--record-limit", "1kB"]],
  [["--record", "r", "--record-limit", "9000TB"]],
  [["--record", "r", "--record-age", "0"]],
  [["replay"]],
  [["replay", "r", "gpu1"]],
  [["replay", "r", "--prometheus", "p"]],
  [["replay", "r", "--kube"]],
  [["replay", "r", "--record", "s"]],
  [["replay", "r", "--check", "--for", "60s"]],
  [["replay", "r", "--speed", "3"]],
  [["replay", "r", "--from", "25:00"]],
  [["replay", "r", "--from", "2026-02-30T10:00"]],
  [["replay", "r", "--at", "14:05"]],
  [["compare"]],
  [["compare", "a"]],
  [["compare", "a", "--demo"]],
  [["compare", "a", "b", "gpu1"]],
  [["compare", "a", "b", "--ssh", "gpu1"]],
  [["compare", "a", "b", "--replay", "c"]],
  [["compare", "a", "b", "--speed", "2"]],
  [["compare", "a", "b", "--output", "csv"]],
  [["compare", "a", "b", "--check"]],
  [["compare", "a", "b", "--record", "c"]],
  [["--compare", "a"]],
  [["--output", "markdown"]],
  [["--from", "14:05"]],
  [["--output", "prometheus"]],
  [["--serve", "9090", "--once"]],
  [["--serve", "0"]],
  [["--serve", "localhost:99999"]],
  [["--serve", "http://localhost:9090"]],
  [["--doctor", "--check"]],
  [["--json", "--table"]],
  [["--check", "--for", "soon"]],
  [["--check", "--for", "0.5s"]],
  [["--check", "--for", "25h"]],
  [["--for", "60s"]],
  [["--check", "--output", "json"]],
  [["--check", "--for", "60s", "--interval", "0"]],
  [["--check", "--for", "60s", "--state", "f"]],
];

Deno.test("parseArguments() tells usage errors as in goldens/usage_errors.txt", () => {
  const lines = WRONG.map(([argv, variables = {}]) => {
    const message = readMessage(argv, variables);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f]|hunter2|\.$/.test(message), message);
    const settings = Object.entries(variables).map(([name, value]) => `${name}=${value} `).join("");
    const words = argv.map((word) => /^[\w:/=.,@?-]+$/.test(word) ? word : JSON.stringify(word));
    return `$ ${settings}vllm-htop ${words.join(" ")}\n${message}\n`;
  });
  assertGolden("usage_errors.txt", lines.join("\n"));
});

Deno.test("parseArguments() accepts each option of the table and suggests it for a slip", () => {
  for (const { name } of OPTION_ROWS) {
    const end = name.length - 1;
    const slips = [
      `--${name}x`,
      `--${name.slice(0, end - 1)}${name[end]}${name[end - 1]}`,
      `--${name.replace("-", "_").toUpperCase()}`,
    ];
    for (const slip of slips.filter((slip) => name.length > 3 && slip !== `--${name}`)) {
      assertStringIncludes(readMessage([slip]), `did you mean --${name}?`);
    }
  }
});

Deno.test("parseArguments() never throws, whatever is typed", () => {
  const words = OPTION_ROWS.flatMap(({ name }) => [`--${name}`, `--${name}=`, `--${name}=1`]);
  const word = fc.oneof(fc.constantFrom(...words, "a", "-1", "--", "a=b", "=", ","), fc.string());
  fc.assert(
    fc.property(fc.array(word, { maxLength: 6 }), (argv) => {
      const parsed = parse(argv);
      if (parsed.kind === "usage_error") assert(parsed.message.length > 0);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("parseArguments() shows no password of any list of URLs", () => {
  const mark = "Zq9Xw";
  const piece = fc.string({ maxLength: 5, unit: fc.constantFrom(...",/\\?#@:%=012a ") });
  fc.assert(
    fc.property(piece, piece, (before, after) => {
      const url = `http://me:${before}${mark}${after}@gpu1:8000`;
      for (const argv of [[url], [`gpu2,${url}`], [`--token-file=${url}=f`, "gpu1"]]) {
        const parsed = parse(argv);
        // A file's path is not a secret, whatever it looks like.
        if (parsed.kind === "run" && parsed.options.credentialSources.length > 0) continue;
        assert(!JSON.stringify(parsed).toLowerCase().includes(mark.toLowerCase()), argv.join(" "));
      }
    }),
    { numRuns: 500 },
  );
});

Deno.test("ENVIRONMENT_VARIABLES lists what is read, once each, and the help names it", () => {
  const read = new Set<string>();
  const environment = (name: string): undefined => void read.add(name);
  for (const argv of [[], ["https://a"], ["--demo"]]) {
    parseArguments(argv, environment);
    const line = parseCommandLine(argv);
    assert(line.kind === "run");
    getConfigPath(line, environment);
  }
  chooseColorDepth(true, environment);
  choosePlainWidth(environment, { namesColumns: false });
  for (const operatingSystem of ["linux", "windows"]) {
    hasUtf8Locale(environment, operatingSystem);
    findConfigPath({ environment, operatingSystem });
  }
  for (const name of read) assert(ENVIRONMENT_VARIABLES.includes(name), name);
  for (const name of ENVIRONMENT_VARIABLES) {
    assert(read.has(name), name);
    assertStringIncludes(helpText(), name);
  }
  assertEquals(new Set(ENVIRONMENT_VARIABLES).size, ENVIRONMENT_VARIABLES.length);
});

Deno.test("helpText() reads as in goldens/help.txt, in 80 columns", () => {
  for (const line of helpText().split("\n")) {
    assert(line.length <= 80 && /^[\x20-\x7e]*$/.test(line) && !line.endsWith(" "), line);
  }
  assertGolden("help.txt", helpText());
});

Deno.test("helpText() gives examples that are accepted", () => {
  const examples = /Examples:\n((?: {2}.*\n)+)/.exec(helpText())?.[1].trimEnd().split("\n") ?? [];
  assert(examples.length >= 6);
  for (const example of examples) {
    const [command] = example.trim().split("  ");
    const argv = command.replace(/(\S+)\{(\d+),(\d+)\}/, "$1$2 $1$3").split(" ").slice(1);
    assertEquals(parse(argv).kind, "run", command);
  }
});

Deno.test("parseArguments() reads how the screen is to look", () => {
  const options = run([
    ...["--theme", "light", "--no-color", "--ascii", "--no-mouse"],
    ...["--filter", "llama|down", "--sort", "kv:asc", "--columns", "replica,kv"],
  ]);
  const { theme, noColor, ascii, noMouse, filter, sort, columns } = options;
  assertEquals([theme, noColor, ascii, noMouse], ["light", true, true, true]);
  assertEquals(filter, "llama|down");
  assertEquals(sort, { columnId: "kv", isDescending: false });
  assertEquals(columns, ["replica", "kv"]);
  const variables = { VLLM_HTOP_THEME: "mono", VLLM_HTOP_SORT: "kv", VLLM_HTOP_FILTER: "a" };
  const fromVariables = run([], { ...variables, VLLM_HTOP_COLUMNS: "kv" });
  assertEquals([fromVariables.theme, fromVariables.sort], ["mono", parseSort("kv")]);
  assertEquals([fromVariables.filter, fromVariables.columns], ["a", ["kv"]]);
  assertEquals(run(["--theme", "light"], variables).theme, "light");
  assertEquals(
    readMessage(["--theme", "pink"]),
    '--theme "pink" is not one of default, light, mono, high-contrast, colorblind',
  );
});

Deno.test("parseArguments() reads what tokens and GPUs cost, from options and variables", () => {
  const argv = ["--cost-in", "0.50", "--cost-cached-in=.1", "--cost-out", "1.5", "--num-gpus", "8"];
  const { cost } = run([...argv, "--gpu-cost-hour", "2.99", "--currency", "€", "--no-gpu-detect"]);
  assertEquals(cost, {
    tokenPrices: { input: 0.5, cachedInput: 0.1, output: 1.5 },
    usdPerGpuHour: 2.99,
    gpuCount: 8,
    detectsGpus: false,
    pricesFile: null,
    currency: "€",
  });
  const variables = {
    VLLM_HTOP_COST_IN: "0",
    VLLM_HTOP_COST_CACHED_IN: "1",
    VLLM_HTOP_COST_OUT: "2",
    VLLM_HTOP_GPU_COST_HOUR: "3",
    VLLM_HTOP_NUM_GPUS: "4",
    VLLM_HTOP_CURRENCY: "EUR",
    VLLM_HTOP_PRICES: "prices.tsv",
    VLLM_HTOP_NO_GPU_DETECT: "1",
  };
  assertEquals(run([], variables).cost, {
    tokenPrices: { input: 0, cachedInput: 1, output: 2 },
    usdPerGpuHour: 3,
    gpuCount: 4,
    detectsGpus: false,
    pricesFile: "prices.tsv",
    currency: "EUR",
  });
  const typed = run(["--cost-in", "7", "--prices", "mine.json"], variables).cost;
  assertEquals([typed.tokenPrices.input, typed.pricesFile], [7, "mine.json"]);
  assertEquals(run(["--list-prices"]).listPrices, true);
});

Deno.test("parseArguments() takes where to listen, on this machine alone unless told", () => {
  assertEquals(run(["--serve", "9090"]).serve, { host: "localhost", port: 9090 });
  assertEquals(run(["--serve", "gpu1:9090"]).serve, { host: "gpu1", port: 9090 });
  assertEquals(run(["--serve", "[::1]:9090"]).serve, { host: "[::1]", port: 9090 });
  // It may be for other calls.
  assertEquals(run(["--once"], { VLLM_HTOP_SERVE: "9090" }).serve, null);
});

Deno.test("parseArguments() takes doctor as a command and as an option", () => {
  for (const argv of [["doctor", "gpu1"], ["gpu1", "--doctor"]]) {
    const { doctor, once, gpuWatch, endpoints } = run(argv);
    assertEquals([doctor, once, gpuWatch, endpoints.length], [true, true, "always", 1]);
  }
  assertEquals(run(["doctor", "--no-gpu"]).gpuWatch, "never");
  assertEquals(run(["doctor", "--json"]).output, "json");
  // Elsewhere it is the name of a host.
  assertEquals(run(["gpu1", "doctor"]).endpoints.length, 2);
});

Deno.test("listSettings() names what is set and by what, and no default", () => {
  const line = parseCommandLine(["gpu1", "--interval", "3"]);
  assert(line.kind === "run");
  const variables: Record<string, string> = { VLLM_HTOP_TIMEOUT: "5", VLLM_HTOP_TOKEN: "hunter2" };
  const file = new Map([["theme", [{ origin: '"theme" (line 2)', text: "light" }]]] as const);
  assertEquals(listSettings(line, (name) => variables[name], file), [
    { name: "url", origin: "--url" },
    { name: "interval", origin: "--interval" },
    { name: "timeout", origin: "VLLM_HTOP_TIMEOUT" },
    { name: "theme", origin: '"theme" (line 2)' },
    { name: "token-file", origin: "VLLM_HTOP_TOKEN" },
  ]);
});

Deno.test("parseArguments() takes the span of a check in seconds, minutes or hours", () => {
  const spans = ["60", "60s", "1.5m", "1h", ".5m"].map((text) =>
    run(["--check", "--for", text]).watchSpan
  );
  assertEquals(spans, [60, 60, 90, 3600, 30]);
  const { once, output, watchSpan } = run(["--check"]);
  assertEquals([once, output, watchSpan], [true, "check", null]);
});

Deno.test("parseArguments() takes a state file with --once; what is not typed may be for other calls", () => {
  assertEquals(run(["gpu1", "--once", "--state", "f"]).stateFile, "f");
  const variables = { VLLM_HTOP_STATE: "g" };
  assertEquals(run(["gpu1", "--once"], variables).stateFile, "g");
  assertEquals(run(["gpu1", "--once", "--state", "f"], variables).stateFile, "f");
  for (const argv of [["gpu1"], ["--demo"], ["--demo", "--once"]]) {
    assertEquals(run(argv, variables).stateFile, null, argv.join(" "));
  }
});

Deno.test("parseArguments() reads whether to look at GPUs; an option beats the other's variable", () => {
  assertEquals(run(["--gpus"]).gpuWatch, "always");
  assertEquals(run(["--no-gpu"]).gpuWatch, "never");
  assertEquals(run([], { VLLM_HTOP_GPUS: "1" }).gpuWatch, "always");
  assertEquals(run([], { VLLM_HTOP_NO_GPU: "yes", VLLM_HTOP_GPUS: "0" }).gpuWatch, "never");
  assertEquals(run(["--gpus"], { VLLM_HTOP_NO_GPU: "1" }).gpuWatch, "always");
  assertEquals(run(["--no-gpu"], { VLLM_HTOP_GPUS: "1" }).gpuWatch, "never");
});

/** What the user begins with. */
function accept(...argv: readonly string[]): Ui {
  return createStartUi(run(["--demo", ...argv]));
}

Deno.test("parseSort() takes a column and a direction", () => {
  assertEquals(parseSort("kv:asc"), { columnId: "kv", isDescending: false });
  assertEquals(parseSort("replica:desc"), { columnId: "replica", isDescending: true });
  // Names rise, and what is worst when low; other figures fall: as a click begins.
  const rising = ["replica", "slo", "kind"];
  for (const columnId of rising) {
    assertEquals(parseSort(columnId), { columnId, isDescending: false });
  }
  for (const columnId of COLUMN_IDS.filter((id) => !rising.includes(id))) {
    assertEquals(parseSort(columnId), { columnId, isDescending: true });
  }
});

Deno.test("parseSort() refuses unknown columns and directions", () => {
  for (
    const text of [
      ...["", ":", "nope", "KV", " kv", ":asc", "nope:asc"],
      ...["kv:", "kv:up", "kv:ASC", "kv:asc:", "ttft_p95:asc:junk"],
    ]
  ) {
    assertEquals(parseSort(text), null, text);
  }
});

Deno.test("createStartUi() begins with every column and the order as given", () => {
  const { sort, columnIds, hiddenColumnIds, filter, theme } = accept();
  assertEquals([sort, filter, theme], [null, "", "default"]);
  assertEquals([columnIds, hiddenColumnIds.size], [COLUMN_IDS, 0]);
});

Deno.test("createStartUi() shows the columns that are named, in that order", () => {
  const { columnIds, hiddenColumnIds } = accept("--columns", " kv, replica,,state,kv ");
  assertEquals(columnIds.slice(0, 3), ["kv", "replica", "state"]);
  assertEquals(columnIds.toSorted(), COLUMN_IDS.toSorted());
  assertEquals([...hiddenColumnIds], columnIds.slice(3));
  assertEquals(accept("--columns", " , ").hiddenColumnIds.size, 0);
});

Deno.test("createStartUi() takes order, filter and theme", () => {
  const { sort, filter, theme } = accept(
    ...["--sort", "kv:asc", "--filter", "a|b", "--theme", "mono"],
  );
  assertEquals(sort, { columnId: "kv", isDescending: false });
  assertEquals([filter, theme], ["a|b", "mono"]);
});

Deno.test("parseArguments() says what is wrong with columns, and the next step", () => {
  assertEquals(parse(["--sort", "nope"]), {
    kind: "usage_error",
    message: '--sort "nope" is not a column: see --sort help',
    level: "option",
  });
  assertEquals(parse(["--columns", "kv,n\x1bope"]), {
    kind: "usage_error",
    message: '--columns "n\\x1bope" is not a column: see --columns help',
    level: "option",
  });
});

Deno.test("parseArguments() names the variable that a wrong column comes from", () => {
  for (const name of ["sort", "columns"]) {
    const variable = `VLLM_HTOP_${name.toUpperCase()}`;
    assertEquals(parse(["--demo"], { [variable]: "foo" }), {
      kind: "usage_error",
      message: `${variable} "foo" is not a column: see --${name} help`,
      level: "variable",
    });
  }
});

Deno.test("listColumns() has a line for each column", () => {
  const lines = listColumns();
  assertEquals(lines.map((line) => line.split(" ")[0]), COLUMN_IDS);
  for (const line of lines) assert(/^\w+ +\S.{3}/.test(line), line);
});

Deno.test("resolveOptions() takes hosts for ssh, each once, and scans their ports", () => {
  const options = run(["--ssh", "a=me@gpu1", "--ssh", "gpu2", "--port-range", "1-9"]);
  assertEquals(options.sshTargets, [
    { name: "a", destination: "me@gpu1" },
    { name: "gpu2", destination: "gpu2" },
  ]);
  assertEquals([options.grouping, options.endpoints, options.sshConfig], ["host", [], null]);
  assertEquals(run(["--ssh", "gpu1"]).grouping, "model");
  assertEquals(run(["--ssh", "a", "--ssh", "b", "--group", "model"]).grouping, "model");
  assertEquals(run(["--ssh", "a", "--ssh", "a"]).sshTargets.length, 1);
  assertEquals(
    run(["--ssh", "a", "--ssh-config", "/c", "--ssh-accept-new"]).acceptsNewSshKeys,
    true,
  );
});

Deno.test("resolveOptions() takes ports and the log of a host behind ssh", () => {
  const log = { kind: "docker", container: "vllm" } as const;
  assertEquals(run(["--ssh", "a=me@gpu1,ports=8000-8010,log=docker:vllm"]).sshTargets, [
    { name: "a", destination: "me@gpu1", ports: { first: 8000, last: 8010 }, log },
  ]);
  const [{ log: file }] = run(["--ssh", "gpu1,log=/var/log/a,ports.log"]).sshTargets;
  assertEquals(file, { kind: "file", path: "/var/log/a,ports.log" });
  assertMatch(
    readMessage(["--ssh", "gpu1,ports=9-1"]),
    /"gpu1,ports=9-1": ports "9-1" is out of range/,
  );
  assertMatch(readMessage(["--ssh", "gpu1,log=vllm"]), /has no place of a log/);
  assertMatch(readMessage(["--ssh", "gpu1,user=x"]), /is no host for ssh/);
});

Deno.test("resolveOptions() refuses what is no host for ssh, and two hosts of one name", () => {
  const refuse = (...argv: string[]) => readMessage(argv);
  assertMatch(refuse("--ssh=-oProxyCommand=id"), /--ssh "-oProxyCommand=id" is no host for ssh/);
  assertMatch(
    refuse("--ssh", "me@a", "--ssh", "you@a"),
    /has the name of another host: write NAME=/,
  );
  assertMatch(refuse("--ssh", "a", "--demo"), /exclude each other/);
  assertMatch(refuse("--ssh", "a", "--host", "b"), /only for a scan/);
});

Deno.test("resolveOptions() gives a server behind ssh credentials only by its URL", () => {
  const [source] = run(["--ssh", "gpu1", "--token-file", "http://gpu1:8000=/t"]).credentialSources;
  assertEquals([source.endpointKey, source.from], ["http://gpu1:8000", { file: "/t" }]);
  const insecure = run(["--ssh", "gpu1", "--insecure", "https://gpu1:8000"]);
  assertEquals(insecure.insecureEndpointKeys, ["https://gpu1:8000"]);
  assertMatch(readMessage(["--ssh", "gpu1", "--token-file", "/t"]), /needs a URL/);
  assertMatch(readMessage(["--ssh", "gpu1", "--token-file", "http://gpu2:8000=/t"]), /not watched/);
});
