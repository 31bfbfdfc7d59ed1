/**
 * The state in the form of `--output`, for pipes, files and scripts. Each is loaded when it
 * is written: the start is sooner without.
 * @module
 */

import type { Session } from "./app_session.ts";
import { EXIT_CONFIGURATION, EXIT_ENDPOINT_DOWN, EXIT_OK } from "./cli_exit.ts";
import type { Options } from "./cli_options.ts";
import type { OutputForm } from "./cli_output.ts";
import type { DiscoveryError } from "./discovery.ts";
import { describeWriteError } from "./files.ts";
import type { Platform } from "./platform.ts";
import { quote } from "./text.ts";
import { VERSION } from "./version.ts";
import type { ViewOptions } from "./view.ts";
import { chooseBraille, convertSigns } from "./view_signs.ts";
import { chooseColorDepth, hasUtf8Locale } from "./view_theme.ts";

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

/** Whole lines. `hasHeader` is for CSV. */
async function renderOutput(session: Session, hasHeader: boolean): Promise<string> {
  const { state, options: { output } } = session;
  if (output === "json") {
    const { createReport, serializeReport } = await import("./report.ts");
    return serializeReport(createReport(state, VERSION)) + "\n";
  }
  if (output === "csv") {
    const { writeCsvHeader, writeCsvRows } = await import("./report_csv.ts");
    return (hasHeader ? writeCsvHeader() : "") + writeCsvRows(state);
  }
  if (output === "prometheus") {
    const { writeExposition } = await import("./report_prometheus.ts");
    return writeExposition(state, VERSION);
  }
  return (await renderLines(session)).map((line) => `${line}\n`).join("");
}

/** Others must be able to read it, such as node_exporter. */
const FILE_MODE = 0o644;

async function replaceFile(
  platform: Platform,
  path: string,
  text: string,
): Promise<DiscoveryError | null> {
  try {
    await platform.writeTextFile(path, text, FILE_MODE);
    return null;
  } catch (error) {
    const message = `the output file ${quote(path)} cannot be written: ${
      describeWriteError(error)
    }`;
    return { message, exitCode: EXIT_CONFIGURATION };
  }
}

/** Nothing is printed for people or scrapers that read elsewhere. */
function isSilent({ serve, output, outputFile }: Options): boolean {
  return serve !== null && outputFile === null && (isTextForm(output) || output === "prometheus");
}

/**
 * Writes the state each time it is called: to standard output with `end` after it, or in place of all
 * that was in the file of the options. The result is why that failed.
 */
export function createWriter(session: Session, end = ""): () => Promise<DiscoveryError | null> {
  const { platform, options } = session;
  const { outputFile } = options;
  let isFirst = true;
  return async () => {
    if (isSilent(options)) return null;
    const text = await renderOutput(session, isFirst || outputFile !== null);
    isFirst = false;
    if (outputFile !== null) return await replaceFile(platform, outputFile, text);
    await platform.stdio.writeStdout(new TextEncoder().encode(text + end));
    return null;
  };
}

/** How text is drawn for this terminal or pipe. */
export function createViewOptions(
  { stdio, environment, operatingSystem }: Platform,
  { output, noColor, ascii, noKeyLine }: Options,
): ViewOptions {
  return {
    output: isTextForm(output) ? output : "auto",
    depth: chooseColorDepth(stdio.stdoutIsTerminal, environment, { noColor }),
    ascii: ascii || !hasUtf8Locale(environment, operatingSystem),
    hasBraille: chooseBraille(environment),
    hasKeyLine: !noKeyLine,
  };
}

/** Writes the state. The exit code is that of the check, or tells of failures. */
export async function printOnce(session: Session): Promise<number | DiscoveryError> {
  const { options: { output }, state } = session;
  const refusal = await createWriter(session)();
  if (refusal !== null) return refusal;
  if (output === "check") {
    const { renderCheck } = await import("./view_check.ts");
    return renderCheck(state).code;
  }
  const { endpoints, hosts, fleet: { verdict } } = state;
  const hasFailed = endpoints.some(({ failure }) => failure !== null) ||
    hosts.values().some(({ link }) => link !== null && link.kind !== "up") ||
    verdict.causes.some(({ signal }) => signal === "slo");
  return hasFailed || endpoints.length === 0 ? EXIT_ENDPOINT_DOWN : EXIT_OK;
}
