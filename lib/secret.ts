/**
 * Text that must not be shown.
 *
 * Layer 0, pure. A secret prints as `***` however it is printed: in a template,
 * in JSON, by an inspector. Only `revealSecret` gives the text, so that each
 * place that needs it can be found by that name.
 *
 * @module
 */

/** A text that prints as `***`. */
export interface Secret {
  readonly toString: () => string;
  readonly toJSON: () => string;
}

const MASK = "***";
const texts = new WeakMap<Secret, string>();

/** Wraps a text so that it prints as `***`. */
export function createSecret(text: string): Secret {
  const secret: Secret = Object.freeze({
    toString: () => MASK,
    toJSON: () => MASK,
    [Symbol.for("Deno.customInspect")]: () => MASK,
  });
  texts.set(secret, text);
  return secret;
}

/** The text behind a secret. For the request that needs it, and nothing else. */
export function revealSecret(secret: Secret): string {
  return texts.get(secret) ?? "";
}
