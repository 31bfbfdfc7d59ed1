import { assertEquals, assertMatch } from "@std/assert";
import { createResponder } from "../lib/app_serve.ts";
import type { Session } from "../lib/app_session.ts";
import { watchFleet } from "./fixtures/fleets.ts";

Deno.test("createResponder() answers GET of /metrics alone, with one text a second", () => {
  const state = watchFleet(1);
  const time = { now: state.now };
  const session = {
    ...{ state, record: null, replay: null, past: null },
    platform: { monotonicSeconds: () => time.now, epochSeconds: () => state.nowEpoch },
  } as unknown as Session;
  const answer = createResponder(session);
  const ask = (method: string, path: string) => answer({ method, path });
  assertEquals(["POST", "PUT", "DELETE"].map((method) => ask(method, "/metrics").status), [
    ...[405, 405, 405],
  ]);
  assertEquals([ask("GET", "/").status, ask("GET", "/other").status], [200, 404]);
  const first = ask("GET", "/metrics");
  assertEquals([first.status, first.contentType.split(";")[0]], [200, "text/plain"]);
  assertMatch(first.body, /vllm_htop_verdict\{verdict="HEALTHY"\} 1/);
  time.now += 0.9;
  assertEquals(ask("HEAD", "/metrics").body, first.body);
  // Without a scrape for long, it is stale.
  time.now += 60;
  assertMatch(ask("GET", "/metrics").body, /vllm_htop_replica_scrape_age_seconds\{[^}]*\} 6\d/);
});
