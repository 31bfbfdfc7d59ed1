/**
 * What is known of a server by its process and its log, in the report. Its lines are not in it.
 * @module
 */

import type { Json, JsonObject } from "./json.ts";
import {
  DEATH_CAUSES,
  LOAD_PHASES,
  LOG_SUBJECTS,
  type LogDeath,
  type LogValues,
  type WatchedLog,
} from "./log.ts";
import {
  count,
  type Field,
  field,
  list,
  number,
  object,
  oneOf,
  orNull,
  SECONDS,
  TEXT,
  type ValueType,
} from "./report_fields.ts";
import type { State } from "./state.ts";
import type { EndpointState } from "./state_endpoint.ts";
import { type Load, type LoadStepSpan, type LogFigures, readLogFacts } from "./state_log.ts";

const VALUES: ValueType<LogValues> = {
  unit: "as the name ends",
  write: (values): JsonObject =>
    Object.fromEntries(
      Object.entries(values).map(([key, value]): [string, Json] => [
        key,
        typeof value === "object" ? [...value] : value,
      ]),
    ),
  describe: () => ({
    type: "object",
    additionalProperties: { type: ["number", "string", "array"], items: { type: "number" } },
  }),
};

const STEP = object<LoadStepSpan>([
  field("phase", oneOf(LOAD_PHASES), "of the load"),
  field("spanSeconds", orNull(SECONDS), "how long it took, or has taken so far", "span"),
]);

const LOAD = object<Load>([
  field("spanSeconds", SECONDS, "since the process started", "span"),
  field("phase", orNull(oneOf(LOAD_PHASES)), "what it does now; null if no log tells"),
  field("done", orNull(number()), "steps of the phase, or bytes, that are done", (load) => {
    return load.progress?.done ?? null;
  }),
  field("total", orNull(number()), "of so many", ({ progress }) => progress?.total ?? null),
  field("steps", list(STEP), "phases so far"),
  field("lastSpanSeconds", orNull(SECONDS), "how long the load before took", "lastSpan"),
  field("values", VALUES, "what the log said: version, kvCacheTokens, weights.seconds, …"),
], "load");

const DEATH = object<LogDeath>([
  field("cause", oneOf(DEATH_CAUSES), "kind of the reason"),
  field("text", TEXT, "the line that says why"),
], "death");

const FIGURES = object<LogFigures>([
  field("subject", oneOf(LOG_SUBJECTS), "what is counted"),
  field("engine", orNull(count()), "its number; null if the line names none"),
  field("engines", orNull(count("engines")), "how many it sums, if it says so"),
  field("ageSeconds", SECONDS, "of the line", "age"),
  field("values", VALUES, "means of the server's own interval"),
], "logFigures");

type Logged = Pick<WatchedLog, "source" | "problem"> & ReturnType<typeof readLogFacts>;

const LOG = object<Logged>([
  field("source", orNull(TEXT), "the command that reads it, or its path"),
  field("problem", orNull(TEXT), "why it cannot be read"),
  field("load", orNull(LOAD), "null unless the server loads"),
  field("death", orNull(DEATH), "why the server ended, if its log says so"),
  field("figures", list(FIGURES), "if its metrics cannot be had", "logFigures"),
], "log");

/** Of an endpoint. */
export const LOG_FIELD: Field<EndpointState & { readonly whole: State }> = field(
  "log",
  orNull(LOG),
  "its process and log, read while it does not answer",
  (known) => {
    const { log, whole } = known;
    return log === null || known.failure === null
      ? null
      : { ...log, ...readLogFacts(known, null, whole) };
  },
);
