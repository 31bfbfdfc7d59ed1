/**
 * What the program is made of, as CycloneDX 1.6: packages of the real module graph.
 *
 * `deno info --json` says which modules the program imports by the route in
 * use; modules of one package are one component here. Neither a serial number
 * nor a time stands in it, so that the same sources give the same bytes. JSR has
 * no package URL type of its own (purl-spec, read 2026-11), so its packages are
 * `generic` with the place they come from.
 *
 * @module
 */

/** What is looked at in the output of `deno info --json`. */
export interface ModuleGraph {
  readonly modules: readonly { readonly specifier: string }[];
  readonly npmPackages?: Readonly<
    Record<
      string,
      { readonly name: string; readonly version: string; readonly dependencies: readonly string[] }
    >
  >;
}

interface Component {
  readonly type: "library" | "platform";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version?: string;
  readonly purl: string;
}

const JSR_MODULE = /^(https:\/\/[^/]+)\/(@[^/]+\/[^/]+)\/([^/]+)\//;

/** `@scope/name` as a package URL spells it. */
function encodeName(name: string): string {
  return name.replace("@", "%40");
}

function createComponent(purl: string, name: string, version: string): Component {
  return { type: "library", "bom-ref": purl, name, version, purl };
}

function listJsrComponents({ modules }: ModuleGraph): Component[] {
  const found = new Map<string, Component>();
  for (const { specifier } of modules) {
    const [, origin, name, version] = JSR_MODULE.exec(specifier) ?? [];
    if (name === undefined) continue;
    const from = encodeURIComponent(`${origin}/${name}/${version}`);
    const purl = `pkg:generic/${encodeName(name)}@${version}?download_url=${from}`;
    found.set(purl, createComponent(purl, name, version));
  }
  return [...found.values()];
}

function npmPurl({ name, version }: { readonly name: string; readonly version: string }): string {
  return `pkg:npm/${encodeName(name)}@${version}`;
}

/**
 * The document. Every package hangs on the program, npm packages on each other
 * as well.
 *
 * @param subject The program's name and version, and the version of Deno whose runtime it
 * carries; `null` where that is not known.
 */
export function createSbom(
  graph: ModuleGraph,
  subject: { readonly name: string; readonly version: string; readonly denoVersion: string | null },
): unknown {
  const packages = Object.values(graph.npmPackages ?? {});
  const root = `pkg:generic/${encodeName(subject.name)}@${subject.version}`;
  const { denoVersion } = subject;
  const runtimePurl = `pkg:github/denoland/deno${denoVersion === null ? "" : `@v${denoVersion}`}`;
  const runtime: Component = {
    type: "platform",
    "bom-ref": runtimePurl,
    name: "deno",
    ...(denoVersion === null ? {} : { version: denoVersion }),
    purl: runtimePurl,
  };
  const components = [
    runtime,
    ...listJsrComponents(graph),
    ...packages.map((one) => createComponent(npmPurl(one), one.name, one.version)),
  ].toSorted((a, b) => a.purl < b.purl ? -1 : 1);
  const dependencies = packages.flatMap((one) => {
    const dependsOn = one.dependencies.flatMap((id) => {
      const known = graph.npmPackages?.[id];
      return known === undefined ? [] : [npmPurl(known)];
    });
    return dependsOn.length === 0 ? [] : [{ ref: npmPurl(one), dependsOn: dependsOn.toSorted() }];
  });
  return {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": root,
        name: subject.name,
        version: subject.version,
        purl: root,
        licenses: [{ license: { id: "MIT" } }],
      },
    },
    components,
    dependencies: [
      { ref: root, dependsOn: components.map(({ purl }) => purl) },
      ...dependencies.toSorted((a, b) => a.ref < b.ref ? -1 : 1),
    ],
  };
}
