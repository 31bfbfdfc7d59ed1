import { assertEquals } from "@std/assert";
import { createStrip, fitStrips, GAP, measureStrips, type StripColumn } from "../lib/strips.ts";

const keep = (text: string): string => text;

/** A strip of one cell. */
const strip = (title: string, priority: number, text = "") =>
  createStrip<StripColumn, string>({ title, priority }, [text], keep);

Deno.test("createStrip() is as wide as its widest text, in cells", () => {
  const column = { title: "NAME", priority: 0 };
  const widthOf = (column: StripColumn, ...cells: readonly string[]): number =>
    createStrip(column, cells, keep).width;
  assertEquals(widthOf(column), 4);
  assertEquals(widthOf(column, "a", "模型模型"), 8);
  assertEquals(widthOf({ ...column, minWidth: 12 }, "a"), 12);
});

Deno.test("measureStrips() counts the blanks between", () => {
  assertEquals(measureStrips([strip("abc", 0)]), 3);
  assertEquals(measureStrips([strip("abc", 0), strip("d", 1), strip("ef", 2)]), 6 + 2 * GAP);
});

Deno.test("fitStrips() lets columns go by their priority, and never the last", () => {
  const all = [strip("aaaa", 0), strip("bb", 3), strip("c", 1), strip("dddddd", 2)];
  const titles = (width: number): string =>
    fitStrips(all, () => width).map(({ column }) => column.title[0]).join("");
  assertEquals(titles(19), "abcd");
  assertEquals([18, 15].map(titles), ["acd", "acd"]);
  // A narrow one goes before a wide one that is more important.
  assertEquals([14, 7].map(titles), ["ac", "ac"]);
  assertEquals([6, 4, 1, 0].map(titles), ["a", "a", "a", "a"]);
  assertEquals(all.length, 4, "what is given stays as it is");
  assertEquals(fitStrips([], () => 0), []);
});

Deno.test("fitStrips() asks how much room there is for the one that would go", () => {
  const all = [strip("aaaa", 0), strip("bb", 1), strip("cc", 2)];
  const asked: string[] = [];
  const kept = fitStrips(all, ({ column: { title } }) => {
    asked.push(title);
    return title === "bb" ? 8 : 0;
  });
  assertEquals([kept.map(({ column }) => column.title), asked], [["aaaa", "bb"], ["cc", "bb"]]);
});
