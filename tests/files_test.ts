import { assertEquals } from "@std/assert";
import { describeFileError, isMissingFile } from "../lib/files.ts";
import { FILE_FUNCTIONS } from "../lib/platform_files.ts";

Deno.test("describeFileError() says why and what to do, without the runtime's message", async () => {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/file`, "x");
  const describe = (path: string) =>
    Deno.readTextFile(path).then(
      () => "",
      (error) => [isMissingFile(error), describeFileError(error)],
    );
  assertEquals(await describe(`${folder}/none`), [true, "does not exist: check the path"]);
  assertEquals(await describe(`${folder}/file/x`), [true, "does not exist: check the path"]);
  assertEquals(await describe(folder), [false, "is a directory: name a file in it"]);
  const opening = (path: string) => FILE_FUNCTIONS.openFile(path).then(() => "", describeFileError);
  assertEquals(await opening(folder), "is a directory: name a file in it");
  if (Deno.build.os !== "windows") {
    assertEquals(await opening("/dev/null"), "is a device or a pipe: name a regular file");
  }
  const cases = [
    [new Deno.errors.PermissionDenied("secret"), "may not be read: check its permissions"],
    [new Deno.errors.NotCapable("secret"), "may not be read: check its permissions"],
    [new Error("secret"), "cannot be read: check that it is a text file"],
    ["secret", "cannot be read: check that it is a text file"],
  ] as const;
  for (const [error, expected] of cases) assertEquals(describeFileError(error), expected);
  await Deno.remove(folder, { recursive: true });
});
