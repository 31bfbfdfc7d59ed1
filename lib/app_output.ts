/**
 * The state in the form of `--output`, for pipes, files and scripts. Views are loaded when one is
 * drawn: JSON starts sooner without.
 * @module
 */

import type { Session } from "./app_session.ts";
import type { OutputForm } from "./cli_options.ts";
import { createReport, serializeReport } from "./report.ts";
import { VERSION } from "./version.ts";
import type { ViewOptions } from "./view.ts";
import { convertSigns } from "./view_signs.ts";

/** Forms for people, which a live screen can show. */
export function isTextForm(form: OutputForm): form is ViewOptions["output"] {
  return form === "auto" || form === "table" || form === "detail";
}

async function renderLines(session: Session): Promise<readonly string[]> {
  const { state, view, options: { output, columns }, platform } = session;
  if (output === "diagnosis") {
    const { renderDiagnosis } = await import("./view_diagnosis.ts");
    return renderDiagnosis(state).map((line) => convertSigns(line, view));
  }
  if (output === "check") {
    const { renderCheck } = await import("./view_check.ts");
    return [convertSigns(renderCheck(state).line, view)];
  }
  const { choosePlainWidth, renderText } = await import("./view.ts");
  const { stdio, environment } = platform;
  const size = stdio.stdoutIsTerminal ? stdio.terminalSize() : null;
  const width = size?.columns ??
    choosePlainWidth(environment, { namesColumns: columns.length > 0 });
  return renderText(state, { ...view, width });
}

/** Whole lines. */
export async function renderOutput(session: Session): Promise<string> {
  const { state, options } = session;
  if (options.output === "json") return serializeReport(createReport(state, VERSION)) + "\n";
  return (await renderLines(session)).map((line) => `${line}\n`).join("");
}
