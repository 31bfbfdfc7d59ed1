/**
 * vllm-htop: htop for vLLM inference servers.
 *
 * Run it as a program; it exports nothing. Arguments go in, an exit code comes
 * out, and everything between is in `lib/`.
 *
 * @example
 * ```sh
 * deno run -A jsr:@vllm-htop/vllm-htop --url localhost:8000
 * ```
 *
 * @module
 */

import { runApp } from "./lib/app.ts";
import { createDenoPlatform } from "./lib/platform_deno.ts";

if (import.meta.main) Deno.exit(await runApp(createDenoPlatform(), Deno.args));
