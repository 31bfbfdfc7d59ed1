/**
 * Decides which GPUs and tokens count, and computes the bill. GPUs that the user counts pay for all
 * servers; sampled GPUs pay for the servers of their host: those that hold memory for one or, if
 * unknown, all. A session costs today's price over the time since the first scrape.
 * @module
 */

import {
  type ComputeCost,
  computeIdleCost,
  computeRateCost,
  computeSpanCost,
  type GpuUse,
  hasTokenPrices,
  isHint,
  priceCompute,
  type Pricing,
  type RateCost,
  shareCost,
  type SpanCost,
} from "./cost.ts";
import type { Endpoint, Figures } from "./model.ts";
import { absent, averageReadings, isPresent, present, type Reading } from "./reading.ts";
import { isCounted } from "./rules_status.ts";
import { getServerTotals, getUptime } from "./state_endpoint.ts";
import {
  areOwnersKnown,
  type Fleet,
  type FleetSources,
  getHostName,
  listServingHosts,
  type Row,
} from "./state_fleet.ts";
import { LOCAL_HOST } from "./host.ts";
import { listPodGpus } from "./state_pods.ts";
import { computeFigures, computeLifetime } from "./stats_aggregate.ts";
import { listEngineTotals, type ServerTotals, sumTotals } from "./stats_totals.ts";
import type { EpochSeconds, Ratio, Seconds } from "./units.ts";
import { identifyGroup } from "./stats_window.ts";

/**
 * `told`: the user's count. `serving`: GPUs of a watched server. `machine`: all, as the owners are
 * unknown. `requested`: only those that pods request, which the two before include. `none`: no GPU
 * known.
 */
type BillBasis = "told" | "serving" | "machine" | "requested" | "none";

export interface BillSources extends FleetSources {
  readonly pricing: Pricing;
  readonly nowEpoch: EpochSeconds;
}

export interface GroupBill {
  readonly modelName: string;
  readonly label: string;
  /** Absent if the owners are unknown. */
  readonly usdPerHour: Reading;
  readonly rate: RateCost;
}

export interface Bill {
  readonly basis: BillBasis;
  readonly compute: ComputeCost;
  readonly hosts: readonly HostCost[];
  /** Rests on a built-in or estimated price. */
  readonly isAbout: boolean;
  /** Leaves out watched servers of other hosts. */
  readonly isLocalOnly: boolean;
  /** Of the last minute; `span` is what was observed of it. */
  readonly rate: RateCost & { readonly span: Reading<Seconds> };
  readonly session: SpanCost;
  readonly lifetime: SpanCost;
  /** GPU cost of this session while replicas were idle. */
  readonly idle: { readonly usd: Reading; readonly ratio: Reading<Ratio> };
  readonly groups: readonly GroupBill[];
  /** Of billed GPUs of which no model is known. */
  readonly unusedUsdPerHour: Reading;
  readonly hasTokenPrices: boolean;
  /** False if no price is known. */
  readonly isPriced: boolean;
}

interface PaidGpu {
  /** Of a pod, its node. */
  readonly host: string;
  /** Key of its pod, if it is requested by one. */
  readonly pod?: string;
  readonly index: number;
  readonly name: string;
}

/** `null` outside of Kubernetes. A pod may have several endpoints. */
function getPodKey({ pod }: Endpoint): string | null {
  return pod === undefined ? null : `${pod.namespace}/${pod.name}`;
}

function listRequestedGpus({ endpoints }: BillSources): readonly PaidGpu[] {
  const pods = new Map(endpoints.map(({ endpoint }) => [getPodKey(endpoint), endpoint]));
  return [...pods].flatMap(([pod, endpoint]) =>
    pod === null ? [] : listPodGpus(endpoint).map((name, index) => ({
      host: endpoint.pod?.node ?? "",
      ...{ pod, index, name },
    }))
  );
}

/** Chooses from the last good sample: GPUs cost while sampling fails, too. */
function choosePaid(
  sources: BillSources,
): { readonly basis: BillBasis; readonly paid: readonly PaidGpu[] } {
  const { pricing } = sources;
  const isTold = pricing.gpuCount !== null;
  if (!pricing.detectsGpus) return { basis: isTold ? "told" : "none", paid: [] };
  const hosts = [...listServingHosts(sources)];
  const requested = listRequestedGpus(sources);
  if (hosts.length === 0) {
    const basis = isTold ? "told" : requested.length > 0 ? "requested" : "none";
    return { basis, paid: requested };
  }
  const isKnown = areOwnersKnown(sources);
  const paid = hosts.flatMap(([host, { report, shares }]) => {
    const serving = new Set(
      shares.flatMap(({ owner, process }) => owner === null ? [] : [process.gpuIndex]),
    );
    return (report?.gpus ?? []).filter(({ index }) => !isKnown || serving.has(index))
      .map(({ index, name }) => ({ host, index, name }));
  });
  const basis = isTold ? "told" : isKnown ? "serving" : "machine";
  return { basis, paid: [...paid, ...requested] };
}

/** `host` is `null` if the user counts the GPUs. */
export type HostCost = ComputeCost & { readonly host: string | null };

function listHostCosts(
  { basis, paid }: ReturnType<typeof choosePaid>,
  compute: ComputeCost,
  pricing: Pricing,
): readonly HostCost[] {
  if (basis === "none") return [];
  if (basis === "told") return [{ ...compute, host: null }];
  const hosts = Map.groupBy(paid, ({ host }) => host);
  // One host pays all, even without a billed GPU.
  if (hosts.size < 2) return [{ ...compute, host: paid[0]?.host ?? LOCAL_HOST }];
  return [...hosts].map(([host, own]) => ({
    ...priceCompute(own.map(({ name }) => name), pricing),
    host,
  }));
}

/** As `listUses`; what a GPU is used for is known if the pod serves one model. */
function listPodUses(rows: readonly Row[], paid: readonly PaidGpu[]): readonly GpuUse[] {
  return paid.flatMap(({ pod }, gpuIndex) => {
    if (pod === undefined) return [];
    const groupKeys = new Set(
      rows.flatMap(({ state: { endpoint }, replica }) =>
        replica !== null && getPodKey(endpoint) === pod ? [identifyGroup(replica.sample)] : []
      ),
    );
    return groupKeys.size === 1 ? [{ groupKey: [...groupKeys][0], gpuIndex, weight: 1 }] : [];
  });
}

/** Returns memory by model and GPU, the latter as an index into `paid`. */
function listUses(
  { hosts }: BillSources,
  rows: readonly Row[],
  paid: readonly PaidGpu[],
): readonly GpuUse[] {
  return [...hosts].flatMap(([host, { shares }]) =>
    shares.flatMap(({ owner, process }): readonly GpuUse[] => {
      if (owner === null) return [];
      const groupKeys = new Set(
        rows.flatMap(({ state: known, replica }) =>
          replica !== null && known.endpoint.key === owner.endpointKey &&
            replica.sample.modelState !== "unloaded" &&
            (owner.engine === null || replica.sample.engine === owner.engine)
            ? [identifyGroup(replica.sample)]
            : []
        ),
      );
      // Which of a server's models the process serves is unknown.
      const groupKey = groupKeys.size === 1 ? [...groupKeys][0] : undefined;
      const gpuIndex = paid.findIndex((gpu) =>
        gpu.pod === undefined && gpu.host === host && gpu.index === process.gpuIndex
      );
      const weight = process.memoryBytes.value ?? 0;
      return groupKey === undefined || gpuIndex < 0 ? [] : [{ groupKey, gpuIndex, weight }];
    })
  );
}

function divideAmongModels(
  state: BillSources,
  models: readonly string[],
  paid: readonly PaidGpu[],
  compute: ComputeCost,
  rows: readonly Row[],
): { readonly byModel: ReadonlyMap<string, Reading>; readonly unused: Reading } {
  const { pricing } = state;
  const unknown = absent("missing");
  if (models.length === 1) {
    return { byModel: new Map([[models[0], compute.usdPerHour]]), unused: unknown };
  }
  const isCountDifferent = pricing.gpuCount !== null && pricing.gpuCount !== paid.length;
  // Those of pods always are.
  const areKnown = listServingHosts(state).size === 0 ? paid.length > 0 : areOwnersKnown(state);
  if (isCountDifferent || !areKnown) return { byModel: new Map(), unused: unknown };
  const prices = paid.map(({ name }, index) =>
    [index, priceCompute([name], { ...pricing, gpuCount: null }).usdPerHour] as const
  );
  const isWhole = prices.every(([, price]) => isPresent(price));
  const known = new Map(
    prices.flatMap(([index, price]) => isPresent(price) ? [[index, price.value] as const] : []),
  );
  const { usdPerHourByGroup, unusedUsdPerHour } = shareCost(known, [
    ...listUses(state, rows, paid),
    ...listPodUses(rows, paid),
  ]);
  const read = (usd: number): Reading => isWhole ? present(usd) : { value: usd, partial: true };
  return {
    byModel: new Map([...usdPerHourByGroup].map(([model, usd]) => [model, read(usd)])),
    unused: read(unusedUsdPerHour),
  };
}

/** Weighs rows by GPU price; equally if one is unknown. */
function weighRows(state: BillSources, rows: readonly Row[]): readonly (readonly [Row, number])[] {
  const { pricing } = state;
  const counts = Map.groupBy(rows, ({ state: { endpoint } }) => getPodKey(endpoint));
  const weights = rows.map(({ gpus, state: { endpoint } }): number => {
    const names = endpoint.pod === undefined ? gpus.map(({ name }) => name) : listPodGpus(endpoint);
    const { usdPerHour } = priceCompute(names, { ...pricing, gpuCount: null });
    // Engines of a pod share its GPUs.
    const engines = endpoint.pod === undefined ? 1 : counts.get(getPodKey(endpoint))?.length ?? 1;
    return (usdPerHour.value ?? 0) / engines;
  });
  const areKnown = weights.length > 0 && weights.every((weight) => weight > 0);
  return rows.map((row, index) => [row, areKnown ? weights[index] : 1]);
}

/** Weighted; absent if one is unknown. */
function computeMeanUptime(
  weighted: ReturnType<typeof weighRows>,
  state: BillSources,
): Reading<Seconds> {
  const uptimes = weighted.map(([row]) => getUptime(row.state, state));
  return uptimes.find((uptime) => !isPresent(uptime)) ??
    averageReadings(uptimes, (i) => weighted[i][1]);
}

function getIdleness(
  weighted: ReturnType<typeof weighRows>,
): { readonly idle: Reading<Seconds>; readonly span: Reading<Seconds> } {
  const average = (key: "idle" | "span"): Reading<Seconds> => {
    const times = weighted.map(([{ replica, idleness }]) =>
      replica === null || idleness.span === 0 ? absent("first_scrape") : present(idleness[key])
    );
    return averageReadings(times, (i) => weighted[i][1]);
  };
  return { idle: average("idle"), span: average("span") };
}

function getAmountsPerSecond(
  { lastMinute }: Figures,
): Parameters<typeof computeRateCost>[0]["perSecond"] {
  return {
    promptTokens: lastMinute.promptTokensPerSecond,
    cachedPromptTokens: lastMinute.cachedPromptTokensPerSecond,
    generationTokens: lastMinute.generationTokensPerSecond,
  };
}

function getSessionAmounts(
  servers: readonly ServerTotals[],
  now: Seconds,
): Pick<Parameters<typeof computeSpanCost>[0], "span" | "amounts"> {
  const totals = servers.flatMap(listEngineTotals);
  const since = Math.min(...totals.map((total) => total.since));
  const span = totals.length === 0 ? absent("first_scrape") : present(now - since);
  return { span, amounts: sumTotals(totals) };
}

export function createBill(fleet: Fleet, state: BillSources): Bill {
  const { pricing } = state;
  const { tokenPrices } = pricing;
  const chosen = choosePaid(state);
  const { basis, paid } = chosen;
  const compute = priceCompute(paid.map(({ name }) => name), pricing);
  const { usdPerHour } = compute;
  // GPUs found here pay for no other host's tokens.
  const isOfHere = basis === "serving" || basis === "machine";
  const isOfFound = isOfHere || basis === "requested";
  const hosts = listServingHosts(state);
  const isInBill = ({ endpoint }: BillSources["endpoints"][number]): boolean =>
    // A pod that waits for a node costs nothing.
    !isOfFound || hosts.has(getHostName(endpoint)) || endpoint.pod?.node === null ||
    listPodGpus(endpoint).length > 0;
  const isLocalOnly = !state.endpoints.every(isInBill);
  const { countedElsewhere } = state.evaluation;
  const all = fleet.rows.filter((row) => !row.isCountedElsewhere);
  const rows = all.filter((row) => isInBill(row.state) && isCounted(row.status));
  const mergeRows = (some: readonly Row[]): Figures =>
    computeFigures(some.flatMap(({ replica }) => replica ?? []));
  const figures = isLocalOnly ? mergeRows(rows) : fleet.total.figures;
  const weighted = weighRows(state, rows);
  const keys = [
    ...new Set(
      rows.flatMap(({ replica }) => replica === null ? [] : identifyGroup(replica.sample)),
    ),
  ];
  const { byModel, unused } = divideAmongModels(state, keys, paid, compute, rows);
  const rateOf = (some: Figures, computeUsdPerHour: Reading): RateCost =>
    computeRateCost({ perSecond: getAmountsPerSecond(some), tokenPrices, computeUsdPerHour });
  const terms = { tokenPrices, computeUsdPerHour: usdPerHour };
  const { here, elsewhere } = state.gone;
  const counted = [
    ...state.endpoints.filter(isInBill).map((known) => getServerTotals(known, countedElsewhere)),
    // Servers that are gone count in the session.
    ...isOfHere ? [here] : [here, elsewhere],
  ];
  const session = computeSpanCost({ ...getSessionAmounts(counted, state.now), ...terms });
  return {
    basis,
    compute,
    hosts: listHostCosts(chosen, compute, pricing),
    isAbout: compute.gpus.some(({ price }) => isHint(price)),
    isLocalOnly,
    rate: { ...rateOf(figures, usdPerHour), span: figures.lastMinute.span },
    session,
    lifetime: computeSpanCost({
      span: computeMeanUptime(weighted, state),
      // A server that is down costs nothing now: leave out its tokens, too.
      amounts: rows.length === all.length
        ? figures.lifetime
        : computeLifetime(rows.flatMap(({ replica }) => replica ?? [])),
      ...terms,
    }),
    idle: computeIdleCost({ ...getIdleness(weighted), computeUsdPerHour: usdPerHour }),
    groups: fleet.groups.filter(({ key }) => keys.includes(key))
      .map(({ key, modelName, label, figures: ofAll }) => {
        const usd = byModel.get(key) ?? absent("missing");
        const isOfModel = ({ replica }: Row): boolean =>
          replica !== null && identifyGroup(replica.sample) === key;
        const own = isLocalOnly ? mergeRows(rows.filter(isOfModel)) : ofAll;
        return { modelName, label, usdPerHour: usd, rate: rateOf(own, usd) };
      }),
    unusedUsdPerHour: unused,
    hasTokenPrices: hasTokenPrices(tokenPrices),
    isPriced: hasTokenPrices(tokenPrices) || pricing.usdPerGpuHour !== null ||
      pricing.gpuCount !== null || isPresent(usdPerHour),
  };
}
