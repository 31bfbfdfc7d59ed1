/**
 * Lines of pieces, the most important first; one that does not fit is left out or cut.
 * @module
 */

import { cutText, measureWidth } from "./text.ts";
import type { Meaning, Paint } from "./view_theme.ts";

export interface Piece {
  /** Before the text, dim. */
  readonly label?: string;
  readonly text: string;
  /** Default `plain`. */
  readonly meaning?: Meaning;
  readonly canBeCut?: true;
  /** Added only if no piece is dropped for it. */
  readonly extra?: string;
  /** The extra is dropped before those of other pieces. */
  readonly dropsFirst?: true;
}

/** Shorter parts are left out. */
const MIN_PIECE_WIDTH = 12;

/** Drops extras, last first, until the most pieces fit. */
function settleExtras(pieces: readonly Piece[], width: number, gap: string): readonly Piece[] {
  const wanted = pieces.filter(({ text }) => text !== "");
  const extras = wanted.filter(({ extra = "" }) => extra !== "")
    .toSorted((a, b) => Number(a.dropsFirst ?? false) - Number(b.dropsFirst ?? false));
  const choices = extras.map((_, gone) => extras.slice(0, extras.length - gone)).concat([[]])
    .map((kept) =>
      wanted.map((piece) =>
        kept.includes(piece) ? { ...piece, text: piece.text + piece.extra } : piece
      )
    );
  const countFitting = (choice: readonly Piece[]): number => {
    let used = 1 - gap.length;
    const over = choice.findIndex((piece) => (used += gap.length + measurePiece(piece)) > width);
    return over < 0 ? choice.length : over;
  };
  return choices.reduce((a, b) => countFitting(b) > countFitting(a) ? b : a);
}

export function measurePiece({ label = "", text }: Piece): number {
  return measureWidth(text) + (label === "" ? 0 : measureWidth(label) + 1);
}

/** Begins with a blank. */
export function joinPieces(
  pieces: readonly Piece[],
  options: { readonly width: number; readonly gap: string; readonly paint: Paint },
): string {
  const { width, gap, paint } = options;
  let line = "";
  let used = 0;
  for (const piece of settleExtras(pieces, width, gap)) {
    const { label = "", text, meaning = "plain", canBeCut } = piece;
    const before = used === 0 ? " " : gap;
    const room = width - used - before.length;
    if (measurePiece(piece) > room) {
      if (used > 0 && (canBeCut !== true || room < MIN_PIECE_WIDTH)) continue;
      line += before + paint(cutText(text, Math.max(0, room)), meaning);
      break;
    }
    line += before + (label === "" ? "" : paint(label, "dim") + " ") + paint(text, meaning);
    used += before.length + measurePiece(piece);
  }
  return line;
}
