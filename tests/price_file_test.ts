import { assertEquals } from "@std/assert";
import { loadPrices } from "../lib/price_file.ts";

const read = (text: string) => ({ readTextFile: () => Promise.resolve(text) });

Deno.test("loadPrices() has none where there is no file", async () => {
  const platform = { readTextFile: () => Promise.reject(new Error("asked")) };
  assertEquals(await loadPrices(platform, null), []);
});

Deno.test("loadPrices() reads the prices", async () => {
  const prices = await loadPrices(read("H100\t2.10\nL4\t0.4\n"), "prices.tsv");
  if ("error" in prices) throw new Error(prices.error);
  assertEquals(prices.map(({ match, usdPerHour }) => [match, usdPerHour]), [
    ["H100", 2.1],
    ["L4", 0.4],
  ]);
});

Deno.test("loadPrices() says what is wrong with a file, safe to print", async () => {
  assertEquals(await loadPrices(read("H100\tcheap\n"), "a\x1b[31m"), {
    error:
      'the price file "a\\x1b[31m" line 1 has "cheap" in place of USD per hour, such as 2.99: write ' +
      "lines of a GPU's name, a tab and USD per hour",
  });
  const missing = new Deno.errors.NotFound("No such file (os error 2)");
  assertEquals(await loadPrices({ readTextFile: () => Promise.reject(missing) }, "b"), {
    error: 'the price file "b" does not exist: check the path',
  });
});
