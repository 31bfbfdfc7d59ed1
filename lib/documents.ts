/**
 * Texts about the program itself, for other programs: completions, manual page,
 * schemas, a file of all settings.
 *
 * Layer 4, pure. Gathers what lower layers write and what only higher ones
 * know: the columns.
 *
 * @module
 */

import { COLUMN_IDS } from "./columns.ts";
import { writeCompletions } from "./completions.ts";
import { createConfigSchema, writeDefaultConfig } from "./config_schema.ts";
import { writeManPage } from "./man_page.ts";
import type { ProgramDocument } from "./options.ts";
import { createReportSchema } from "./report_schema.ts";
import { VERSION } from "./version.ts";

/** The text of a document, with a newline at its end. */
export function writeDocument(document: ProgramDocument): string {
  switch (document.kind) {
    case "completions":
      return writeCompletions(document.shell, { columns: COLUMN_IDS });
    case "man":
      return writeManPage(VERSION);
    case "default_config":
      return writeDefaultConfig();
    case "schema": {
      const schema = document.name === "config" ? createConfigSchema() : createReportSchema();
      return JSON.stringify(schema, null, 2) + "\n";
    }
  }
}
