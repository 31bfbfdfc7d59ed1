/**
 * Compares two recordings, or two spans of one: plays each as fast as possible, and prints what
 * differs.
 * @module
 */

import { createViewOptions } from "./app_output.ts";
import { openReplay } from "./app_replay.ts";
import { print } from "./app_print.ts";
import type { Options } from "./cli_options.ts";
import type { RecordedSpan } from "./cli_recording.ts";
import type { Pricing } from "./cost.ts";
import type { DiscoveryError } from "./discovery.ts";
import type { Platform } from "./platform.ts";
import { serializeReport } from "./report.ts";
import { writeComparison } from "./report_compare.ts";
import { addRound, compareSpans, startWatchedSpan, type WatchedSpan } from "./state_compare.ts";
import { VERSION } from "./version.ts";
import { renderComparison, renderMarkdown } from "./view_compare.ts";
import { convertSigns } from "./view_signs.ts";

async function watchSpan(
  platform: Platform,
  options: Options,
  { span: { path, from, to }, pricing }: {
    readonly span: RecordedSpan;
    readonly pricing: Pricing;
  },
): Promise<WatchedSpan | DiscoveryError> {
  const wanted = { replayFile: path, replayFrom: from, replayTo: to, replaySpeed: null };
  const replay = await openReplay(platform, { ...options, ...wanted }, pricing);
  if ("exitCode" in replay) return replay;
  const { session, span, play, close } = replay;
  try {
    const { utcOffset, pricing: { currency } } = session.state;
    const watched = startWatchedSpan({ path, ...span, utcOffset, currency });
    await play(() => addRound(watched, session.state));
    return watched;
  } finally {
    close();
  }
}

/** The exit code says only whether both could be read. */
export async function runCompare(
  platform: Platform,
  options: Options,
  pricing: Pricing,
): Promise<number | DiscoveryError> {
  const [first, second] = options.comparedSpans;
  const a = await watchSpan(platform, options, { span: first, pricing });
  if ("exitCode" in a) return a;
  const b = await watchSpan(platform, options, { span: second, pricing });
  if ("exitCode" in b) return b;
  const comparison = compareSpans(a, b);
  const { output } = options;
  // Amounts in two currencies cannot be compared.
  const currency = a.currency === b.currency ? a.currency : "";
  if (output === "json") {
    return await print(platform, [serializeReport(writeComparison(comparison, VERSION))]);
  }
  if (output === "markdown") return await print(platform, renderMarkdown(comparison, currency));
  const view = createViewOptions(platform, options);
  const lines = renderComparison(comparison, currency).map((line) => convertSigns(line, view));
  return await print(platform, lines);
}
