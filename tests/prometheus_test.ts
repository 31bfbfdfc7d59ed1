import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import {
  type ExpositionSummary,
  MAX_LABELS,
  MAX_REPORTED_LINES,
  parseExposition,
} from "../lib/prometheus.ts";
import { encode, readGzip } from "./fixtures/expositions.ts";

interface Sample {
  readonly name: string;
  /** Names and values in turn. */
  readonly labels: readonly string[];
  readonly value: number;
}

interface Parsed {
  readonly samples: readonly Sample[];
  readonly types: readonly (readonly [string, string])[];
  readonly summary: ExpositionSummary;
}

function parse(body: string | Uint8Array): Parsed {
  const samples: Sample[] = [];
  const types: [string, string][] = [];
  const summary = parseExposition(typeof body === "string" ? encode(body) : body, {
    onSample: (name, labels, value) => samples.push({ name, labels: [...labels], value }),
    onType: (family, type) => types.push([family, type]),
  });
  assertEquals(summary.sampleCount, samples.length);
  return { samples, types, summary };
}

function sample(name: string, value: number, ...labels: string[]): Sample {
  return { name, labels, value };
}

/** The samples of a body without a bad line. */
function read(body: string | Uint8Array): readonly Sample[] {
  const { samples, summary } = parse(body);
  assertEquals(summary.badLines, []);
  return samples;
}

function assertBad(line: string, part = ""): void {
  const { samples, summary } = parse(line);
  assertEquals(samples, [], JSON.stringify(line));
  assertEquals(summary.badLineCount, 1, JSON.stringify(line));
  assertStringIncludes(summary.badLines[0].message, part);
}

// ---- What other parsers are held to.

interface ParserCase {
  readonly source: string;
  readonly input_utf8: string;
  readonly expect: "ok" | "error" | "row-skipped";
  readonly note: string;
}

const parserCases: readonly ParserCase[] = JSON.parse(
  Deno.readTextFileSync(new URL("./conformance/parser-cases.json", import.meta.url)),
);

/** The samples of the cases that are to be read, by the beginning of their text. */
const EXPECTED_SAMPLES: readonly (readonly [start: string, samples: readonly Sample[]])[] = [
  ["metric_name{", [sample("metric_name", 3.14, "foo", "bar", "dotted.label", "bla")]],
  ["a{b=", [sample("a", 1, "b", "\0ss")]],
  ["\t  \t\n\r\n#foobar", []],
  ["mssql_x", [sample("mssql_x", 56, "loginname", "domain\\somelogin", "env", "develop")]],
  ["foo Infinity", [
    sample("foo", Infinity),
    sample("bar", Infinity),
    sample("baz", -Infinity),
    sample("aaa", Infinity),
    sample("bbb", -Infinity),
    sample("ccc", Infinity),
  ]],
  ["foo {bar", [sample("foo", 1, "bar", "baz", "x", "y")]],
  ["vm_accounting", [
    sample("vm_accounting", 277779100, "name", "vminsertRows", "accountID", "1", "projectID", "1"),
  ]],
  ["msdos", [
    sample(
      "msdos_file_access_time_seconds",
      1458255915,
      ...["path", "C:\\DIR\\FILE.TXT"],
      ...["error", 'Cannot find file:\n"FILE.TXT"'],
    ),
  ]],
];

Deno.test("parseExposition() parses every sample that other parsers do", () => {
  const readable = parserCases.filter(({ expect }) => expect === "ok");
  assertEquals(readable.length, EXPECTED_SAMPLES.length);
  for (const { input_utf8: input } of readable) {
    const expected = EXPECTED_SAMPLES.filter(([start]) => input.startsWith(start));
    assertEquals(expected.length, 1, input);
    assertEquals(read(input), expected[0][1], input);
  }
});

Deno.test("parseExposition() reports a problem where strict parsers refuse", () => {
  const refused = parserCases.filter(({ expect }) => expect === "error");
  assertEquals(refused.length, 24);
  const taken = refused.filter(({ input_utf8: input }) => {
    const { badLineCount, endsComplete } = parse(input).summary;
    return badLineCount === 0 && endsComplete;
  });
  // These break the format and cost nothing.
  assertEquals(taken.map(({ note }) => note), ["second HELP", "TYPE after samples"]);
});

Deno.test("parseExposition() skips the rows that lenient parsers skip", () => {
  const skipped = parserCases.filter(({ expect }) => expect === "row-skipped");
  assertEquals(skipped.length, 4);
  for (const { input_utf8: input } of skipped) assertBad(input);
});

// Counted with: zcat FILE | grep -vc -e '^#' -e '^$'
const WHOLE_BODIES: readonly (readonly [name: string, count: number, dialect: string])[] = [
  ["1histogram.om", 42, "openmetrics"],
  ["alltypes.5mfs.om", 53, "openmetrics"],
  // These two are in format 0.0.4, but end in `# EOF`.
  ["alltypes.237mfs.prom", 1857, "openmetrics"],
  ["alltypes.237mfs.nometa.prom", 1857, "openmetrics"],
];

for (const [name, count, dialect] of WHOLE_BODIES) {
  Deno.test(`parseExposition() parses all samples of ${name}`, async () => {
    const body = await readGzip(`conformance/${name}.txt.gz`);
    const { samples, summary } = parse(body);
    assertEquals(samples.length, count);
    assertEquals(summary.badLines, []);
    assertEquals(summary.dialect, dialect);
    assert(summary.endsComplete);
    // Every line is there as it stands: name, first label and value, cut out by other means.
    const lines = new TextDecoder().decode(body).split("\n").filter((line) => /^[^#]/.test(line));
    lines.forEach((line, i) => {
      const match = /^(\w+)(?:\{(?:(\w+)="([^"\\]*)")?.*?\})? (\S+)(?: #.*)?$/.exec(line);
      assert(match !== null, line);
      const [, ofLine, label = "", value = "", number] = match;
      assertEquals(samples[i].name, ofLine);
      if (value !== "") assertEquals(samples[i].labels.slice(0, 2), [label, value], line);
      const expected = Number(number.replace("Inf", "Infinity"));
      assert(Object.is(samples[i].value, expected), line);
    });
  });
}

// ---- The grammar, one rule after the other.

Deno.test("parseExposition() accepts an empty body, and one of blanks and comments", () => {
  for (const body of ["", "\n", "  \n\t\n", "# a comment\n", "#\n#HELP\n"]) {
    const { samples, summary } = parse(body);
    assertEquals(samples, []);
    assertEquals(summary.badLineCount, 0);
    assert(summary.endsComplete);
  }
});

Deno.test("parseExposition() keeps braces, commas, equals signs and hashes in label values", () => {
  for (const value of ["}", "{", ",", "=", "#", " ", "} 5", 'a="b"', "# {", "},{", "//:,}= x"]) {
    const written = value.replaceAll('"', '\\"');
    assertEquals(read(`m{a="${written}",b="2"} 3\n`), [sample("m", 3, "a", value, "b", "2")]);
  }
});

Deno.test("parseExposition() unescapes the three escapes and keeps any other", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["\\\\", "\\"],
    ['\\"', '"'],
    ["\\n", "\n"],
    ["\\t", "\\t"],
    ["\\x41", "\\x41"],
    ["\\\\n", "\\n"],
    ["\\\\\\n", "\\\n"],
    ['a\\"b\\\\c\\nd', 'a"b\\c\nd'],
    ["\\é", "\\é"],
  ];
  for (const [written, value] of cases) {
    assertEquals(read(`m{a="${written}"} 1\n`), [sample("m", 1, "a", value)], written);
  }
  // An escaped quote does not end the value.
  assertBad('m{a="\\"} 1\n', "unterminated");
});

Deno.test("parseExposition() accepts blanks and tabs anywhere, and a trailing comma", () => {
  const expected = [sample("m", 1, "a", "x", "b", "y")];
  for (
    const line of [
      'm{a="x",b="y"} 1',
      '  m{a="x",b="y"} 1  ',
      '\tm\t{\ta\t=\t"x"\t,\tb="y"\t}\t1\t',
      'm {a="x", b="y"}1',
      'm{a="x",b="y",} 1',
      'm{ a="x" , b="y" , } 1',
    ]
  ) {
    assertEquals(read(line + "\n"), expected, line);
  }
  assertEquals(read("m{} 1\nm{ } 2\nm\t3\n"), [sample("m", 1), sample("m", 2), sample("m", 3)]);
});

Deno.test("parseExposition() omits labels with an empty value", () => {
  assertEquals(read('m{a="",b="2",c=""} 1\n'), [sample("m", 1, "b", "2")]);
});

Deno.test("parseExposition() accepts quoted names of metrics and labels", () => {
  assertEquals(read('{"metric.name",foo="x"} 1\n'), [sample("metric.name", 1, "foo", "x")]);
  assertEquals(read('{foo="x","metric.name"} 1\n'), [sample("metric.name", 1, "foo", "x")]);
  assertEquals(read('{"only.name"} 1\n'), [sample("only.name", 1)]);
  assertEquals(read('foo{"dotted.label"="v"} 1\n'), [sample("foo", 1, "dotted.label", "v")]);
  assertEquals(read('{"a\\"b\\\\c\\nd"} 1\n'), [sample('a"b\\c\nd', 1)]);
  assertEquals(read('{"größe","länge"="x"} 1\n'), [sample("größe", 1, "länge", "x")]);
  const { types, summary } = parse('# TYPE "metric.name" counter\n# HELP "metric.name" of it\n');
  assertEquals(types, [["metric.name", "counter"]]);
  assertEquals(summary.badLineCount, 0);
  assertBad('{"a","b"} 1\n', "second metric name");
  assertBad('a{"b"} 1\n', "second metric name");
  assertBad('{""} 1\n');
  assertBad('m{""="x"} 1\n');
});

Deno.test("parseExposition() allows colons in metric names, not in label names", () => {
  assertEquals(read('vllm:a:b{x="1"} 2\n'), [sample("vllm:a:b", 2, "x", "1")]);
  assertBad('m{a:b="1"} 2\n', "not a label name");
  assertBad("1a 2\n", "not a metric name");
  assertBad("a-b 2\n", "not a metric name");
});

Deno.test("parseExposition() refuses duplicate labels and names", () => {
  assertBad('m{a="1",a="2"} 1\n', "twice");
  assertBad('m{a="1",a="1"} 1\n', "twice");
  assertBad('m{"a"="1",a="2"} 1\n', "twice");
  assertBad('m{__name__="n"} 1\n', "reserved");
  assertBad('m{a="1"b="2"} 1\n', "comma");
  assertBad('m{a="1",,b="2"} 1\n');
  assertBad('m{,a="1"} 1\n');
  assertBad('m{a="1"}} 1\n');
  assertBad('m{a="1"\n', "unterminated");
  assertBad('m{a="1",\n', "unterminated");
  assertBad("m{a=\n");
  assertBad("m{a\n");
  assertBad("m{\n", "unterminated");
  assertBad("m\n", "no value");
  assertBad("m{}\n", "no value");
});

Deno.test("parseExposition() refuses too many labels", () => {
  const write = (count: number) =>
    `a{${Array.from({ length: count }, (_, i) => `l${i}="1"`).join(",")}} 1\n`;
  assertEquals(read(write(MAX_LABELS))[0].labels.length, 2 * MAX_LABELS);
  assertBad(write(MAX_LABELS + 1), `more than ${MAX_LABELS} labels`);
});

Deno.test("parseExposition() parses numbers as Go's ParseFloat does", () => {
  const numbers: readonly (readonly [string, number])[] = [
    ["0", 0],
    ["-0", -0],
    ["+1", 1],
    ["007", 7],
    ["2.0", 2],
    ["2.50", 2.5],
    [".5", 0.5],
    ["5.", 5],
    ["-.5e-3", -0.0005],
    ["1e9", 1e9],
    ["1E9", 1e9],
    ["1.0e+06", 1e6],
    ["8.128902e+06", 8_128_902],
    ["3.5786276864e+010", 35_786_276_864],
    ["1.5e-007", 1.5e-7],
    ["999999999999999", 999_999_999_999_999],
    ["9007199254740993", 9_007_199_254_740_992],
    ["123456789012345678", 123_456_789_012_345_680],
    ["1795300000.25", 1_795_300_000.25],
    ["NaN", NaN],
    ["nan", NaN],
    ["Nan", NaN],
    ["Inf", Infinity],
    ["+Inf", Infinity],
    ["-Inf", -Infinity],
    ["inf", Infinity],
    ["Infinity", Infinity],
    ["-INFINITY", -Infinity],
    ["1e309", Infinity],
  ];
  for (const [text, value] of numbers) {
    const [only] = read(`m ${text}\n`);
    assert(Object.is(only.value, value), `${text}: ${only.value}`);
  }
});

Deno.test("parseExposition() refuses numbers that only JavaScript accepts", () => {
  for (
    const text of [
      ...["0x1", "0X1", "0b1", "0o7", "1_000", "1,000", "true", "null", "1n", "1.2.3", "--1"],
      ...["+-1", "1e", "e1", ".", "+", "-", "1e+", "Infinit", "infinite", "+NaN", "١", "½", "1px"],
    ]
  ) {
    assertBad(`m ${text}\n`);
    assertBad(`m{a="b"} ${text}\n`);
  }
});

Deno.test("parseExposition() skips timestamps, and nothing else", () => {
  for (const time of ["1", "-3982045", "1795300000250", "1795300000.25", "1.7953e9", "0"]) {
    assertEquals(read(`m 2 ${time}\nn{a="b"} +Inf ${time} \n`), [
      sample("m", 2),
      sample("n", Infinity, "a", "b"),
    ]);
  }
  for (const rest of ["x", "1 2", "1x", "0x1", "NaN", "# no exemplar"]) {
    assertBad(`m 2 ${rest}\n`, "timestamp");
  }
});

Deno.test("parseExposition() skips exemplars", () => {
  for (
    const rest of [
      ' # {trace_id="x"} 1 1795300000.25',
      ' # {trace_id="x"} 1',
      ' 1795300000.25 # {trace_id="x"} 0.67 1795300000.5',
      " # {} 1",
      ' # {a="#{} 1"} 1',
    ]
  ) {
    assertEquals(read(`m_bucket{le="1"} 5${rest}\n`), [sample("m_bucket", 5, "le", "1")], rest);
  }
});

Deno.test("parseExposition() recognises OpenMetrics by its last line", () => {
  const body = "# TYPE a counter\n# UNIT a seconds\n# HELP a of it\na_total 1.0 1795300000.5\n";
  for (const [end, dialect] of [["# EOF\n", "openmetrics"], ["# EOF", "openmetrics"]] as const) {
    const { samples, types, summary } = parse(body + end);
    assertEquals(samples, [sample("a_total", 1)]);
    assertEquals(types, [["a", "counter"]]);
    assertEquals(summary.dialect, dialect);
    assertEquals(summary.badLineCount, 0);
    assert(summary.endsComplete);
  }
  assertEquals(parse(body).summary.dialect, "prometheus");
  // In the middle it is a comment like any other.
  assertEquals(parse("# EOF\na 1\n").summary.dialect, "prometheus");
  assertEquals(parse("").summary.dialect, "prometheus");
  assertEquals(parse("a 1\n# EOF\nb 2\n").samples.length, 2);
  assertEquals(parse("a 1\n#EOF\n").summary.dialect, "prometheus");
});

Deno.test("parseExposition() accepts types in any order, also repeated ones", () => {
  const types = (body: string): unknown => {
    const parsed = parse(body);
    assertEquals(parsed.summary.badLineCount, 0, body);
    return parsed.types;
  };
  assertEquals(types("# TYPE a gauge\n# HELP a x\na 1\n"), [["a", "gauge"]]);
  assertEquals(types("# HELP a x\n# TYPE a gauge\na 1\n"), [["a", "gauge"]]);
  assertEquals(types("a 1\n# TYPE a gauge\n"), [["a", "gauge"]]);
  assertEquals(types("# HELP a x\n# HELP a x\n"), []);
  assertEquals(types("# TYPE a gauge\n\n# TYPE a counter\n"), [["a", "gauge"], ["a", "counter"]]);
  assertEquals(parse("  # TYPE \t a\tgauge \n").types, [["a", "gauge"]]);
  assertEquals(parse("#TYPE a gauge\n# TYPES a gauge\n# type a gauge\n").types, []);
  assertEquals(parse("# TYPE a gauge\r\na 1\r\n").types, [["a", "gauge"]]);
  for (
    const line of ["# TYPE\n", "# TYPE a\n", "# TYPE a-b gauge\n", "# HELP\n", "# HELP 1a x\n"]
  ) {
    assertEquals(parse(line).summary.badLineCount, 1, line);
  }
});

Deno.test("parseExposition() refuses negative counts of histograms and summaries", () => {
  for (const type of ["histogram", "summary"]) {
    const body = `# TYPE h ${type}\nh_count -1\nh_sum -1\nh_count 1\n`;
    const { samples, summary } = parse(body);
    assertEquals(samples, [sample("h_sum", -1), sample("h_count", 1)]);
    assertEquals(summary.badLines, [{ line: 2, message: "a negative count" }]);
  }
  assertEquals(read("# TYPE h gauge\nh_count -1\n").length, 1);
});

Deno.test("parseExposition() skips a bad line, counts it, and keeps the rest", () => {
  const { samples, summary } = parse('a 1\nb{x} 2\nc{x="1"} 3\n\nd 4 5 6\ne 7\n');
  assertEquals(samples, [sample("a", 1), sample("c", 3, "x", "1"), sample("e", 7)]);
  assertEquals(summary.badLineCount, 2);
  assertEquals(summary.badLines.map(({ line }) => line), [2, 5]);
  assert(!summary.lastLineIsBad);
  assert(parse("a 1\nb\n").summary.lastLineIsBad);
  assert(parse("a 1\nb\n\n").summary.lastLineIsBad);
  assert(!parse("a 1\nb\n# end\n").summary.lastLineIsBad);
});

Deno.test("parseExposition() reports the first bad lines and counts all", () => {
  const { summary } = parse("{\n".repeat(25));
  assertEquals(summary.badLineCount, 25);
  assertEquals(summary.badLines.length, MAX_REPORTED_LINES);
  assertEquals(summary.badLines[9].line, 10);
});

Deno.test("parseExposition() sanitizes what it quotes of a bad line", () => {
  const { summary } = parse("m \x1b[2J\x07\u202e\n");
  // deno-lint-ignore no-control-regex
  assert(!/[\x00-\x1f\x7f-\x9f\u202e]/.test(summary.badLines[0].message));
  assert(parse(`m ${"x".repeat(9000)}\n`).summary.badLines[0].message.length < 100);
});

Deno.test("parseExposition() strips a carriage return and a byte-order mark", () => {
  assertEquals(read('\ufeffm{a="x"} 1\r\nm{a="x"} 2\r\n'), [
    sample("m", 1, "a", "x"),
    sample("m", 2, "a", "x"),
  ]);
  assert(parse("m 1\r\n").summary.endsComplete);
  // Inside a value it stays.
  assertEquals(read('m{a="x\ry"} 1\n'), [sample("m", 1, "a", "x\ry")]);
});

Deno.test("parseExposition() replaces invalid UTF-8", () => {
  const body = new Uint8Array([...encode('m{a="'), 0xff, 0xc2, ...encode('"} 1\n')]);
  assertEquals(read(body), [sample("m", 1, "a", "\ufffd\ufffd")]);
});

Deno.test("parseExposition() accepts any text as a quoted label name", () => {
  const names = ["__proto__", "constructor", "hasOwnProperty", "toString", "le", "__x"];
  const labels = names.flatMap((name) => [name, "v"]);
  const written = names.map((name) => `${name}="v"`).join(",");
  assertEquals(read(`__proto__{${written}} 1\nconstructor 2\n`), [
    sample("__proto__", 1, ...labels),
    sample("constructor", 2),
  ]);
  assertEquals(parse("# TYPE __proto__ gauge\n# TYPE constructor gauge\n").types, [
    ["__proto__", "gauge"],
    ["constructor", "gauge"],
  ]);
});

Deno.test("parseExposition() reports a last line without its newline", () => {
  assert(parse("a 1\n").summary.endsComplete);
  assert(!parse("a 1").summary.endsComplete);
  assert(!parse("a 1\nb 2").summary.endsComplete);
  assert(!parse("a 1\n# HELP b").summary.endsComplete);
  assertEquals(parse("a 1\nb 2").samples.length, 2);
});

// A name that is the beginning of another, escapes, quotes, two bytes for one character.
const CUT_BODY = `# HELP ab of "it" \\\\
# TYPE ab counter
ab{x="1",y="é}"} 12.5 1795300000
ab{x="1",y="\\"\\n"} 1e3
ab_total 345
{"a.b",x="1"} -Inf
h_bucket{le="+Inf"} 6 # {id="ü"} 1 2
# EOF
`;

Deno.test("parseExposition() invents no sample, wherever the body is truncated", () => {
  const whole = parse(CUT_BODY);
  assertEquals([whole.samples.length, whole.summary.badLineCount], [5, 0]);
  const all = new Set(whole.samples.map((one) => JSON.stringify(one)));
  const bytes = encode(CUT_BODY);
  for (let length = 0; length < bytes.length; length++) {
    const { samples, summary } = parse(bytes.subarray(0, length));
    const endsLine = length === 0 || bytes[length - 1] === 10;
    const isWholeButOne = length === bytes.length - 1;
    assertEquals(summary.endsComplete, endsLine || isWholeButOne, `${length} bytes`);
    const foreign = samples.filter((one) => !all.has(JSON.stringify(one)));
    // Only the line that was cut may read as something else, such as 1 for 12.5.
    assert(foreign.length <= (endsLine ? 0 : 1), `${length} bytes`);
    if (foreign.length > 0) assertEquals(foreign[0], samples[samples.length - 1]);
    assert(summary.badLineCount <= (endsLine ? 0 : 1));
    if (summary.badLineCount > 0) assert(summary.lastLineIsBad);
  }
});

// ---- Properties.

const AWKWARD = [
  ...['"', "\\", "\n", "n", "}", "{", ",", "=", "#", " ", "\t", "\r", "\0", "\x1b", "\x85"],
  ...["é", "\u2028", "\ufeff", "😀", "a", "1", ":", "_", "+Inf", '\\"', "# EOF", "} 1"],
];
const text = fc.oneof(
  fc.array(fc.constantFrom(...AWKWARD), { maxLength: 8 }).map((parts) => parts.join("")),
  fc.string({ unit: "binary", maxLength: 12 }),
);
const notEmpty = text.filter((value) => value !== "");
const bareName = fc.stringMatching(/^[a-zA-Z_:][a-zA-Z0-9_:]{0,6}$/);
const bareLabel = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_]{0,6}$/);
const value = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.constantFrom(NaN, Infinity, -Infinity, 0, -0, 1e15, 2 ** 53, 5e-324, Number.MAX_VALUE),
);
const anySample: fc.Arbitrary<Sample> = fc.record({
  name: fc.oneof(bareName, notEmpty),
  labels: fc.uniqueArray(
    fc.tuple(fc.oneof(bareLabel, notEmpty).filter((name) => name !== "__name__"), notEmpty),
    { selector: ([name]) => name, maxLength: 5 },
  ).map((pairs) => pairs.flat()),
  value,
});

function quote(raw: string): string {
  return `"${raw.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

function writeNumber(number: number): string {
  if (Number.isNaN(number)) return "NaN";
  if (!Number.isFinite(number)) return number > 0 ? "+Inf" : "-Inf";
  return Object.is(number, -0) ? "-0" : String(number);
}

/** A sample as a line; names that need it stand in quotes. */
function serialise({ name, labels, value }: Sample): string {
  const pairs: string[] = [];
  const isBare = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name);
  if (!isBare) pairs.push(quote(name));
  for (let i = 0; i < labels.length; i += 2) {
    const isBareLabel = /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(labels[i]);
    pairs.push(`${isBareLabel ? labels[i] : quote(labels[i])}=${quote(labels[i + 1])}`);
  }
  const braces = pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
  return `${isBare ? name : ""}${braces} ${writeNumber(value)}\n`;
}

function assertSameSamples(actual: readonly Sample[], expected: readonly Sample[]): void {
  assertEquals(actual.map(({ name, labels }) => [name, labels]), [
    ...expected.map(({ name, labels }) => [name, labels]),
  ]);
  actual.forEach((one, i) => assert(Object.is(one.value, expected[i].value), `${one.value}`));
}

Deno.test("parseExposition() reverses writing", () => {
  fc.assert(
    fc.property(fc.array(anySample, { maxLength: 8 }), (samples) => {
      const { samples: found, summary } = parse(samples.map(serialise).join(""));
      assertEquals(summary.badLines, []);
      assertSameSamples(found, samples);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("parseExposition() never throws, whatever the bytes", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      parse(bytes);
    }),
    { numRuns: 1000 },
  );
  const pieces = [...AWKWARD, "m", "# TYPE ", "# HELP ", "gauge", '="', '",', "NaN", "1e5", "{}"];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 40 }), (parts) => {
      const { samples, summary } = parse(parts.join(""));
      for (const { name, labels, value } of samples) {
        assert(name !== "" && typeof value === "number");
        labels.forEach((part) => assert(part !== ""));
      }
      assert(summary.badLines.every(({ line }) => line >= 1));
    }),
    { numRuns: 2000 },
  );
});

// Lines that share beginnings: what repeats of the line before is compared, not read again.
const neighbourName = fc.constantFrom("a", "ab", "a:b", "b");
const neighbourPair = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.tuple(
      fc.constantFrom("a", "b", "le", '"a"', '"b.c"'),
      fc.constantFrom(
        '""',
        '"1"',
        '"2"',
        '"12"',
        '"é"',
        '"1\\"',
        '"\\""',
        '"\\\\"',
        '"},"',
        '"b=\\"1\\""',
      ),
    ).map(([name, quoted]) => `${name}=${quoted}`),
  },
  { weight: 2, arbitrary: fc.constantFrom('"q"', '"a"', '"a.b"') },
  { weight: 1, arbitrary: fc.constantFrom("a", "a=", 'a="', "", '="1"', '__name__="a"') },
);
const neighbourLine = fc.record({
  start: fc.constantFrom("", "", "", " "),
  name: fc.oneof({ weight: 5, arbitrary: neighbourName }, {
    weight: 1,
    arbitrary: fc.constant(""),
  }),
  gap: fc.constantFrom("", "", "", " "),
  pairs: fc.option(fc.array(neighbourPair, { maxLength: 4 }), { nil: null, freq: 6 }),
  comma: fc.constantFrom(",", ",", ",", ", ", " ,"),
  end: fc.constantFrom("}", "}", "}", "}", ",}", " }", ""),
  rest: fc.constantFrom(" 1", " 1", " 2.5", "1", "\t3", "", " x"),
}).map(({ start, name, gap, pairs, comma, end, rest }) =>
  start + name + (pairs === null ? "" : gap + "{" + pairs.join(comma) + end) + rest + "\n"
);

Deno.test("parseExposition() parses a line the same alone and among others", () => {
  // Found by the property: a repeated label was not seen when the line before had the second.
  const found = ['{"q",b="3"} 1\na{b="9",b="3"} 1\n', 'a{a="",a="1"} 1\na{a="5",a="1"} 1\n'];
  const lines = found.map((body) => body.split(/(?<=\n)/));
  const property = fc.property(fc.array(neighbourLine, { maxLength: 6 }), (body) => {
    const alone = body.map(parse);
    const together = parse(body.join(""));
    assertEquals(together.samples, alone.flatMap(({ samples }) => samples));
    const badLines = alone.flatMap(({ summary }, i) =>
      summary.badLines.map(({ message }) => ({ line: i + 1, message }))
    );
    assertEquals(together.summary.badLines, badLines);
  });
  fc.assert(property, { numRuns: 20_000, examples: lines.map((example) => [example]) });
});
