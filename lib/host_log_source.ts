/**
 * Where a server's log is, and its last lines: a container's, a systemd unit's, or a file. Programs
 * of that machine tell and read, and only read.
 * @module
 */

import type { Machine } from "./host.ts";
import { describeFailure } from "./host_processes.ts";
import { type LogPlace, type LogText, MAX_LOG_LINES, parseLogPlace } from "./log.ts";
import type { ProgramOutcome } from "./platform.ts";
import { sanitizeText } from "./text.ts";
import { type Bytes, BYTES_PER_MEBIBYTE } from "./units.ts";

/** Asks a machine; this one or one behind ssh. */
type Asked = Pick<Machine, "runProgram">;

const MAX_FILE_BYTES: Bytes = 256 * 1024;
const LIMITS = { timeout: 3, maxOutputBytes: 4 * BYTES_PER_MEBIBYTE };

const SHORT_ID = 12;

/** Names it as the command with which the user would read it, or as the path; safe to print. */
export function nameLogPlace(place: LogPlace): string {
  switch (place.kind) {
    case "docker":
    case "podman": {
      const { kind, container } = place;
      const isId = /^[0-9a-f]{64}$/.test(container);
      return `${kind} logs ${isId ? container.slice(0, SHORT_ID) : container}`;
    }
    case "journal":
      return `journalctl ${place.isUser ? "--user-unit" : "-u"} ${place.unit}`;
    case "file":
      return sanitizeText(place.path);
  }
}

/** `/docker/ID`, `docker-ID.scope`, `libpod-ID.scope`; others have no program that is known. */
function parseContainer(group: string): LogPlace | null {
  const [, kind, container] = /(docker|libpod)[-/]([0-9a-f]{64})/.exec(group) ?? [];
  if (kind === undefined) return null;
  return { kind: kind === "docker" ? "docker" : "podman", container };
}

/** The innermost service, unless that is only the user's session. */
function parseUnit(group: string): LogPlace | null {
  const units = [...group.matchAll(/\/([\w:.@\\-]+\.service)(?=\/|\s|$)/g)].map(([, unit]) => unit);
  const unit = units.at(-1);
  const place = unit?.startsWith("user@") === false ? parseLogPlace(`journal:${unit}`) : null;
  return place?.kind === "journal" ? { ...place, isUser: units.length > 1 } : null;
}

function getOutput(outcome: ProgramOutcome): string {
  return outcome.kind === "exited" ? outcome.stdout : "";
}

/** Finds out where a process writes its log; `null` if it is nowhere that can be read again. */
export async function findLogPlace({ runProgram }: Asked, pid: number): Promise<LogPlace | null> {
  const [groups, links] = await Promise.all([
    runProgram({ name: "ps", arguments: ["-ww", "-o", "cgroup=", "-p", String(pid)], ...LIMITS }),
    // The owner's and root's processes only.
    runProgram({
      name: "readlink",
      arguments: [`/proc/${pid}/fd/1`, `/proc/${pid}/fd/2`],
      ...LIMITS,
    }),
  ]);
  const group = getOutput(groups).trim();
  // Paths in a container are not this machine's.
  if (/[0-9a-f]{64}/.test(group)) return parseContainer(group);
  const targets = getOutput(links).split("\n").filter((target) => target !== "");
  const path = targets.find((target) => target.startsWith("/") && !target.startsWith("/dev/"));
  if (path !== undefined && !path.endsWith(" (deleted)")) return { kind: "file", path };
  // A service's output is a socket of the journal.
  const isPiped = targets.length === 0 || targets.some((target) => target.startsWith("socket:"));
  return isPiped ? parseUnit(group) : null;
}

function describeCall(place: LogPlace): {
  readonly name: string;
  readonly arguments: readonly string[];
} {
  const lines = String(MAX_LOG_LINES);
  switch (place.kind) {
    case "docker":
    case "podman":
      return {
        name: place.kind,
        arguments: ["logs", "--timestamps", "--tail", lines, place.container],
      };
    case "journal":
      return {
        name: "journalctl",
        arguments: [
          ...["--quiet", "--no-pager", "--all", "--output", "short-iso-precise"],
          ...["--lines", lines, place.isUser ? "--user-unit" : "--unit", place.unit],
        ],
      };
    case "file":
      return { name: "tail", arguments: ["-c", String(MAX_FILE_BYTES), "--", place.path] };
  }
}

/** Containers log to both streams: each line has its time. */
function mergeStreams(streams: readonly string[]): string {
  const lines = streams.flatMap((text) => text.split("\n").filter((line) => line !== ""));
  const getTime = (line: string): string => line.slice(0, line.indexOf(" "));
  return lines.toSorted((a, b) => {
    const [one, other] = [getTime(a), getTime(b)];
    return one < other ? -1 : one > other ? 1 : 0;
  }).join("\n");
}

/** A start within a file that is too long begins in a line. */
function dropPart(text: string): string {
  return text.length < MAX_FILE_BYTES ? text : text.slice(text.indexOf("\n") + 1);
}

/** Reads the last lines. */
export async function readLogText({ runProgram }: Asked, place: LogPlace): Promise<LogText> {
  const call = describeCall(place);
  const outcome = await runProgram({ ...call, ...LIMITS });
  if (outcome.kind !== "exited") return { problem: describeFailure(call.name, outcome) };
  const { code, stdout, stderr } = outcome;
  if (code !== 0) {
    const said = stderr.trim().split("\n").at(-1) ?? "";
    const why = said === "" ? describeFailure(call.name, outcome) : sanitizeText(said);
    return { problem: why.replace(/\.$/, "") };
  }
  if (place.kind === "file") return { text: dropPart(stdout) };
  if (place.kind !== "journal") return { text: mergeStreams([stdout, stderr]) };
  return stdout.trim() === ""
    ? { problem: `the journal shows nothing of ${place.unit}: it may need the group adm` }
    : { text: stdout };
}
