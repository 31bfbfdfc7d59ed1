import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import {
  compareNames,
  createSecret,
  cutText,
  cutTextMiddle,
  cutTextStart,
  maskSecrets,
  measureWidth,
  padText,
  revealSecret,
  sanitizeText,
} from "../lib/text.ts";

// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x1f\x7f-\x9f]/;
const INVISIBLE = /[\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]|\p{Cs}|\p{Co}/u;

Deno.test("sanitizeText() keeps ordinary text", () => {
  for (
    const text of [
      ...["", "a", "meta-llama/Llama-3.1-8B-Instruct", "A: {b, c} = d #e", "größe", "模型", "😀"],
      ...["e\u0301", "👍🏽", "🇩🇪", "שלום", "مرحبا", "ไทย", "한국어", "…—≈"],
    ]
  ) {
    assertEquals(sanitizeText(text), text);
  }
});

Deno.test("sanitizeText() escapes terminal controls", () => {
  const vectors: readonly (readonly [string, string])[] = [
    ["\x1b]0;pwn\x07", "\\x1b]0;pwn\\x07"],
    ["\x1b]52;c;cm0gLXJm\x1b\\", "\\x1b]52;c;cm0gLXJm\\x1b\\"],
    ["\x1b[2J", "\\x1b[2J"],
    ["\x1b[6n", "\\x1b[6n"],
    ["\x9b31m", "\\x9b31m"],
    ["\u009b31m", "\\x9b31m"],
    ["\x1bP1$r\x1b\\", "\\x1bP1$r\\x1b\\"],
    ["50%\rok", "50%\\x0dok"],
    ["abc\b\b\b", "abc\\x08\\x08\\x08"],
    ["\x1b[?1049l", "\\x1b[?1049l"],
    ["a\tb\nc", "a\\x09b\\x0ac"],
    ["\0\x7f", "\\x00\\x7f"],
    ["\x85", "\\x85"],
    ["a\u2028b\u2029c", "a\\u{2028}b\\u{2029}c"],
  ];
  for (const [text, safe] of vectors) assertEquals(sanitizeText(text), safe, JSON.stringify(text));
});

Deno.test("sanitizeText() escapes bidirectional and invisible characters", () => {
  const vectors: readonly (readonly [string, string])[] = [
    ["admin\u202egnp.exe", "admin\\u{202e}gnp.exe"],
    ["\u2066x\u2069", "\\u{2066}x\\u{2069}"],
    ["a\u200eb\u200fc\u061cd", "a\\u{200e}b\\u{200f}c\\u{61c}d"],
    ["a\u200bb\u200cc\u200dd\ufeffe", "a\\u{200b}b\\u{200c}c\\u{200d}d\\u{feff}e"],
    ["so\u00adft", "so\\xadft"],
    ["a\u2060b\u3164c", "a\\u{2060}b\\u{3164}c"],
    ["\u{e0041}\u{e007f}", "\\u{e0041}\\u{e007f}"],
    ["\ue000\u{f0000}", "\\u{e000}\\u{f0000}"],
  ];
  for (const [text, safe] of vectors) assertEquals(sanitizeText(text), safe);
});

Deno.test("sanitizeText() replaces lone surrogates", () => {
  assertEquals(sanitizeText("a\ud83db\ude00c"), "a\ufffdb\ufffdc");
  assertEquals(sanitizeText("\ud83d"), "\ufffd");
  // Nor does it make halves where it stops looking.
  const cut = sanitizeText("a".repeat(4095) + "😀", 5000);
  assert(!/\p{Cs}/u.test(cut));
});

Deno.test("sanitizeText() thins floods of combining marks", () => {
  const zalgo = "Z" + "\u0335\u0321\u0300\u0301\u0302\u0303\u0304".repeat(20) + "a";
  const safe = sanitizeText(zalgo);
  assertEquals([...safe.matchAll(/\p{M}/gu)].length, 4);
  assert(safe.startsWith("Z") && safe.endsWith("a"));
  assertEquals(measureWidth(safe), 2);
  // Without a base, too.
  assert([...sanitizeText("\u0301".repeat(500)).matchAll(/\p{M}/gu)].length <= 4);
});

Deno.test("sanitizeText() cuts long text", () => {
  const link = `\x1b]8;;https://example.com/${"a".repeat(8000)}\x07x\x1b]8;;\x07`;
  const safe = sanitizeText(link);
  assertEquals(measureWidth(safe), 256);
  assert(safe.startsWith("\\x1b]8;;https://") && safe.endsWith("…"));
  assertEquals(sanitizeText("abcdef", 4), "abc…");
  assertEquals(sanitizeText("a".repeat(1_000_000)).length, 256);
  assertEquals(sanitizeText("a".repeat(256)), "a".repeat(256));
});

Deno.test("compareNames() orders by the numbers in names", () => {
  const sorted = ["1", "2", "10", "a", "e2", "e10", "e10b", "ns/pod-9", "ns/pod-10"];
  assertEquals(sorted.toReversed().toSorted(compareNames), sorted);
  assertEquals(compareNames("2", "2"), 0);
  // Too long for a number of full precision.
  assertEquals(compareNames("90071992547409930", "90071992547409931"), -1);
});

Deno.test("measureWidth() counts cells", () => {
  const widths: readonly (readonly [string, number])[] = [
    ["", 0],
    ["abc", 3],
    ["é", 1],
    ["e\u0301", 1],
    ["模型", 4],
    ["ｆｕｌｌ", 8],
    ["한국", 4],
    ["ｶﾅ", 2],
    ["😀", 2],
    ["👨‍👩‍👧‍👦", 2],
    ["👍🏽", 2],
    ["❤️", 2],
    ["🇩🇪", 2],
    ["🇩🇪🇫🇷", 4],
    ["a模😀b", 6],
    ["…—≈▇░●▌", 7],
    // Clusters whose parts stand side by side.
    ["ｶﾞ", 2],
    ["की", 2],
    ["กำ", 2],
  ];
  for (const [text, width] of widths) assertEquals(measureWidth(text), width, text);
});

Deno.test("cutText() never halves a character, and marks the cut", () => {
  assertEquals(cutText("abcdef", 6), "abcdef");
  assertEquals(cutText("abcdef", 5), "abcd…");
  assertEquals(cutText("abcdef", 1), "…");
  assertEquals(cutText("abcdef", 0), "");
  assertEquals(cutText("abcdef", -3), "");
  assertEquals(cutText("", 0), "");
  assertEquals(cutText("模型模型", 8), "模型模型");
  assertEquals(cutText("模型模型", 7), "模型模…");
  assertEquals(cutText("模型模型", 6), "模型…");
  assertEquals(cutText("😀😀😀", 4), "😀…");
  assertEquals(cutText("e\u0301e\u0301e\u0301", 2), "e\u0301…");
  assertEquals(cutText("🇩🇪🇫🇷🇮🇹", 5), "🇩🇪🇫🇷…");
});

Deno.test("padText() pads on either side", () => {
  assertEquals(padText("ab", 4), "ab  ");
  assertEquals(padText("ab", 4, "right"), "  ab");
  assertEquals(padText("模", 4), "模  ");
  assertEquals(padText("abcdef", 4), "abcdef");
});

// ---- Properties.

const AWKWARD = [
  ...["\x1b", "[", "m", "\r", "\x9b", "\u202e", "\u200d", "\ud83d", "\ude00", "\u0301", "\u0335"],
  ...["模", "😀", "👨‍👩‍👧‍👦", "🇩", "🇪", "️", "ᄀ", "ᅡ", "क", "्", "ष", "a", " ", "\\", "\u2028", "\ufeff"],
];
const anyText = fc.oneof(
  fc.array(fc.constantFrom(...AWKWARD), { maxLength: 30 }).map((parts) => parts.join("")),
  fc.string({ unit: "binary", maxLength: 40 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 40 })
    .map((codes) => String.fromCharCode(...codes)),
);
const anyWidth = fc.integer({ min: 0, max: 60 });

Deno.test("sanitizeText() removes all unsafe characters, and fits the width", () => {
  fc.assert(
    fc.property(anyText, anyWidth, (text, width) => {
      const safe = sanitizeText(text, width);
      assert(!CONTROL.test(safe) && !INVISIBLE.test(safe), JSON.stringify(safe));
      assert(measureWidth(safe) <= width);
      assert(safe.isWellFormed());
    }),
    { numRuns: 5000 },
  );
});

Deno.test("sanitizeText() keeps safe text", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const safe = sanitizeText(text);
      assertEquals(sanitizeText(safe), safe);
    }),
    { numRuns: 5000 },
  );
});

Deno.test("cutText() keeps a beginning of the text, never wider", () => {
  fc.assert(
    fc.property(anyText.map((text) => sanitizeText(text)), anyWidth, (text, width) => {
      const cut = cutText(text, width);
      assert(measureWidth(cut) <= width);
      if (measureWidth(text) <= width) return assertEquals(cut, text);
      const kept = cut.replace(/…$/, "");
      assert(text.startsWith(kept));
      // The next character, with the mark after it, would not have fitted.
      const [next] = new Intl.Segmenter("en").segment(text.slice(kept.length));
      assert(measureWidth(kept) + measureWidth(next.segment) + 1 > width);
    }),
    { numRuns: 5000 },
  );
});

Deno.test("cutTextStart() keeps an end of the text, never wider", () => {
  fc.assert(
    fc.property(anyText.map((text) => sanitizeText(text)), anyWidth, (text, width) => {
      const cut = cutTextStart(text, width);
      assert(measureWidth(cut) <= width);
      if (measureWidth(text) <= width) return assertEquals(cut, text);
      const kept = cut.replace(/^…/, "");
      assert(text.endsWith(kept));
      // The character before it would not have fitted.
      const before = [
        ...new Intl.Segmenter("en").segment(text.slice(0, text.length - kept.length)),
      ];
      const last = before.at(-1)?.segment ?? "";
      assert(measureWidth(kept) + measureWidth(last) + 1 > width);
    }),
    { numRuns: 5000 },
  );
  assertEquals(cutTextStart("Llama-3.1-8B :8002", 8), "…B :8002");
});

Deno.test("cutTextMiddle() keeps both ends, never wider", () => {
  fc.assert(
    fc.property(anyText.map((text) => sanitizeText(text)), anyWidth, (text, width) => {
      const cut = cutTextMiddle(text, width);
      assert(measureWidth(cut) <= width);
      if (measureWidth(text) <= width) return assertEquals(cut, text);
      const [head, tail = ""] = cut.split("…");
      assert(text.startsWith(head) && text.endsWith(tail) || text.includes("…"));
    }),
    { numRuns: 5000 },
  );
  assertEquals(cutTextMiddle("Llama-3.1-8B-Instruct", 10), "Llam…truct");
});

Deno.test("padText() gives the wanted width", () => {
  fc.assert(
    fc.property(
      anyText.map((text) => sanitizeText(text)),
      anyWidth,
      fc.constantFrom("left" as const, "right" as const),
      (text, width, align) => {
        assertEquals(measureWidth(padText(cutText(text, width), width, align)), width);
      },
    ),
    { numRuns: 2000 },
  );
});

const TEXT = "hunter2-hunter2";

Deno.test("createSecret() prints as stars, however it is printed", () => {
  const secret = createSecret(TEXT);
  const holder = { headers: new Map([["authorization", secret]]), list: [secret] };
  for (
    const printed of [
      `${secret}`,
      String(secret),
      secret + "",
      JSON.stringify({ secret }),
      Deno.inspect(secret),
      Deno.inspect(holder, { depth: 9, showHidden: true }),
      Object.entries(secret).join(),
      Object.getOwnPropertyNames(secret).join(),
    ]
  ) {
    assert(!printed.includes("hunter"), printed);
  }
  assertEquals([`${secret}`, JSON.stringify(secret), Deno.inspect(secret)], [
    "***",
    '"***"',
    "***",
  ]);
  assertEquals(structuredCloneText(secret), "no copy");
});

/** What a copy of the secret would tell. */
function structuredCloneText(secret: unknown): string {
  try {
    return JSON.stringify(structuredClone(secret));
  } catch {
    return "no copy";
  }
}

Deno.test("createSecret() freezes the secret", () => {
  const secret = createSecret(TEXT);
  assertThrows(() => Object.assign(secret, { toString: () => TEXT }), TypeError);
});

Deno.test("revealSecret() gives the text, and nothing for a foreign object", () => {
  assertEquals(revealSecret(createSecret(TEXT)), TEXT);
  assertEquals(revealSecret(createSecret("")), "");
  assertEquals(revealSecret({ toString: () => TEXT, toJSON: () => TEXT }), "");
});

const EXAMPLES: readonly (readonly [commandLine: string, masked: string])[] = [
  ["vllm serve m --api-key abc --port 80", "vllm serve m --api-key *** --port 80"],
  ["vllm serve m --api-key=abc --port 80", "vllm serve m --api-key=*** --port 80"],
  ["vllm serve m --api-key a b c --port 80", "vllm serve m --api-key *** *** *** --port 80"],
  ["vllm serve m --api_key abc", "vllm serve m --api_key ***"],
  ["vllm serve m --hf-token --port 80", "vllm serve m --hf-token --port 80"],
  ["vllm serve m --hf-token abc", "vllm serve m --hf-token ***"],
  ["x --ssl-keyfile-password abc --port 80", "x --ssl-keyfile-password *** --port 80"],
  ["sh -c HF_TOKEN=abc vllm serve m", "sh -c HF_TOKEN=*** vllm serve m"],
  ["sh -c HF_TOKEN='a b' vllm serve m", "sh -c HF_TOKEN=*** vllm serve m"],
  ["docker run -e VLLM_API_KEY=abc -p 80:80 i", "docker run -e VLLM_API_KEY=*** -p 80:80 i"],
  ["env AWS_SECRET_ACCESS_KEY=a/b+c= x", "env AWS_SECRET_ACCESS_KEY=*** x"],
  [
    'x --config {"url": "u", "api_key": "a b", "n": 1}',
    'x --config {"url": "u", "api_key": ***, "n": 1}',
  ],
  ["args: {'api_key': ['a', 'b'], 'port': 8}", "args: {'api_key': ***, 'port': 8}"],
  ["curl -H Authorization: Bearer abc http://h", "curl -H Authorization: *** http://h"],
  ["curl -u me:abc http://h", "curl -u me:*** http://h"],
  ["x --proxy http://me:abc@h:80/p", "x --proxy http://***@h:80/p"],
  ["x --s3 https://h/o?token=abc&n=1", "x --s3 https://h/o?token=***"],
  ["x hf_abcdefghij sk-abcdefghij1234", "x *** ***"],
];

for (const [commandLine, masked] of EXAMPLES) {
  Deno.test(`maskSecrets() masks in ${commandLine}`, () => {
    assertEquals(maskSecrets(commandLine), masked);
  });
}

Deno.test("maskSecrets() keeps text without secrets", () => {
  for (
    const commandLine of [
      "vllm serve org/model --max-num-batched-tokens 8192 --tokenizer org/t --tokenizer-mode auto",
      "python3 -u -m vllm.entrypoints.openai.api_server --long-prefill-token-threshold 5 -tp 2",
      "vllm serve m --ssl-keyfile /etc/key.pem --enable-prompt-tokens-details --port 8000",
      "vllm-htop --token-file https://gpu1=token.txt http://gpu1:8000",
      "VLLM::EngineCore_DP0",
      "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8000 -container-port 80",
      "",
    ]
  ) {
    assertEquals(maskSecrets(commandLine), commandLine);
  }
});

Deno.test("maskSecrets() masks whatever follows --api-key, wherever it stands", () => {
  const secret = fc.stringMatching(/^[A-Za-z0-9+/_.:@=%]{4,40}$/)
    .map((text) => `Q${text}`);
  const others = fc.array(fc.constantFrom("--port", "80", "-tp", "x=y", "serve", "a:b", "{}"));
  fc.assert(
    fc.property(others, secret, others, fc.constantFrom(" ", "="), (before, text, after, sign) => {
      const line = [...before, `--api-key${sign}${text}`, ...after].join(" ");
      assert(!maskSecrets(line).includes(text), maskSecrets(line));
    }),
  );
});
