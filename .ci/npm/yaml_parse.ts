/**
 * `@std/yaml/parse` over `js-yaml`, from which it stems.
 *
 * @module
 */

import { FAILSAFE_SCHEMA, load } from "npm:js-yaml@4.1.0";

/** One document; `failsafe` leaves every scalar a text. Throws if it is not YAML. */
export function parse(text: string, _options: { readonly schema: "failsafe" }): unknown {
  return load(text, { schema: FAILSAFE_SCHEMA });
}
