/**
 * Writes what a round has learned from several answers as one body of metrics.
 * @module
 */

/** Escapes a label's value. */
export function quoteLabel(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}

type SampleWriter = (name: string, model: string, value: number) => string;

/** Writes a line with a model's figure; nothing if the value is no number. */
export function createSampleWriter(prefix: string): SampleWriter {
  return (name, model, value) =>
    Number.isFinite(value) ? `${prefix}${name}{model=${quoteLabel(model)}} ${value}\n` : "";
}

/** Writes an info with a label for each text or number. */
export function writeInfo(name: string, values: Readonly<Record<string, unknown>>): string {
  const labels = Object.entries(values)
    .filter(([, value]) => typeof value === "string" || typeof value === "number")
    .map(([label, value]) => `${label}=${quoteLabel(String(value))}`);
  return `${name}{${labels.join(",")}} 1\n`;
}

/** Names the model in each series of a server that does not. */
export function labelSeries(
  text: string,
  model: string,
  /** Comments of further models would declare families twice. */
  { keepsComments }: { readonly keepsComments: boolean },
): string {
  const label = `model=${quoteLabel(model)}`;
  const lines = text.split("\n").flatMap((line) => {
    if (line === "" || line.startsWith("#")) return keepsComments && line !== "" ? [line] : [];
    return [
      line.replace(
        /^([\w:]+)(?:\{(.*)\})?(?= )/,
        (_, name, labels) => `${name}{${label}${labels ? `,${labels}` : ""}}`,
      ),
    ];
  });
  return lines.map((line) => `${line}\n`).join("");
}
