/**
 * Answers other programs by HTTP: `GET /metrics` gives Prometheus text of the newest state. Read only,
 * and it computes at most one text a second, however often it is asked.
 * @module
 */

import { type Session, takeInstant } from "./app_session.ts";
import { EXIT_CONFIGURATION } from "./cli_exit.ts";
import type { Listener } from "./cli_values.ts";
import type { DiscoveryError } from "./discovery.ts";
import type { IncomingRequest, OutgoingResponse } from "./platform.ts";
import { writeExposition } from "./report_prometheus.ts";
import { quote, sanitizeText } from "./text.ts";
import type { Seconds } from "./units.ts";
import { VERSION } from "./version.ts";

const MIN_AGE: Seconds = 1;
const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

function answerText(status: number, text: string): OutgoingResponse {
  return { status, contentType: "text/plain; charset=utf-8", body: `${text}\n` };
}

/** Answers requests with the state of the session. */
export function createResponder(
  session: Session,
): (request: IncomingRequest) => OutgoingResponse {
  let body = "";
  let writtenAt = -Infinity;
  return ({ method, path }) => {
    if (method !== "GET" && method !== "HEAD") return answerText(405, "only GET is answered");
    if (path !== "/metrics") {
      return answerText(path === "/" ? 200 : 404, `vllm-htop ${VERSION}: see /metrics`);
    }
    const now = session.platform.monotonicSeconds();
    if (now - writtenAt >= MIN_AGE) {
      takeInstant(session);
      body = writeExposition(session.state, VERSION);
      writtenAt = now;
    }
    return { status: 200, contentType: METRICS_TYPE, body };
  };
}

/** Listens until the session ends. `null` if it does. */
export function serveSession(session: Session, place: Listener): DiscoveryError | null {
  try {
    session.platform.serveHttp(place, createResponder(session), session.stop.signal);
    return null;
  } catch (error) {
    const words = sanitizeText(error instanceof Error ? error.message : String(error));
    const message = `cannot listen on ${quote(`${place.host}:${place.port}`)}: ${words}`;
    return { message, exitCode: EXIT_CONFIGURATION };
  }
}
