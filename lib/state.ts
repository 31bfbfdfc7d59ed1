/**
 * The one State, and `update(state, message)`. Rules, fleet and bill are derived once per `clock`,
 * not per scrape: hundreds of endpoints are scraped more often than the screen is drawn.
 * @module
 */

import { NO_PRICING } from "./cost.ts";
import { isLocal, nameModel, nameReplica } from "./endpoint.ts";
import type { GpuFailure, GpuReport } from "./gpu_model.ts";
import type { HostSample } from "./host_load.ts";
import type { HostLink } from "./host_ssh_connection.ts";
import type { WatchedLog } from "./log.ts";
import type { Endpoint, KeptScrape, Scrape, ScrapeFailure, ServerInfo } from "./model.ts";
import { EMPTY_LOG, type EventLog, recordEvents } from "./rules_alerts.ts";
import { evaluateRules, NO_EVALUATION } from "./rules_evaluate.ts";
import { isCounted } from "./rules_status.ts";
import { DEFAULT_RULES, type Rules } from "./rules_table.ts";
import { type Bill, type BillSources, createBill } from "./state_cost.ts";
import {
  acceptFailure,
  acceptScrape,
  type EndpointState,
  findEndpoint,
  forgetSamples,
  getServerTotals,
  listEngines,
  markEndpoint,
  restoreScrape,
  startEndpoints,
} from "./state_endpoint.ts";
import { attributeGpus, createFleet, type Fleet } from "./state_fleet.ts";
import { LOCAL_HOST } from "./host.ts";
import {
  acceptGpuFailure,
  acceptGpuReport,
  acceptHostSample,
  acceptLink,
  getHost,
  type HostState,
  listGpus,
  type MachineProcesses,
  NO_HOST,
} from "./state_gpus.ts";
import {
  applyCommand,
  type Command,
  createUi,
  editFilter,
  type FilterEdit,
  selectKey,
  type Sort,
  sortByColumn,
  type Ui,
  type UiContext,
} from "./state_ui.ts";
import { getNewestPoint, interruptTotal, NO_TOTAL_SERIES, recordTotal } from "./stats_series.ts";
import {
  getPeakValues,
  joinPeakValues,
  joinTotals,
  NO_PEAKS,
  NO_TOTALS,
  recordPeaks,
} from "./stats_totals.ts";
import { identifyEngine } from "./stats_window.ts";
import type { Bytes, EpochSeconds, Seconds } from "./units.ts";

/** How the session is recorded. */
export interface Tape {
  readonly bytes: Bytes;
  /** Why nothing more is recorded; `null` while it works. Safe text. */
  readonly problem: string | null;
}

/** How a recording is replayed. */
export interface Replay {
  /** Recorded seconds in a second; `Infinity` is as fast as possible. */
  readonly speed: number;
  readonly status: "playing" | "paused" | "seeking" | "over";
  /** What is missing of the recording. Safe texts. */
  readonly remarks: readonly string[];
}

/** What screen, report and exit codes read. */
export interface State extends BillSources {
  /** As of the newest `clock`. */
  readonly fleet: Fleet;
  readonly bill: Bill;
  readonly interval: Seconds;
  /** In force. */
  readonly rules: Rules;
  readonly ui: Ui;
  /** The state on screen while paused or looking back; otherwise `null`. */
  readonly held: State | null;
  /** While looking back: one poll of so many is kept of that time. Otherwise `null`. */
  readonly pastStep: number | null;
  /** When it is drawn, if that is not when it was. */
  readonly seenAt?: Seconds;
  /** When the user set the mark; `null` without one. */
  readonly mark: { readonly at: Seconds; readonly epoch: EpochSeconds } | null;
  /** The state on screen when the user asked for a diagnosis; `null` if not asked. */
  readonly noted: State | null;
  /** Local time minus UTC. */
  readonly utcOffset: Seconds;
  readonly tape?: Tape;
  readonly replay?: Replay;
  /** `--once`. */
  readonly isOnce?: boolean;
  /** `--gpus` was given: report a missing nvidia-smi. */
  readonly asksForGpus?: boolean;
  /** Such as what a scan found. Safe text. */
  readonly notices: readonly string[];
}

export type Message =
  | { readonly kind: "asked"; readonly endpointKey: string; readonly at: Seconds }
  | { readonly kind: "scraped"; readonly scrape: Scrape }
  /** From the state file; ignored once the endpoint was scraped. */
  | { readonly kind: "recalled"; readonly scrape: KeptScrape }
  | { readonly kind: "scrape_failed"; readonly failure: ScrapeFailure }
  | {
    readonly kind: "gpus_sampled";
    readonly host: string;
    readonly report: GpuReport;
    readonly machine: MachineProcesses;
  }
  | { readonly kind: "host_sampled"; readonly host: string; readonly sample: HostSample }
  | { readonly kind: "host_linked"; readonly host: string; readonly link: HostLink }
  | { readonly kind: "gpus_failed"; readonly host: string; readonly failure: GpuFailure }
  | { readonly kind: "log_read"; readonly endpointKey: string; readonly log: WatchedLog }
  /** Sent once per start of the server. */
  | { readonly kind: "launch_read"; readonly endpointKey: string; readonly server: ServerInfo }
  | { readonly kind: "endpoints_found"; readonly endpoints: readonly Endpoint[] }
  | { readonly kind: "endpoint_gone"; readonly endpointKey: string }
  /** Replaces the notices. */
  | { readonly kind: "noticed"; readonly notices: readonly string[] }
  /** `text` is safe, and follows the name. */
  | { readonly kind: "hook_failed"; readonly name: string; readonly text: string }
  | { readonly kind: "tape"; readonly changes: Pick<State, "tape" | "replay"> }
  /** After SIGTSTP and SIGCONT. */
  | { readonly kind: "resumed" }
  | { readonly kind: "clock"; readonly now: Seconds; readonly nowEpoch: EpochSeconds }
  | { readonly kind: "command"; readonly command: Command; readonly context: UiContext }
  | { readonly kind: "filter"; readonly edit: FilterEdit }
  | { readonly kind: "select"; readonly key: string; readonly context: UiContext }
  /** Shows a past state, of whose time one poll of `step` is kept; `null` shows the present. */
  | { readonly kind: "look"; readonly shown: State | null; readonly step: number }
  | ({ readonly kind: "sort" } & Sort);

const INTERVAL_STEPS: readonly Seconds[] = [0.5, 1, 2, 3, 5, 10, 15, 30, 60, 120, 300];
/** Beyond this, names of models no longer served are dropped. */
const MAX_NAMES = 256;

export function createState(
  endpoints: readonly Endpoint[],
  session:
    & Pick<State, "interval" | "utcOffset" | "isOnce" | "asksForGpus" | "notices">
    & Pick<State, "isDemo" | "now" | "nowEpoch">
    & Partial<Pick<State, "ui" | "pricing" | "objectives" | "rules">>,
): State {
  const sources = {
    ui: createUi(),
    held: null,
    ...{ pastStep: null, mark: null, noted: null },
    modelNames: new Map(),
    evaluation: NO_EVALUATION,
    hookLog: EMPTY_LOG,
    gone: { here: NO_TOTALS, elsewhere: NO_TOTALS },
    totalPeaks: NO_PEAKS,
    totalTrend: NO_TOTAL_SERIES,
    hosts: new Map([[LOCAL_HOST, NO_HOST]]),
    pricing: NO_PRICING,
    objectives: [],
    rules: DEFAULT_RULES,
    ...session,
    endpoints: startEndpoints(endpoints, []),
  };
  const fleet = createFleet(sources);
  return { ...sources, fleet, bill: createBill(fleet, sources) };
}

function deriveFleet(state: State): State {
  const sources = { ...state, hosts: attributeGpus(state) };
  const fleet = createFleet(sources, state.fleet);
  return { ...sources, fleet, bill: createBill(fleet, sources) };
}

function keepModelNames({ modelNames, endpoints }: State): Iterable<readonly [string, string]> {
  if (modelNames.size < MAX_NAMES) return modelNames;
  const served = new Set(
    endpoints.flatMap(listEngines).map(({ replica }) => replica.sample.modelName),
  );
  return [...modelNames].filter(([modelName]) => served.has(modelName));
}

/** Names the endpoint's new engines. */
function nameNewEngines(state: State, key: string): State {
  const found = findEndpoint(state.endpoints, key);
  if (found === undefined) return state;
  const current = listEngines(found);
  if (current.every(({ name }) => name !== null)) return state;
  const modelNames = new Map(keepModelNames(state));
  const takenModels = new Set(modelNames.values());
  const taken = new Set(
    state.endpoints.flatMap(({ engines }) =>
      [...engines.values()].flatMap(({ name }) => name?.name ?? [])
    ),
  );
  const engines = new Map(found.engines);
  for (const engine of current) {
    if (engine.name !== null) continue;
    const { sample } = engine.replica;
    const { modelName } = sample;
    const model = modelNames.get(modelName) ?? nameModel(modelName, takenModels);
    modelNames.set(modelName, model);
    takenModels.add(model);
    const name = nameReplica(found, sample.engine, {
      model,
      isAlone: state.endpoints.length === 1,
      isOneOfSeveral: current.some((one) =>
        one !== engine && one.replica.sample.modelName === modelName
      ),
      taken,
    });
    engines.set(identifyEngine(sample), { ...engine, name });
    taken.add(name.name);
  }
  return { ...updateEndpoint(state, key, (known) => ({ ...known, engines })), modelNames };
}

/** Known ones keep all but their labels and pods. */
function acceptEndpoints(state: State, endpoints: readonly Endpoint[]): State {
  const keys = new Set(state.endpoints.map(({ endpoint }) => endpoint.key));
  const newcomers = endpoints.filter(({ key }) => !keys.has(key));
  const found = new Map(endpoints.map((endpoint) => [endpoint.key, endpoint]));
  const known = state.endpoints.map((one): EndpointState => {
    const now = found.get(one.endpoint.key);
    if (now === undefined) return one;
    const { targetLabels, pod, pace = 0 } = now;
    return {
      ...one,
      endpoint: { ...one.endpoint, targetLabels, pod },
      schedule: { ...one.schedule, pace },
    };
  });
  return { ...state, endpoints: [...known, ...startEndpoints(newcomers, known)] };
}

/** Keeps the endpoint's session totals. */
function removeEndpoint(state: State, key: string): State {
  const leaving = findEndpoint(state.endpoints, key);
  if (leaving === undefined) return state;
  const place = isLocal(leaving.endpoint) ? "here" : "elsewhere";
  const totals = getServerTotals(leaving, state.evaluation.countedElsewhere);
  return {
    ...state,
    endpoints: state.endpoints.filter((known) => known !== leaving),
    gone: { ...state.gone, [place]: joinTotals(state.gone[place], totals) },
  };
}

function recordHookFailure(
  { hookLog, now: at, nowEpoch: epoch }: State,
  { name, text: message }: { readonly name: string; readonly text: string },
): EventLog {
  const subject = {
    key: name,
    endpointKey: "",
    address: name,
    name,
    modelName: null,
    engine: null,
  };
  const instants = [{ kind: "HOOK", subject, message } as const];
  return recordEvents(hookLog, { at, epoch, lasting: [], instants });
}

function updateEndpoint(
  state: State,
  key: string,
  change: (known: EndpointState) => EndpointState,
): State {
  const { endpoints } = state;
  const index = endpoints.findIndex(({ endpoint }) => endpoint.key === key);
  return index < 0
    ? state
    : { ...state, endpoints: endpoints.with(index, change(endpoints[index])) };
}

function evaluateState(state: State): State {
  const { now: at, nowEpoch: epoch, endpoints, interval, rules, objectives } = state;
  const moment = { at, epoch, interval, rules, objectives, isSingleEvaluation: state.isOnce };
  const evaluation = evaluateRules(state.evaluation, endpoints, moment);
  const counted = endpoints.flatMap(listEngines)
    .filter(({ key }) =>
      isCounted(evaluation.statuses.get(key) ?? "PENDING") && !evaluation.countedElsewhere.has(key)
    );
  const joinPeaks = () => joinPeakValues(counted.map(({ figures }) => getPeakValues(figures)));
  const points = counted.map(({ series }) => getNewestPoint(series));
  return deriveFleet({
    ...{ ...state, evaluation },
    totalPeaks: evaluation === state.evaluation
      ? state.totalPeaks
      : recordPeaks(state.totalPeaks, joinPeaks(), moment),
    totalTrend: recordTotal(state.totalTrend, points, { at, interval }),
  });
}

type HostChange = (known: HostState) => HostState;

function setHost(state: State, name: string, change: HostChange): State {
  const host = change(getHost(state.hosts, name));
  return { ...state, hosts: new Map([...state.hosts, [name, host]]) };
}

/** With hundreds of hosts, the fleet waits for the next `clock`, unless the GPUs are new. */
function acceptGpus(
  state: State,
  { report, machine, host }: Extract<Message, { readonly kind: "gpus_sampled" }>,
): State {
  const known = getHost(state.hosts, host);
  const accepted = setHost(state, host, (one) => acceptGpuReport(one, report, machine, host));
  return known.link !== null && listGpus(known).length > 0 ? accepted : deriveFleet(accepted);
}

function stepInterval(interval: Seconds, direction: 1 | -1): Seconds {
  const steps = direction > 0 ? INTERVAL_STEPS : [...INTERVAL_STEPS].reverse();
  return steps.find((step) => (step - interval) * direction > 0) ?? interval;
}

/** A past or paused screen has no mark to set: it would count from a moment that is not shown. */
function setMark(state: State, isMarked: boolean): State {
  const { held, endpoints, now: at, nowEpoch: epoch } = state;
  if (held !== null) return state;
  return deriveFleet({
    ...state,
    mark: isMarked ? { at, epoch } : null,
    endpoints: endpoints.map((known) => markEndpoint(known, isMarked)),
  });
}

function applyToState(state: State, command: Command, context: UiContext): State {
  // In the column menu, space toggles a column.
  if (command === "pause" && state.ui.screen !== "columns") {
    return {
      ...state,
      held: state.held === null ? { ...state, held: null } : null,
      pastStep: null,
    };
  }
  if (command === "diagnose") {
    return { ...state, noted: { ...getSceneState(state), held: null, noted: null } };
  }
  if (command === "mark" || command === "unmark") return setMark(state, command === "mark");
  if (command === "slower") return { ...state, interval: stepInterval(state.interval, 1) };
  if (command === "faster") return { ...state, interval: stepInterval(state.interval, -1) };
  return { ...state, ui: applyCommand(state.ui, command, context) };
}

/**
 * Returns the state to draw: the current one or, while paused or looking back, the held one with
 * the current choices.
 */
export function getSceneState(state: State): State {
  const { held, ui, interval, pastStep, noted, now, tape, replay } = state;
  if (held === null) return state;
  return {
    ...held,
    held,
    ui,
    interval,
    pastStep,
    noted,
    tape,
    replay,
    seenAt: pastStep === null ? held.now : now,
  };
}

function changeUi(
  ui: Ui,
  message: Extract<Message, { readonly kind: "filter" | "select" | "sort" }>,
): Ui {
  switch (message.kind) {
    case "filter":
      return editFilter(ui, message.edit);
    case "select":
      return selectKey(ui, message.key, message.context);
    case "sort":
      return sortByColumn(ui, message);
  }
}

function resumeState(state: State): State {
  return {
    ...state,
    endpoints: state.endpoints.map((known) => forgetSamples(known, state.now)),
    totalTrend: interruptTotal(state.totalTrend, state.now),
  };
}

/** Ignores messages about unknown endpoints. */
export function update(state: State, message: Message): State {
  const { objectives } = state;
  switch (message.kind) {
    case "asked":
      return updateEndpoint(state, message.endpointKey, (one) => ({ ...one, askedAt: message.at }));
    case "scraped": {
      const { scrape, scrape: { endpointKey: key } } = message;
      const options = { objectives, isMarked: state.mark !== null };
      const accept = (known: EndpointState) => acceptScrape(known, scrape, options);
      return nameNewEngines(updateEndpoint(state, key, accept), key);
    }
    case "recalled": {
      const { scrape } = message;
      return updateEndpoint(
        state,
        scrape.endpointKey,
        (known) => restoreScrape(known, scrape, objectives),
      );
    }
    case "scrape_failed": {
      const { failure } = message;
      return updateEndpoint(state, failure.endpointKey, (known) => acceptFailure(known, failure));
    }
    case "gpus_sampled":
      return acceptGpus(state, message);
    // With hundreds of hosts or servers, the fleet waits for the next `clock`.
    case "host_sampled":
      return setHost(state, message.host, (known) => acceptHostSample(known, message.sample));
    case "host_linked":
      return setHost(state, message.host, (known) => acceptLink(known, message.link));
    case "gpus_failed":
      return deriveFleet(
        setHost(state, message.host, (known) => acceptGpuFailure(known, message.failure)),
      );
    case "launch_read": {
      const { endpointKey, server } = message;
      return updateEndpoint(state, endpointKey, (known) => ({ ...known, server }));
    }
    case "log_read":
      return updateEndpoint(state, message.endpointKey, (one) => ({ ...one, log: message.log }));
    case "endpoints_found":
      return deriveFleet(acceptEndpoints(state, message.endpoints));
    case "endpoint_gone":
      return deriveFleet(removeEndpoint(state, message.endpointKey));
    case "tape":
      return { ...state, ...message.changes };
    case "noticed":
      return { ...state, notices: message.notices };
    case "hook_failed":
      return deriveFleet({ ...state, hookLog: recordHookFailure(state, message) });
    case "resumed":
      return resumeState(state);
    case "clock":
      return evaluateState({ ...state, now: message.now, nowEpoch: message.nowEpoch });
    case "command":
      return applyToState(state, message.command, message.context);
    case "look": {
      const { shown, step } = message;
      return { ...state, held: shown, pastStep: shown === null ? null : step };
    }
    case "filter":
    case "select":
    case "sort":
      return { ...state, ui: changeUi(state.ui, message) };
  }
}
