import { assertEquals, assertMatch } from "@std/assert";
import { startHooks } from "../lib/app_hooks.ts";
import type { Session } from "../lib/app_session.ts";
import type { Hook } from "../lib/cli_hooks.ts";
import type { Platform, ProgramOutcome } from "../lib/platform.ts";
import type { State } from "../lib/state.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";
import { loadAuthorities } from "../lib/scrape_credentials.ts";
import { createTestCertificates } from "./hostile_server.ts";
import { waitFor } from "./program_runs.ts";
import { needsProgram } from "./programs.ts";
import { advance, createEndpoint, createFailed, startState } from "./fixtures/expositions.ts";

const HOOK: Hook = {
  ...{ signals: null, level: "degraded", repeat: null, timeout: 10 },
  ...{ exec: null, webhook: null, isSlack: false, hasBell: false },
};

/** Some servers that are down. */
function watchDown(count: number): State {
  const endpoints = Array.from({ length: count }, (_, i) => createEndpoint(8000 + i));
  const failed = endpoints.map((endpoint) => createFailed(endpoint, 0));
  return advance(advance(startState(endpoints), 0.1, failed), 40);
}

function createSession(
  state: State,
  more: { readonly run?: Platform["runProgram"]; readonly isTerminal?: boolean } = {},
) {
  const rung: number[] = [];
  const writeStdout = (bytes: Uint8Array): Promise<void> => {
    rung.push(...bytes);
    return Promise.resolve();
  };
  const session = {
    state,
    platform: {
      runProgram: more.run,
      stdio: { stdoutIsTerminal: more.isTerminal ?? true, writeStdout },
    },
    stop: new AbortController(),
    past: null,
    onChange: () => {},
  } as unknown as Session;
  return { session, rung };
}

function listFailures(
  { state }: Session,
): readonly (readonly [string, string | undefined, number])[] {
  return state.fleet.events.filter(({ kind }) => kind === "HOOK")
    .map(({ subject, message, occurrences }) => [subject.name, message, occurrences]);
}

Deno.test("startHooks() rings the bell of a terminal when a rule fires, and not when it is over", () => {
  for (const isTerminal of [true, false]) {
    const { session, rung } = createSession(watchDown(1), { isTerminal });
    const call = startHooks(session, [{ ...HOOK, hasBell: true }]);
    call();
    call();
    session.state = { ...watchDown(0), now: 50 };
    call();
    assertEquals(rung, isTerminal ? [7] : []);
  }
});

Deno.test("startHooks() runs one program at a time, and drops the oldest of too many events", async () => {
  const calls: { readonly input: string; readonly end: (outcome: ProgramOutcome) => void }[] = [];
  const run: Platform["runProgram"] = ({ input = "" }) =>
    new Promise((end) => void calls.push({ input, end }));
  const { session } = createSession(watchDown(20), { run });
  startHooks(session, [HOOK, { ...HOOK, exec: ["page"] }])();
  await Promise.resolve();
  assertEquals(calls.length, 1);
  const [[name, message, occurrences]] = listFailures(session);
  assertEquals([name, occurrences], ["hook 2", 3]);
  assertMatch(message ?? "", /too slow: an event was dropped/);
  const done: ProgramOutcome = { kind: "exited", code: 0, stdout: "", stderr: "" };
  for (let i = 0; i < calls.length; i++) {
    calls[i].end(done);
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  assertEquals(calls.length, 17);
  assertEquals(JSON.parse(calls[0].input).rule, "down");
});

Deno.test("startHooks() makes an event of each way in which a program fails, and goes on", async () => {
  const outcomes: readonly (readonly [outcome: ProgramOutcome | Error, message: RegExp])[] = [
    [
      { kind: "exited", code: 3, stdout: "", stderr: "no\x1b[2J pager\nmore" },
      /failed with code 3: no.* pager$/,
    ],
    [{ kind: "missing" }, /^"page" is not on the PATH/],
    [{ kind: "refused", message: "x" }, /^"page" may not be run/],
    [{ kind: "timeout" }, /took too long/],
    [{ kind: "flooded" }, /printed too much/],
    [new Error("broken"), /broken/],
  ];
  for (const [outcome, message] of outcomes) {
    const run = () => outcome instanceof Error ? Promise.reject(outcome) : Promise.resolve(outcome);
    const { session } = createSession(watchDown(1), { run });
    startHooks(session, [{ ...HOOK, exec: ["page"] }])();
    await new Promise((resolve) => setTimeout(resolve, 0));
    const [[, said]] = listFailures(session);
    assertMatch(said ?? "", message);
    // deno-lint-ignore no-control-regex
    assertEquals(/[\x00-\x1f]/.test(said ?? ""), false);
  }
});

Deno.test({
  name: "startHooks() posts to servers of an authority that the user names, as endpoints are asked",
  ...needsProgram("openssl"),
  fn: async () => {
    const { server: tls, folder } = await createTestCertificates();
    let count = 0;
    const server = Deno.serve(
      { ...tls, port: 0, hostname: "localhost", onListen: () => {} },
      () => {
        count++;
        return new Response();
      },
    );
    const platform = createDenoPlatform();
    const hook = { ...HOOK, webhook: `https://localhost:${server.addr.port}/` };
    const load = (endpointKey: string | null) =>
      loadAuthorities(platform, [
        { kind: "ca_certificates", endpointKey, from: { file: `${folder}/ca.pem` } },
        { kind: "token", endpointKey: null, from: { file: "missing" } },
      ]);
    try {
      for (const key of [null, "https://other"]) {
        const authorities = await load(key);
        if ("error" in authorities) throw new Error(authorities.error);
        const { session } = createSession(watchDown(1));
        Object.assign(session, { platform });
        startHooks(session, [hook], authorities)();
        await waitFor(() => count === 1 && (key === null || listFailures(session).length > 0));
        if (key !== null) assertMatch(listFailures(session)[0][1] ?? "", /certificate/);
      }
      const broken = await loadAuthorities(platform, [
        { kind: "ca_certificates", endpointKey: null, from: { file: `${folder}/ca.key` } },
      ]);
      assertMatch("error" in broken ? broken.error : "", /has no PEM block of that kind/);
    } finally {
      await server.shutdown();
      await Deno.remove(folder, { recursive: true });
    }
  },
});
