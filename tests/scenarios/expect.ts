/**
 * Obtains the figures that the scenarios expect, from Prometheus and not from
 * this program: scrapes -> rules file -> `promtool test rules` -> `expected.json`.
 *
 * Run by hand when a scenario is added or a figure becomes known:
 *
 * deno run --allow-read --allow-write --allow-run=promtool tests/scenarios/expect.ts [scenario …]
 *
 * Nothing here imports from `lib/`, on purpose: the exposition is read by one
 * naive regular expression, names stand here a second time, and every
 * subtraction, division and quantile is PromQL, so that a mistake in `lib/`
 * cannot repeat itself here. The scrapes become points one minute apart and
 * `x - x offset 1m` is the plain difference; `rate()` would extrapolate.
 * README.md beside this file says which figures are obtained otherwise.
 *
 * @module
 */

/** One recorded scrape of a scenario. */
export interface RecordedScrape {
  /** Path below `tests/scenarios/`; gzip. */
  readonly file: string;
  /** The monotonic instant of receipt. */
  readonly receivedSeconds: number;
  /** True on the first scrape of a server that was started anew since the scrape before. */
  readonly restarted?: boolean;
}

/** The scrapes of one endpoint. */
export interface RecordedEndpoint {
  readonly name: string;
  readonly scrapes: readonly RecordedScrape[];
}

/** `scrapes.json`. Every endpoint has the same number of scrapes; a step is one more scrape of each. */
export interface Scenario {
  readonly endpoints: readonly RecordedEndpoint[];
}

/** A tree of expected figures, in the shape of `Figures`. README.md has the notation of its leaves. */
export interface ExpectedTree {
  readonly [key: string]: ExpectedTree | number | string | boolean | null;
}

/** The figures expected after one step, by replica key, and of all replicas under `ALL`. */
export interface ExpectedStep {
  readonly after: string;
  readonly figures: Readonly<Record<string, ExpectedTree>>;
}

/** `expected.json` and `by_hand.json`. */
export interface Expected {
  readonly source: string;
  readonly steps: readonly ExpectedStep[];
}

/** The folder of the scenarios, with a slash at its end. */
export const SCENARIOS_URL = new URL("./", import.meta.url);

/** Latency figures and the histograms that they are of. */
const HISTOGRAMS: Readonly<Record<string, string>> = {
  ttft: "vllm:time_to_first_token_seconds",
  itl: "vllm:inter_token_latency_seconds",
  tpot: "vllm:request_time_per_output_token_seconds",
  e2e: "vllm:e2e_request_latency_seconds",
  queue: "vllm:request_queue_time_seconds",
  prefill: "vllm:request_prefill_time_seconds",
  decode: "vllm:request_decode_time_seconds",
};

/** Rates and the counters that they are of, with matchers. */
const RATES: Readonly<Record<string, readonly [name: string, matchers?: string]>> = {
  requestsPerSecond: ["vllm:request_success_total"],
  promptTokensPerSecond: ["vllm:prompt_tokens_total"],
  computedPromptTokensPerSecond: ["vllm:prompt_tokens_by_source_total", `source="local_compute"`],
  cachedPromptTokensPerSecond: ["vllm:prompt_tokens_cached_total"],
  generationTokensPerSecond: ["vllm:generation_tokens_total"],
  preemptionsPerSecond: ["vllm:num_preemptions_total"],
};

/** Ratios of the increases of two counters. */
const RATIOS: Readonly<Record<string, readonly [numerator: string, denominator: string]>> = {
  prefixCacheHitRatio: ["vllm:prefix_cache_hits_total", "vllm:prefix_cache_queries_total"],
  draftAcceptanceRatio: [
    "vllm:spec_decode_num_accepted_tokens_total",
    "vllm:spec_decode_num_draft_tokens_total",
  ],
};

const QUANTILES: Readonly<Record<string, number>> = { p50: 0.5, p95: 0.95, p99: 0.99 };
const DRAFTS = "vllm:spec_decode_num_drafts_total";
const ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total";
const ACCEPTED_BY_POSITION = "vllm:spec_decode_num_accepted_tokens_per_pos_total";
const QUERIES = "vllm:prefix_cache_queries_total";
const MINUTE_SECONDS = 60;

/** One series: for each scrape its value, or null where that scrape lacks it. */
interface Series {
  readonly name: string;
  readonly labels: string;
  readonly values: (string | null)[];
}

/** Replicas of one endpoint, over one window. `from` is the step at which it starts; null for the lifetime. */
interface Selection {
  readonly endpoint: string;
  readonly engine: string | null;
  readonly from: number | null;
  readonly to: number;
  readonly elapsed: string;
}

/** Reads a gzip file of the scenarios. */
export async function readScrape(file: string): Promise<Uint8Array<ArrayBuffer>> {
  const compressed = await Deno.readFile(new URL(file, SCENARIOS_URL));
  const body = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(body).arrayBuffer());
}

/** Reads a JSON file of the scenarios, which is taken at its word. */
export async function readJson<T>(path: string): Promise<T> {
  return JSON.parse(await Deno.readTextFile(new URL(path, SCENARIOS_URL)));
}

/** The names of all scenarios: the folders that have a `scrapes.json`. */
export async function listScenarios(): Promise<readonly string[]> {
  const names: string[] = [];
  for await (const entry of Deno.readDir(SCENARIOS_URL)) {
    if (entry.isDirectory) names.push(entry.name);
  }
  return names.sort();
}

/** What a replica is called in the expectations: its engine, with its endpoint in front where there are several. */
export function nameReplica(
  scenario: Scenario,
  replica: { readonly endpoint: string; readonly engine: string },
): string {
  const engine = replica.engine === "" ? "no engine" : replica.engine;
  return scenario.endpoints.length === 1 ? engine : `${replica.endpoint}/${engine}`;
}

async function readSeries(scenario: Scenario): Promise<readonly Series[]> {
  const found = new Map<string, Series>();
  for (const { name: endpoint, scrapes } of scenario.endpoints) {
    for (const [step, { file }] of scrapes.entries()) {
      const text = new TextDecoder().decode(await readScrape(file));
      for (const [, name, labels, value] of text.matchAll(/^(vllm:\w+)\{(.*)\} (\S+)$/gm)) {
        if (name.endsWith("_created") || name.endsWith("_info")) continue;
        const key = `${endpoint} ${name} ${labels}`;
        const series = found.get(key) ??
          { name, labels: `endpoint="${endpoint}",${labels}`, values: scrapes.map(() => null) };
        series.values[step] = value;
        found.set(key, series);
      }
    }
  }
  return [...found.values()];
}

/** Values of a label among the series of a name. */
function listLabelValues(series: readonly Series[], name: string, label: string): string[] {
  const pattern = new RegExp(`[,{]${label}="([^"]*)"`);
  const values = series.filter((one) => one.name === name)
    .map((one) => pattern.exec(`,${one.labels}`)?.[1] ?? "");
  return [...new Set(values)];
}

/** The increases of all series that are selected, as PromQL. */
function writeIncrease(selections: readonly Selection[], name: string, matchers = ""): string {
  return selections.map(({ endpoint, engine, from, to }) => {
    const own = engine === null ? "" : `,engine="${engine}"`;
    const selector = `${name}{endpoint="${endpoint}"${own}${matchers && `,${matchers}`}}`;
    return from === null ? selector : `(${selector} - ${selector} offset ${to - from}m)`;
  }).join(" or ");
}

/** An expression, and the minute at which promtool is to evaluate it. Its index is that of its result. */
interface Question {
  readonly expr: string;
  readonly minute: number;
}

/** Adds a question and returns its index. */
function ask(questions: Question[], expr: string, minute: number): number {
  return questions.push({ expr, minute }) - 1;
}

/** Puts the results of the questions in their places. */
type Answer = (results: readonly (number | null)[]) => ExpectedTree | number | null;

function askLatency(
  questions: Question[],
  selections: readonly Selection[],
  histogram: { readonly name: string; readonly bounds: readonly string[] },
): Answer {
  const minute = selections[0].to;
  const bucket = `${histogram.name}_bucket`;
  const { bounds } = histogram;
  const sumOf = (name: string, matchers?: string): string =>
    `sum(${writeIncrease(selections, name, matchers)})`;
  const total = sumOf(bucket, `le="+Inf"`);
  const samples = ask(questions, total, minute);
  const mean = ask(
    questions,
    `${sumOf(`${histogram.name}_sum`)} / ${sumOf(`${histogram.name}_count`)}`,
    minute,
  );
  const quantiles = Object.entries(QUANTILES).map(([key, q]) => {
    const buckets = `sum by (le) (${writeIncrease(selections, bucket)})`;
    const inFirst = sumOf(bucket, `le="${bounds[0]}"`);
    const belowLast = sumOf(bucket, `le="${bounds[bounds.length - 2]}"`);
    return {
      key,
      value: ask(questions, `histogram_quantile(${q}, ${buckets})`, minute),
      isFirst: ask(questions, `${inFirst} >= bool ${q} * ${total}`, minute),
      isLast: ask(questions, `${belowLast} < bool ${q} * ${total}`, minute),
    };
  });
  return (results) => {
    const tree: Record<string, ExpectedTree | number | null> = {
      samples: results[samples],
      mean: results[mean],
    };
    for (const { key, value, isFirst, isLast } of quantiles) {
      const interpolated = results[value];
      if (interpolated === null) tree[key] = null;
      else if (results[isFirst] === 1) tree[key] = { below: Number(bounds[0]), interpolated };
      else if (results[isLast] === 1) tree[key] = { above: interpolated };
      else tree[key] = interpolated;
    }
    return tree;
  };
}

/** Asks for every figure of one window of the replicas that are selected. */
function askWindow(
  questions: Question[],
  series: readonly Series[],
  selections: readonly Selection[],
): Answer {
  const minute = selections[0].to;
  const isLifetime = selections[0].from === null;
  const answers: Record<string, Answer> = {};
  const askFor = (key: string, expr: string): void => {
    const index = ask(questions, expr, minute);
    answers[key] = (results) => results[index];
  };
  const sumOf = (name: string, matchers?: string): string =>
    `sum(${writeIncrease(selections, name, matchers)})`;

  if (!isLifetime) {
    if (selections.length === 1) askFor("span", `vector(${selections[0].elapsed})`);
    for (const [key, [name, matchers]] of Object.entries(RATES)) {
      askFor(
        key,
        selections.map((one) => `sum(${writeIncrease([one], name, matchers)}) / (${one.elapsed})`)
          .join(" + "),
      );
    }
  }
  for (const [key, [numerator, denominator]] of Object.entries(RATIOS)) {
    askFor(key, `${sumOf(numerator)} / ${sumOf(denominator)}`);
  }
  askFor("prefixCacheQueries", sumOf(QUERIES));
  askFor("meanAcceptanceLength", `1 + ${sumOf(ACCEPTED)} / ${sumOf(DRAFTS)}`);
  const positions = listLabelValues(series, ACCEPTED_BY_POSITION, "position");
  if (!isLifetime && positions.length > 0) {
    const indices = positions.map((position) =>
      ask(
        questions,
        `${sumOf(ACCEPTED_BY_POSITION, `position="${position}"`)} / ${sumOf(DRAFTS)}`,
        minute,
      )
    );
    answers.acceptanceRatioByPosition = (results) =>
      Object.fromEntries(
        positions.map((position, i) => [position, results[indices[i]]] as const)
          .filter(([, ratio]) => ratio !== null),
      );
  }
  const latencies = Object.entries(HISTOGRAMS).map(([key, name]) => {
    const bounds = listLabelValues(series, `${name}_bucket`, "le")
      .sort((a, b) =>
        Number(a.replace("+Inf", "Infinity")) - Number(b.replace("+Inf", "Infinity"))
      );
    return [key, askLatency(questions, selections, { name, bounds })] as const;
  });
  return (results) => ({
    ...Object.fromEntries(
      Object.entries(answers).map(([key, answer]) => [key, answer(results)]),
    ),
    latency: Object.fromEntries(latencies.map(([key, answer]) => [key, answer(results)])),
  });
}

/** The step at which a window that ends at `to` starts, or null where there is none. */
function findStart(
  scrapes: readonly RecordedScrape[],
  to: number,
  window: "lastPoll" | "lastMinute",
): number | null {
  let from = to;
  while (from > 0 && !scrapes[from].restarted) {
    const age = scrapes[to].receivedSeconds - scrapes[from - 1].receivedSeconds;
    if (window === "lastPoll" ? from < to : age > MINUTE_SECONDS) break;
    from--;
  }
  return from === to ? null : from;
}

function askStep(
  questions: Question[],
  context: {
    readonly scenario: Scenario;
    readonly series: readonly Series[];
    readonly step: number;
  },
): Readonly<Record<string, Record<string, Answer>>> {
  const { scenario, series, step } = context;
  const isLastStep = step === scenario.endpoints[0].scrapes.length - 1;
  const replicas = scenario.endpoints.flatMap(({ name: endpoint }) => {
    const own = series.filter((one) => one.labels.startsWith(`endpoint="${endpoint}",`));
    return listLabelValues(own, "vllm:generation_tokens_total", "engine").sort()
      .map((engine) => ({ endpoint, engine }));
  });
  const select = (
    window: "lastPoll" | "lastMinute" | "lifetime",
    only: { readonly endpoint: string; readonly engine: string } | null,
  ): readonly Selection[] =>
    scenario.endpoints.filter(({ name }) => only === null || name === only.endpoint)
      .flatMap(({ name, scrapes }) => {
        const from = window === "lifetime" ? null : findStart(scrapes, step, window);
        if (from === null && window !== "lifetime") return [];
        const [first, last] = [scrapes[from ?? step], scrapes[step]];
        return [{
          endpoint: name,
          engine: only?.engine ?? null,
          from,
          to: step,
          elapsed: `${last.receivedSeconds} - ${first.receivedSeconds}`,
        }];
      });

  const answers: Record<string, Record<string, Answer>> = {};
  for (const replica of replicas.length === 1 ? replicas : [...replicas, null]) {
    const windows: Record<string, Answer> = {};
    for (const window of ["lastPoll", "lastMinute", "lifetime"] as const) {
      const selections = select(window, replica);
      if (selections.length === 0 || (window === "lifetime" && !isLastStep)) continue;
      windows[window] = askWindow(questions, series, selections);
    }
    answers[replica === null ? "ALL" : nameReplica(scenario, replica)] = windows;
  }
  return answers;
}

/** A value that no figure has, so that every expectation fails and promtool prints what it got. */
const WRONG_SAMPLE = { labels: `{wrong="1"}`, value: 0 };

async function runPromtool(
  series: readonly Series[],
  questions: Question[],
): Promise<readonly (number | null)[]> {
  const rules = {
    // deno-lint-ignore camelcase
    evaluation_interval: "1m",
    tests: [{
      interval: "1m",
      input_series: series.map(({ name, labels, values }) => ({
        series: `${name}{${labels}}`,
        values: values.map((value) => value ?? "_").join(" "),
      })),
      promql_expr_test: questions.map(({ expr, minute }) => ({
        expr,
        eval_time: `${minute}m`,
        exp_samples: [WRONG_SAMPLE],
      })),
    }],
  };
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/rules.yml`;
    await Deno.writeTextFile(path, JSON.stringify(rules)); // YAML contains JSON
    const { stdout, stderr } = await new Deno.Command("promtool", {
      args: ["test", "rules", path],
      cwd: folder,
    }).output();
    const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    const results = [...text.matchAll(/^ *got: (?:nil|\{.*\} (\S+))$/gm)]
      .map(([, value]) => value === undefined || value === "NaN" ? null : Number(value));
    if (results.length !== questions.length) {
      throw new Error(`Cannot read promtool's answer: ${text.slice(0, 2000)}`);
    }
    return results;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The figures that Prometheus has for a scenario: the content of its `expected.json`. */
export async function obtainExpected(scenario: Scenario): Promise<Expected> {
  const series = await readSeries(scenario);
  const questions: Question[] = [];
  const [{ scrapes }] = scenario.endpoints;
  const steps = scrapes.map((_, step) => askStep(questions, { scenario, series, step }));
  const results = await runPromtool(series, questions);
  return {
    source: "promtool test rules (Prometheus 2.42), asked by expect.ts",
    steps: steps.map((answers, step) => ({
      after: scrapes[step].file,
      figures: Object.fromEntries(
        Object.entries(answers).map(([replica, windows]) => [
          replica,
          Object.fromEntries(
            Object.entries(windows).map(([window, answer]) => [window, answer(results)]),
          ),
        ]),
      ),
    })),
  };
}

if (import.meta.main) {
  const names = Deno.args.length > 0 ? Deno.args : await listScenarios();
  for (const name of names) {
    const scenario = await readJson<Scenario>(`${name}/scrapes.json`);
    const expected = await obtainExpected(scenario);
    const path = new URL(`${name}/expected.json`, SCENARIOS_URL);
    await Deno.writeTextFile(path, JSON.stringify(expected, null, 2) + "\n");
    console.log(`${name}: ${expected.steps.length} steps`);
  }
}
