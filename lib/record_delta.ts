/**
 * Text as the lines in which it differs from a similar text, as a body of metrics does from the one
 * before. Whole numbers at the end of a line become differences: the buckets of a histogram rise
 * together, and equal differences compress well.
 * @module
 */

/**
 * Unchanged lines before each changed one, and what became of that: a number is added to the one at
 * its end, text that begins with a blank replaces what follows the last blank, and text after `=`
 * replaces the line.
 */
export type LineChanges = readonly [gaps: readonly number[], changes: readonly (number | string)[]];

/** Of lines, beyond which the texts are not similar. */
const MAX_REPLACED_SHARE = 0.1;
const WHOLE_NUMBER = /^ (0|-?[1-9]\d{0,14})(\.0)?$/;

/** The end of a line, from its last blank on. */
function getTail(line: string): string {
  return line.slice(Math.max(0, line.lastIndexOf(" ")));
}

function computeDifference(before: string, after: string): number | null {
  const [, old, oldFraction] = WHOLE_NUMBER.exec(before) ?? [];
  const [, now, fraction] = WHOLE_NUMBER.exec(after) ?? [];
  return old === undefined || now === undefined || fraction !== oldFraction
    ? null
    : Number(now) - Number(old);
}

function computeChange(before: string, after: string): number | string {
  const [oldTail, tail] = [getTail(before), getTail(after)];
  const isSameHead = tail.startsWith(" ") && oldTail.startsWith(" ") &&
    before.slice(0, -oldTail.length) === after.slice(0, -tail.length);
  return isSameHead ? computeDifference(oldTail, tail) ?? tail : `=${after}`;
}

/** `null` if the texts differ in their number of lines, or in too many of them. */
export function compareLines(
  before: readonly string[],
  after: readonly string[],
): LineChanges | null {
  if (before.length !== after.length) return null;
  const gaps: number[] = [];
  const changes: (number | string)[] = [];
  let replaced = 0;
  let gap = 0;
  for (let i = 0; i < after.length; i++) {
    if (before[i] === after[i]) {
      gap++;
      continue;
    }
    const change = computeChange(before[i], after[i]);
    if (typeof change === "string" && change.startsWith("=")) replaced++;
    gaps.push(gap);
    changes.push(change);
    gap = 0;
  }
  return replaced > Math.max(1, MAX_REPLACED_SHARE * after.length) ? null : [gaps, changes];
}

/** @throws {TypeError} If the changes do not belong to these lines. */
export function changeLines(
  before: readonly string[],
  [gaps, changes]: LineChanges,
): readonly string[] {
  const lines = [...before];
  let at = -1;
  changes.forEach((change, i) => {
    at += gaps[i] + 1;
    const line = lines[at];
    if (line === undefined) throw new TypeError("Changes of another text");
    const tail = getTail(line);
    const head = line.slice(0, line.length - tail.length);
    if (typeof change === "number") {
      const [, old = NaN, fraction = ""] = WHOLE_NUMBER.exec(tail) ?? [];
      lines[at] = `${head} ${Number(old) + change}${fraction}`;
    } else {
      lines[at] = change.startsWith("=") ? change.slice(1) : head + change;
    }
  });
  return lines;
}
