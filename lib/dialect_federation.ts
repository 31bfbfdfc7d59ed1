/**
 * A body of Prometheus' `/federate`: series of many servers, each sample with its own time.
 * @module
 */

import { parseExposition } from "./prometheus.ts";
import { type EpochSeconds, MILLISECONDS_PER_SECOND } from "./units.ts";

interface FederatedSeries {
  /** Labels, with `__name__`. */
  readonly metric: Readonly<Record<string, string>>;
  /** The value as text. */
  readonly values: readonly [readonly [EpochSeconds, string]];
}

const NEWLINE = 10;

/** Comments do not count: all is untyped. Samples without a time are left out. */
export function parseFederation(body: Uint8Array): readonly FederatedSeries[] {
  const series: FederatedSeries[] = [];
  const decoder = new TextDecoder();
  parseExposition(body, {
    onSample: (name, labels, _value, valueStart) => {
      const end = body.indexOf(NEWLINE, valueStart);
      const line = decoder.decode(body.subarray(valueStart, end < 0 ? body.length : end));
      const [value, time] = line.trim().split(/\s+/);
      if (time === undefined) return;
      const metric: Record<string, string> = { __name__: name };
      for (let i = 0; i < labels.length; i += 2) metric[labels[i]] = labels[i + 1];
      series.push({ metric, values: [[Number(time) / MILLISECONDS_PER_SECOND, value]] });
    },
  });
  return series;
}
