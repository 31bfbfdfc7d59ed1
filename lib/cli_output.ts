/**
 * What is printed, and where to.
 * @module
 */

import type { OptionValues, OUTPUT_FORMS } from "./cli_option_table.ts";
import { checkExclusion, isTyped, type Listener, type Problem, refuse } from "./cli_values.ts";

export type OutputForm = typeof OUTPUT_FORMS[number] | "diagnosis" | "check";

export function resolveOutput(values: OptionValues, problems: Problem[]): OutputForm {
  const { table, detail, json, diagnose, check, doctor, output } = values;
  checkExclusion(
    [diagnose, check, doctor].filter(({ value }) => value).map(({ source }) => source),
    problems,
  );
  const wanted: WantedForm[] = [];
  if (table.value) wanted.push({ origin: "--table", form: "table" });
  if (detail.value) wanted.push({ origin: "--detail", form: "detail" });
  if (json.value) wanted.push({ origin: "--json", form: "json" });
  if (diagnose.value) wanted.push({ origin: "--diagnose", form: "diagnosis" });
  if (check.value) wanted.push({ origin: "--check", form: "check" });
  if (isTyped(output) || wanted.length === 0) {
    wanted.push({ origin: `${output.source.origin} "${output.value}"`, form: output.value });
  }
  const [first] = wanted;
  const other = wanted.find(({ form }) => form !== first.form);
  if (other !== undefined) {
    const problem = `${first.origin} and ${other.origin} contradict each other: give one`;
    problems.push({ problem, level: "option" });
  }
  return checkForm(first, values, problems);
}

interface WantedForm {
  /** And the value, if it has one. */
  readonly origin: string;
  readonly form: OutputForm;
}

/** A variable or the configuration file may set a form for other calls. */
function checkForm(
  { origin, form }: WantedForm,
  { output, compare }: OptionValues,
  problems: Problem[],
): OutputForm {
  const isComparison = compare.length > 0;
  const isFit = isComparison
    ? ["auto", "table", "json", "markdown"].includes(form)
    : form !== "markdown";
  if (isFit) return form;
  const words = isComparison
    ? "does not work with compare: give json, markdown or nothing"
    : "works only with compare";
  if (isTyped(output) || form !== output.value) {
    problems.push({ problem: `${origin} ${words}`, level: "option" });
  }
  return "auto";
}

/** A variable or the configuration file may set them for other calls. */
export function resolveExports(
  values: OptionValues,
  isOnce: boolean,
  problems: Problem[],
): { readonly serve: Listener | null; readonly outputFile: string | null } {
  const { serve, output, "output-file": file, once } = values;
  const served = serve.value !== null && !isOnce ? serve.value : null;
  if (isOnce && isTyped(serve)) {
    problems.push(refuse(serve.source, "works only while polling: leave --once out"));
  }
  const isWhole = once.value || file.value !== null || served !== null;
  if (output.value === "prometheus" && !isWhole) {
    const words = "works only with --once, --output-file or --serve";
    problems.push(refuse(output.source, words));
  }
  return { serve: served, outputFile: file.value };
}
