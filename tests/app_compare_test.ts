import { assert, assertEquals, assertMatch } from "@std/assert";
import { runBriskly as run } from "./brisk_runs.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** Twelve minutes of the demo: two models, five replicas, GPUs. */
const files = new Map<string, Bytes>();
const DEMO = ["--demo", "vllm", "--output", "json", "--record", "r", "--interval", "5"];
const recorded = await run(DEMO, { files, maxLines: 145 });

/** Local time of a document, as the user types it. */
function getTime(index: number): string {
  const { timeEpochSeconds } = JSON.parse(recorded.lines[index]);
  return new Date(1000 * (timeEpochSeconds + 3600)).toISOString().slice(11, 19);
}

const [start, middle, end] = [24, 84, 144].map(getTime);
const HALVES = [`r@${start}-${middle}`, `r@${middle}-${end}`];

interface FigureJson {
  readonly key: string;
  readonly a: { readonly value: number | null; readonly reason: string | null };
  readonly b: FigureJson["a"];
  readonly outcome: string;
}

interface ReplicaJson {
  readonly model: string;
  readonly session: { readonly generationTokens: number };
}

async function compare(...args: readonly string[]) {
  const { code, lines, stderr } = await run(["compare", ...args, "--output", "json"], { files });
  assertEquals([code, stderr], [0, ""]);
  return JSON.parse(lines.join("\n"));
}

Deno.test("runApp() compares spans of a recording, model by model", async () => {
  const document = await compare(...HALVES, "--slo", "ttft=500ms");
  assertEquals(document.comparisonSchema, 1);
  assertEquals(document.models.length, 2);
  for (const { a, b, figures, differentSettings, comparedSettings } of document.models) {
    assertEquals(a.modelName, b.modelName);
    assert(a.spanSeconds > 280 && a.spanSeconds <= 300, `${a.spanSeconds}`);
    assertEquals(differentSettings, []);
    assert(comparedSettings > 5, `${comparedSettings}`);
    const known = new Map((figures as FigureJson[]).map((figure) => [figure.key, figure]));
    for (const key of ["output_tokens", "ttft_mean", "hit_ratio", "goodput_ttft_0.5s"]) {
      assert((known.get(key)?.a.value ?? 0) > 0, key);
    }
    assert((known.get("usd_per_million_tokens")?.a.value ?? 0) > 0, "the demo has GPUs");
  }
});

Deno.test("runApp() compares amounts in the currency of both recordings, or in the one given", async () => {
  const euros = new Map<string, Bytes>();
  const record = [...DEMO, "--currency", "EUR"];
  const { lines } = await run(record, { files: euros, maxLines: 30 });
  euros.set("s", files.get("r") ?? new Uint8Array());
  assertEquals(lines.length, 30);
  const listSigns = async (...args: readonly string[]): Promise<string> => {
    const shown = await run(["compare", ...args], { files: euros });
    const [cost] = shown.lines.filter((line) => line.includes("Cost of 1M tokens"));
    return cost.replace(/.*tokens|change|[\d.]| [+-].*/g, "").trim().split(/\s+/)[0];
  };
  assertEquals(await listSigns("r", "r"), "EUR");
  assertEquals(await listSigns("s", "s"), "$");
  assertEquals(await listSigns("r", "r", "--currency", "CHF"), "CHF");
});

Deno.test("runApp() counts in a span what its scrapes counted, and no more", async () => {
  const { models } = await compare(...HALVES);
  const documents = recorded.lines.map((line) => JSON.parse(line));
  for (const { a, figures } of models) {
    const count = (index: number): number =>
      documents[index].replicas
        .filter(({ model }: ReplicaJson) => model === a.modelName)
        .reduce((sum: number, { session }: ReplicaJson) => sum + session.generationTokens, 0);
    const { value } = figures.find(({ key }: FigureJson) => key === "output_tokens").a;
    const whole = (count(84) - count(24)) / 300;
    assert(Math.abs(value / whole - 1) < 0.1, `${value} ${whole}`);
  }
});

Deno.test("runApp() finds no difference between a span and itself", async () => {
  const { models } = await compare(HALVES[0], HALVES[0]);
  for (const { figures } of models) {
    for (const { key, a, b, outcome } of figures as FigureJson[]) {
      assertEquals(a, b, key);
      assert(outcome !== "differs", key);
    }
  }
});

Deno.test("runApp() tells settings that differ between recordings, and models of one only", async () => {
  const other = new Map(files);
  const more = await run([
    "--demo",
    "vllm",
    "--demo-seed",
    "7",
    ...DEMO.slice(2, 4),
    "--record",
    "s",
  ], {
    files: other,
    maxLines: 60,
  });
  assertEquals(more.code, 143);
  const { code, lines } = await run(["compare", "r", "s"], { files: other });
  assertEquals(code, 0);
  const text = lines.join("\n");
  assertMatch(lines[0], /^A {2}r, 2026-/);
  assertMatch(text, /beyond chance/);
  const markdown = await run(["compare", "r", "s", "--output", "markdown"], { files: other });
  assertMatch(markdown.lines.join("\n"), /^\| Figure \| A \| B \| change \| beyond chance \|$/m);
});

Deno.test("runApp() says which recording cannot be compared, and exits 3", async () => {
  const missing = await run(["compare", "r", "none"], { files });
  assertEquals([missing.code, missing.lines], [3, []]);
  assertMatch(missing.stderr, /the recording "none" does not exist/);
  const outside = await run(["compare", "r", "r@1999-01-01T00:00-1999-01-01T01:00"], { files });
  assertEquals(outside.code, 3);
  assertMatch(outside.stderr, /there is nothing at that time/);
});

Deno.test("runApp() compares what is left of a recording that is cut, and says so", async () => {
  const bytes = files.get("r") ?? new Uint8Array();
  const cut = new Map([["r", bytes], ["c", bytes.slice(0, bytes.length - 100)]]);
  const { code, lines, stderr } = await run(["compare", "r", "c"], { files: cut });
  assertEquals(code, 0);
  assertMatch(stderr, /the recording "c": \d+ bytes of it are cut off or damaged/);
  assertMatch(lines.join("\n"), /figures\.|No figure/);
});
