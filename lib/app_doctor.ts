/**
 * `vllm-htop doctor`: what it finds here, how, and what stands in its way: settings, proxies,
 * terminal, tools, servers. No text holds a secret: settings are named, not quoted.
 * @module
 */

import { examineEndpoint, LEVELS, type Remark } from "./app_doctor_endpoint.ts";
import type { Session, Watched } from "./app_session.ts";
import type { ConfigFile } from "./cli_config_file.ts";
import { EXIT_ENDPOINT_DOWN, EXIT_OK } from "./cli_exit.ts";
import { findDialect } from "./dialect.ts";
import { getHostAndPort, METRICS_PATH } from "./endpoint.ts";
import { identifyForwarder } from "./host_commands.ts";
import { LOCAL_HOST } from "./host.ts";
import type { ProcessListing } from "./host_processes.ts";
import type { Endpoint } from "./model.ts";
import type { Platform } from "./platform.ts";
import { serializeReport } from "./report.ts";
import { joinHeaders } from "./scrape_credentials.ts";
import { chooseProxy } from "./scrape_proxy.ts";
import { findApiBase } from "./scrape_server_info.ts";
import type { EndpointState } from "./state_endpoint.ts";
import { getHostName, listEndpointsOn } from "./state_fleet.ts";
import { getHost, type HostState, listGpus } from "./state_gpus.ts";
import { cutText, maskSecrets, padText, quote, sanitizeText } from "./text.ts";
import {
  formatTimestamp,
  MILLISECONDS_PER_SECOND,
  type Seconds,
  SECONDS_PER_HOUR,
} from "./units.ts";
import { VERSION } from "./version.ts";
import { formatDuration, formatLatency } from "./view_format.ts";
import { convertSigns } from "./view_signs.ts";
import { createPaint, type Meaning } from "./view_theme.ts";

/** A setting that is not the default, and what sets it. */
interface SourceOfSetting {
  readonly name: string;
  readonly origin: string;
}

/** By host: `null` if they cannot be listed there, `undefined` if it is not reached. */
type Listings = ReadonlyMap<string, ProcessListing | null | undefined>;

/** What only the start of the program knows. */
export interface DoctorFacts {
  readonly config: ConfigFile | { readonly error: string };
  readonly listSettings: () => readonly SourceOfSetting[];
}

const SCHEMA_VERSION = 1;
/** The Date header has whole seconds, and its answer takes a while. */
const MAX_CLOCK_SKEW: Seconds = 3;
const MIN_COLUMNS = 80;
const MIN_ROWS = 24;
const MAX_COMMAND_WIDTH = 100;
const MAX_SUBJECT_WIDTH = 30;

function ok(subject: string, text: string): Remark {
  return { level: "ok", subject, text };
}

function warn(subject: string, text: string): Remark {
  return { level: "warn", subject, text };
}

function examineSettings({ config, listSettings }: DoctorFacts): readonly Remark[] {
  const subject = "configuration";
  const file: readonly Remark[] = "error" in config
    ? [{ level: "fail", subject, text: config.error }]
    : [
      ok(
        subject,
        config.path === ""
          ? "no file: no variable names the folder"
          : `${quote(config.path)} ${config.isFound ? "is in force" : "does not exist"}`,
      ),
      ...config.warnings.map((text) => warn(subject, text)),
    ];
  const set = listSettings().flatMap(({ name, origin }) =>
    name === "doctor" ? [] : origin === `--${name}` ? origin : `${name} by ${origin}`
  );
  return [
    ...file,
    ok("settings", set.length === 0 ? "all defaults" : sanitizeText(set.join(", "))),
  ];
}

/** Of webhooks only the origin: the rest of their URLs is a secret. */
function examineHooks({ config }: DoctorFacts): readonly Remark[] {
  if ("error" in config) return [];
  return config.hooks.map(({ exec, webhook, hasBell, signals, level, timeout }, i) => {
    const deeds = [
      exec === null ? "" : `runs ${quote(exec[0])}, which the program must be permitted to run`,
      webhook === null ? "" : `posts to ${new URL(webhook).origin}`,
      hasBell ? "rings the bell" : "",
    ].filter((text) => text !== "").join(", ");
    const rules = signals === null ? "any rule" : [...signals].join(", ");
    return ok(`hook ${i + 1}`, `${deeds}, within ${timeout} s, by ${rules} from ${level} on`);
  });
}

function examineProxies({ platform, options, watched }: Session): readonly Remark[] {
  const subject = "proxy";
  const asked = [...watched.values(), ...options.prometheus];
  const remarks = asked.flatMap(({ endpoint: { metricsUrl: url } }): readonly Remark[] => {
    const proxy = chooseProxy(url, platform.environment);
    if (proxy === null) return [];
    if ("error" in proxy) return [{ level: "fail", subject, text: proxy.error }];
    return [ok(subject, `${new URL(url).host} is reached through ${proxy.name}`)];
  });
  return remarks.length === 0 ? [ok(subject, "servers are reached directly")] : remarks;
}

function examineTerminal({ platform, view }: Session): readonly Remark[] {
  const { environment, stdio } = platform;
  const locale = ["LC_ALL", "LC_CTYPE", "LANG"].find((name) => environment(name));
  const setBy = locale === undefined ? "no variable" : `${locale}=${environment(locale)}`;
  const letters = view.ascii
    ? warn("locale", sanitizeText(`ASCII only, by ${setBy}: set LANG to a locale with UTF-8`))
    : ok("locale", sanitizeText(`UTF-8, by ${setBy}`));
  const size = stdio.terminalSize();
  const term = environment("TERM") ?? "";
  if (!stdio.stdoutIsTerminal || size === null) {
    return [ok("terminal", "none here: plain text, and no live screen"), letters];
  }
  const { columns, rows } = size;
  const colors = view.depth === null || view.depth === 0 ? "no" : view.depth;
  const signs = view.ascii || view.hasBraille === false ? "" : ", braille graphs";
  const text = sanitizeText(`${columns} × ${rows}, ${colors} colors${signs} (TERM=${term})`);
  if (term === "dumb") return [warn("terminal", `${text}: no live screen with this TERM`), letters];
  const isSmall = columns < MIN_COLUMNS || rows < MIN_ROWS;
  return [
    isSmall
      ? warn("terminal", `${text}: ${MIN_COLUMNS} × ${MIN_ROWS} shows more`)
      : ok("terminal", text),
    letters,
  ];
}

/** Of a host behind ssh. */
function examineLink(name: string, link: HostState["link"]): readonly Remark[] {
  switch (link?.kind) {
    case undefined:
      return [];
    case "connecting":
      return [{ level: "fail", subject: name, text: "has not been reached in time by ssh" }];
    case "down":
      return [{ level: "fail", subject: name, text: link.failure.message }];
    case "up": {
      const latency = link.latency === null
        ? ""
        : `, ${formatLatency(link.latency)} there and back`;
      return [ok(name, `reached by ssh${latency}; metrics come by ${link.way}`)];
    }
  }
}

/** `processes`, `gpu1: processes`. */
function nameSubject(host: string, words: string): string {
  return host === LOCAL_HOST ? words : `${host}: ${words}`;
}

function examineProcesses(host: string, listing: ProcessListing | null): readonly Remark[] {
  const subject = nameSubject(host, "processes");
  if (listing === null) return [ok(subject, "cannot be listed on this system: ports are scanned")];
  const { processes, listening, problems } = listing;
  return [
    ok(subject, `${processes.size} processes, ${listening.length} listening ports`),
    ...problems.map((text) => warn(subject, text)),
  ];
}

function examineGpus({ state, options }: Session, name: string): readonly Remark[] {
  const subject = nameSubject(name, "GPUs");
  if (options.gpuWatch === "never") return [ok(subject, "not looked for: --no-gpu")];
  const host = getHost(state.hosts, name);
  const { failure, report } = host;
  if (failure !== null) {
    const servesHere = listEndpointsOn(state, name).length > 0;
    const isNone = failure.kind === "absent" || failure.kind === "no_devices";
    const level = !isNone ? "fail" : servesHere ? "warn" : "ok";
    return [{ level, subject, text: `${failure.message}${isNone ? ": none is shown" : ""}` }];
  }
  if (report === null) return [warn(subject, "no sample")];
  const { program, duration, warnings, processes } = report;
  const count = listGpus(host).length;
  return [
    ok(
      subject,
      `${program} tells ${count === 1 ? "1 GPU" : `${count} GPUs`} in ${formatLatency(duration)}`,
    ),
    ...warnings.map((text) => warn(subject, text)),
    ...processes.value === null
      ? [warn(subject, `processes on GPUs are unknown (${processes.reason}): memory has no owner`)]
      : [],
  ];
}

function examineTargets(session: Session): readonly Remark[] {
  const { options, state } = session;
  const subject = "servers";
  const { length } = state.endpoints;
  const count = length === 1 ? "1 server" : `${length} servers`;
  const how = options.demo
    ? "simulated"
    : options.endpoints.length + options.targetLists.length > 0
    ? "named"
    : options.prometheus.length > 0
    ? "found in Prometheus"
    : session.sshWatches.length > 0
    ? "found by ssh"
    : options.kubernetes !== null
    ? "found in Kubernetes"
    : `found by a scan of ${options.host}`;
  const notices = state.notices.map((text) => ok(subject, text));
  if (length > 0) return [ok(subject, `${count}, ${how}`), ...notices];
  return [{ level: "fail", subject, text: state.notices.join("; ") || "none found" }];
}

/** By the process that listens on its port. */
function examinePort({ endpoint }: Watched, listings: Listings): string | null {
  const place = getHostAndPort(endpoint);
  const listing = listings.get(getHostName(endpoint)) ?? null;
  if (place === null || listing === null) return null;
  const found = listing.listening.find(({ port }) => port === place.port);
  if (found === undefined) return `no process is seen to listen on port ${place.port}`;
  const pid = found.ownerPids.find((one) => listing.processes.has(one));
  const process = pid === undefined ? undefined : listing.processes.get(pid);
  if (process === undefined) {
    return `port ${place.port} is another user's: its process is not visible`;
  }
  const command = cutText(maskSecrets(process.commandLine), MAX_COMMAND_WIDTH);
  const kind = identifyForwarder(process);
  const where = kind === null
    ? ""
    : kind === "container"
    ? ", in front of a container"
    : ", in front of another machine";
  return `port ${place.port} of process ${process.pid}${where}: ${command}`;
}

/**
 * Any page tells the time. That of the metrics is asked only of servers whose polls ask for it
 * alone: it wakes some others, and takes statistics away from their readers.
 */
function chooseClockUrl({ metricsUrl }: Endpoint, serverName: string | undefined): string {
  const dialect = findDialect(serverName);
  const isPolled = dialect === null || (dialect.createRound === undefined &&
    dialect.paths.some(({ path, when }) => path === METRICS_PATH && when === "each_round"));
  return isPolled ? metricsUrl : `${findApiBase(metricsUrl)}/v1/models`;
}

/** Its clock less ours; `null` if it does not tell. Never rejects. */
async function measureSkew(
  session: Session,
  { endpoint, access }: Watched,
  serverName: string | undefined,
): Promise<Seconds | null> {
  const { platform, options } = session;
  const limit = platform.deadline(options.timeout);
  try {
    const client = await platform.createHttpClient(access.transport);
    try {
      const headers = joinHeaders("*/*", await access.readHeaders());
      const askedAt = platform.epochSeconds();
      const response = await client.get({
        url: chooseClockUrl(endpoint, serverName),
        headers,
        signal: limit.signal,
      });
      await response.body?.cancel();
      const told = new Date(response.header("date") ?? "").getTime() / MILLISECONDS_PER_SECOND;
      // In the middle of the second that it names, and of the request.
      const skew = told + 0.5 - (askedAt + platform.epochSeconds()) / 2;
      return Number.isFinite(skew) ? skew : null;
    } finally {
      client.close();
    }
  } catch {
    return null;
  } finally {
    limit.cancel();
  }
}

async function examineClock(
  session: Session,
  one: Watched,
  { displayName: subject, scrape }: EndpointState,
): Promise<Remark | null> {
  const skew = await measureSkew(session, one, scrape?.engines[0]?.server.name);
  if (skew === null) return null;
  if (Math.abs(skew) <= MAX_CLOCK_SKEW) return ok(subject, "its clock agrees with ours");
  const words = `${formatDuration(Math.abs(skew))} ${skew > 0 ? "ahead of" : "behind"} ours`;
  return warn(subject, `its clock is ${words}: uptimes are wrong by that; set both by NTP`);
}

async function examineServers(
  session: Session,
  listings: Listings,
): Promise<readonly Remark[]> {
  const { state, watched, options } = session;
  const remarks = await Promise.all(
    state.endpoints.map(async (known): Promise<readonly Remark[]> => {
      const { displayName: subject, endpoint, scrape, failure } = known;
      const one = watched.get(endpoint.key);
      // Prometheus scrapes it.
      if (one === undefined) return examineEndpoint(known, null);
      const port = state.isDemo ? null : examinePort(one, listings);
      const clock = scrape === null || failure !== null
        ? null
        : await examineClock(session, one, known);
      return [
        ...examineEndpoint(known, options.interval),
        ...port === null ? [] : [ok(subject, port)],
        ...clock === null ? [] : [clock],
      ];
    }),
  );
  return remarks.flat();
}

async function listProcesses({ hosts, state }: Session): Promise<Listings> {
  const listed = [...hosts].map(async ([name, host]) => {
    const { link } = getHost(state.hosts, name);
    if (link !== null && link.kind !== "up") return [name, undefined] as const;
    return [name, await host.listProcesses?.() ?? null] as const;
  });
  return new Map(await Promise.all(listed));
}

function describeProgram(platform: Platform): string {
  const hours = platform.utcOffset() / SECONDS_PER_HOUR;
  const zone = `UTC${hours < 0 ? "" : "+"}${Number(hours.toFixed(2))}`;
  const time = formatTimestamp(platform.epochSeconds()).replace(/\.\d+/, "");
  return `${VERSION} on ${platform.operatingSystem}, at ${time} (${zone})`;
}

const MEANINGS: Readonly<Record<Remark["level"], Meaning>> = {
  ok: "ok",
  warn: "warn",
  fail: "alert",
};

function renderRemarks(remarks: readonly Remark[], { view, options }: Session): string {
  const paint = createPaint(view.depth, options.theme);
  const subjects = remarks.map(({ subject }) => cutText(subject, MAX_SUBJECT_WIDTH));
  const width = Math.max(...subjects.map((subject) => subject.length));
  const lines = remarks.map(({ level, text }, i) =>
    `${paint(level.padEnd(4), MEANINGS[level])}  ${padText(subjects[i], width)}  ${text}`
  );
  const counts = LEVELS.map((level) =>
    `${remarks.filter((remark) => remark.level === level).length} ${level}`
  );
  return [...lines, counts.join(", ")].map((line) => `${convertSigns(line, view)}\n`).join("");
}

/** Scrapes once by `scrape`, prints, and returns the exit code: 1 if anything fails. */
export async function runDoctor(
  session: Session,
  facts: DoctorFacts,
  scrape: (session: Session) => Promise<void>,
): Promise<number> {
  const { platform, options, stop } = session;
  await scrape(session);
  const listings = await listProcesses(session);
  const remarks = [
    ok("program", describeProgram(platform)),
    ...examineSettings(facts),
    ...examineHooks(facts),
    ...examineTerminal(session),
    ...examineProxies(session),
    ...[...listings].flatMap(([name, listing]) => [
      ...examineLink(name, getHost(session.state.hosts, name).link),
      ...listing === undefined ? [] : examineProcesses(name, listing),
      ...listing === undefined ? [] : examineGpus(session, name),
    ]),
    ...examineTargets(session),
    ...await examineServers(session, listings),
  ];
  stop.abort();
  const hasFailed = remarks.some(({ level }) => level === "fail");
  const worst = LEVELS.findLast((level) => remarks.some((remark) => remark.level === level)) ??
    "ok";
  const text = options.output === "json"
    ? serializeReport({
      ...{ schema: SCHEMA_VERSION, program: `vllm-htop ${VERSION}`, level: worst },
      checks: remarks.map((remark) => ({ ...remark })),
    }) + "\n"
    : renderRemarks(remarks, session);
  await platform.stdio.writeStdout(new TextEncoder().encode(text));
  return hasFailed ? EXIT_ENDPOINT_DOWN : EXIT_OK;
}
