/**
 * What endpoints, models and replicas are called.
 *
 * Layer 3, pure. A name is given when something is first seen and kept as long
 * as it lives: it depends on what was there then, never on what comes later, so
 * nobody has to learn a new name for a server that they have been looking at.
 * A newcomer gets the shortest name that nobody has. An endpoint is called by
 * its label (`--name`), else by its port where all are on one host, by its host
 * where all have one port, else by both; a replica by its model, its endpoint
 * where there are several, and its engine where that tells anything, as in
 * `Qwen3-8B :8001.e1`. Rejected: numbering the endpoints, which says nothing of
 * where they are; only what is too long to read gets a number.
 *
 * @module
 */

import { isLoopbackHost, readPlace } from "./endpoint_url.ts";
import type { Endpoint } from "./model.ts";
import { measureWidth } from "./text.ts";

/** An endpoint and what it is called. */
export interface NamedEndpoint {
  readonly endpoint: Endpoint;
  readonly handle: string;
}

/** What a replica is called: by all that tells it apart, and without its model. */
export interface ReplicaName {
  readonly name: string;
  /** Its endpoint, and its engine where that tells anything. */
  readonly place: string;
}

/** Cells that the address of an endpoint may take before a number stands for it. */
const MAX_HANDLE_WIDTH = 28;

/** The first of the forms that is not taken; where all are, the last one with a number behind it. */
function chooseName(forms: readonly string[], taken: ReadonlySet<string>): string {
  const free = forms.find((form) => !taken.has(form));
  if (free !== undefined) return free;
  for (let number = 2;; number++) {
    const form = `${forms[forms.length - 1]}#${number}`;
    if (!taken.has(form)) return form;
  }
}

/** The folder of a model in a cache of Hugging Face's hub, which names it. */
const HUB_FOLDER = /(?:^|\/)models--([^/]+)\/snapshots\/[^/]+\/*$/;

/** The last part of a model's name: what tells it apart from others of its maker. */
export function shortenModelName(modelName: string): string {
  const hubName = HUB_FOLDER.exec(modelName)?.[1].split("--").at(-1);
  const parts = modelName.split("/").filter((part) => part !== "");
  return hubName ?? parts.at(-1) ?? modelName;
}

/** What a model is called beside those that have names: its last part, or all of it. */
export function nameModel(modelName: string, taken: ReadonlySet<string>): string {
  return chooseName([shortenModelName(modelName), modelName], taken);
}

/** The parts of an endpoint's address, as they are shown. */
type Part = "host" | "port" | "path";

function readPart(endpoint: Endpoint, part: Part): string {
  const place = readPlace(endpoint);
  if (place === null) return part === "host" ? endpoint.address : "";
  if (part === "host") return place.host;
  if (part === "port") return `:${place.port}`;
  // The port is not in the key where it is the scheme's own.
  return /^[a-z]+:\/\/[^/]*(\/.*)?$/.exec(endpoint.key)?.[1] ?? "";
}

/** What must be the same for all where it is left out: one machine has several names. */
function comparePart(endpoint: Endpoint, part: Part): string {
  const text = readPart(endpoint, part);
  return part === "host" && isLoopbackHost(text) ? "localhost" : text;
}

/** Ways of naming endpoints, the shortest first. */
const HANDLE_FORMS: readonly (readonly Part[])[] = [
  ["port"],
  ["host"],
  ["host", "port"],
  ["port", "path"],
  ["host", "port", "path"],
];

/** Handles of that form: `null` where it leaves out what differs, or names two alike. */
function formHandles(
  newcomers: readonly Endpoint[],
  form: readonly Part[],
  known: readonly NamedEndpoint[],
): readonly string[] | null {
  const all = [...known.map(({ endpoint }) => endpoint), ...newcomers];
  const isShared = (part: Part): boolean =>
    new Set(all.map((endpoint) => comparePart(endpoint, part))).size === 1;
  const omitted = (["host", "port"] as const).filter((part) => !form.includes(part));
  if (!omitted.every(isShared)) return null;
  const handles = newcomers.map((one) => form.map((part) => readPart(one, part)).join(""));
  const distinct = new Set([...handles, ...known.map(({ handle }) => handle)]);
  const isDistinct = distinct.size === handles.length + known.length;
  return isDistinct && !handles.includes("") ? handles : null;
}

/** What newcomers are called beside those that have handles, in their order. Labels come first. */
export function nameEndpoints(
  newcomers: readonly Endpoint[],
  known: readonly NamedEndpoint[],
): readonly string[] {
  const taken = new Set(known.map(({ handle }) => handle));
  const handles = new Map<Endpoint, string>();
  const give = (endpoint: Endpoint, forms: readonly string[]): void => {
    const handle = chooseName(forms, taken);
    handles.set(endpoint, handle);
    taken.add(handle);
  };
  const others = newcomers.filter((endpoint) => endpoint.label === undefined);
  for (const one of newcomers) if (one.label !== undefined) give(one, [one.label]);
  const unlabelled = known.filter(({ endpoint }) => endpoint.label === undefined);
  const formed = HANDLE_FORMS.map((form) => formHandles(others, form, unlabelled))
    .find((found) => found !== null && !found.some((handle) => taken.has(handle)));
  others.forEach((endpoint, index) => {
    const found = formed?.[index] ?? endpoint.key;
    const isLong = measureWidth(found) > MAX_HANDLE_WIDTH;
    const number = `#${known.length + newcomers.indexOf(endpoint) + 1}`;
    give(endpoint, [...(isLong ? [number] : []), found, endpoint.key]);
  });
  return newcomers.map((endpoint) => handles.get(endpoint) ?? endpoint.key);
}

/** The engine as part of a name. */
function nameEngine(engine: string, isOneOfSeveral: boolean): string {
  const tellsNothing = engine === "" || (engine === "0" && !isOneOfSeveral);
  return tellsNothing ? "" : `.e${engine}`;
}

/**
 * What a replica is called beside those that have names.
 *
 * @param options.model What its model is called.
 * @param options.isAlone Whether no other endpoint is watched.
 * @param options.isOneOfSeveral Whether its endpoint has more engines of that model.
 */
export function nameReplica(
  { endpoint, handle }: NamedEndpoint,
  engine: string,
  options: {
    readonly model: string;
    readonly isAlone: boolean;
    readonly isOneOfSeveral: boolean;
    readonly taken: ReadonlySet<string>;
  },
): ReplicaName {
  const { model, isAlone, isOneOfSeveral, taken } = options;
  const suffix = nameEngine(engine, isOneOfSeveral);
  const place = handle + suffix;
  const full = `${model} ${place}`;
  const forms = endpoint.label !== undefined
    ? [place, full]
    : isAlone
    ? [model + suffix, full]
    : [full];
  return { name: chooseName(forms, taken), place };
}
