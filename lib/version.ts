/**
 * The version of the program, as `deno.json` says it.
 *
 * One place: releases change `deno.json` alone.
 *
 * @module
 */

import configuration from "../deno.json" with { type: "json" };

/** The version, as in `0.1.0` (semver.org). */
export const VERSION: string = configuration.version;
