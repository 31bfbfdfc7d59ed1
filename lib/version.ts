/**
 * The version, from `deno.json`.
 * @module
 */

import configuration from "../deno.json" with { type: "json" };

export const VERSION: string = configuration.version;
