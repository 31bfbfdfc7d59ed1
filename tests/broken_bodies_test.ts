import { assert, assertEquals } from "@std/assert";
import { DIALECTS, findDialect } from "../lib/dialect.ts";
import type { Dialect, MetricRow } from "../lib/dialect_model.ts";
import { countObservations } from "../lib/histogram.ts";
import { type EngineSample, sumCounts } from "../lib/model.ts";
import { isPresent, type Reading } from "../lib/reading.ts";
import { isScrapeFailure } from "../lib/scrape_pool.ts";
import { answerFrom } from "./fixtures/engines.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { readText, scrapeKind, UNKNOWN_LAUNCH } from "./fixtures/kinds.ts";
import { parseEngineMetrics } from "./fixtures/readers.ts";
import { formatResponse, startRawServer } from "./hostile_server.ts";

type Answers = Readonly<Record<string, string>>;

interface Fixture {
  readonly name: string;
  /** The kind of server. */
  readonly server: string;
  /** Path -> text. */
  readonly answers: Answers;
}

async function readBody(path: string): Promise<Answers> {
  return { "/metrics": new TextDecoder().decode(await readGzip(`fixtures/${path}.prom.gz`)) };
}

/** What real and composed servers answered: at least one of each kind. */
const FIXTURES: readonly Fixture[] = [
  {
    name: "vLLM",
    server: "vLLM",
    answers: {
      "/metrics": new TextDecoder().decode(
        await readGzip("fixtures/generated-v1-dp2-single-process.prom.gz"),
      ),
    },
  },
  ...await Promise.all(
    ([
      ["nim-1.8", "vLLM"],
      ["sglang-0.4.6", "SGLang"],
      ["sglang-0.5.23-dp-attention", "SGLang"],
      ["sglang-0.5.23-dp2-tp2", "SGLang"],
      ["lmdeploy-0.18", "LMDeploy"],
      ["trtllm-serve-1.3", "trtllm-serve"],
      ["triton-trtllm-25.10", "Triton"],
    ] as const).map(async ([name, server]) => ({
      name,
      server,
      answers: await readBody(`engines/${name}/010`),
    })),
  ),
  {
    name: "tgi-3.3.7",
    server: "TGI",
    answers: {
      ...await readBody("engines/tgi-3.3.7/010"),
      "/info": readText("engines/tgi-3.3.7/info.json"),
    },
  },
  {
    name: "sglang-0.5.23",
    server: "SGLang",
    answers: {
      ...await readBody("sglang-0.5.23/dp2-010"),
      "/v1/loads": readText("sglang-0.5.23/dp2-010.loads.json"),
    },
  },
  {
    name: "llamacpp",
    server: "llama.cpp",
    answers: {
      "/metrics": readText("llamacpp/load-010.prom"),
      "/slots": readText("llamacpp/load-010.slots.json"),
      "/props": readText("llamacpp/props.json"),
    },
  },
  {
    name: "ollama",
    server: "Ollama",
    answers: {
      "/api/ps": readText("ollama/ps.json"),
      "/api/tags": readText("ollama/tags.json"),
    },
  },
  ...await Promise.all(
    ([
      ["dynamo-1.6.1-frontend", "Dynamo"],
      ["litellm-1.80.0", "LiteLLM"],
      ["smg-1.13.0", "SGLang router"],
      ["sglang-router-0.3.2", "SGLang router"],
      ["vllm-router-0.1.17", "vLLM router"],
    ] as const).map(async ([name, server]) => ({
      name,
      server,
      answers: await readBody(`routers/${name}`),
    })),
  ),
  {
    name: "production-stack",
    server: "production-stack router",
    answers: {
      "/metrics": [
        'vllm:num_requests_running{server="a"} 2',
        'vllm:num_requests_waiting{server="a"} 1',
        'vllm:healthy_pods_total{server="a"} 1',
        'vllm:num_incoming_requests_total{model="m"} 8',
      ].map((line) => `${line}\n`).join(""),
    },
  },
  {
    name: "models",
    server: "OpenAI API",
    answers: { "/v1/models": '{"object":"list","data":[{"id":"a","owned_by":"x"}]}' },
  },
];

type Figures = ReadonlyMap<string, Reading<unknown>>;

function listFigures(engine: EngineSample): [string, Reading<unknown>][] {
  const { modelName, gauges, counters, labelled, histograms, kvCacheCapacity } = engine;
  const all: Record<string, Reading<unknown>> = { ...gauges, ...counters, kvCacheCapacity };
  for (const [key, family] of Object.entries(labelled)) all[key] = { value: sumCounts(family) };
  for (const [key, histogram] of Object.entries(histograms)) {
    // The sum may be missing; the mean has then a reason of its own.
    all[key] = { value: countObservations(histogram) };
  }
  return Object.entries(all).map((
    [key, reading],
  ) => [`${modelName}/${engine.engine}/${key}`, reading]);
}

/** All figures of a scrape; `null` if it is refused, or shows no engine. */
async function readFigures({ server }: Fixture, answers: Answers): Promise<Figures | null> {
  const dialect = findDialect(server);
  const round = dialect?.createRound?.(UNKNOWN_LAUNCH);
  const body = round === undefined ? answers["/metrics"] : await round(answerFrom(answers), 0);
  if (typeof body !== "string") return null;
  const { engines, hasUnnamedEngines } = parseEngineMetrics(encode(body));
  if (engines.length === 0 || hasUnnamedEngines) return null;
  assertEquals(engines[0].server.name, server);
  return new Map(engines.flatMap(listFigures));
}

/** Whether what is shown is as it was, or absent with a reason. */
function findWrong(broken: Figures | null, whole: Figures): readonly string[] {
  return [...broken ?? []].flatMap(([key, reading]) => {
    const before = whole.get(key);
    if (!isPresent(reading) || reading.value === before?.value) return [];
    return [`${key}: ${before?.value} became ${reading.value}`];
  });
}

function getDialect({ server }: Fixture): Dialect {
  const dialect = DIALECTS.find(({ name }) => name === server);
  assert(dialect !== undefined);
  return dialect;
}

const FAMILY = /^([\w:]+?)(?:_bucket|_sum|_count)?(?=[{ ])/;

/** Families of the metrics page that feed a figure, without the suffix of a histogram's parts. */
function listFedFamilies(fixture: Fixture): readonly string[] {
  const fed = getDialect(fixture).rows.filter(({ key, role }) =>
    key !== undefined || role === "presence"
  ).flatMap(({ names }) => names);
  const found = new Set(
    (fixture.answers["/metrics"] ?? "").split("\n").flatMap((line) => FAMILY.exec(line)?.[1] ?? []),
  );
  return [...found].filter((family) => fed.some((name) => family.endsWith(name)));
}

/** Changes the lines of a family. */
function changeFamily(text: string, family: string, change: (line: string) => string): string {
  const isOf = (line: string): boolean => FAMILY.exec(line)?.[1] === family;
  return text.split("\n").map((line) => isOf(line) ? change(line) : line).join("\n");
}

/** Labels without which a series of the row means something else. */
function listNeededLabels(rows: readonly MetricRow[], model: string): readonly string[] {
  return [
    ...new Set([
      model,
      ...rows.flatMap(({ label }) => label ?? []),
      ...rows.flatMap(({ requires }) => requires?.[0] ?? []),
    ]),
  ].filter((label) => label !== "");
}

type Break = readonly [what: string, answers: Answers];

function* breakMetrics(fixture: Fixture): Generator<Break> {
  const { answers } = fixture;
  const { rows, labels: { model } } = getDialect(fixture);
  const text = answers["/metrics"];
  if (text === undefined) return;
  const vary = (
    what: string,
    changed: string,
  ): Break => [what, { ...answers, "/metrics": changed }];
  for (const family of listFedFamilies(fixture)) {
    const change = (line: (line: string) => string) => changeFamily(text, family, line);
    yield vary(`${family} renamed`, change((line) => line.replace(family, `${family}_renamed`)));
    yield vary(`${family} is NaN`, change((line) => line.replace(/ \S+$/, " NaN")));
    yield vary(`${family} is negative`, change((line) => line.replace(/ \S+$/, " -1")));
    yield vary(`${family} without labels`, change((line) => line.replace(/\{.*\}/, "")));
  }
  for (const label of listNeededLabels(rows, model)) {
    const pattern = new RegExp(`(?<=[{,])${label}="(?:[^"\\\\]|\\\\.)*",?`, "g");
    yield vary(`label ${label} missing`, text.replaceAll(pattern, ""));
  }
}

function* breakJson({ answers }: Fixture): Generator<Break> {
  for (const [path, text] of Object.entries(answers)) {
    if (path === "/metrics") continue;
    const vary = (what: string, changed: string): Break => [
      `${path} ${what}`,
      { ...answers, [path]: changed },
    ];
    yield vary("is empty", "");
    yield vary("is a web page", "<html></html>");
    for (const part of [0.2, 0.5, 0.9]) yield vary("is cut", text.slice(0, part * text.length));
    const names = new Set([...text.matchAll(/"(\w+)"\s*:/g)].map(([, name]) => name));
    for (const name of names) {
      yield vary(`without ${name}`, text.replaceAll(`"${name}"`, `"${name}_renamed"`));
      const number = new RegExp(`("${name}"\\s*:\\s*)-?\\d[\\d.eE+-]*`, "g");
      yield vary(`${name} is null`, text.replaceAll(number, "$1null"));
    }
  }
}

/**
 * Where a figure legitimately becomes another: an older source of the same figure takes the place
 * of the one that is gone.
 */
const OTHER_SOURCES: readonly (readonly [fixture: RegExp, what: RegExp, figure: RegExp])[] = [
  // The gauge has two digits.
  [/^sglang-0.5.23$/, /loads/, /kvCacheUsageRatio: 0.(?:5857 became 0.58|7183 became 0.72)$/],
  // Counted when requests finish.
  [/^llamacpp$/, /slots/, /generationTokens: 719 became 660$/],
];

/** Without metrics that no row describes, which cost time and feed no figure. */
function trim(fixture: Fixture): Fixture {
  const { answers } = fixture;
  const known = getDialect(fixture).rows.flatMap(({ names }) => names);
  const lines = answers["/metrics"]?.split("\n").filter((line) => {
    const family = (FAMILY.exec(line)?.[1] ?? line.split(" ")[2] ?? "").replace(/_total$/, "");
    return known.some((name) => family.endsWith(name.replace(/_total$/, "")));
  });
  return lines === undefined
    ? fixture
    : { ...fixture, answers: { ...answers, "/metrics": `${lines.join("\n")}\n` } };
}

for (const fixture of FIXTURES.map(trim)) {
  Deno.test(`${fixture.name}: what is renamed, no number or without labels is no figure`, async () => {
    const whole = await readFigures(fixture, fixture.answers);
    assert(whole !== null);
    const wrong: string[] = [];
    for (const [what, answers] of [...breakMetrics(fixture), ...breakJson(fixture)]) {
      for (const fault of findWrong(await readFigures(fixture, answers), whole)) {
        const isKnown = OTHER_SOURCES.some(([name, change, figure]) =>
          name.test(fixture.name) && change.test(what) && figure.test(fault)
        );
        if (!isKnown) wrong.push(`${what}: ${fault}`);
      }
    }
    assertEquals(wrong, []);
  });
}

/** Answers in full, but for one path, whose answer ends in the middle of a line. */
async function scrapeCut({ server, answers }: Fixture, path: string, isFramed: boolean) {
  const raw = startRawServer(async ({ send, endWriting }, head) => {
    const text = answers[head.split(" ")[1]];
    const whole = formatResponse(text ?? "", { status: text === undefined ? 404 : 200 });
    if (head.split(" ")[1] !== path) return void await send(whole);
    const cut = whole.slice(0, whole.length - Math.ceil(text.length / 2));
    const at = /\d$/.test(cut) ? cut : cut.slice(0, cut.search(/\d[^\d]*$/) + 1);
    await send(isFramed ? at : at.replace(/content-length.*\r\n/, "connection: close\r\n"));
    await endWriting();
  });
  const [outcome] = await scrapeKind(raw, { serverName: server });
  await raw.close();
  return outcome;
}

Deno.test("an answer that is cut is refused whole, from each kind of server", async () => {
  for (const fixture of FIXTURES) {
    const isAtMetrics = getDialect(fixture).paths.some(({ path, when }) =>
      when === "each_round" && path === "/metrics"
    );
    // The others have a page of another name.
    if (!isAtMetrics && getDialect(fixture).createRound === undefined) continue;
    for (const path of Object.keys(fixture.answers)) {
      for (const isFramed of [true, false]) {
        const outcome = await scrapeCut(fixture, path, isFramed);
        const what = `${fixture.name} ${path} ${isFramed}`;
        // Without its length, a cut answer beside the metrics is none.
        if (path === "/metrics" || isFramed) assert(isScrapeFailure(outcome), what);
        if (path === "/metrics") {
          assert(isScrapeFailure(outcome) && /truncated|reset/.test(outcome.kind), what);
        }
      }
    }
  }
});

Deno.test("every kind of server has a fixture", () => {
  const having = new Set(FIXTURES.map(({ server }) => server));
  assertEquals(DIALECTS.map(({ name }) => name).filter((name) => !having.has(name)), []);
});
