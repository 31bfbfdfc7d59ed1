/**
 * The kinds of server that `--engine` forces: of one endpoint (`URL=NAME`), or of all that the user
 * names. A scan recognises servers itself.
 * @module
 */

import { splitScope } from "./cli_credentials.ts";
import type { OptionValues } from "./cli_option_table.ts";
import { type Problem, refuse } from "./cli_values.ts";
import { quoteUrl, type TypedEndpoint } from "./endpoint.ts";
import { findKindName, KIND_NAMES } from "./scrape_identify.ts";

/** By endpoint key; `null` for all others. Only arguments must name watched endpoints. */
export function resolveEngines(
  { engine, targets }: OptionValues,
  endpoints: readonly TypedEndpoint[],
  problems: Problem[],
): ReadonlyMap<string | null, string> {
  const keys = new Set(endpoints.map((typed) => typed.endpoint.key));
  const hasTargets = keys.size > 0 || targets.length > 0;
  const engines = new Map<string | null, string>();
  for (const { value, source } of engine) {
    const complain = (words: string): void => {
      problems.push(refuse(source, words, quoteUrl(value)));
    };
    const scoped = splitScope(value, ({ endpoint }) => keys.has(endpoint.key));
    const isForOthers = scoped === null || !hasTargets;
    if (isForOthers && source.level !== "option") continue;
    const name = findKindName(scoped?.value ?? "");
    if (!hasTargets) complain("needs a URL: a scan recognises servers itself");
    else if (scoped === null) complain("names a URL that is not watched");
    else if (name === null) complain(`is no kind of server: use ${KIND_NAMES.join(", ")}`);
    else if (engines.has(scoped.endpointKey)) complain("is the second kind for the same endpoints");
    else engines.set(scoped.endpointKey, name);
  }
  return engines;
}
