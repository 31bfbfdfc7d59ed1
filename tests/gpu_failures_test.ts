import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { describeGpuExit, describeGpuOutcome, describeSlowSample } from "../lib/gpu_failures.ts";
import type { GpuFailureKind } from "../lib/gpu_model.ts";

/** What nvidia-smi prints, and with which code. */
const EXITS: readonly (readonly [kind: GpuFailureKind, code: number, stdout: string])[] = [
  [
    "driver_mismatch",
    18,
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 570.124\n",
  ],
  ["no_devices", 6, "No devices were found\n"],
  [
    "gpu_lost",
    15,
    "Unable to determine the device handle for GPU 0000:02:00.0: GPU is lost.  Reboot the system " +
    "to recover this GPU\n",
  ],
  [
    "driver_missing",
    9,
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that " +
    "the latest NVIDIA driver is installed and running.\n",
  ],
  ["driver_missing", 9, "Failed to initialize NVML: Driver Not Loaded\n"],
  [
    "driver_missing",
    12,
    "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the " +
    "NVIDIA Display Driver is properly installed and present in your system.\n",
  ],
  ["forbidden", 4, "Failed to initialize NVML: Insufficient Permissions\n"],
  ["failed", 255, "Failed to initialize NVML: Unknown Error\n"],
  ["failed", 2, 'Field "mig.mode.current" is not a valid field to query.\n'],
  ["failed", 139, ""],
  ["unreadable", 0, ""],
  ["unreadable", 0, "hello\n"],
];

Deno.test("describeGpuExit() knows every failure by its words, with a next step", () => {
  for (const [kind, code, stdout] of EXITS) {
    for (const exit of [{ code, stdout, stderr: "" }, { code, stdout: "", stderr: stdout }]) {
      const failure = describeGpuExit("nvidia-smi", exit);
      assertEquals([failure.kind, stdout], [kind, stdout]);
      assertMatch(failure.message, /^nvidia-smi .*: .*[^.]$/);
    }
  }
});

Deno.test("describeGpuExit() quotes what it does not know, safe and short", () => {
  const stdout = `\n  \x1b[2J${"x".repeat(500)}\n`;
  const { message } = describeGpuExit("amd-smi", { code: 3, stdout, stderr: "" });
  assertStringIncludes(message, 'amd-smi failed with code 3 and "\\x1b[2Jxxx');
  assert(message.length < 250, message);
});

Deno.test("describeGpuOutcome() says why a program did not end by itself", () => {
  const kinds = {
    missing: "absent",
    timeout: "timeout",
    flooded: "flooded",
    aborted: "aborted",
  } as const;
  for (const [outcome, kind] of Object.entries(kinds)) {
    const failure = describeGpuOutcome("nvidia-smi", { kind: outcome as keyof typeof kinds }, 2);
    assertEquals(failure.kind, kind);
    assertMatch(failure.message, /^nvidia-smi .*[^.]$/);
  }
  const refused = describeGpuOutcome("nvidia-smi", { kind: "refused", message: "secret" }, 2);
  assertEquals(refused.kind, "refused");
  assert(!refused.message.includes("secret"), refused.message);
  assertStringIncludes(describeGpuOutcome("amd-smi", { kind: "timeout" }, 5).message, "within 5 s");
});

Deno.test("describeGpuOutcome() and describeSlowSample() advise what the program can do", () => {
  for (const kind of ["timeout", "aborted"] as const) {
    assertStringIncludes(describeGpuOutcome("nvidia-smi", { kind }, 2).message, "nvidia-smi -pm 1");
    const { message } = describeGpuOutcome("amd-smi", { kind }, 5);
    assert(!/persistence|nvidia/.test(message), message);
  }
  assertMatch(describeSlowSample("nvidia-smi", 2.12), /^nvidia-smi took 2\.1 s: .* -pm 1/);
  assert(!/persistence|nvidia/.test(describeSlowSample("amd-smi", 7)));
});
