import { assert, assertEquals, assertThrows } from "@std/assert";
import { createSecret, revealSecret } from "../lib/secret.ts";

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

Deno.test("createSecret() gives what cannot be changed", () => {
  const secret = createSecret(TEXT);
  assertThrows(() => Object.assign(secret, { toString: () => TEXT }), TypeError);
});

Deno.test("revealSecret() gives the text, and nothing for what is no secret of ours", () => {
  assertEquals(revealSecret(createSecret(TEXT)), TEXT);
  assertEquals(revealSecret(createSecret("")), "");
  assertEquals(revealSecret({ toString: () => TEXT, toJSON: () => TEXT }), "");
});
