/**
 * Rental prices per GPU-hour: hints, as providers differ by a third and more. A row matches names
 * with all of its words; the most words win: `H100 NVL` before `H100`, and `L4` does not match
 * `L40S`.
 * @module
 */

import { describeFileError } from "./files.ts";
import { type JsonNode, parseJsonText } from "./json.ts";
import type { Platform } from "./platform.ts";
import { measureWidth, padText, quote, sanitizeText } from "./text.ts";

export interface GpuPrice {
  readonly match: string;
  readonly usdPerHour: number;
  /** A provider's tier, `estimate`, or the user's. */
  readonly tier: string;
  /** `YYYY-MM`, or empty. */
  readonly date: string;
  readonly note: string;
  readonly source: string;
  readonly isEstimate: boolean;
}

const SOURCES = {
  hints: "the hint table of the Python vllm-htop 0.5.0 (PyPI, 2026)",
  runpod: "the price list of runpod.io, as transcribed in public data sets",
  digitalocean: "the list price of DigitalOcean's API, in a public data set",
  tensorwave: "a public comparison of AMD cloud providers",
  vast: "a public index of cloud prices",
  akash: "the price list of akash.network, as transcribed in a public data set",
  none: "no list price: estimated from similar cards",
} as const;

type PriceRow = readonly [
  match: string,
  usdPerHour: number,
  tier: string,
  date: string,
  source: keyof typeof SOURCES,
  note?: string,
];

const ROWS: readonly PriceRow[] = [
  ["GB300", 9.99, "estimate", "2026-11", "none", "NVL72, per GPU"],
  ["GB200", 8.99, "estimate", "2026-05", "hints", "NVL72, per GPU"],
  ["B300", 7.89, "runpod-secure", "2026-10", "runpod", "SXM6 288 GB"],
  ["B200", 5.99, "runpod-secure", "2026-05", "hints", "SXM5 192 GB"],
  ["B100", 4.99, "estimate", "2026-05", "hints"],
  ["GH200", 1.99, "estimate", "2026-11", "none", "per superchip"],
  ["H200", 3.99, "runpod-secure", "2026-05", "hints", "SXM5 141 GB"],
  ["H100 NVL", 3.69, "runpod-secure", "2026-05", "hints", "94 GB"],
  ["H100 PCIe", 2.89, "runpod-secure", "2026-11", "runpod", "80 GB"],
  ["H100", 3.39, "runpod-secure", "2026-05", "hints", "80 GB, SXM5"],
  ["H800", 2.4, "estimate", "2026-11", "none", "China"],
  ["H20 3e", 3.5, "cn-rental", "2026-05", "hints", "HBM3e; about 25 CNY/h"],
  ["H20", 2.8, "cn-rental", "2026-05", "hints", "96 GB; about 20 CNY/h"],
  ["A100 80GB", 1.89, "runpod-secure", "2026-05", "hints"],
  ["A100", 1.59, "runpod-secure", "2026-05", "hints", "40 GB"],
  ["A800", 0.72, "estimate", "2026-11", "none", "China; about 5 CNY/h"],
  ["A40", 0.79, "runpod-secure", "2026-05", "hints"],
  ["A30", 0.49, "estimate", "2026-05", "hints"],
  ["A16", 0.47, "estimate", "2026-11", "none", "one of a card's four GPUs"],
  ["A10G", 0.79, "estimate", "2026-05", "hints", "AWS only"],
  ["A10", 0.69, "estimate", "2026-05", "hints"],
  ["A2", 0.25, "estimate", "2026-11", "none"],
  ["L40S", 1.19, "runpod-secure", "2026-05", "hints"],
  ["L40", 0.99, "estimate", "2026-05", "hints"],
  ["L20", 0.99, "cn-rental", "2026-05", "hints", "48 GB"],
  ["L4", 0.49, "estimate", "2026-05", "hints", "24 GB"],
  ["V100 32GB", 0.59, "estimate", "2026-05", "hints"],
  ["V100", 0.49, "estimate", "2026-05", "hints"],
  ["P100", 0.4, "estimate", "2026-11", "none"],
  ["P40", 0.11, "vast", "2026-05", "vast", "marketplace"],
  ["T4", 0.29, "estimate", "2026-05", "hints"],
  ["RTX PRO 6000", 2.29, "estimate", "2026-05", "hints", "Blackwell, 96 GB"],
  ["RTX PRO 5000", 0.99, "estimate", "2026-11", "none", "Blackwell, 48 GB"],
  ["RTX PRO 4500", 0.6, "estimate", "2026-11", "none", "Blackwell, 32 GB"],
  ["RTX PRO 4000", 0.45, "estimate", "2026-11", "none", "Blackwell, 24 GB"],
  ["RTX 6000 Ada", 1.49, "estimate", "2026-05", "hints", "48 GB"],
  ["RTX 5000 Ada", 0.89, "estimate", "2026-11", "none", "32 GB"],
  ["RTX 4500 Ada", 0.6, "estimate", "2026-11", "none", "24 GB"],
  ["RTX 4000 Ada", 0.45, "estimate", "2026-11", "none", "20 GB"],
  ["RTX 2000 Ada", 0.24, "estimate", "2026-11", "none", "16 GB"],
  ["RTX A6000", 0.79, "estimate", "2026-05", "hints", "48 GB"],
  ["RTX A5000", 0.59, "estimate", "2026-05", "hints"],
  ["RTX A4500", 0.45, "estimate", "2026-11", "none", "20 GB"],
  ["RTX A4000", 0.39, "estimate", "2026-05", "hints"],
  ["RTX 5090", 0.89, "estimate", "2026-05", "hints", "32 GB"],
  ["RTX 5080", 0.55, "estimate", "2026-05", "hints"],
  ["RTX 5070 Ti", 0.35, "estimate", "2026-11", "none", "16 GB"],
  ["RTX 4090", 0.69, "estimate", "2026-05", "hints", "24 GB"],
  ["RTX 4080 SUPER", 0.4, "estimate", "2026-11", "none", "16 GB"],
  ["RTX 4080", 0.39, "estimate", "2026-05", "hints"],
  ["RTX 4070 Ti SUPER", 0.32, "estimate", "2026-11", "none", "16 GB"],
  ["RTX 4070 Ti", 0.28, "estimate", "2026-11", "none", "12 GB"],
  ["RTX 3090 Ti", 0.36, "estimate", "2026-11", "none", "24 GB"],
  ["RTX 3090", 0.34, "estimate", "2026-05", "hints", "24 GB"],
  ["RTX 3080 Ti", 0.24, "estimate", "2026-11", "none", "12 GB"],
  ["RTX 3080", 0.2, "estimate", "2026-11", "none", "10 GB"],
  ["Quadro RTX 8000", 0.21, "akash", "2026-09", "akash", "marketplace, 48 GB"],
  ["Quadro RTX 6000", 0.2, "estimate", "2026-11", "none", "Turing, 24 GB"],
  ["MI355X", 2.9, "estimate", "2026-11", "none", "288 GB"],
  ["MI325X", 1.95, "tensorwave", "2026-05", "tensorwave", "256 GB"],
  ["MI300X", 2.59, "digitalocean", "2026-10", "digitalocean", "192 GB"],
  ["MI250X", 1.3, "estimate", "2026-11", "none", "128 GB"],
  ["MI210", 0.9, "estimate", "2026-11", "none", "64 GB"],
];

const ESTIMATE = "estimate";

export const GPU_PRICES: readonly GpuPrice[] = ROWS.map(
  ([match, usdPerHour, tier, date, source, note = ""]) => ({
    ...{ match, usdPerHour, tier, date, note },
    source: SOURCES[source],
    isEstimate: tier === ESTIMATE,
  }),
);

function listWords(name: string): readonly string[] {
  return name.toUpperCase().split(/[^A-Z0-9.]+/).filter((word) => word !== "");
}

/** Cached, because prices are looked up for every frame. */
const HINT_WORDS: ReadonlyMap<GpuPrice, readonly string[]> = new Map(
  GPU_PRICES.map((price) => [price, listWords(price.match)]),
);

/** Laptop GPUs are not rented; GRID is a slice of a card. */
const UNPRICED_WORDS: readonly string[] = ["LAPTOP", "GRID"];

function findBestMatch(words: ReadonlySet<string>, prices: readonly GpuPrice[]): GpuPrice | null {
  let best: GpuPrice | null = null;
  let wordCount = 0;
  for (const price of prices) {
    const wanted = HINT_WORDS.get(price) ?? listWords(price.match);
    if (wanted.length > wordCount && wanted.every((word) => words.has(word))) {
      [best, wordCount] = [price, wanted.length];
    }
  }
  return best;
}

/** Returns the best match; any match among the user's prices comes first. */
export function findGpuPrice(name: string, own: readonly GpuPrice[] = []): GpuPrice | null {
  const words = new Set(listWords(name));
  const ownPrice = findBestMatch(words, own);
  if (ownPrice !== null || UNPRICED_WORDS.some((word) => words.has(word))) return ownPrice;
  return findBestMatch(words, GPU_PRICES);
}

type PriceFile =
  | { readonly prices: readonly GpuPrice[] }
  | { readonly error: string };

/** In characters. */
const MAX_FILE_LENGTH = 1_000_000;
type PriceFields = Readonly<Partial<Record<"match" | "usd" | "tier" | "date" | "note", string>>>;

/** Returns the price, or what is wrong with it. */
function createOwnPrice(
  { match = "", usd = "", tier = "", date = "", note = "" }: PriceFields,
): GpuPrice | string {
  if (listWords(match).length === 0) return "names no GPU";
  const usdPerHour = usd.trim() === "" ? NaN : Number(usd);
  if (!Number.isFinite(usdPerHour) || usdPerHour < 0) {
    return `has ${quote(usd, 60)} instead of USD per hour, such as 2.99`;
  }
  const safeTier = sanitizeText(tier) || "yours";
  return {
    match: sanitizeText(match),
    usdPerHour,
    tier: safeTier,
    date: sanitizeText(date),
    note: sanitizeText(note),
    source: "your price file",
    isEstimate: safeTier === ESTIMATE,
  };
}

type PriceEntry = readonly [line: number, PriceFields];

function listTsvEntries(text: string): readonly PriceEntry[] {
  return text.split(/\r?\n/).flatMap((line, index): readonly PriceEntry[] => {
    if (line.trim() === "" || line.startsWith("#")) return [];
    const [match, usd, tier, date, note] = line.split("\t").map((cell) => cell.trim());
    return [[index + 1, { match, usd, tier, date, note }]];
  });
}

function parseScalar(node: JsonNode | undefined): string | undefined {
  return node?.kind === "string" ? node.value : node?.kind === "number" ? node.text : undefined;
}

function listJsonEntries(document: JsonNode): readonly PriceEntry[] {
  if (document.kind === "object") {
    return document.members.map(({ line, name, value }) => [
      line,
      { match: name, usd: parseScalar(value) },
    ]);
  }
  const items = document.kind === "array" ? document.items : [];
  return items.map((item) => {
    const members = item.kind === "object" ? item.members : [];
    const get = (wanted: keyof GpuPrice) =>
      parseScalar(members.findLast(({ name }) => name === wanted)?.value);
    const [tier, date, note] = [get("tier"), get("date"), get("note")];
    return [item.line, { match: get("match"), usd: get("usdPerHour"), tier, date, note }];
  });
}

/**
 * Parses lines `WORDS<tab>USD per hour[<tab>tier<tab>month<tab>note]` with `#` comments, or JSON:
 * `{words: USD per hour}` or a list of objects with the keys of `GpuPrice`.
 */
export function parsePriceFile(text: string): PriceFile {
  if (text.length > MAX_FILE_LENGTH) return { error: "has more than a million characters" };
  const content = text.replace(/^\ufeff/, "");
  const document = /^\s*(?:[[{]|\/[/*])/.test(content) ? parseJsonText(content) : null;
  if (document !== null && "problem" in document) {
    return { error: `line ${document.line} is not valid JSON: ${document.problem}` };
  }
  const prices: GpuPrice[] = [];
  for (const [line, fields] of document ? listJsonEntries(document) : listTsvEntries(content)) {
    const price = createOwnPrice(fields);
    if (typeof price === "string") return { error: `line ${line} ${price}` };
    prices.push(price);
  }
  return prices.length === 0 ? { error: "has no prices" } : { prices };
}

const PRICE_LIST_REMARK =
  "Hints in USD per GPU-hour, not quotes: providers differ by a third and more.\n" +
  "--prices FILE overrides them, --gpu-cost-hour overrides both.\n";

/** Formats the output of `--list-prices`. */
export function formatPriceList(own: readonly GpuPrice[] = []): string {
  const rows = [...own, ...GPU_PRICES].map(
    ({ match, usdPerHour, tier, date, note }) => [match, usdPerHour.toFixed(2), tier, date, note],
  );
  const table = [["GPU", "USD/h", "TIER", "MONTH", "NOTE"], ...rows];
  const widths = table[0].map((_, column) =>
    Math.max(...table.map((row) => measureWidth(row[column])))
  );
  const lines = table.map((row) =>
    row.map((cell, column) => padText(cell, widths[column], column === 1 ? "right" : "left"))
      .join("  ").trimEnd()
  );
  return `${lines.join("\n")}\n\n${PRICE_LIST_REMARK}`;
}

/** Returns no prices if `path` is `null`; the error is one sanitized sentence. */
export async function loadPrices(
  platform: Pick<Platform, "readTextFile">,
  path: string | null,
): Promise<readonly GpuPrice[] | { readonly error: string }> {
  if (path === null) return [];
  const file = `the price file ${quote(path)}`;
  let text: string;
  try {
    text = await platform.readTextFile(path);
  } catch (error) {
    return { error: `${file} ${describeFileError(error)}` };
  }
  const parsed = parsePriceFile(text);
  return "prices" in parsed
    ? parsed.prices
    : { error: `${file} ${parsed.error}: write lines of NAME, tab, USD per hour` };
}
