/**
 * States of two recorded spans -> what differs between them: figures of each model, with whether
 * they differ beyond chance, and settings of its servers.
 * @module
 */

import { listOptions } from "./host_commands.ts";
import type { Objective } from "./model.ts";
import { absent, isPresent, type Reading } from "./reading.ts";
import { isCounted } from "./rules_status.ts";
import type { State } from "./state.ts";
import type { Row } from "./state_fleet.ts";
import { adjustProbabilities, COMPARE_ALPHA } from "./stats_blocks.ts";
import { compareSides, type FigurePair } from "./stats_compare.ts";
import { chooseObjectives } from "./stats_slo.ts";
import { addPoll, closeTally, type Side, type SpanTally, startTally } from "./stats_tally.ts";
import { identifyGroup } from "./stats_window.ts";
import type { EpochSeconds, Seconds } from "./units.ts";

/** Settings of servers by name; several values if they differ among them. */
type Settings = Map<string, Set<string>>;

interface WatchedGroup {
  readonly modelName: string;
  readonly tally: SpanTally;
  readonly settings: Settings;
  readonly replicaKeys: Set<string>;
  objectives: readonly Objective[];
  /** The last that was known. */
  usdPerHour: Reading;
}

/** Grows with each round. */
export interface WatchedSpan {
  readonly path: string;
  readonly from: EpochSeconds;
  readonly to: EpochSeconds;
  readonly utcOffset: Seconds;
  /** Sign of its amounts. */
  readonly currency: string;
  readonly groups: Map<string, WatchedGroup>;
  /** When each replica was last scraped. */
  readonly scrapedAt: Map<string, Seconds>;
}

export function startWatchedSpan(
  span: Pick<WatchedSpan, "path" | "from" | "to" | "utcOffset" | "currency">,
): WatchedSpan {
  return { ...span, groups: new Map(), scrapedAt: new Map() };
}

function addSetting(settings: Settings, name: string, value: string | number | null): void {
  if (value === null) return;
  const known = settings.get(name);
  if (known === undefined) settings.set(name, new Set([String(value)]));
  else known.add(String(value));
}

/** What a server exports, what it says of itself, and how it was started. */
function addSettings({ settings }: WatchedGroup, { state: { server }, replica, gpus }: Row): void {
  if (replica === null) return;
  const { configuration, modelName, server: { name } } = replica.sample;
  for (const [key, value] of configuration) addSetting(settings, key, value);
  addSetting(settings, "model", modelName);
  addSetting(settings, "server", name);
  addSetting(settings, "version", server?.version ?? null);
  for (const gpu of gpus) addSetting(settings, "GPU", gpu.name);
  const card = server?.models.find(({ id }) => id === modelName);
  addSetting(settings, "longest context", card?.maxModelLength ?? null);
  const words = server?.launch?.commandLine.split(" ") ?? [];
  // The last one counts.
  const options = new Map(listOptions(words).map(({ name, values }) => [name, values.join(" ")]));
  for (const [option, value] of options) addSetting(settings, `--${option}`, value || "on");
}

/** Adds the polls that are new in it. */
export function addRound(span: WatchedSpan, state: State): void {
  const { groups, scrapedAt, from, to } = span;
  for (const row of state.fleet.rows) {
    const { key, replica, status, isCountedElsewhere, state: { history: { newest } } } = row;
    if (replica === null || newest === null || isCountedElsewhere || !isCounted(status)) continue;
    if (scrapedAt.get(key) === newest.at) continue;
    scrapedAt.set(key, newest.at);
    const { modelName } = replica.sample;
    const groupKey = identifyGroup(replica.sample);
    const group = groups.get(groupKey) ?? {
      ...{ modelName, objectives: [], usdPerHour: absent("missing") },
      ...{ tally: startTally(from, to), settings: new Map(), replicaKeys: new Set<string>() },
    };
    groups.set(groupKey, group);
    group.replicaKeys.add(key);
    group.objectives = chooseObjectives(state.objectives, modelName);
    addSettings(group, row);
    addPoll(group.tally, { key, epoch: state.nowEpoch, replica });
    const label = state.fleet.groups.find((one) => one.key === groupKey)?.label;
    const bill = state.bill.groups.find((one) =>
      one.modelName === modelName && one.label === label
    );
    if (bill !== undefined && isPresent(bill.usdPerHour)) group.usdPerHour = bill.usdPerHour;
  }
}

// ---- Two of them.

/**
 * `alike`: chance does as much. `one_bucket`: the buckets cannot tell. `untested`: it is absent, or
 * there is too little.
 */
export type Outcome = "differs" | "alike" | "one_bucket" | "untested";

export interface ComparedFigure extends FigurePair {
  readonly outcome: Outcome;
}

interface ComparedSetting {
  readonly name: string;
  /** `null` if it is not known there. */
  readonly a: string | null;
  readonly b: string | null;
}

export interface ComparedModel {
  readonly names: Readonly<Record<"a" | "b", string>>;
  readonly replicas: Readonly<Record<"a" | "b", number>>;
  /** With figures. */
  readonly spans: Readonly<Record<"a" | "b", Seconds>>;
  /** False if a span is too short. */
  readonly isTested: boolean;
  /** Those that differ. */
  readonly settings: readonly ComparedSetting[];
  /** How many are known of both. */
  readonly settingCount: number;
  readonly figures: readonly ComparedFigure[];
}

export interface Comparison {
  readonly spans: Readonly<
    Record<"a" | "b", Omit<WatchedSpan, "groups" | "scrapedAt" | "currency">>
  >;
  readonly models: readonly ComparedModel[];
  /** Models of one side only. */
  readonly unmatched: Readonly<Record<"a" | "b", readonly string[]>>;
}

function compareSettings(a: Settings, b: Settings): readonly ComparedSetting[] {
  const write = (values: Set<string> | undefined): string | null =>
    values === undefined ? null : [...values].sort().join(", ");
  return [...new Set([...a.keys(), ...b.keys()])]
    .map((name) => ({ name, a: write(a.get(name)), b: write(b.get(name)) }))
    .filter((setting) => setting.a !== setting.b);
}

interface Match {
  readonly one: WatchedGroup;
  readonly other: WatchedGroup;
  readonly sides: readonly [Side, Side];
  readonly pairs: readonly FigurePair[];
}

/** By model and kind of server; the only ones of both spans in any case, as a flag may rename. */
function matchGroups(a: WatchedSpan, b: WatchedSpan): readonly (readonly [string, string])[] {
  const shared = [...a.groups.keys()].filter((key) => b.groups.has(key));
  if (shared.length === 0 && a.groups.size === 1 && b.groups.size === 1) {
    return [[[...a.groups.keys()][0], [...b.groups.keys()][0]]];
  }
  return shared.map((key) => [key, key]);
}

/** Objectives of both, each once: those of one recording may be given for the other alone. */
function joinObjectives(one: WatchedGroup, other: WatchedGroup): readonly Objective[] {
  const identify = ({ latency, limit }: Objective): string => `${latency} ${limit}`;
  return [
    ...new Map([...one.objectives, ...other.objectives].map((each) => [identify(each), each]))
      .values(),
  ];
}

function decide(pair: FigurePair, adjusted: number | null): ComparedFigure {
  const outcome: Outcome = pair.isInOneBucket
    ? "one_bucket"
    : adjusted === null
    ? "untested"
    : adjusted < COMPARE_ALPHA
    ? "differs"
    : "alike";
  return { ...pair, probability: adjusted, outcome };
}

function describeMatch(
  { one, other, sides: [a, b] }: Match,
  figures: readonly ComparedFigure[],
): ComparedModel {
  return {
    names: { a: one.modelName, b: other.modelName },
    replicas: { a: one.replicaKeys.size, b: other.replicaKeys.size },
    spans: { a: a.span, b: b.span },
    isTested: a.isTested && b.isTested,
    settings: compareSettings(one.settings, other.settings),
    settingCount: [...one.settings.keys()].filter((name) => other.settings.has(name)).length,
    figures,
  };
}

/** Probabilities are those of all figures of all models together. */
export function compareSpans(a: WatchedSpan, b: WatchedSpan): Comparison {
  const matches = matchGroups(a, b).flatMap(([first, second]): Match[] => {
    const [one, other] = [a.groups.get(first), b.groups.get(second)];
    if (one === undefined || other === undefined) return [];
    const sides = [one, other].map(({ tally, usdPerHour }) => closeTally(tally, usdPerHour));
    const [side, otherSide] = sides;
    if (side === null || otherSide === null) return [];
    const both = [side, otherSide] as const;
    return [{ one, other, sides: both, pairs: compareSides(both, joinObjectives(one, other)) }];
  });
  const adjusted = adjustProbabilities(
    matches.flatMap(({ pairs }) => pairs.map(({ probability }) => probability)),
  );
  let next = 0;
  const models = matches.map((match) =>
    describeMatch(match, match.pairs.map((pair) => decide(pair, adjusted[next++])))
  );
  const listOthers = ({ groups }: WatchedSpan, side: "a" | "b"): readonly string[] =>
    [...groups.values()].map(({ modelName }) => modelName)
      .filter((name) => !models.some(({ names }) => names[side] === name));
  const describe = ({ path, from, to, utcOffset }: WatchedSpan) => ({ path, from, to, utcOffset });
  return {
    spans: { a: describe(a), b: describe(b) },
    models,
    unmatched: { a: listOthers(a, "a"), b: listOthers(b, "b") },
  };
}
