import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { createLayout, type ExpositionLayout, rereadValues } from "../lib/exposition_layout.ts";
import { parseExposition } from "../lib/prometheus.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";
import { CONFORMANCE_BODIES } from "./fixtures/bodies.ts";

/** What the strict road reads. */
function parse(body: Uint8Array) {
  const values: number[] = [];
  const valueStarts: number[] = [];
  const series: string[] = [];
  const summary = parseExposition(body, {
    onSample: (name, labels, value, valueStart) => {
      values.push(value);
      valueStarts.push(valueStart);
      series.push(JSON.stringify([name, ...labels]));
    },
  });
  return {
    values: new Float64Array(values),
    valueStarts: new Int32Array(valueStarts),
    series,
    summary,
  };
}

function layOut(body: Uint8Array): ExpositionLayout {
  const layout = createLayout(body, parse(body));
  if (layout === null) throw new Error("There is no layout");
  return layout;
}

/** The values of the second body by the layout of the first; `null` where it is a surprise. */
function reread(first: string, second: string): readonly number[] | null {
  const values = rereadValues(layOut(encode(first)), encode(second));
  return values === null ? null : [...values];
}

/** Lines are long enough to be remembered. */
const NAME = "a_name_that_is_as_long_as_real_ones";
const BODY = `# TYPE ${NAME} gauge
${NAME}{le="0.1"} 1
${NAME}{le="+Inf"} 2.5
# a comment
${NAME}_total 7
`;

Deno.test("rereadValues() reads the values of the same series, however long they are", () => {
  for (const values of [["1", "2.5", "7"], ["123456.0", "0", "1e+06"], ["NaN", "+Inf", "1.0"]]) {
    const [a, b, c] = values;
    const second = BODY.replace(" 1\n", ` ${a}\n`).replace(" 2.5\n", ` ${b}\n`)
      .replace(" 7\n", ` ${c}\n`);
    const expected = [...parse(encode(second)).values];
    assertEquals(reread(BODY, second), expected);
    assertEquals(expected.length, 3);
  }
  const long = "0.1234567890123456789";
  assertEquals(reread(BODY, BODY.replace("2.5", long)), [1, Number(long), 7]);
});

Deno.test("rereadValues() goes on from body to body, and keeps none that it is given", () => {
  const body = encode(BODY);
  const layout = layOut(body);
  body.fill(0);
  for (const value of ["9", "NaN", "12.25", "9"]) {
    const next = BODY.replace("2.5", value);
    assertEquals([...rereadValues(layout, encode(next)) ?? []], [1, Number(value), 7]);
  }
});

Deno.test("rereadValues() takes every other change for a surprise", () => {
  const surprises: readonly (readonly [what: string, body: string])[] = [
    ["a label's value", BODY.replace("0.1", "0.2")],
    ["a label more", BODY.replace('{le="0.1"}', '{le="0.1",x="y"}')],
    ["a name", BODY.replace("_total", "_totax")],
    ["a line more", BODY + `${NAME}_more 1\n`],
    ["a line less", BODY.replace(/.*\+Inf.*\n/, "")],
    ["lines in another order", BODY.replace(/(.*0\.1.*\n)(.*Inf.*\n)/, "$2$1")],
    ["a comment", BODY.replace("a comment", "A comment")],
    ["a type", BODY.replace("gauge", "gauges")],
    ["a timestamp", BODY.replace("2.5", "2.5 1795300000")],
    ["an exemplar", BODY.replace("2.5", '2.5 # {id="1"} 1')],
    ["a blank", BODY.replace("2.5", "2.5 ")],
    ["a blank before the value", BODY.replace("2.5", " 2.5")],
    ["a carriage return", BODY.replace("2.5", "2.5\r")],
    ["a newline more", BODY.replace("2.5", "2.5\n")],
    ["no newline at the end", BODY.slice(0, -1)],
    ["no number", BODY.replace("2.5", "x")],
    ["no value", BODY.replace("2.5", "")],
    ["two points", BODY.replace("2.5", "2.5.5")],
    ["hexadecimal", BODY.replace("2.5", "0x25")],
    ["underscores", BODY.replace("2.5", "2_5")],
    ["a negative number, which may be a bad line", BODY.replace("2.5", "-2.5")],
    ["a number that nobody writes", BODY.replace("2.5", "1".repeat(50))],
    ["nothing", ""],
    ["all of it twice", BODY + BODY],
    ["half of it", BODY.slice(0, BODY.length / 2)],
    ["bytes that are no text", BODY.replace("2.5", "\xff")],
  ];
  for (const [what, second] of surprises) assertEquals(reread(BODY, second), null, what);
});

Deno.test("rereadValues() reads again where a timestamp, an exemplar or a bad line stays", () => {
  const rest = [' # {id="1"} 0.1', " 1795300000", "\r", "  "];
  for (const after of rest) {
    const body = BODY.replace("2.5", `2.5${after}`);
    assertEquals(reread(body, body.replace("2.5", "3")), [1, 3, 7], JSON.stringify(after));
  }
  const bad = `${BODY}${NAME}{ 5\n`;
  assertEquals(reread(bad, bad.replace("2.5", "3")), [1, 3, 7]);
  assertEquals(reread(bad, bad.replace("{ 5", "{ 6")), null);
  const negative = BODY.replace("2.5", "-2.5");
  assertEquals(reread(negative, negative.replace("-2.5", "-3")), [1, -3, 7]);
});

Deno.test("rereadValues() leaves the first negative value to the strict road, which may refuse it", () => {
  const counts = `# TYPE ${NAME} histogram\n${NAME}_bucket{le="+Inf"} -0\n`;
  assertEquals(reread(counts, counts.replace("-0", "-5")), null);
  assertEquals(parse(encode(counts.replace("-0", "-5"))).summary.badLineCount, 1);
  assertEquals(reread(counts, counts.replace("-0", "5")), [5]);
});

Deno.test("rereadValues() works in text of any script, and behind a byte-order mark", () => {
  const body = `\ufeff${BODY}${NAME}{model_name="通义千问",x="é😀"} 8\n`;
  assertEquals(reread(body, body.replace(" 8\n", " 80\n")), [1, 2.5, 7, 80]);
  assertEquals(reread(body, body.replace("é", "è")), null);
});

Deno.test("createLayout() does not remember a flood of lines that are shorter than their place", () => {
  const flood = encode("a 1\n".repeat(10_000));
  assertEquals(createLayout(flood, parse(flood)), null);
  const { body, starts, ends, values } = layOut(encode(BODY));
  assert(starts.byteLength + ends.byteLength + values.byteLength <= body.byteLength);
});

// ---- Properties: whatever the fast road reads, the strict one reads too.

/** The values of a body, all written anew. */
function rewriteValues(body: Uint8Array, write: (index: number) => string): Uint8Array {
  const pieces: number[] = [];
  let at = 0;
  parse(body).valueStarts.forEach((start, i) => {
    pieces.push(...body.subarray(at, start), ...encode(write(i)));
    at = start;
    while (at < body.length && !" \t\r\n".includes(String.fromCharCode(body[at]))) at++;
  });
  return new Uint8Array([...pieces, ...body.subarray(at)]);
}

const WRITTEN = [
  "0",
  "1.0",
  "123456789.0",
  "0.1234567890123456",
  "1.5e+06",
  "NaN",
  "+Inf",
  "1e300",
];

for (const path of CONFORMANCE_BODIES) {
  Deno.test(`rereadValues() reads what the strict road reads of ${path}`, async () => {
    const body = await readGzip(path);
    const strict = parse(body);
    const layout = createLayout(body, strict);
    assert(layout !== null);
    for (let round = 0; round < WRITTEN.length; round++) {
      const next = rewriteValues(body, (i) => WRITTEN[(i + round) % WRITTEN.length]);
      const values = rereadValues(layout, next);
      assert(values !== null, `round ${round}`);
      const expected = parse(next);
      assertEquals([...values], [...expected.values]);
      assertEquals(expected.series, strict.series);
      assertEquals(expected.summary, strict.summary);
    }
  });
}

/** A change of a body: a piece of text in place of some bytes, near a value or anywhere. */
const edit = fc.record({
  at: fc.nat(),
  isAtValue: fc.boolean(),
  length: fc.nat(3),
  text: fc.oneof(
    fc.constantFrom(
      "",
      "1",
      "9.5",
      "-",
      "e",
      "\n",
      " ",
      "\r",
      "#",
      "NaN",
      "{",
      "}",
      '"',
      "é",
      "\0",
    ),
    fc.stringMatching(/^[0-9.e+-]{1,4}$/),
  ),
});

Deno.test("rereadValues() reads what the strict road reads, or nothing, whatever changes", () => {
  const start = encode(`${BODY}${NAME}{x="-"} -5 # {id="1"} 1\n${NAME}{ bad\n`);
  const starts = parse(start).valueStarts;
  let readCount = 0;
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
      let body = start;
      for (const { at, isAtValue, length, text } of edits) {
        const position = isAtValue ? starts[at % starts.length] : at % (body.length + 1);
        body = new Uint8Array([
          ...body.subarray(0, position),
          ...encode(text),
          ...body.subarray(position + length),
        ]);
      }
      const values = rereadValues(layOut(start), body);
      if (values === null) return;
      readCount++;
      const before = parse(start);
      const strict = parse(body);
      assertEquals([...values], [...strict.values]);
      assertEquals(strict.series, before.series);
      assertEquals(strict.summary, before.summary);
    }),
    { numRuns: 5000 },
  );
  assert(readCount > 50, `${readCount} bodies took the fast road`);
});
