/**
 * The comment lines of an exposition: HELP, TYPE and EOF.
 *
 * Layer 1, pure apart from the map it is given. Both dialects allow any other
 * comment, and both are read here: families may be named bare or, since UTF-8
 * names came, in quotes. A second HELP or TYPE, and a TYPE that follows its
 * samples, break the format and cost nothing: the last TYPE counts. Samples are
 * `prometheus`' part. Source: prometheus/docs exposition_formats.md,
 * OpenMetrics 1.0, read 2026-11.
 *
 * @module
 */

/** A metric name that needs no quotes. */
export const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** Receives each TYPE line: the family as the dialect names it, and its type. */
export type TypeVisitor = (family: string, type: string) => void;

/** What a comment line turned out to be. */
export type CommentOutcome = {
  readonly bad?: string;
  readonly eof?: true;
};

const PLAIN_COMMENT: CommentOutcome = {};
const METADATA = /^#[ \t]+(HELP|TYPE)(?:[ \t]+("(?:[^"\\]|\\.)*"|[^ \t]+))?(?:[ \t]+(.*))?$/;

/**
 * Reads a comment: HELP, TYPE and EOF mean something, all else is skipped.
 *
 * @param types Family -> the type that it was declared with; grows.
 */
export function readComment(
  line: string,
  types: Map<string, string>,
  onType?: TypeVisitor,
): CommentOutcome {
  if (line === "# EOF") return { eof: true };
  const match = METADATA.exec(line);
  if (match === null) return PLAIN_COMMENT;
  const [, keyword, token = "", rest = ""] = match;
  const isQuoted = token.startsWith('"');
  const family = isQuoted ? token.slice(1, -1).replace(/\\(["\\])/g, "$1") : token;
  if (!isQuoted && !METRIC_NAME.test(family)) return { bad: `${keyword} without a metric name` };
  if (keyword === "HELP") return PLAIN_COMMENT;
  const type = rest.trim();
  if (type === "") return { bad: "TYPE without a type" };
  types.set(family, type);
  onType?.(family, type);
  return PLAIN_COMMENT;
}
