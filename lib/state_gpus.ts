/**
 * What is known of this machine's GPUs, and how each sample changes it.
 *
 * The newest report, why there is none, the last minutes of each
 * GPU, and the events of those that fall behind: an event needs two samples in a
 * row that say so, as a clock may be low for a moment between two batches. The
 * report before a failure is kept, for what does not change with a sample: which
 * GPUs there are, and what they cost. Whose memory it is depends on the
 * endpoints, and is `state_fleet`' matter.
 *
 * @module
 */

import type { GpuFailure, GpuOutlier, GpuReport } from "./gpu_model.ts";
import { appendGpuReport, findGpuOutliers, type GpuSeries } from "./gpu_outliers.ts";
import type { ProcessInfo } from "./host_processes.ts";
import { EMPTY_LOG, type EventLog, type EventSubject, recordEvents } from "./rules_alerts.ts";

/** What is known of the machine's processes, for telling whose memory it is. */
export interface MachineProcesses {
  readonly processes: ReadonlyMap<number, ProcessInfo>;
  /** Port -> the processes that listen on it, as far as they may be seen. */
  readonly listeners: ReadonlyMap<number, readonly number[]>;
}

/** What is known of this machine's GPUs. */
export interface GpuState {
  /** What was said last; `null` before the first sample that succeeded. */
  readonly report: GpuReport | null;
  /** Why the newest sample failed; `null` where it did not. */
  readonly failure: GpuFailure | null;
  /** By the indexes of the GPUs. */
  readonly trends: ReadonlyMap<number, GpuSeries>;
  readonly machine: MachineProcesses;
  /** GPUs that fall behind by the newest sample. */
  readonly outliers: readonly GpuOutlier[];
  readonly events: EventLog;
}

/** Nobody has looked yet. */
export const NO_GPUS: GpuState = {
  report: null,
  failure: null,
  trends: new Map(),
  machine: { processes: new Map(), listeners: new Map() },
  outliers: [],
  events: EMPTY_LOG,
};

function createSubject(gpuIndex: number): EventSubject {
  const name = `GPU ${gpuIndex}`;
  return { key: name, endpointKey: "", address: name, name, modelName: null, engine: null };
}

/** What is known after one more report. */
export function acceptGpuReport(
  known: GpuState,
  report: GpuReport,
  machine: MachineProcesses,
): GpuState {
  const outliers = findGpuOutliers(report.gpus);
  const isConfirmed = ({ gpuIndex }: GpuOutlier): boolean =>
    known.outliers.some((before) => before.gpuIndex === gpuIndex);
  const lasting = outliers.filter(isConfirmed).map((outlier) => ({
    kind: "GPU" as const,
    subject: createSubject(outlier.gpuIndex),
    outlier,
  }));
  const moment = { at: report.sampledAt, epoch: report.sampledAtEpoch };
  return {
    report,
    failure: null,
    trends: appendGpuReport(known.trends, report),
    machine,
    outliers,
    events: recordEvents(known.events, { ...moment, lasting, instants: [] }),
  };
}

/** What is known after a sample that failed. What lasted goes on, as nobody knows better. */
export function acceptGpuFailure(known: GpuState, failure: GpuFailure): GpuState {
  return { ...known, failure, trends: appendGpuReport(known.trends, null), outliers: [] };
}
