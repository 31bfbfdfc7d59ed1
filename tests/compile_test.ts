import { assertEquals, assertMatch } from "@std/assert";
import { nameBinary, readTargets, summarizeFailure, TARGETS } from "../.ci/compile.ts";
import { joinFlags } from "../.ci/permissions.ts";
import { createSbom } from "../.ci/sbom.ts";
import { listRouteArguments } from "./programs.ts";

Deno.test("parseTargets() takes targets by name, in both spellings, and all", () => {
  assertEquals(readTargets([]), { targets: [], rest: [] });
  assertEquals(readTargets(["--target", TARGETS[1], "--twice"]), {
    targets: [TARGETS[1]],
    rest: ["--twice"],
  });
  assertEquals(readTargets([`--target=${TARGETS[0]}`]), { targets: [TARGETS[0]], rest: [] });
  assertEquals(readTargets(["--target", "all", "--target", TARGETS[0]]), {
    targets: TARGETS,
    rest: [],
  });
});

Deno.test("parseTargets() refuses a target that is not shipped, and none at all", () => {
  for (const parts of [["--target", "riscv"], ["--target="], ["--target"]]) {
    const wanted = readTargets(parts);
    assertMatch(
      "error" in wanted ? wanted.error : "",
      /^--target "(riscv)?" is not one of all, x86/,
    );
  }
});

Deno.test("joinFlags() joins lists of one permission, as Deno takes each flag once", () => {
  const flags = ["--no-prompt", "--allow-net", "--allow-run=ps,ss"];
  assertEquals(joinFlags(flags, ["--allow-run=/bin/page", "--allow-write=/var", "--allow-net=a"]), [
    ...["--no-prompt", "--allow-net", "--allow-run=ps,ss,/bin/page", "--allow-write=/var"],
  ]);
  assertEquals(joinFlags(flags, []), flags);
});

Deno.test("nameBinary() gives Windows its suffix", () => {
  assertEquals(TARGETS.map(nameBinary), [
    "vllm-htop-x86_64-unknown-linux-gnu",
    "vllm-htop-aarch64-unknown-linux-gnu",
    "vllm-htop-x86_64-apple-darwin",
    "vllm-htop-aarch64-apple-darwin",
    "vllm-htop-x86_64-pc-windows-msvc.exe",
  ]);
});

Deno.test("summarizeFailure() keeps the errors and drops the stack", () => {
  const output = [
    "Download https://example.org/denort.zip",
    "error: Writing deno compile executable to temporary file 'dist/x.tmp'",
    "",
    "Caused by:",
    "    0: Setting up base binary.",
    "    1: error sending request",
    "",
    "Stack backtrace:",
    "   0: <unknown>",
  ].join("\n");
  assertEquals(
    summarizeFailure(output),
    "error: Writing deno compile executable to temporary file 'dist/x.tmp'\n" +
      "  0: Setting up base binary.\n  1: error sending request",
  );
  assertEquals(summarizeFailure("killed\n"), "killed");
});

interface Sbom {
  readonly components: readonly { readonly name: string; readonly version?: string }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

const SUBJECT = { name: "@scope/program", version: "1.2.3", denoVersion: "2.9.6" };

Deno.test("createSbom() makes one component of the modules of a JSR package", () => {
  const graph = {
    modules: [
      { specifier: "file:///home/me/main.ts" },
      { specifier: "https://packages.test/@std/fmt/1.0.10/colors.ts" },
      { specifier: "https://packages.test/@std/fmt/1.0.10/duration.ts" },
      { specifier: "npm:/undici@7.0.0" },
    ],
    npmPackages: {
      "undici@7.0.0": { name: "undici", version: "7.0.0", dependencies: ["@a/b@1.0.0"] },
      "@a/b@1.0.0": { name: "@a/b", version: "1.0.0", dependencies: [] },
    },
  };
  const { components, dependencies } = createSbom(graph, SUBJECT) as Sbom;
  const std =
    "pkg:generic/%40std/fmt@1.0.10?download_url=https%3A%2F%2Fpackages.test%2F%40std%2Ffmt%2F1.0.10";
  assertEquals(components.map(({ name, version }) => [name, version]), [
    ["@std/fmt", "1.0.10"],
    ["deno", "2.9.6"],
    ["@a/b", "1.0.0"],
    ["undici", "7.0.0"],
  ]);
  assertEquals(dependencies, [
    {
      ref: "pkg:generic/%40scope/program@1.2.3",
      dependsOn: [
        std,
        "pkg:github/denoland/deno@v2.9.6",
        "pkg:npm/%40a/b@1.0.0",
        "pkg:npm/undici@7.0.0",
      ],
    },
    { ref: "pkg:npm/undici@7.0.0", dependsOn: ["pkg:npm/%40a/b@1.0.0"] },
  ]);
});

Deno.test("createSbom() leaves out the version of a runtime that is not known", () => {
  const { components } = createSbom({ modules: [] }, { ...SUBJECT, denoVersion: null }) as Sbom;
  assertEquals(components.length, 1);
  assertEquals(components[0].version, undefined);
});

Deno.test("createSbom() names the packages of the program as it is imported here", async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", ...listRouteArguments(), "main.ts"],
    cwd: new URL("../", import.meta.url),
  }).output();
  const graph = JSON.parse(new TextDecoder().decode(stdout));
  const { components } = createSbom(graph, SUBJECT) as Sbom;
  const names = components.map(({ name }) => name);
  assertEquals(
    names.includes("undici"),
    true,
    "loaded when it is needed, and shipped all the same",
  );
  assertEquals(names.includes("fast-check"), false, "a package of the tests");
});
