import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  computeIdleCost,
  computeRateCost,
  computeSpanCost,
  computeTokenValue,
  type GpuUse,
  priceCompute,
  shareCost,
  type TokenAmounts,
} from "../lib/cost.ts";
import { parsePriceFile } from "../lib/cost_prices.ts";
import type { TokenPrices } from "../lib/cost.ts";
import { absent, present, type Reading } from "../lib/reading.ts";

const NO_PRICES: TokenPrices = { input: null, cachedInput: null, output: null };
const PRICES: TokenPrices = { input: 0.5, cachedInput: 0.1, output: 1.5 };
const HINTS = { usdPerGpuHour: null, gpuCount: null, ownPrices: [] };

function createAmounts(prompt: number, cached: number, output: number): TokenAmounts {
  return {
    promptTokens: present(prompt),
    cachedPromptTokens: present(cached),
    generationTokens: present(output),
  };
}

function getValue(reading: Reading): number {
  if (reading.value === null) throw new Error(reading.reason);
  return reading.value;
}

Deno.test("computeTokenValue() prices prompt, cached and output tokens separately", () => {
  assertEquals(computeTokenValue(createAmounts(2e6, 5e5, 1e6), PRICES), {
    input: present(0.75),
    cachedInput: present(0.05),
    output: present(1.5),
    total: present(2.3),
  });
  const alike = computeTokenValue(createAmounts(2e6, 5e5, 1e6), { ...PRICES, cachedInput: null });
  assertEquals([alike.input, alike.total], [present(1), present(2.5)]);
});

Deno.test("computeTokenValue() is absent without its inputs", () => {
  const amounts = createAmounts(1, 1, 1);
  assertEquals(computeTokenValue(amounts, NO_PRICES).total, absent("unsupported"));
  const unknown = { ...amounts, generationTokens: absent("first_scrape") };
  assertEquals(computeTokenValue(unknown, PRICES).total, absent("first_scrape"));
  const uncounted = { ...amounts, cachedPromptTokens: absent("missing") };
  assertEquals(computeTokenValue(uncounted, PRICES).total, absent("missing"));
  assert(computeTokenValue(uncounted, { ...PRICES, cachedInput: null }).total.value !== null);
});

Deno.test("computeTokenValue() prices cached tokens though the prompt is unknown", () => {
  const amounts = { ...createAmounts(0, 5e5, 1e6), promptTokens: absent("first_scrape") };
  assertEquals(computeTokenValue(amounts, PRICES), {
    input: absent("first_scrape"),
    cachedInput: present(0.05),
    output: present(1.5),
    total: absent("first_scrape"),
  });
});

Deno.test("computeTokenValue() counts a missing price as 0 if another is given", () => {
  const outputs = { ...NO_PRICES, output: 2 };
  const unknown = { ...createAmounts(1, 0, 3e6), promptTokens: absent("missing") };
  assertEquals(computeTokenValue(unknown, outputs).total, present(6));
  assertEquals(
    computeTokenValue(createAmounts(5, 0, 5), { ...NO_PRICES, input: 0 }).total,
    present(0),
  );
});

Deno.test("computeTokenValue() is never negative, keeps partial, and caps cached tokens at the prompt", () => {
  assertEquals(computeTokenValue(createAmounts(10, 20, 0), PRICES).input, present(0));
  const partial = { ...createAmounts(2e6, 0, 0), promptTokens: { value: 2e6, partial: true } };
  assertEquals(computeTokenValue(partial as TokenAmounts, PRICES).total, {
    value: 1,
    partial: true,
  });
  fc.assert(fc.property(fc.double(), fc.double(), fc.double(), (prompt, cached, output) => {
    const finite = [prompt, cached, output].map((x) => Number.isFinite(x) ? x : 0);
    const [a, b, c] = finite;
    assert(
      getValue(
        computeTokenValue(createAmounts(a, b, c), { ...PRICES, cachedInput: null }).total,
      ) >= 0,
    );
  }));
});

Deno.test("priceCompute() prices each GPU by its name", () => {
  const names = ["NVIDIA H100 80GB HBM3", "NVIDIA L4", "NVIDIA H100 80GB HBM3"];
  const compute = priceCompute(names, HINTS);
  assertEquals(compute.gpus.map(({ name, count }) => [name, count]), [
    ["NVIDIA H100 80GB HBM3", 2],
    ["NVIDIA L4", 1],
  ]);
  assertEquals(compute.gpuCount, 3);
  assertAlmostEquals(getValue(compute.usdPerHour), 2 * 3.39 + 0.49);
  assertEquals(compute.gpus[1].price?.tier, "estimate");
});

Deno.test("priceCompute() prefers the user's price and count", () => {
  const names = ["NVIDIA L4", "NVIDIA L4"];
  const price = { ...HINTS, usdPerGpuHour: 0.4 };
  assertEquals(priceCompute(names, price).usdPerHour, present(0.8));
  assertEquals(priceCompute(names, price).gpus[0].price, null);
  assertEquals(priceCompute(names, { ...price, gpuCount: 4 }).usdPerHour, present(1.6));
  assertEquals(priceCompute([], { ...price, gpuCount: 4 }).gpus[0].name, "GPU");
  assertAlmostEquals(getValue(priceCompute(names, { ...HINTS, gpuCount: 8 }).usdPerHour), 3.92);
  const file = parsePriceFile("L4\t0.30\n");
  const ownPrices = "prices" in file ? file.prices : [];
  assertEquals(priceCompute(names, { ...HINTS, ownPrices }).usdPerHour, present(0.6));
});

Deno.test("priceCompute() is absent without GPUs or prices, and partial with some", () => {
  assertEquals(priceCompute([], HINTS).usdPerHour, absent("missing"));
  assertEquals(priceCompute([], { ...HINTS, usdPerGpuHour: 3 }).usdPerHour, absent("missing"));
  assertEquals(priceCompute(["NVIDIA GB10"], HINTS).usdPerHour, absent("missing"));
  assertEquals(priceCompute(["NVIDIA GB10", "NVIDIA L4"], HINTS).usdPerHour, {
    value: 0.49,
    partial: true,
  });
  const mixed = priceCompute(["NVIDIA L4", "NVIDIA A10"], { ...HINTS, gpuCount: 3 });
  assertEquals(mixed.usdPerHour, absent("missing"));
});

Deno.test("computeSpanCost() compares token value with GPU cost", () => {
  const cost = computeSpanCost({
    span: present(7200),
    amounts: createAmounts(0, 0, 3e6),
    tokenPrices: { ...NO_PRICES, output: 1.5 },
    computeUsdPerHour: present(3.39),
  });
  assertEquals([cost.tokens.total, cost.computeUsd], [present(4.5), present(6.78)]);
  assertAlmostEquals(getValue(cost.marginRatio), 4.5 / 6.78);
});

Deno.test("computeSpanCost() is absent without span or price, and never negative", () => {
  const base = {
    amounts: createAmounts(1e6, 0, 1e6),
    tokenPrices: PRICES,
    computeUsdPerHour: present(3),
  };
  const unknown = computeSpanCost({ ...base, span: absent("missing") });
  assertEquals([unknown.computeUsd, unknown.marginRatio], [absent("missing"), absent("missing")]);
  assertEquals(getValue(unknown.tokens.total), 2);
  assertEquals(computeSpanCost({ ...base, span: present(-5) }).computeUsd, absent("restarted"));
  const free = computeSpanCost({ ...base, span: present(0) });
  assertEquals([free.computeUsd, free.marginRatio], [present(0), absent("no_samples")]);
  const some = computeSpanCost({
    ...base,
    span: present(3600),
    computeUsdPerHour: { value: 3, partial: true },
  });
  assertEquals(some.computeUsd, { value: 3, partial: true });
  assertEquals(some.marginRatio, absent("missing"));
});

Deno.test("computeRateCost() projects a rate to hour, day, 30 days and million tokens", () => {
  const cost = computeRateCost({
    perSecond: createAmounts(600, 0, 400),
    tokenPrices: { ...NO_PRICES, output: 10 },
    computeUsdPerHour: present(3.6),
  });
  assertEquals(cost.compute.perDay, present(86.4));
  assertAlmostEquals(getValue(cost.compute.perMonth), 2592);
  assertAlmostEquals(getValue(cost.tokens.perHour), 14.4);
  assertAlmostEquals(getValue(cost.marginRatio), 4);
  assertAlmostEquals(getValue(cost.usdPerMillionTokens), 1);
  assertAlmostEquals(getValue(cost.usdPerMillionOutputTokens), 2.5);
});

Deno.test("computeRateCost() has no price per million tokens without traffic", () => {
  const cost = computeRateCost({
    perSecond: createAmounts(0, 0, 0),
    tokenPrices: PRICES,
    computeUsdPerHour: present(3.6),
  });
  assertEquals(cost.usdPerMillionTokens, absent("no_samples"));
  assertEquals([cost.tokens.perHour, cost.marginRatio], [present(0), present(0)]);
});

/** Realistic rates and prices, including zero. */
const amount = fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e6, noNaN: true }));
const MAX_USD_PER_MILLION = 1000;
const price = fc.option(fc.double({ min: 0, max: MAX_USD_PER_MILLION, noNaN: true }), {
  nil: null,
});
const tokenPrices = fc.record({ input: price, cachedInput: price, output: price });

Deno.test("computeRateCost() integrates to computeSpanCost() at any rate", () => {
  const span = fc.double({ min: 1, max: 1e7, noNaN: true });
  fc.assert(fc.property(
    fc.tuple(amount, fc.double({ min: 0, max: 1, noNaN: true }), amount),
    tokenPrices,
    amount,
    span,
    ([prompt, cachedRatio, output], prices, usdPerHour, seconds) => {
      const rate = computeRateCost({
        perSecond: createAmounts(prompt, prompt * cachedRatio, output),
        tokenPrices: prices,
        computeUsdPerHour: present(usdPerHour),
      });
      const total = computeSpanCost({
        span: present(seconds),
        amounts: createAmounts(prompt * seconds, prompt * cachedRatio * seconds, output * seconds),
        tokenPrices: prices,
        computeUsdPerHour: present(usdPerHour),
      });
      const hours = seconds / 3600;
      // Uncached tokens are a difference: their precision is that of the prompt.
      const gross = (prompt + output) * seconds * MAX_USD_PER_MILLION / 1e6;
      const close = (a: Reading, b: Reading, factor: number) => {
        if (a.value === null || b.value === null) return assertEquals(a, b);
        const tolerance = Math.max(1e-9, Math.abs(b.value) * 1e-9, gross * 1e-14);
        assertAlmostEquals(a.value * factor, b.value, tolerance);
      };
      close(rate.tokens.perHour, total.tokens.total, hours);
      close(rate.compute.perDay, total.computeUsd, hours / 24);
      close(rate.compute.perMonth, total.computeUsd, hours / 24 / 30);
    },
  ));
});

Deno.test("computeIdleCost() is a share of the whole cost", () => {
  const idle = computeIdleCost({
    idle: present(1800),
    span: present(7200),
    computeUsdPerHour: present(4),
  });
  assertEquals(idle, { usd: present(2), ratio: present(0.25) });
  const unknown = { span: present(1), computeUsdPerHour: present(4) };
  assertEquals(
    computeIdleCost({ ...unknown, idle: absent("first_scrape") }).usd,
    absent("first_scrape"),
  );
  const free = { idle: present(0), span: present(0), computeUsdPerHour: present(4) };
  assertEquals(computeIdleCost(free).ratio, absent("no_samples"));
});

Deno.test("shareCost() divides a GPU by weight, equally without weights", () => {
  const uses: readonly GpuUse[] = [
    { groupKey: "a", gpuIndex: 0, weight: 40 },
    { groupKey: "a", gpuIndex: 1, weight: 30 },
    { groupKey: "b", gpuIndex: 1, weight: 10 },
    { groupKey: "a", gpuIndex: 3, weight: 0 },
    { groupKey: "b", gpuIndex: 3, weight: 0 },
    { groupKey: "b", gpuIndex: 9, weight: 5 },
  ];
  const shared = shareCost(new Map([[0, 4], [1, 4], [2, 4], [3, 2]]), uses);
  assertEquals(shared, {
    usdPerHourByGroup: new Map([["a", 8], ["b", 2]]),
    unusedUsdPerHour: 4,
  });
});

Deno.test("shareCost() adds up to the whole for any use", () => {
  const use = fc.record({
    groupKey: fc.constantFrom("a", "b", "c"),
    gpuIndex: fc.nat(5),
    weight: fc.oneof(fc.constant(0), fc.double({ min: 0, max: 1e12, noNaN: true })),
  });
  const prices = fc.array(fc.double({ min: 0, max: 100, noNaN: true }), { maxLength: 5 });
  fc.assert(fc.property(fc.array(use, { maxLength: 12 }), prices, (uses, usd) => {
    const { usdPerHourByGroup, unusedUsdPerHour } = shareCost(new Map(usd.entries()), uses);
    const parts = [...usdPerHourByGroup.values(), unusedUsdPerHour];
    assert(parts.every((part) => part >= 0));
    const sum = (list: readonly number[]) => list.reduce((total, part) => total + part, 0);
    assertAlmostEquals(sum(parts), sum(usd), 1e-9 * (1 + sum(usd)));
  }));
});
