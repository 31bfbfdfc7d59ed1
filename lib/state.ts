/**
 * Everything that is known, and how messages change it.
 *
 * `update` takes a state and a message and gives the next state. Screen,
 * `--once`, JSON and rules read the same state, so they cannot disagree. What is
 * derived from the whole (rules, fleet, bill) is as of the newest `clock`:
 * scrapes of hundreds of endpoints come faster than anybody reads them.
 * Instants are monotonic seconds, wall-clock time is for display.
 *
 * @module
 */

import { NO_PRICING, type Pricing } from "./cost.ts";
import { isLocal, nameModel, nameReplica } from "./endpoint.ts";
import type { GpuFailure, GpuReport } from "./gpu_model.ts";
import type { Endpoint, KeptScrape, Scrape, ScrapeFailure, ServerInfo } from "./model.ts";
import { evaluateRules, NO_EVALUATION } from "./rules_evaluate.ts";
import { isCounted } from "./rules_status.ts";
import { type Bill, type BillSources, createBill } from "./state_cost.ts";
import {
  acceptFailure,
  acceptScrape,
  type EndpointState,
  type EngineState,
  forgetSamples,
  getServerTotals,
  listEngines,
  restoreScrape,
  startEndpoints,
} from "./state_endpoint.ts";
import { attributeGpus, createFleet, type Fleet } from "./state_fleet.ts";
import {
  acceptGpuFailure,
  acceptGpuReport,
  getHost,
  type HostState,
  LOCAL_HOST,
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
import { interruptTotal, NO_TOTAL_SERIES, recordTotal, type TotalSeries } from "./stats_series.ts";
import {
  getPeakValues,
  joinPeakValues,
  joinTotals,
  NO_PEAKS,
  NO_TOTALS,
  type Peaks,
  recordPeaks,
} from "./stats_totals.ts";
import { identifyEngine } from "./stats_window.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** All that the views and the report are made of. */
export interface State extends BillSources {
  /** Rows, groups and totals, as of the newest `clock`. */
  readonly fleet: Fleet;
  /** What they cost and earn, as of the same moment. */
  readonly bill: Bill;
  readonly interval: Seconds;
  /** What the user has chosen. */
  readonly ui: Ui;
  /** The state whose picture is held while it is not to change; `null` where it may. */
  readonly held: State | null;
  /** Local time minus UTC, for the clock on the screen. */
  readonly utcOffset: Seconds;
  /** Whether this will be looked at once and not again. */
  readonly isOnce?: boolean;
  /** Whether the user wants to hear of this machine's GPUs even where there is no program for them. */
  readonly asksForGpus?: boolean;
  /** Remarks about the whole session, such as what a port scan found beside vLLM. Safe text. */
  readonly notices: readonly string[];
}

/** What can happen. */
export type Message =
  | { readonly kind: "asked"; readonly endpointKey: string; readonly at: Seconds }
  | { readonly kind: "scraped"; readonly scrape: Scrape }
  /** What the run before has kept. Heeded where nothing is known of the endpoint yet. */
  | { readonly kind: "recalled"; readonly scrape: KeptScrape }
  | { readonly kind: "scrape_failed"; readonly failure: ScrapeFailure }
  | {
    readonly kind: "gpus_sampled";
    readonly host: string;
    readonly report: GpuReport;
    readonly machine: MachineProcesses;
  }
  | { readonly kind: "gpus_failed"; readonly host: string; readonly failure: GpuFailure }
  /** What a server says of its launch, once after each of its starts. */
  | { readonly kind: "launch_read"; readonly endpointKey: string; readonly server: ServerInfo }
  /** Servers that a scan has found: they are watched from now on. */
  | { readonly kind: "endpoints_found"; readonly endpoints: readonly Endpoint[] }
  /** An endpoint that is watched no longer. */
  | { readonly kind: "endpoint_gone"; readonly endpointKey: string }
  /** Remarks about the whole session, in the place of those before. */
  | { readonly kind: "noticed"; readonly notices: readonly string[] }
  /** The program goes on after it was stopped. */
  | { readonly kind: "resumed" }
  | { readonly kind: "clock"; readonly now: Seconds; readonly nowEpoch: EpochSeconds }
  | { readonly kind: "command"; readonly command: Command; readonly context: UiContext }
  | { readonly kind: "filter"; readonly edit: FilterEdit }
  | { readonly kind: "select"; readonly key: string; readonly context: UiContext }
  | ({ readonly kind: "sort" } & Sort);

/** The intervals that keys step through. */
const INTERVAL_STEPS: readonly Seconds[] = [0.5, 1, 2, 3, 5, 10, 15, 30, 60, 120, 300];

/** Names of models that have gone are kept, but not beyond so many. */
const MAX_NAMES = 256;

/** A state that knows its endpoints and nothing of them. */
export function createState(
  endpoints: readonly Endpoint[],
  session:
    & Omit<
      State,
      | "endpoints"
      | "modelNames"
      | "evaluation"
      | "gone"
      | "totalPeaks"
      | "totalTrend"
      | "hosts"
      | "fleet"
      | "bill"
      | "pricing"
      | "ui"
      | "held"
    >
    & { readonly ui?: Ui; readonly pricing?: Pricing },
): State {
  const sources = {
    ui: createUi(),
    held: null,
    modelNames: new Map(),
    evaluation: NO_EVALUATION,
    gone: { here: NO_TOTALS, elsewhere: NO_TOTALS },
    totalPeaks: NO_PEAKS,
    totalTrend: NO_TOTAL_SERIES,
    hosts: new Map([[LOCAL_HOST, NO_HOST]]),
    pricing: NO_PRICING,
    ...session,
    endpoints: startEndpoints(endpoints, []),
  };
  const fleet = createFleet(sources);
  return { ...sources, fleet, bill: createBill(fleet, sources) };
}

/** The state with all that screen and report read of it. */
function deriveFleet(state: State): State {
  const sources = { ...state, hosts: attributeGpus(state) };
  const fleet = createFleet(sources, state.fleet);
  return { ...sources, fleet, bill: createBill(fleet, sources) };
}

/** The names of models; if there are too many, of those that are served. */
function keepModelNames({ modelNames, endpoints }: State): Iterable<readonly [string, string]> {
  if (modelNames.size < MAX_NAMES) return modelNames;
  const served = new Set(
    endpoints.flatMap(listEngines).map(({ replica }) => replica.sample.modelName),
  );
  return [...modelNames].filter(([modelName]) => served.has(modelName));
}

/** The state with names for the engines of the endpoint that have none. */
function nameNewcomers(state: State, key: string): State {
  const found = state.endpoints.find(({ endpoint }) => endpoint.key === key);
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
      isOneOfSeveral: current.filter((one) =>
        one.replica.sample.modelName === modelName
      ).length > 1,
      taken,
    });
    engines.set(identifyEngine(sample), { ...engine, name });
    taken.add(name.name);
  }
  return { ...updateEndpoint(state, key, (known) => ({ ...known, engines })), modelNames };
}

/** The state with the endpoints that it did not know yet. */
function acceptEndpoints(state: State, endpoints: readonly Endpoint[]): State {
  const keys = new Set(state.endpoints.map(({ endpoint }) => endpoint.key));
  const newcomers = endpoints.filter(({ key }) => !keys.has(key));
  if (newcomers.length === 0) return state;
  const started = startEndpoints(newcomers, state.endpoints);
  return { ...state, endpoints: [...state.endpoints, ...started] };
}

/** The state without the endpoint. What it has counted stays in the sums of all. */
function removeEndpoint(state: State, key: string): State {
  const leaving = state.endpoints.find(({ endpoint }) => endpoint.key === key);
  if (leaving === undefined) return state;
  const place = isLocal(leaving.endpoint) ? "here" : "elsewhere";
  return {
    ...state,
    endpoints: state.endpoints.filter((known) => known !== leaving),
    gone: { ...state.gone, [place]: joinTotals(state.gone[place], getServerTotals(leaving)) },
  };
}

function updateEndpoint(
  state: State,
  key: string,
  change: (known: EndpointState) => EndpointState,
): State {
  return {
    ...state,
    endpoints: state.endpoints.map((known) => known.endpoint.key === key ? change(known) : known),
  };
}

/** The engines that count in totals. */
function listCounted({ endpoints, evaluation: { statuses } }: State): readonly EngineState[] {
  return endpoints.flatMap(listEngines)
    .filter(({ key }) => isCounted(statuses.get(key) ?? "PENDING"));
}

/** The peaks of all engines that count, together. */
function recordTotalPeaks(state: State): Peaks {
  const values = listCounted(state).map(({ figures }) => getPeakValues(figures));
  const moment = { at: state.now, epoch: state.nowEpoch };
  return recordPeaks(state.totalPeaks, joinPeakValues(values), moment);
}

/** Their series. It goes on with time, also where nothing is heard. */
function recordTotalTrend(state: State): TotalSeries {
  const points = listCounted(state).flatMap(({ series }) => series.at(-1) ?? []);
  return recordTotal(state.totalTrend, points, { at: state.now, interval: state.interval });
}

/** The state at that time, with what the rules say and what is derived from it. */
function evaluateState(state: State): State {
  const { now: at, nowEpoch: epoch, endpoints, interval, isOnce: isSingleEvaluation } = state;
  const moment = { at, epoch, interval, isSingleEvaluation };
  const evaluation = evaluateRules(state.evaluation, endpoints, moment);
  const evaluated = { ...state, evaluation };
  return deriveFleet({
    ...evaluated,
    totalPeaks: evaluation === state.evaluation ? state.totalPeaks : recordTotalPeaks(evaluated),
    totalTrend: recordTotalTrend(evaluated),
  });
}

function setHost(state: State, name: string, host: HostState): State {
  return deriveFleet({ ...state, hosts: new Map([...state.hosts, [name, host]]) });
}

function stepInterval(interval: Seconds, direction: 1 | -1): Seconds {
  const steps = direction > 0 ? INTERVAL_STEPS : [...INTERVAL_STEPS].reverse();
  return steps.find((step) => (step - interval) * direction > 0) ?? interval;
}

function applyToState(state: State, command: Command, context: UiContext): State {
  // In the column menu the space bar chooses columns.
  if (command === "pause" && state.ui.screen !== "columns") {
    return { ...state, held: state.held === null ? { ...state, held: null } : null };
  }
  if (command === "slower") return { ...state, interval: stepInterval(state.interval, 1) };
  if (command === "faster") return { ...state, interval: stepInterval(state.interval, -1) };
  return { ...state, ui: applyCommand(state.ui, command, context) };
}

/** What is to be shown: the state, or the picture that is held, with what the user has chosen since. */
export function getSceneState(state: State): State {
  const { held, ui, interval } = state;
  return held === null ? state : { ...held, held, ui, interval };
}

/** The state after the message. Messages about endpoints that are not watched change nothing. */
export function update(state: State, message: Message): State {
  switch (message.kind) {
    case "asked":
      return updateEndpoint(
        state,
        message.endpointKey,
        (known) => ({ ...known, askedAt: message.at }),
      );
    case "scraped": {
      const { scrape } = message;
      const key = scrape.endpointKey;
      const scraped = updateEndpoint(state, key, (known) => acceptScrape(known, scrape));
      return nameNewcomers(scraped, key);
    }
    case "recalled":
      return updateEndpoint(
        state,
        message.scrape.endpointKey,
        (known) => restoreScrape(known, message.scrape),
      );
    case "scrape_failed":
      return updateEndpoint(
        state,
        message.failure.endpointKey,
        (known) => acceptFailure(known, message.failure),
      );
    case "gpus_sampled": {
      const { report, machine, host } = message;
      const known = getHost(state.hosts, host);
      return setHost(state, host, acceptGpuReport(known, report, machine, host));
    }
    case "gpus_failed": {
      const { host, failure } = message;
      return setHost(state, host, acceptGpuFailure(getHost(state.hosts, host), failure));
    }
    case "launch_read":
      return deriveFleet(updateEndpoint(
        state,
        message.endpointKey,
        (known) => ({ ...known, server: message.server }),
      ));
    case "endpoints_found":
      return deriveFleet(acceptEndpoints(state, message.endpoints));
    case "endpoint_gone":
      return deriveFleet(removeEndpoint(state, message.endpointKey));
    case "noticed":
      return { ...state, notices: message.notices };
    case "resumed":
      return {
        ...state,
        endpoints: state.endpoints.map(forgetSamples),
        totalTrend: interruptTotal(state.totalTrend),
      };
    case "clock":
      return evaluateState({ ...state, now: message.now, nowEpoch: message.nowEpoch });
    case "command":
      return applyToState(state, message.command, message.context);
    case "filter":
      return { ...state, ui: editFilter(state.ui, message.edit) };
    case "select":
      return { ...state, ui: selectKey(state.ui, message.key, message.context) };
    case "sort":
      return { ...state, ui: sortByColumn(state.ui, message) };
  }
}
