import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import {
  findGpuPrice,
  formatPriceList,
  GPU_PRICES,
  type GpuPrice,
  loadPrices,
  parsePriceFile,
} from "../lib/cost_prices.ts";

/** Driver names and the matching hint; `null` for none. */
const PRINTED_NAMES: readonly (readonly [name: string, match: string | null])[] = [
  ["NVIDIA GB300", "GB300"],
  ["NVIDIA GB200", "GB200"],
  ["NVIDIA B300 SXM6 AC", "B300"],
  ["NVIDIA B200", "B200"],
  ["NVIDIA GH200 480GB", "GH200"],
  ["NVIDIA H200", "H200"],
  ["NVIDIA H200 NVL", "H200"],
  ["NVIDIA H100 80GB HBM3", "H100"],
  ["NVIDIA H100 PCIe", "H100 PCIe"],
  ["NVIDIA H100 NVL", "H100 NVL"],
  ["NVIDIA H800", "H800"],
  ["NVIDIA H20", "H20"],
  ["NVIDIA H20-3e", "H20 3e"],
  ["NVIDIA A100-SXM4-80GB", "A100 80GB"],
  ["NVIDIA A100 80GB PCIe", "A100 80GB"],
  ["NVIDIA A100-SXM4-40GB", "A100"],
  ["NVIDIA A100-PCIE-40GB", "A100"],
  ["A100-SXM4-40GB", "A100"],
  ["NVIDIA A800-SXM4-80GB", "A800"],
  ["NVIDIA A800 80GB PCIe", "A800"],
  ["NVIDIA A40", "A40"],
  ["NVIDIA A30", "A30"],
  ["NVIDIA A16", "A16"],
  ["NVIDIA A10G", "A10G"],
  ["NVIDIA A10", "A10"],
  ["NVIDIA A2", "A2"],
  ["NVIDIA L40S", "L40S"],
  ["NVIDIA L40", "L40"],
  ["NVIDIA L20", "L20"],
  ["NVIDIA L4", "L4"],
  ["Tesla V100-SXM2-32GB", "V100 32GB"],
  ["Tesla V100-SXM2-16GB", "V100"],
  ["Tesla V100-PCIE-16GB", "V100"],
  ["Tesla P100-PCIE-16GB", "P100"],
  ["Tesla P40", "P40"],
  ["Tesla T4", "T4"],
  ["NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX PRO 6000"],
  ["NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000"],
  ["NVIDIA RTX PRO 5000 Blackwell", "RTX PRO 5000"],
  ["NVIDIA RTX PRO 4500 Blackwell", "RTX PRO 4500"],
  ["NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"],
  ["NVIDIA RTX 5000 Ada Generation", "RTX 5000 Ada"],
  ["NVIDIA RTX 4000 SFF Ada Generation", "RTX 4000 Ada"],
  ["NVIDIA RTX 2000 Ada Generation", "RTX 2000 Ada"],
  ["NVIDIA RTX A6000", "RTX A6000"],
  ["NVIDIA RTX A5000", "RTX A5000"],
  ["NVIDIA RTX A4500", "RTX A4500"],
  ["NVIDIA RTX A4000", "RTX A4000"],
  ["Quadro RTX 6000", "Quadro RTX 6000"],
  ["Quadro RTX 8000", "Quadro RTX 8000"],
  ["NVIDIA GeForce RTX 5090", "RTX 5090"],
  ["NVIDIA GeForce RTX 5080", "RTX 5080"],
  ["NVIDIA GeForce RTX 5070 Ti", "RTX 5070 Ti"],
  ["NVIDIA GeForce RTX 4090", "RTX 4090"],
  ["NVIDIA GeForce RTX 4090 D", "RTX 4090"],
  ["NVIDIA GeForce RTX 4080 SUPER", "RTX 4080 SUPER"],
  ["NVIDIA GeForce RTX 4080", "RTX 4080"],
  ["NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"],
  ["NVIDIA GeForce RTX 4070 Ti", "RTX 4070 Ti"],
  ["NVIDIA GeForce RTX 3090 Ti", "RTX 3090 Ti"],
  ["NVIDIA GeForce RTX 3090", "RTX 3090"],
  ["NVIDIA GeForce RTX 3080", "RTX 3080"],
  ["AMD Instinct MI300X OAM", "MI300X"],
  ["AMD Instinct MI300X", "MI300X"],
  ["AMD Instinct MI325X", "MI325X"],
  ["AMD Instinct MI355X", "MI355X"],
  ["AMD Instinct MI250X/MI250", "MI250X"],
  ["AMD Instinct MI210", "MI210"],
  ["NVIDIA GB10", null],
  ["NVIDIA Thor", null],
  ["NVIDIA GeForce RTX 4090 Laptop GPU", null],
  ["GRID T4-4C", null],
  ["GRID A100D-1-10C", null],
  ["NVIDIA A100X", null],
  ["NVIDIA GeForce GTX 1080 Ti", null],
  ["Navi 23 [Radeon RX 6600/6600 XT", null],
  ["AMD GPU", null],
  ["", null],
];

function createOwnPrice(match: string, usdPerHour: number): GpuPrice {
  return {
    match,
    usdPerHour,
    tier: "yours",
    date: "",
    note: "",
    source: "your price file",
    isEstimate: false,
  };
}

Deno.test("findGpuPrice() matches driver names by whole words", () => {
  for (const [name, match] of PRINTED_NAMES) {
    assertEquals([name, findGpuPrice(name)?.match ?? null], [name, match]);
  }
});

Deno.test("GPU_PRICES has at least 50 rows, each with a real name, tier, month and source", () => {
  assert(GPU_PRICES.length >= 50, `${GPU_PRICES.length}`);
  assertEquals(new Set(GPU_PRICES.map(({ match }) => match)).size, GPU_PRICES.length);
  for (const price of GPU_PRICES) {
    assert(price.usdPerHour > 0 && price.usdPerHour < 20, price.match);
    assertMatch(price.date, /^20\d\d-(?:0[1-9]|1[0-2])$/, price.match);
    assert(price.tier !== "" && price.source !== "", price.match);
    assertEquals(price.isEstimate, price.tier === "estimate", price.match);
    assertEquals(findGpuPrice(price.match)?.match, price.match, "found by its own words");
  }
});

Deno.test("GPU_PRICES marks prices without a source as estimates", () => {
  for (const { match, source, isEstimate } of GPU_PRICES) {
    if (source.startsWith("no list price")) assert(isEstimate, match);
  }
});

Deno.test("findGpuPrice() prefers the user's prices, also for laptops and slices", () => {
  const own = [createOwnPrice("H100", 2), createOwnPrice("Laptop GPU", 0.1)];
  assertEquals(findGpuPrice("NVIDIA H100 NVL", own)?.usdPerHour, 2);
  assertEquals(findGpuPrice("NVIDIA GeForce RTX 4090 Laptop GPU", own)?.usdPerHour, 0.1);
  assertEquals(findGpuPrice("NVIDIA L4", own)?.tier, "estimate");
  const both = [
    createOwnPrice("H100", 2),
    createOwnPrice("H100 NVL", 3),
    createOwnPrice("H100", 4),
  ];
  assertEquals(findGpuPrice("NVIDIA H100 NVL", both)?.usdPerHour, 3);
  assertEquals(findGpuPrice("NVIDIA H100 PCIe", both)?.usdPerHour, 2);
});

Deno.test("parsePriceFile() parses tab-separated lines and both forms of JSON", () => {
  const expected = { prices: [createOwnPrice("H100", 2.1), createOwnPrice("L4", 0.3)] };
  assertEquals(parsePriceFile("# mine\n\nH100\t2.10\r\nL4\t0.3"), expected);
  assertEquals(parsePriceFile('\ufeff{"H100": 2.10, "L4": 0.3}'), expected);
  assertEquals(parsePriceFile('// mine\n{"H100": 2.10, "L4": 0.3,}'), expected);
  assertEquals(
    parsePriceFile('[{"match": "H100", "usdPerHour": 2.1}, {"match": "L4", "usdPerHour": "0.3"}]'),
    expected,
  );
  assertEquals(parsePriceFile("H100 NVL\t2\tour rack\t2026-11\tpaid \x1b[2J off\n"), {
    prices: [{
      ...createOwnPrice("H100 NVL", 2),
      tier: "our rack",
      date: "2026-11",
      note: "paid \\x1b[2J off",
    }],
  });
  const table = GPU_PRICES.map((price) => `${price.match}\t${price.usdPerHour}\t${price.tier}`);
  const file = parsePriceFile(table.join("\n"));
  assertEquals("prices" in file && file.prices.length, GPU_PRICES.length);
});

Deno.test("parsePriceFile() reports the line and quotes it safely", () => {
  const errors: readonly (readonly [text: string, error: string])[] = [
    ["", "has no prices"],
    ["# nothing\n", "has no prices"],
    ["[]", "has no prices"],
    ["H100\t2\nL4\tcheap\n", 'line 2 has "cheap" instead of USD per hour, such as 2.99'],
    ["H100\n", 'line 1 has "" instead of USD per hour, such as 2.99'],
    ["H100\t-1\n", 'line 1 has "-1" instead of USD per hour, such as 2.99'],
    ["H100\t1e999\n", 'line 1 has "1e999" instead of USD per hour, such as 2.99'],
    ["H100 2.99\n", 'line 1 has "" instead of USD per hour, such as 2.99'],
    ["\n---\t3\n", "line 2 names no GPU"],
    ["H\t\x1b[2J\n", 'line 1 has "\\x1b[2J" instead of USD per hour, such as 2.99'],
    ['{"H100": null}', 'line 1 has "" instead of USD per hour, such as 2.99'],
    ['[{"match": "L4", "usdPerHour": 1},\n7]', "line 2 names no GPU"],
    ['{"L4": 1,\n"T4": 1e999}', 'line 2 has "1e999" instead of USD per hour, such as 2.99'],
    ['{"H100": 2,\n"L4" 3}', 'line 2 is not valid JSON: a ":" after the name is missing'],
    ["[{\n", 'line 2 is not valid JSON: a name in "" is missing'],
    ["x".repeat(1_000_001), "has more than a million characters"],
  ];
  for (const [text, error] of errors) {
    assertEquals(parsePriceFile(text), { error }, JSON.stringify(text.slice(0, 40)));
  }
});

Deno.test("parsePriceFile() never throws, and returns non-negative prices or an error", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.json(), fc.constantFrom("A\t1", "A\t"));
  fc.assert(fc.property(text, (text) => {
    const file = parsePriceFile(text);
    if ("error" in file) assert(file.error !== "");
    else assert(file.prices.every(({ usdPerHour }) => usdPerHour >= 0));
  }));
});

Deno.test("formatPriceList() prints the user's prices first, then all hints with a remark", () => {
  const lines = formatPriceList([createOwnPrice("H100", 2)]).split("\n");
  assertMatch(lines[0], /^GPU +USD\/h +TIER +MONTH +NOTE$/);
  assertMatch(lines[1], /^H100 +2\.00 +yours$/);
  assertEquals(lines.length, 1 + 1 + GPU_PRICES.length + 1 + 2 + 1);
  assertMatch(lines.find((line) => line.startsWith("L4 ")) ?? "", / 0\.49 +estimate +2026-05/);
  assertMatch(lines.slice(-3).join(" "), /Hints .*not quotes/);
  assert(lines.every((line) => line.length <= 80), "fits 80 columns");
});

const read = (text: string) => ({ readTextFile: () => Promise.resolve(text) });

Deno.test("loadPrices() returns no prices without a file", async () => {
  const platform = { readTextFile: () => Promise.reject(new Error("asked")) };
  assertEquals(await loadPrices(platform, null), []);
});

Deno.test("loadPrices() loads the prices", async () => {
  const prices = await loadPrices(read("H100\t2.10\nL4\t0.4\n"), "prices.tsv");
  if ("error" in prices) throw new Error(prices.error);
  assertEquals(prices.map(({ match, usdPerHour }) => [match, usdPerHour]), [
    ["H100", 2.1],
    ["L4", 0.4],
  ]);
});

Deno.test("loadPrices() explains what is wrong with a file, sanitized", async () => {
  assertEquals(await loadPrices(read("H100\tcheap\n"), "a\x1b[31m"), {
    error:
      'the price file "a\\x1b[31m" line 1 has "cheap" instead of USD per hour, such as 2.99: write ' +
      "lines of NAME, tab, USD per hour",
  });
  const missing = new Deno.errors.NotFound("No such file (os error 2)");
  assertEquals(await loadPrices({ readTextFile: () => Promise.reject(missing) }, "b"), {
    error: 'the price file "b" does not exist: check the path',
  });
});
