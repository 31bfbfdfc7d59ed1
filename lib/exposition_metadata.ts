/**
 * The comment lines of an exposition: HELP, TYPE and EOF.
 *
 * Layer 1, pure apart from the record it is given. Both dialects allow any
 * other comment, and both are read here: families may be named bare or, since
 * UTF-8 names came, in quotes. A second HELP or TYPE, and a TYPE that follows
 * its samples, break the format and cost nothing: they are remarks. Samples are
 * `prometheus`' part. Source: prometheus/docs exposition_formats.md,
 * OpenMetrics 1.0, read 2026-11.
 *
 * @module
 */

/** A metric name that needs no quotes. */
export const METRIC_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

/** Receives each TYPE line: the family as the dialect names it, and its type. */
export type TypeVisitor = (family: string, type: string) => void;

/** What the comments have said so far. */
export interface Metadata {
  readonly types: Map<string, string>;
  readonly helped: Set<string>;
  readonly sampled: Set<string>;
}

/** What a comment line turned out to be. */
export type CommentOutcome = {
  readonly bad?: string;
  readonly remark?: string;
  readonly eof?: true;
};

const PLAIN_COMMENT: CommentOutcome = {};
const METADATA = /^#[ \t]+(HELP|TYPE)(?:[ \t]+("(?:[^"\\]|\\.)*"|[^ \t]+))?(?:[ \t]+(.*))?$/;

/** Notes that a family has been described, or that it was before. */
function readHelp(metadata: Metadata, family: string): CommentOutcome {
  if (metadata.helped.has(family)) return { remark: "a second HELP" };
  metadata.helped.add(family);
  return PLAIN_COMMENT;
}

/** Notes the type of a family, and tells the visitor. */
function readType(
  metadata: Metadata,
  family: string,
  declared: { readonly type: string; readonly onType?: TypeVisitor },
): CommentOutcome {
  const { type, onType } = declared;
  if (type === "") return { bad: "TYPE without a type" };
  const isRepeated = metadata.types.has(family);
  metadata.types.set(family, type);
  onType?.(family, type);
  if (isRepeated) return { remark: "a second TYPE" };
  return metadata.sampled.has(family) ? { remark: "TYPE after its samples" } : PLAIN_COMMENT;
}

/** Reads a comment: HELP, TYPE and EOF mean something, all else is skipped. */
export function readComment(
  line: string,
  metadata: Metadata,
  onType?: TypeVisitor,
): CommentOutcome {
  if (line === "# EOF") return { eof: true };
  const match = METADATA.exec(line);
  if (match === null) return PLAIN_COMMENT;
  const [, keyword, token = "", rest = ""] = match;
  const isQuoted = token.startsWith('"');
  const family = isQuoted ? token.slice(1, -1).replace(/\\(["\\])/g, "$1") : token;
  if (!isQuoted && !METRIC_NAME.test(family)) return { bad: `${keyword} without a metric name` };
  return keyword === "HELP"
    ? readHelp(metadata, family)
    : readType(metadata, family, { type: rest.trim(), onType });
}
