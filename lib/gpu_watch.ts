/**
 * The watching of this machine's GPUs, beside the polling of its servers.
 *
 * Layer 6, effects: through the sampler and the process lister. A sample at each interval,
 * one after the other; every outcome goes to `update`, so that a driver that
 * hangs holds up nobody. Nothing is started where all servers are elsewhere,
 * unless the user asks for it. The processes of the machine are listed anew when
 * other ones use the GPUs, and now and then: they take on their titles after
 * their start.
 *
 * @module
 */

import { createGpuSampler, type GpuSampler, isGpuFailure } from "./gpu_sampler.ts";
import type { GpuFailure, GpuReport } from "./gpu_model.ts";
import { listLocal } from "./gpu_owners.ts";
import { type MachineProcesses, NO_GPUS } from "./gpu_state.ts";
import { dispatch, type Session } from "./session.ts";
import type { Seconds } from "./units.ts";

/** How long what is known of the machine's processes is good for. */
const LISTING_SPAN: Seconds = 30;

/** Samples come no closer than this: the driver's own period is about as long. */
const MIN_INTERVAL: Seconds = 1;

/** How much longer than the scrapes a single picture waits for the GPUs, from its start. */
const ONCE_LIMIT: Seconds = 2;

/** Watches the GPUs of a session. */
export interface GpuWatch {
  readonly session: Session;
  readonly sampler: GpuSampler;
  /** The processes as they were listed last, for which GPU processes and when; `null` before. */
  listed: {
    readonly machine: MachineProcesses;
    readonly pids: string;
    readonly at: Seconds;
  } | null;
}

/** Starts nothing until it is asked. `close` ends what runs. */
export function createGpuWatch(session: Session): GpuWatch {
  return { session, sampler: createGpuSampler(session.platform), listed: null };
}

/** Whether GPUs are to be looked at: those of a machine on which a server is watched. */
function wantsGpus({ options, state }: Session): boolean {
  if (options.gpuWatch !== "auto") return options.gpuWatch === "always";
  return listLocal(state).length > 0;
}

async function listMachine({ listProcesses }: Session): Promise<MachineProcesses> {
  if (listProcesses === null) return NO_GPUS.machine;
  const { processes, listening } = await listProcesses();
  return {
    processes,
    listeners: new Map(listening.map(({ port, ownerPids }) => [port, ownerPids])),
  };
}

/** What is known of the processes, anew where it is too old for these. */
async function readMachine(watch: GpuWatch, { processes }: GpuReport): Promise<MachineProcesses> {
  const { session, listed } = watch;
  const pids = [...new Set((processes.value ?? []).map(({ pid }) => pid))].sort().join(" ");
  const now = session.platform.monotonicSeconds();
  if (listed !== null && listed.pids === pids && now - listed.at < LISTING_SPAN) {
    return listed.machine;
  }
  if (pids === "" || listLocal(session.state).length === 0) return NO_GPUS.machine;
  const machine = await listMachine(session);
  watch.listed = { machine, pids, at: now };
  return machine;
}

/** One sample, and what follows from it. */
export async function sampleGpus(watch: GpuWatch, over?: AbortSignal): Promise<void> {
  const { session, sampler } = watch;
  const { stop } = session;
  if (!wantsGpus(session)) return;
  const signal = over === undefined ? stop.signal : AbortSignal.any([stop.signal, over]);
  const outcome = await sampler.sample(signal);
  if (stop.signal.aborted) return;
  if (isGpuFailure(outcome)) {
    // Nobody but a picture that cannot wait any longer gives a sample up and goes on.
    const failure: GpuFailure = outcome.kind === "aborted"
      ? { ...outcome, kind: "timeout" }
      : outcome;
    // That there is still no GPU here is nothing new.
    const isKnown = session.state.gpus.report === null && session.state.gpus.failure === failure;
    if (!isKnown) dispatch(session, { kind: "gpus_failed", failure });
    return;
  }
  const machine = await readMachine(watch, outcome);
  if (!stop.signal.aborted) dispatch(session, { kind: "gpus_sampled", report: outcome, machine });
}

/** Samples at the interval until the session ends, and for no more than half of the time: a slow driver is to have a rest. */
export async function watchGpus(session: Session): Promise<void> {
  if (session.options.gpuWatch === "never") return;
  const { platform, stop } = session;
  const watch = createGpuWatch(session);
  while (!stop.signal.aborted) {
    const startedAt = platform.monotonicSeconds();
    await sampleGpus(watch);
    const elapsed = platform.monotonicSeconds() - startedAt;
    const interval = Math.max(MIN_INTERVAL, session.state.interval);
    await platform.sleep(Math.max(interval - elapsed, elapsed), stop.signal);
  }
  watch.sampler.close();
}

/** One sample beside the scrapes of a single picture: it ends with them, or `ONCE_LIMIT` after its start where that is later. */
export async function sampleGpusOnce(session: Session, scrapes: Promise<unknown>): Promise<void> {
  const { platform, stop } = session;
  const watch = createGpuWatch(session);
  const over = new AbortController();
  const sample = sampleGpus(watch, over.signal);
  const limit = platform.sleep(ONCE_LIMIT, AbortSignal.any([stop.signal, over.signal]));
  await Promise.all([scrapes, Promise.race([sample, limit])]);
  over.abort();
  await sample;
  watch.sampler.close();
}
