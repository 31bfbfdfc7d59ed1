/**
 * What the fleet costs and earns, by model and in all: as a rate of the last
 * minute, in this session, and since the servers started.
 *
 * Decides which GPUs are billed and which tokens count. GPUs that the user counts
 * pay for all servers. GPUs that are sampled pay for the servers of their hosts:
 * those that hold memory for one of them, or all if that is unknown. A session's
 * cost is the present price over the time since the first scrape. USD.
 *
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
import type { Figures } from "./model.ts";
import { absent, isPresent, present, type Reading } from "./reading.ts";
import { isCounted } from "./rules_status.ts";
import { getServerTotals } from "./state_endpoint.ts";
import {
  areOwnersKnown,
  type Fleet,
  type FleetSources,
  getHostName,
  getUptime,
  listServingHosts,
  type Row,
} from "./state_fleet.ts";
import { LOCAL_HOST } from "./state_gpus.ts";
import { computeFigures, computeLifetime } from "./stats_aggregate.ts";
import { listEngineTotals, type ServerTotals, sumTotals } from "./stats_totals.ts";
import type { EpochSeconds, Ratio, Seconds } from "./units.ts";

/**
 * Which GPUs are paid for.
 *
 * - `told`: as many as the user says.
 * - `serving`: those of this machine that hold memory for a watched server.
 * - `machine`: all of this machine, as it is not known which of them serve.
 * - `none`: none is known.
 */
type BillBasis = "told" | "serving" | "machine" | "none";

/** What the bill is derived from. */
export interface BillSources extends FleetSources {
  /** What tokens and GPUs are worth. */
  readonly pricing: Pricing;
  readonly nowEpoch: EpochSeconds;
}

/** The cost of one model's replicas. */
export interface GroupBill {
  readonly modelName: string;
  /** What it is called on the screen. */
  readonly label: string;
  /** Absent where it is not known which GPUs are whose. */
  readonly usdPerHour: Reading;
  readonly rate: RateCost;
}

/** What the fleet costs and earns. */
export interface Bill {
  readonly basis: BillBasis;
  readonly compute: ComputeCost;
  /** What of it is which host's. */
  readonly hosts: readonly HostCost[];
  /** Whether a price of the built-in hints, or an estimate, is in it. */
  readonly isAbout: boolean;
  /** Whether the servers of this machine alone are in it, while others are watched too. */
  readonly isLocalOnly: boolean;
  /** At the rate of the last minute, which is this long. */
  readonly rate: RateCost & { readonly span: Reading<Seconds> };
  /** Since the first scrape. */
  readonly session: SpanCost;
  /** Since the servers started. */
  readonly lifetime: SpanCost;
  /** What GPUs cost in this session while their replicas had nothing to do. */
  readonly idle: { readonly usd: Reading; readonly ratio: Reading<Ratio> };
  readonly groups: readonly GroupBill[];
  /** Of GPUs that are paid for and are no model's. */
  readonly unusedUsdPerHour: Reading;
  readonly hasTokenPrices: boolean;
  /** Whether a price is known or given; else there is nothing to show. */
  readonly isPriced: boolean;
}

/** A GPU that is paid for. */
interface PaidGpu {
  readonly host: string;
  readonly index: number;
  readonly name: string;
}

/** The GPUs that are paid for. Those of the last good samples: they cost while these fail, too. */
function choosePaid(
  sources: BillSources,
): { readonly basis: BillBasis; readonly paid: readonly PaidGpu[] } {
  const { pricing } = sources;
  const basis = pricing.gpuCount === null ? "none" : "told";
  const hosts = [...listServingHosts(sources)];
  if (hosts.length === 0 || !pricing.detectsGpus) return { basis, paid: [] };
  const isKnown = areOwnersKnown(sources);
  const paid = hosts.flatMap(([host, { report, shares }]) => {
    const serving = new Set(
      shares.flatMap(({ owner, process }) => owner === null ? [] : [process.gpuIndex]),
    );
    return (report?.gpus ?? []).filter(({ index }) => !isKnown || serving.has(index))
      .map(({ index, name }) => ({ host, index, name }));
  });
  return { basis: basis === "told" ? basis : isKnown ? "serving" : "machine", paid };
}

/** What the GPUs of each host cost; `null` for the host where the user counts them. */
export type HostCost = ComputeCost & { readonly host: string | null };

function listHostCosts(
  { basis, paid }: ReturnType<typeof choosePaid>,
  compute: ComputeCost,
  pricing: Pricing,
): readonly HostCost[] {
  if (basis === "none") return [];
  if (basis === "told") return [{ ...compute, host: null }];
  const hosts = Map.groupBy(paid, ({ host }) => host);
  // Of one host it is all, also where none of its GPUs is paid for.
  if (hosts.size < 2) return [{ ...compute, host: paid[0]?.host ?? LOCAL_HOST }];
  return [...hosts].map(([host, own]) => ({
    ...priceCompute(own.map(({ name }) => name), pricing),
    host,
  }));
}

/** Which model holds how much of which GPU. GPUs are known by their places among those that are paid for. */
function listUses(
  { hosts }: BillSources,
  rows: readonly Row[],
  paid: readonly PaidGpu[],
): readonly GpuUse[] {
  return [...hosts].flatMap(([host, { shares }]) =>
    shares.flatMap(({ owner, process }): readonly GpuUse[] => {
      if (owner === null) return [];
      const row = rows.find(({ state: known, replica }) =>
        known.endpoint.key === owner.endpointKey &&
        (owner.engine === null || replica?.sample.engine === owner.engine)
      );
      const groupKey = row?.replica?.sample.modelName;
      const gpuIndex = paid.findIndex((gpu) => gpu.host === host && gpu.index === process.gpuIndex);
      const weight = process.memoryBytes.value ?? 0;
      return groupKey === undefined || gpuIndex < 0 ? [] : [{ groupKey, gpuIndex, weight }];
    })
  );
}

/** USD per hour of each model, and of what is no model's. */
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
  const isToldOtherwise = pricing.gpuCount !== null && pricing.gpuCount !== paid.length;
  if (isToldOtherwise || !areOwnersKnown(state)) {
    return { byModel: new Map(), unused: unknown };
  }
  const prices = paid.map(({ name }, index) =>
    [index, priceCompute([name], { ...pricing, gpuCount: null }).usdPerHour] as const
  );
  const isWhole = prices.every(([, price]) => isPresent(price));
  const known = new Map(
    prices.flatMap(([index, price]) => isPresent(price) ? [[index, price.value] as const] : []),
  );
  const { usdPerHourByGroup, unusedUsdPerHour } = shareCost(known, listUses(state, rows, paid));
  const read = (usd: number): Reading => isWhole ? present(usd) : { value: usd, partial: true };
  return {
    byModel: new Map([...usdPerHourByGroup].map(([model, usd]) => [model, read(usd)])),
    unused: read(unusedUsdPerHour),
  };
}

/** A figure of each replica with the weight that it has among them: USD per hour of its GPUs, or alike. */
function weighRows(state: BillSources, rows: readonly Row[]): readonly (readonly [Row, number])[] {
  const { pricing } = state;
  const weights = rows.map(({ gpus }): number =>
    priceCompute(gpus.map(({ name }) => name), { ...pricing, gpuCount: null }).usdPerHour.value ?? 0
  );
  const areKnown = weights.length > 0 && weights.every((weight) => weight > 0);
  return rows.map((row, index) => [row, areKnown ? weights[index] : 1]);
}

/** The mean uptime of the replicas by the cost of their GPUs; absent where one of them is not known. */
function getLifetimeAmounts(
  weighted: ReturnType<typeof weighRows>,
  state: BillSources,
): Reading<Seconds> {
  let sum = 0;
  let whole = 0;
  for (const [row, weight] of weighted) {
    const uptime = getUptime(row.state, state);
    if (!isPresent(uptime)) return uptime;
    sum += uptime.value * weight;
    whole += weight;
  }
  return whole === 0 ? absent("missing") : present(sum / whole);
}

/** Mean times of the replicas, idle and watched. */
function getIdleness(
  weighted: ReturnType<typeof weighRows>,
): { readonly idle: Reading<Seconds>; readonly span: Reading<Seconds> } {
  let idle = 0;
  let watched = 0;
  let whole = 0;
  for (const [{ replica, idleness: times }, weight] of weighted) {
    if (replica === null) continue;
    if (times.watched === 0) continue;
    idle += times.idle * weight;
    watched += times.watched * weight;
    whole += weight;
  }
  if (whole === 0) return { idle: absent("first_scrape"), span: absent("first_scrape") };
  return { idle: present(idle / whole), span: present(watched / whole) };
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

/** What the engines of these servers have counted, and since when. */
function getSessionAmounts(
  servers: readonly ServerTotals[],
  now: Seconds,
): Pick<Parameters<typeof computeSpanCost>[0], "span" | "amounts"> {
  const totals = servers.flatMap(listEngineTotals);
  const since = Math.min(...totals.map((total) => total.since));
  const span = totals.length === 0 ? absent("first_scrape") : present(now - since);
  return { span, amounts: sumTotals(totals) };
}

/** The bill of the fleet. */
export function createBill(fleet: Fleet, state: BillSources): Bill {
  const { pricing } = state;
  const { tokenPrices } = pricing;
  const chosen = choosePaid(state);
  const { basis, paid } = chosen;
  const compute = priceCompute(paid.map(({ name }) => name), pricing);
  const { usdPerHour } = compute;
  // What is found here pays for no other machine's tokens.
  const isOfHere = basis === "serving" || basis === "machine";
  const hosts = listServingHosts(state);
  const isInBill = (known: BillSources["endpoints"][number]): boolean =>
    !isOfHere || hosts.has(getHostName(known.endpoint));
  const isLocalOnly = !state.endpoints.every(isInBill);
  const rows = fleet.rows.filter((row) => isInBill(row.state) && isCounted(row.status));
  const mergeRows = (some: readonly Row[]): Figures =>
    computeFigures(some.flatMap(({ replica }) => replica ?? []));
  const figures = isLocalOnly ? mergeRows(rows) : fleet.total.figures;
  const weighted = weighRows(state, rows);
  const models = [...new Set(rows.flatMap(({ replica }) => replica?.sample.modelName ?? []))];
  const { byModel, unused } = divideAmongModels(state, models, paid, compute, rows);
  const rateOf = (some: Figures, computeUsdPerHour: Reading): RateCost =>
    computeRateCost({ perSecond: getAmountsPerSecond(some), tokenPrices, computeUsdPerHour });
  const terms = { tokenPrices, computeUsdPerHour: usdPerHour };
  const { here, elsewhere } = state.gone;
  const counted = [
    ...state.endpoints.filter(isInBill).map(getServerTotals),
    // What a server has earned in this session it has earned, also when it has gone.
    ...isOfHere ? [here] : [here, elsewhere],
  ];
  const session = computeSpanCost({ ...getSessionAmounts(counted, state.now), ...terms });
  const idleness = computeIdleCost({ ...getIdleness(weighted), computeUsdPerHour: usdPerHour });
  return {
    basis,
    compute,
    hosts: listHostCosts(chosen, compute, pricing),
    isAbout: compute.gpus.some(({ price }) => isHint(price)),
    isLocalOnly,
    rate: { ...rateOf(figures, usdPerHour), span: figures.lastMinute.span },
    session,
    lifetime: computeSpanCost({
      span: getLifetimeAmounts(weighted, state),
      // Of those whose time is known: one that is down has counted, too, but costs nothing now.
      amounts: rows.length === fleet.rows.length
        ? figures.lifetime
        : computeLifetime(rows.flatMap(({ replica }) => replica ?? [])),
      ...terms,
    }),
    idle: idleness,
    groups: fleet.groups.filter(({ modelName }) => models.includes(modelName))
      .map(({ modelName, label, figures: ofAll }) => {
        const usd = byModel.get(modelName) ?? absent("missing");
        const isOfModel = ({ replica }: Row): boolean => replica?.sample.modelName === modelName;
        const own = isLocalOnly ? mergeRows(rows.filter(isOfModel)) : ofAll;
        return { modelName, label, usdPerHour: usd, rate: rateOf(own, usd) };
      }),
    unusedUsdPerHour: unused,
    hasTokenPrices: hasTokenPrices(tokenPrices),
    isPriced: hasTokenPrices(tokenPrices) || pricing.usdPerGpuHour !== null ||
      pricing.gpuCount !== null || isPresent(usdPerHour),
  };
}
