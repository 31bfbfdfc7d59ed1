/**
 * One child `kubectl proxy`, which only passes on what this program reads, and listens on a port of
 * this machine. It is started when it is needed, and again when it has ended. Also what kubectl's
 * failures mean.
 * Source: recorded runs of kubectl 1.33 (`tests/fixtures/kubernetes`).
 * @module
 */

import { createBackOff } from "./back_off.ts";
import { DIALECTS } from "./dialect.ts";
import type { NotStarted, Platform, RunningProgram } from "./platform.ts";
import type { Problem } from "./scrape_errors.ts";
import { quote } from "./text.ts";
import { type Bytes, BYTES_PER_KIBIBYTE, type Seconds } from "./units.ts";

/** Pages that are asked of servers besides those of metrics, without a slash at the end. */
const POD_PATHS: readonly string[] = [
  ...new Set(
    [
      ...["/version", "/v1/models"],
      ...DIALECTS.flatMap(({ paths, proofs = [] }) => [
        ...paths.flatMap(({ path, when }) => when === "never" ? [] : path),
        ...proofs.map(({ path }) => path),
      ]),
    ].map((path) => path.replace(/\/$/, "")).filter((path) => !path.endsWith("metrics")),
  ),
];
const NAMESPACED = "^/api/v1/namespaces/[^/]+/pods";
/** Patterns are separated by commas. */
const ACCEPTED_PATHS = [
  "^/api/v1/(namespaces/[^/]+/)?pods$",
  `${NAMESPACED}/[^/]+/proxy(/[\\w./-]*metrics|${POD_PATHS.join("|")})/?$`,
  `${NAMESPACED}/[^/]+/log$`,
  "^/api/v1/nodes/[^/]+$",
].join(",");
const PROXY_ARGUMENTS: readonly string[] = [
  "proxy",
  "--port=0",
  "--reject-methods=^(POST|PUT|PATCH|DELETE|OPTIONS|CONNECT)$",
  `--accept-paths=${ACCEPTED_PATHS}`,
];

const FIRST_LINE_LIMIT: Seconds = 15;
const MAX_STDERR: Bytes = 8 * BYTES_PER_KIBIBYTE;
const getPause = createBackOff({ initial: 1, max: 60 });
/** A proxy that has run for so long has not failed again. */
const HEALTHY_AFTER: Seconds = 60;
/** A refused login starts a credential plugin each time. */
const LOGIN_PAUSE: Seconds = 30;

type FailureRow = readonly [pattern: RegExp, advice: string];

const LOGIN: FailureRow = [
  /getting credentials|exec plugin|credential plugin|reauthenticat|oauth2|refresh token/i,
  "log in again, and check with kubectl get pods",
];

/** In kubectl's words. */
const FAILURE_ROWS: readonly FailureRow[] = [
  LOGIN,
  [
    /cannot locate context|context .* does not exist|context was not found/i,
    "correct --kube-context: kubectl config get-contexts lists them",
  ],
  [
    /current-context must exist|no configuration has been provided/i,
    "choose a context with --kube-context, or set KUBECONFIG",
  ],
  [/cannot locate (?:cluster|user)|loading config file/i, "correct the kubeconfig file"],
  [/unknown flag/i, "update kubectl"],
  [/x509|certificate/i, "correct the certificate authority in the kubeconfig file"],
  [
    /dial tcp|refused|no such host|timeout|timed out|unreachable|no route|\bEOF\b|reset by peer/i,
    "check the VPN, and kubectl get pods",
  ],
];
const REASON_WIDTH = 160;

/** Without the stamp of the program's logger. */
function listLines(text: string): readonly string[] {
  return text.split(/\r?\n/)
    .map((line) => line.replace(/^[EWIF]\d{4} \S+ +\d+ \S+\] /, "").trim())
    .filter((line) => line !== "");
}

/** Whether kubectl says itself that it cannot log in, or cannot do its work. */
export function tellsOfLogin(text: string): boolean {
  return LOGIN[0].test(text);
}

export function tellsOfFailure(text: string): boolean {
  return FAILURE_ROWS.some(([pattern]) => pattern.test(text));
}

/** Of an answer or of standard error; the lines that tell most may have others after them. */
export function describeWords(text: string, fallback = "it ended"): Problem {
  const lines = listLines(text);
  const row = FAILURE_ROWS.find(([pattern]) => lines.some((line) => pattern.test(line)));
  const line = lines.findLast((one) => row?.[0].test(one) ?? true) ?? fallback;
  return {
    kind: "cluster",
    message: `kubectl: ${quote(line.replace(/^error: /i, ""), REASON_WIDTH)}: ${
      row?.[1] ?? "check with kubectl get pods"
    }`,
  };
}

export function describeNotStarted(outcome: NotStarted): Problem {
  if (outcome.kind === "missing") {
    const advice = "install it, or watch the cluster's Prometheus with --prometheus";
    return { kind: "cluster", message: `kubectl is not on the PATH: ${advice}` };
  }
  // One that is not emptied; Deno names it.
  const [variable] = /\b(?:LD|DYLD)_\w+/.exec(outcome.message) ?? [];
  const message = variable === undefined
    ? "kubectl may not be started: run Deno with --allow-run=kubectl"
    : `kubectl may not be started while ${variable} is set: unset it`;
  return { kind: "cluster", message };
}

/** Collects the last of what a program says, so that it never waits for a reader. */
async function follow(
  stream: ReadableStream<Uint8Array>,
  accept: (text: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  try {
    for await (const bytes of stream) accept(decoder.decode(bytes, { stream: true }));
  } catch {
    // It was killed.
  }
}

type ProxyState =
  | { readonly kind: "idle" }
  | { readonly kind: "running"; readonly base: Promise<string | Problem> }
  | { readonly kind: "down"; readonly problem: Problem; readonly retryAt: Seconds };

export interface KubectlProxy {
  /** The URL at which it listens, or why it does not. Starts it if it is time. */
  readonly reach: () => Promise<string | Problem>;
  /** Answers with the problem for a while. */
  readonly pause: (problem: Problem) => void;
  readonly close: () => void;
}

/** What to do with the child's standard output and error, and its end. */
interface ProxyEvents {
  readonly onPort: (port: string) => void;
  readonly onEnd: (stderr: string) => void;
}

function watchProxy(program: RunningProgram, events: ProxyEvents): void {
  const { stdin, stdout, stderr, exitCode } = program;
  void stdin.close().catch(() => {});
  const said = { stdout: "", stderr: "" };
  void follow(stdout, (text) => {
    said.stdout = (said.stdout + text).slice(-MAX_STDERR);
    const [, port] = /serve on 127\.0\.0\.1:(\d+)\s/.exec(said.stdout) ?? [];
    if (port !== undefined) events.onPort(port);
  });
  const reading = follow(stderr, (text) => {
    said.stderr = (said.stderr + text).slice(-MAX_STDERR);
  });
  void exitCode.then(() => reading).then(() => events.onEnd(said.stderr));
}

/** @param listMore Arguments that may be known late. */
export function createKubectlProxy(
  platform: Platform,
  listMore: () => readonly string[],
): KubectlProxy {
  const { monotonicSeconds } = platform;
  let state: ProxyState = { kind: "idle" };
  let paused: { readonly problem: Problem; readonly until: Seconds } | null = null;
  let program: RunningProgram | null = null;
  let failures = 0;
  let isClosed = false;

  const fail = (problem: Problem, startedAt: Seconds): Problem => {
    failures = monotonicSeconds() - startedAt > HEALTHY_AFTER ? 1 : failures + 1;
    state = { kind: "down", problem, retryAt: monotonicSeconds() + getPause(failures) };
    return problem;
  };
  const start = (): Promise<string | Problem> => {
    const startedAt = monotonicSeconds();
    const started = platform.startProgram({
      name: "kubectl",
      arguments: [...PROXY_ARGUMENTS, ...listMore()],
      variables: "all",
    });
    if ("kind" in started) return Promise.resolve(fail(describeNotStarted(started), startedAt));
    program = started;
    const base = new Promise<string | Problem>((resolve) => {
      const cancel = platform.startTimer(FIRST_LINE_LIMIT, () => started.end());
      watchProxy(started, {
        onPort: (port) => {
          cancel();
          resolve(`http://127.0.0.1:${port}`);
        },
        onEnd: (stderr) => {
          cancel();
          program = null;
          resolve(fail(describeWords(stderr, "its proxy ended"), startedAt));
        },
      });
    });
    state = { kind: "running", base };
    return base;
  };
  return {
    reach: () => {
      const now = monotonicSeconds();
      if (paused !== null && now < paused.until) return Promise.resolve(paused.problem);
      if (isClosed) return Promise.resolve(describeWords("", "its proxy ended"));
      if (state.kind === "running") return state.base;
      if (state.kind === "down" && now < state.retryAt) return Promise.resolve(state.problem);
      return start();
    },
    pause: (problem) => paused = { problem, until: monotonicSeconds() + LOGIN_PAUSE },
    close: () => {
      isClosed = true;
      program?.end();
    },
  };
}
