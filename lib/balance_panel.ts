/**
 * The panel of how replicas compare: which differ, in what, and how many were
 * compared.
 *
 * Layer 4, pure. A group in which all are alike is one line, and so are all
 * such groups together. What a rule has found is shown when it has lasted long
 * enough to count.
 *
 * @module
 */

import { formatDuration, formatPercent, formatRange } from "./format.ts";
import type { Paint } from "./frame.ts";
import { describeOutlier } from "./gpu_view.ts";
import { describeAlarm, describeRule } from "./judgement_view.ts";
import type { ModelGroup, Overview, Row } from "./overview.ts";
import { createFixedPanel, layOut, type Panel } from "./panel.ts";
import { isPresent, type Reading } from "./reading.ts";
import type { State } from "./state.ts";

/** The range of ratios; nothing where there is no figure. */
function describeRange(readings: readonly Reading[]): string {
  const known = readings.flatMap((reading) => isPresent(reading) ? [reading.value] : []);
  if (known.length === 0) return "";
  return formatRange({ min: Math.min(...known), max: Math.max(...known) }, formatPercent);
}

/** Replicas of the group that were compared over a minute, and not of the last poll alone. */
function countCompared({ checks }: ModelGroup): number {
  const ofMinute = checks.map(({ checks: rules }) =>
    rules.filter(({ rule }) => rule !== "request_share").map(({ compared }) => compared)
  );
  // One alone was compared with nobody.
  const counts = ofMinute.map((compared) => Math.max(0, ...compared)).filter((n) => n > 1);
  return counts.reduce((sum, count) => sum + count, 0);
}

function describeHealthy(groups: readonly ModelGroup[], rows: readonly Row[]): string {
  const compared = groups.reduce((sum, group) => sum + countCompared(group), 0);
  if (compared === 0) return "nothing to compare yet";
  const names = new Set(groups.map(({ modelName }) => modelName));
  const own = rows.filter(({ replica }) => names.has(replica?.sample.modelName ?? ""));
  const shares = describeRange(own.map(({ requestShare }) => requestShare));
  const usage = describeRange(own.map(({ figures }) => figures.kvCache.maxRatio));
  const said = `${compared} compared, no skew beyond chance`;
  // Figures of different models are no range of anything.
  if (groups.length > 1) return `${groups.length} groups   ${said}`;
  return [
    groups[0].label,
    said,
    shares === "" ? "" : `requests@1m ${shares}`,
    usage === "" ? "" : `KV ${usage}`,
  ].filter((text) => text !== "").join("   ");
}

/** Which replicas differ from their peers. */
export function createBalancePanel(overview: Overview, state: State, paint: Paint): Panel {
  const groups = overview.groups.filter(({ figures }) => figures.replicaCount > 1);
  const isOf = (group: ModelGroup, row: Row): boolean =>
    row.replica?.sample.modelName === group.modelName;
  const accused = overview.rows.filter(({ alarms, status }) =>
    status !== "DOWN" && alarms.length > 0
  );
  const findings = accused.flatMap(({ place, alarms }) =>
    alarms.map((alarm) => [
      paint(place, "name"),
      paint(describeRule(alarm.newest.rule), "warn"),
      `since ${formatDuration(state.now - alarm.since)}`,
      describeAlarm(alarm, state),
    ])
  );
  const slowGpus = accused.flatMap(({ place, gpus }) =>
    state.gpus.outliers.filter(({ gpuIndex }) => gpus.some(({ index }) => index === gpuIndex))
      .map((outlier) =>
        `${paint(place, "name")} uses GPU ${outlier.gpuIndex}, which is ${describeOutlier(outlier)}`
      )
  );
  const healthy = groups.filter((group) => !accused.some((row) => isOf(group, row)));
  const rest = groups.length === 0
    ? "no two replicas to compare"
    : healthy.length === 0
    ? ""
    : describeHealthy(healthy, overview.rows);
  const lines = [
    ...(findings.length === 0 ? [] : layOut(findings, "left")),
    ...slowGpus,
    ...(rest === "" ? [] : [rest]),
  ];
  const panel = createFixedPanel({
    id: "balance",
    title: "BALANCE",
    lines,
    summary: accused.length > 0
      ? accused.map(({ place, alarms }) => `${place} ${describeRule(alarms[0].newest.rule)}`)
        .join(", ")
      : rest,
  });
  // Where all are alike, the line says all.
  return findings.length === 0 ? { ...panel, minLines: 0 } : panel;
}
