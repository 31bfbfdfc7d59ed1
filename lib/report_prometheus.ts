/**
 * State -> Prometheus text (version 0.0.4) of what is computed here and no server exports: quantiles of
 * the last minute with their bounds, shares, states, the verdict, service levels, cost. A figure
 * that is n/a, or only a lower bound, has no sample. A quantile is a pair: it lies between both, which
 * are equal unless it is outside the buckets.
 * @module
 */

import { type Figures, LATENCY_KEYS } from "./model.ts";
import { isPresent, mapReading, present, type Reading } from "./reading.ts";
import { isCounted, VERDICT_LEVELS } from "./rules_status.ts";
import type { State } from "./state.ts";
import type { ModelGroup, Row } from "./state_fleet.ts";
import type { Attainment, ObjectiveFigures } from "./stats_slo.ts";

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [labels: Labels, value: Reading];
type Family = readonly [name: string, help: string, samples: readonly Sample[]];

const PREFIX = "vllm_htop_";
const PERCENTILES = ["p50", "p95", "p99"] as const;
const ROW_STATES = ["up", "loading", "stale", "down", "pending"] as const;
const WINDOWS = {
  last_minute: "lastMinute",
  session: "session",
  since_start: "sinceStart",
} as const;

/** A replica or a model, whose figures are current. */
interface Subject {
  readonly labels: Labels;
  readonly figures: Figures;
  readonly serviceLevels: readonly ObjectiveFigures[];
}

function labelRow({ name, state, replica }: Row): Labels {
  const { modelName = "", engine = "" } = replica?.sample ?? {};
  return { replica: name, address: state.endpoint.address, model_name: modelName, engine };
}

function labelGroup({ label, modelName }: ModelGroup): Labels {
  return { group: label, model_name: modelName };
}

function listLatencies(subjects: readonly Subject[], side: "min" | "max"): readonly Sample[] {
  const open = side === "min" ? ["<", 0] as const : [">", Infinity] as const;
  return subjects.flatMap(({ labels, figures: { lastMinute } }) =>
    LATENCY_KEYS.flatMap((latency) =>
      PERCENTILES.map((key): Sample => [
        { ...labels, latency, percentile: key.slice(1) },
        mapReading(
          lastMinute.latency[latency][key],
          ({ value, bound }) => bound === open[0] ? open[1] : value,
        ),
      ])
    )
  );
}

function listLatencyFigures(
  subjects: readonly Subject[],
  key: "mean" | "samples",
): readonly Sample[] {
  return subjects.flatMap(({ labels, figures: { lastMinute } }) =>
    LATENCY_KEYS.map((
      latency,
    ): Sample => [{ ...labels, latency }, lastMinute.latency[latency][key]])
  );
}

function listAttainments(
  subjects: readonly Pick<Subject, "labels" | "serviceLevels">[],
  read: (attainment: Attainment) => Reading,
): readonly Sample[] {
  return subjects.flatMap(({ labels, serviceLevels }) =>
    serviceLevels.flatMap((level) =>
      Object.entries(WINDOWS).map(([window, key]): Sample => {
        const { model, latency, limit, target } = level.objective;
        const objective = { limit_seconds: String(limit), target_ratio: String(target) };
        const of = { ...labels, latency, ...objective, objective_model: model ?? "", window };
        return [of, read(level[key])];
      })
    )
  );
}

/** The same families for replicas and for models, whose buckets are merged. */
function listSubjectFamilies(
  kind: "replica" | "model",
  subjects: readonly Subject[],
): readonly Family[] {
  const minute = "in the last minute";
  const within = "Share of requests within the limit of a service level";
  return [
    [
      `${kind}_latency_min_seconds`,
      `Percentile ${minute}, at least.`,
      listLatencies(subjects, "min"),
    ],
    [
      `${kind}_latency_max_seconds`,
      `Percentile ${minute}, at most.`,
      listLatencies(subjects, "max"),
    ],
    [`${kind}_latency_mean_seconds`, `Mean ${minute}.`, listLatencyFigures(subjects, "mean")],
    [`${kind}_latency_samples`, `Observations ${minute}.`, listLatencyFigures(subjects, "samples")],
    [
      `${kind}_slo_attainment_min_ratio`,
      `${within}, at least.`,
      listAttainments(subjects, ({ ratio }) => mapReading(ratio, ({ min }) => min)),
    ],
    [
      `${kind}_slo_attainment_max_ratio`,
      `${within}, at most.`,
      listAttainments(subjects, ({ ratio }) => mapReading(ratio, ({ max }) => max)),
    ],
    [
      `${kind}_slo_samples`,
      "Observations of a service level.",
      listAttainments(subjects, ({ samples }) => samples),
    ],
  ];
}

/** Of each replica and rule, how many causes there are. */
function listCauses({ fleet: { rows, verdict: { causes } } }: State): readonly Sample[] {
  const samples = new Map<string, Sample>();
  for (const { key, signal, level } of causes) {
    const concerned = rows.filter((row) => row.key === key || row.state.endpoint.key === key);
    for (const row of concerned) {
      const identity = [row.key, signal, level].join("\n");
      const count = samples.get(identity)?.[1].value ?? 0;
      samples.set(identity, [{ ...labelRow(row), signal, level }, present(count + 1)]);
    }
  }
  return [...samples.values()];
}

function listFleetFamilies(state: State, version: string): readonly Family[] {
  const { fleet: { verdict, counts } } = state;
  return [
    ["info", "Version of the program.", [[{ version }, present(1)]]],
    [
      "verdict",
      "Whether all is well: 1 for the verdict in force.",
      VERDICT_LEVELS.map((level) => [{ verdict: level }, present(Number(level === verdict.level))]),
    ],
    ["causes", "Why it is not HEALTHY, by replica and rule.", listCauses(state)],
    [
      "replicas",
      "Replicas by state of their last scrape.",
      ROW_STATES.map((name) => [{ state: name }, present(counts[name])]),
    ],
  ];
}

function listRowFamilies({ fleet: { rows } }: State): readonly Family[] {
  const current = rows.filter(({ status }) => isCounted(status));
  return [
    [
      "replica_status",
      "1 for the status on the screen.",
      rows.map((row) => [{ ...labelRow(row), status: row.status }, present(1)]),
    ],
    [
      "replica_scrape_age_seconds",
      "Time since the last good scrape.",
      rows.flatMap((row): Sample[] => row.age === null ? [] : [[labelRow(row), present(row.age)]]),
    ],
    [
      "replica_request_share_ratio",
      "Share of the finished requests of its model in the last minute.",
      current.map((row) => [labelRow(row), row.requestShare]),
    ],
    [
      "replica_limited_by",
      "1 for what limits it now.",
      current.map((row) => [{ ...labelRow(row), limit: row.limit.kind }, present(1)]),
    ],
  ];
}

function listCostFamilies({ bill, fleet: { energy } }: State): readonly Family[] {
  const { compute, rate, groups, isPriced, isAbout } = bill;
  const of = (value: Reading): readonly Sample[] => [[{}, value]];
  return [
    ["compute_usd_per_hour", "Cost of the GPUs.", of(compute.usdPerHour)],
    [
      "compute_price_is_hint",
      "1 if a built-in or estimated price is in the cost.",
      isPriced ? of(present(Number(isAbout))) : [],
    ],
    ["tokens_usd_per_hour", "Worth of the tokens, by the last minute.", of(rate.tokens.perHour)],
    ["margin_ratio", "Worth of the tokens divided by the cost of the GPUs.", of(rate.marginRatio)],
    ["usd_per_million_tokens", "Cost of a million tokens.", of(rate.usdPerMillionTokens)],
    [
      "usd_per_million_output_tokens",
      "Cost of a million output tokens.",
      of(rate.usdPerMillionOutputTokens),
    ],
    [
      "model_compute_usd_per_hour",
      "Cost of the GPUs of a model.",
      groups.map(({ label, modelName, usdPerHour }) => [
        { group: label, model_name: modelName },
        usdPerHour,
      ]),
    ],
    [
      "output_token_energy_joules",
      "Energy of an output token, of servers that have their GPUs to themselves.",
      of(energy.total.joulesPerToken),
    ],
  ];
}

function escapeLabel(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function writeSample(name: string, [labels, reading]: Sample): string {
  if (!isPresent(reading) || reading.partial === true || Number.isNaN(reading.value)) return "";
  const pairs = Object.entries(labels).filter(([, value]) => value !== "")
    .map(([key, value]) => `${key}="${escapeLabel(value)}"`);
  const value = String(reading.value).replace("Infinity", "+Inf");
  return `${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}\n`;
}

/** Families without a sample are left out. */
function writeFamily([bare, help, samples]: Family): string {
  const name = PREFIX + bare;
  const lines = samples.map((sample) => writeSample(name, sample)).join("");
  return lines === "" ? "" : `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines}`;
}

/** All are gauges without timestamps. */
export function writeExposition(state: State, version: string): string {
  const { fleet: { rows, groups } } = state;
  const current = rows.filter(({ status }) => isCounted(status));
  return [
    ...listFleetFamilies(state, version),
    ...listRowFamilies(state),
    ...listSubjectFamilies("replica", current.map((row) => ({ ...row, labels: labelRow(row) }))),
    ...listSubjectFamilies(
      "model",
      groups.map((group) => ({ ...group, labels: labelGroup(group) })),
    ),
    ...listCostFamilies(state),
  ].map(writeFamily).join("");
}
