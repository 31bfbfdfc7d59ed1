/**
 * Lists of targets in the form of Prometheus' `file_sd` (JSON or YAML) and `http_sd`, read again and
 * again: what is new is watched, what is gone is left. A list that cannot be read keeps its last
 * targets, and says so.
 * @module
 */

import type { TargetPlace } from "./cli_values.ts";
import type { Source, TargetChange } from "./discovery_source.ts";
import { METRICS_PATH, parseEndpointUrl, type TypedEndpoint } from "./endpoint.ts";
import { describeFileError } from "./files.ts";
import { isRecord, parseUntrustedJson } from "./json.ts";
import type { Endpoint } from "./model.ts";
import type { Platform } from "./platform.ts";
import { stripUrl } from "./scrape_attempt.ts";
import type { PageClient } from "./scrape_page.ts";
import { quote, sanitizeName } from "./text.ts";
import type { Seconds } from "./units.ts";

const FILE_INTERVAL: Seconds = 5;
const URL_INTERVAL: Seconds = 60;
/** What charts and operators call a pod; the first present names the target. */
const POD_LABELS = ["pod", "pod_name", "kubernetes_pod_name"];

/** Continues a message that names the list. */
export class TargetError extends Error {}

/** The shown labels of a target, and under which of them it is found by name. */
export function describeLabels(
  labels: Iterable<readonly [string, string]>,
): Pick<Endpoint, "label" | "targetLabels"> {
  const shown = new Map(
    [...labels].filter(([name]) => !name.startsWith("__"))
      .map(([name, value]) => [sanitizeName(name), sanitizeName(value)]),
  );
  const pod = POD_LABELS.map((name) => shown.get(name)).find((value) => value !== undefined);
  return {
    ...(pod === undefined || pod === "" ? {} : { label: pod }),
    ...(shown.size === 0 ? {} : { targetLabels: shown }),
  };
}

function parseLabels(value: unknown, place: string): ReadonlyMap<string, string> {
  if (value === undefined || value === null) return new Map();
  if (!isRecord(value)) throw new TargetError(`${place}: "labels" must be an object`);
  return new Map(
    Object.entries(value).map(([name, text]) => {
      if (typeof text === "object") {
        throw new TargetError(`${place}: the label ${quote(name)} must be a text`);
      }
      return [name, String(text)];
    }),
  );
}

/** As Prometheus does: without a port, that of the scheme. */
function createTarget(address: string, labels: ReadonlyMap<string, string>): TypedEndpoint {
  const scheme = labels.get("__scheme__") || "http";
  const typed = parseEndpointUrl(`${scheme}://${labels.get("__address__") || address}`);
  if ("error" in typed) throw new TargetError(typed.error);
  const { endpoint } = typed;
  const url = new URL(endpoint.key);
  url.pathname = labels.get("__metrics_path__") || METRICS_PATH;
  const base = url.href.endsWith(METRICS_PATH) ? url.href.slice(0, -METRICS_PATH.length) : url.href;
  return {
    ...typed,
    endpoint: { ...endpoint, key: base, metricsUrl: url.href, ...describeLabels(labels) },
  };
}

/**
 * Parses `[{ "targets": ["host:port"], "labels": { … } }]`. Of a target given twice, the first counts.
 * @throws {TargetError} With the place of what is wrong.
 */
export function parseTargetGroups(groups: unknown): readonly TypedEndpoint[] {
  if (!Array.isArray(groups)) throw new TargetError("must be a list of target groups");
  const found = new Map<string, TypedEndpoint>();
  groups.forEach((group: unknown, i) => {
    const place = `group ${i + 1}`;
    if (!isRecord(group) || !Array.isArray(group.targets)) {
      throw new TargetError(`${place} must have "targets", a list of "HOST:PORT"`);
    }
    const labels = parseLabels(group.labels, place);
    for (const address of group.targets) {
      if (typeof address !== "string") {
        throw new TargetError(`${place}: a target must be a text, as in "HOST:PORT"`);
      }
      const typed = createTarget(address, labels);
      if (!found.has(typed.endpoint.key)) found.set(typed.endpoint.key, typed);
    }
  });
  return [...found.values()];
}

/** `undefined` if the text is neither. */
async function parseList(text: string, isYaml: boolean): Promise<unknown> {
  if (!isYaml) return parseUntrustedJson(text);
  // Loaded here: few want it.
  const { parse } = await import("@std/yaml/parse");
  try {
    return parse(text, { schema: "failsafe" });
  } catch {
    return undefined;
  }
}

interface TargetList {
  /** In quotes. */
  readonly shown: string;
  readonly isYaml: boolean;
  /** @throws {TargetError} Continues a message that names the list. */
  readonly load: () => Promise<string>;
}

function createFileList(platform: Platform, path: string): TargetList {
  return {
    shown: `the targets file ${quote(path)}`,
    isYaml: /\.ya?ml$/i.test(path),
    load: () =>
      platform.readTextFile(path).catch((error) => {
        throw new TargetError(describeFileError(error));
      }),
  };
}

/** @param client That of the server of the list. */
function createUrlList(url: string, client: PageClient): TargetList {
  const headers = { "x-prometheus-refresh-interval-seconds": String(URL_INTERVAL) };
  return {
    shown: `the list of targets "${stripUrl(url)}"`,
    isYaml: false,
    load: async () => {
      const page = await client.get(url, { headers });
      if ("kind" in page) throw new TargetError(`cannot be read: ${page.message}`);
      if (page.status === 200) return new TextDecoder().decode(page.bytes);
      throw new TargetError(`cannot be read: ${client.describeRefusal(url, page).message}`);
    },
  };
}

async function loadTargets(list: TargetList): Promise<readonly TypedEndpoint[]> {
  const text = await list.load();
  const groups = await parseList(text, list.isYaml);
  if (groups === undefined) throw new TargetError(list.isYaml ? "is not YAML" : "is not JSON");
  return parseTargetGroups(groups);
}

function haveSameLabels(one: Endpoint, other: Endpoint | undefined): boolean {
  const labels = other?.targetLabels ?? new Map();
  return (one.targetLabels?.size ?? 0) === labels.size &&
    [...one.targetLabels ?? []].every(([name, value]) => labels.get(name) === value);
}

/** @param client For a URL: that of its server. */
export function createTargetSource(
  platform: Platform,
  place: TargetPlace,
  client: PageClient | null,
): Source {
  const list = place.kind === "file"
    ? createFileList(platform, place.path)
    : client === null
    ? null
    : createUrlList(place.typed.endpoint.metricsUrl, client);
  if (list === null) throw new Error("A list at a URL needs a client");
  /** Targets of this list that no other source has. */
  let own: ReadonlyMap<string, Endpoint> = new Map();
  return {
    ...(place.kind === "file" ? {} : { isSlow: true }),
    getInterval: () => place.kind === "file" ? FILE_INTERVAL : URL_INTERVAL,
    look: async ({ keys }): Promise<TargetChange> => {
      try {
        const targets = await loadTargets(list);
        const isFree = ({ endpoint: { key } }: TypedEndpoint) => own.has(key) || !keys.has(key);
        const mine = targets.filter(isFree);
        const before = own;
        own = new Map(mine.map(({ endpoint }) => [endpoint.key, endpoint]));
        return {
          found: mine.filter(({ endpoint }) =>
            !keys.has(endpoint.key) || !haveSameLabels(endpoint, before.get(endpoint.key))
          ),
          goneKeys: [...before.keys()].filter((key) => !own.has(key)),
          notices: [],
        };
      } catch (error) {
        if (!(error instanceof TargetError)) throw error;
        const kept = own.size === 0 ? "" : "; its last good targets stay";
        return { found: [], goneKeys: [], notices: [`${list.shown} ${error.message}${kept}`] };
      }
    },
  };
}
