/**
 * What is asked of a machine: this one, or one behind ssh. Discovery, GPUs, load and logs ask a
 * `Host` and do not know which it is.
 * @module
 */

import { createProcessLister, type ProcessLister } from "./host_processes.ts";
import type { Platform, SystemMemory } from "./platform.ts";
import type { Seconds } from "./units.ts";

/** This machine's name among the hosts. */
export const LOCAL_HOST = "localhost";

/** A `Platform` is one. Clocks are this program's own. */
export interface Machine extends
  Pick<
    Platform,
    | ("operatingSystem" | "monotonicSeconds" | "epochSeconds")
    | ("runProgram" | "readTextFile" | "processorTimes")
  > {
  readonly systemMemory: () => SystemMemory | null | Promise<SystemMemory | null>;
  readonly loadAverage: () => number | null | Promise<number | null>;
}

export interface Host extends Machine {
  /** Its key in the state. */
  readonly name: string;
  /** `null` on systems without the tools. */
  readonly listProcesses: ProcessLister | null;
}

/**
 * Asks nothing yet.
 * @param listingLifetime How long a list of processes serves all who ask.
 */
export function createHost(name: string, machine: Machine, listingLifetime?: Seconds): Host {
  return {
    ...machine,
    // Behind ssh it is known after the login.
    get operatingSystem() {
      return machine.operatingSystem;
    },
    name,
    listProcesses: createProcessLister(machine, listingLifetime),
  };
}
