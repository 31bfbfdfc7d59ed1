/**
 * How often the rules cry wolf, and how soon they name a replica that is slow:
 * prints the tables of `docs/rules.md`.
 *
 * deno task simulate [runs]
 *
 * `runs` (1000 unless given) are spread over groups of 2, 4 and 8 replicas that
 * get 1 to 50 requests per second, of lengths that are even or heavy-tailed
 * and arrive in bursts. Each is watched for ten minutes, polled every 2 s. As
 * many again have a replica that becomes 1.5, 2 or 3 times slower after two
 * minutes, and are watched for three more.
 *
 * @module
 */

import { SERVER_RULE_IDS } from "../lib/rules_table.ts";
import type { FleetOptions } from "./fixtures/simulated_fleets.ts";
import { isAboutSlowness, type Raised, type Watched, watchFleet } from "./fixtures/watching.ts";

export const SIZES = [2, 4, 8] as const;
export const RATES = [1, 5, 20, 50] as const;
export const FACTORS = [1.5, 2, 3] as const;
export const TRAFFIC = {
  even: { lengthSpread: 0.6, burst: 1 },
  uneven: { lengthSpread: 1.2, burst: 3 },
} as const;
export type Traffic = keyof typeof TRAFFIC;

const FAIR_SECONDS = 600;
const SLOW_FROM = 120;
const SLOW_SECONDS = 300;
const SECONDS_PER_DAY = 86_400;
/** How soon a slow replica is to be named. */
export const SOON = 60;

/** One kind of group. */
export interface Cell {
  readonly traffic: Traffic;
  readonly replicas: number;
  readonly requestsPerSecond: number;
}

/** All kinds of groups. */
export const CELLS: readonly Cell[] = (Object.keys(TRAFFIC) as Traffic[]).flatMap((traffic) =>
  SIZES.flatMap((replicas) =>
    RATES.map((requestsPerSecond) => ({ traffic, replicas, requestsPerSecond }))
  )
);

function describeFleet(cell: Cell, seed: number): FleetOptions {
  const { replicas, requestsPerSecond, traffic } = cell;
  return { seed, replicas, requestsPerSecond, ...TRAFFIC[traffic] };
}

/** One fair group, watched for ten minutes. */
export function watchFair(cell: Cell, seed: number): ReturnType<typeof watchFleet> {
  return watchFleet({ ...describeFleet(cell, seed), duration: FAIR_SECONDS });
}

/** What came of a replica that became slow. */
export interface Naming {
  /** Seconds from then until it was named; `Infinity` when it was not. */
  readonly seconds: number;
  /** Accusations of others, of any rule that degrades the verdict, from then on. */
  readonly wrong: readonly Raised[];
  /** Those before. */
  readonly before: number;
}

function readNaming({ raised }: Watched, replica: number): Naming {
  const after = raised.filter(({ at }) => at > SLOW_FROM);
  const named = after.find((one) => one.replica === replica && isAboutSlowness(one));
  return {
    seconds: named === undefined ? Infinity : named.at - SLOW_FROM,
    // What a server says of itself is so, and accuses it of nothing.
    wrong: after.filter((one) => one.replica !== replica && !isOfOneServer(one)),
    before: raised.length - after.length,
  };
}

/** One group in which a replica becomes slow. */
export function watchSlow(
  cell: Cell,
  options: { readonly seed: number; readonly factor: number },
): { readonly ours: Naming; readonly seed: Naming } {
  const { seed, factor } = options;
  const replica = seed % cell.replicas;
  const watched = watchFleet({
    ...describeFleet(cell, seed),
    duration: SLOW_SECONDS,
    slow: { replica, factor, from: SLOW_FROM },
  });
  return { ours: readNaming(watched.ours, replica), seed: readNaming(watched.seed, replica) };
}

/** HOT for latencies compares with others. */
function isOfOneServer({ rule }: Raised): boolean {
  return rule === "hot by gauges" || (rule !== "hot" && SERVER_RULE_IDS.some((id) => id === rule));
}

function readQuantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)];
}

function formatSeconds(seconds: number): string {
  return Number.isFinite(seconds) ? `${seconds} s` : "later";
}

function formatShare(part: number, whole: number): string {
  return `${(100 * part / whole).toFixed(part === 0 || part === whole ? 0 : 1)} %`;
}

function printTable(rows: readonly (readonly string[])[]): void {
  const [head, ...body] = rows;
  const lines = [head, head.map(() => "---"), ...body];
  console.log(lines.map((cells) => `| ${cells.join(" | ")} |`).join("\n") + "\n");
}

/** `hot` is for latencies. */
const RULES_OF_BOTH: readonly string[] = [
  ...["hot", "slow_prefill", "slow_decode", "sticky_skew", "running_skew", "kv_skew"],
  "token_share",
];
const OWN_RULES = ["hot by gauges", ...SERVER_RULE_IDS.filter((id) => id !== "hot")];

function simulateFair(runs: number): void {
  const results = CELLS.map((cell, i) => {
    const count = Math.round(runs / CELLS.length);
    return {
      cell,
      watched: Array.from({ length: count }, (_, run) => watchFair(cell, 1 + run + 1000 * i)),
    };
  });
  const all = results.flatMap(({ watched }) => watched);
  const days = all.length * FAIR_SECONDS / SECONDS_PER_DAY;
  console.log(`${all.length} fair groups, ${days.toFixed(1)} days of watching in all.\n`);
  const count = (which: "ours" | "seed", rule: string): number =>
    all.reduce((sum, one) => sum + one[which].raised.filter((r) => r.rule === rule).length, 0);
  printTable([
    ["False alarms per day", "vllm-htop 0.5.0's rule", "ours"],
    ...RULES_OF_BOTH.map((rule) => [
      rule,
      (count("seed", rule) / days).toFixed(0),
      (count("ours", rule) / days).toFixed(2),
    ]),
    ...OWN_RULES.map((rule) => [rule, "", (count("ours", rule) / days).toFixed(2)]),
    [
      "all together",
      (all.reduce((sum, { seed }) => sum + seed.raised.length, 0) / days).toFixed(0),
      (all.reduce((sum, { ours }) => sum + ours.raised.length, 0) / days).toFixed(2),
    ],
  ]);
  printTable([
    ["Polls that are CRITICAL or DEGRADED", "vllm-htop 0.5.0", "ours"],
    ...(Object.keys(TRAFFIC) as Traffic[]).flatMap((traffic) =>
      RATES.map((rate) => {
        const some = results.filter(({ cell }) =>
          cell.traffic === traffic && cell.requestsPerSecond === rate
        ).flatMap(({ watched }) => watched);
        const share = (which: "ours" | "seed"): string =>
          formatShare(
            some.reduce((sum, one) => sum + one[which].unhealthy, 0),
            some.reduce((sum, one) => sum + one[which].polls, 0),
          );
        return [`${traffic}, ${rate} req/s`, share("seed"), share("ours")];
      })
    ),
  ]);
  const loud = results.flatMap(({ cell, watched }) => {
    const raised = watched.flatMap(({ ours }) => ours.raised);
    return raised.length === 0 ? [] : [
      `${cell.traffic}, ${cell.replicas} replicas, ${cell.requestsPerSecond} req/s: ` +
      raised.map(({ rule }) => rule).join(" "),
    ];
  });
  console.log(loud.length === 0 ? "Ours: none.\n" : `Ours:\n${loud.join("\n")}\n`);
}

/** The rows of the second table: where little comes in, how many replicas share it decides. */
const SLOW_ROWS: readonly { readonly name: string; readonly cells: readonly Cell[] }[] =
  (Object.keys(TRAFFIC) as Traffic[]).flatMap((traffic) =>
    RATES.flatMap((rate) => {
      const cells = CELLS.filter((cell) =>
        cell.traffic === traffic && cell.requestsPerSecond === rate
      );
      const name = `${traffic}, ${rate} req/s`;
      return rate > RATES[0]
        ? [{ name, cells }]
        : cells.map((cell) => ({ name: `${name}, ${cell.replicas} replicas`, cells: [cell] }));
    })
  );

function simulateSlow(runs: number): void {
  const perRow = Math.round(runs / FACTORS.length / SLOW_ROWS.length);
  const rows = FACTORS.flatMap((factor, f) =>
    SLOW_ROWS.map(({ name, cells }, row) => {
      const namings = Array.from({ length: perRow }, (_, run) =>
        watchSlow(cells[run % cells.length], { seed: 1 + run + 1000 * (row + 100 * f), factor }));
      const seconds = namings.map(({ ours }) =>
        ours.seconds
      );
      const soon = seconds.filter((value) => value <= SOON).length;
      const wrong = namings.filter(({ ours }) => ours.wrong.length > 0).length;
      const seedWrong = namings.filter(({ seed }) => seed.wrong.length > 0).length;
      return [
        ...[`${factor}×`, name, formatShare(soon, namings.length)],
        formatSeconds(readQuantile(seconds, 0.5)),
        formatSeconds(readQuantile(seconds, 0.95)),
        ...[formatShare(wrong, namings.length), formatShare(seedWrong, namings.length)],
      ];
    })
  );
  printTable([
    [
      ...["Slower by", "Traffic of the group", `Named within ${SOON} s`, "Median", "95 %"],
      ...["Others flagged", "by vllm-htop 0.5.0"],
    ],
    ...rows,
  ]);
}

if (import.meta.main) {
  const runs = Number(Deno.args[0] ?? 1000);
  simulateFair(runs);
  simulateSlow(runs);
}
