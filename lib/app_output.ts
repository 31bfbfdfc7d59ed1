/**
 * The state in the form of `--output`, for pipes, files and scripts.
 * @module
 */

import type { Session } from "./app_session.ts";
import type { OutputForm } from "./cli_options.ts";
import { createReport, serializeReport } from "./report.ts";
import { VERSION } from "./version.ts";
import { choosePlainWidth, renderText, type ViewOptions } from "./view.ts";
import { renderCheck } from "./view_check.ts";
import { renderDiagnosis } from "./view_diagnosis.ts";
import { convertSigns } from "./view_signs.ts";

/** Forms for people, which a live screen can show. */
export function isTextForm(form: OutputForm): form is ViewOptions["output"] {
  return form === "auto" || form === "table" || form === "detail";
}

function renderLines({ state, view, options: { output, columns }, platform }: Session) {
  if (output === "diagnosis") return renderDiagnosis(state).map((line) => convertSigns(line, view));
  if (output === "check") return [convertSigns(renderCheck(state).line, view)];
  const { stdio, environment } = platform;
  const size = stdio.stdoutIsTerminal ? stdio.terminalSize() : null;
  const width = size?.columns ??
    choosePlainWidth(environment, { namesColumns: columns.length > 0 });
  return renderText(state, { ...view, width });
}

/** Whole lines. */
export function renderOutput(session: Session): string {
  const { state, options } = session;
  if (options.output === "json") return serializeReport(createReport(state, VERSION)) + "\n";
  return renderLines(session).map((line) => `${line}\n`).join("");
}
