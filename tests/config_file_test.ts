import { assert, assertEquals, assertMatch } from "@std/assert";
import { findConfigPath, loadConfig } from "../lib/config_file.ts";
import type { Platform } from "../lib/platform.ts";
import { createDenoPlatform } from "../lib/platform_deno.ts";

interface World {
  readonly files?: Readonly<Record<string, string>>;
  readonly variables?: Readonly<Record<string, string>>;
  readonly operatingSystem?: string;
  readonly mode?: number | null;
}

function createWorld(
  { files = {}, variables = {}, operatingSystem = "linux", mode = 0o644 }: World,
): Platform {
  return {
    ...createDenoPlatform(),
    operatingSystem,
    environment: (name) => variables[name],
    readTextFile: (path) => {
      const text = files[path];
      return text === undefined
        ? Promise.reject(new Deno.errors.NotFound(path))
        : Promise.resolve(text);
    },
    fileMode: () => Promise.resolve(mode),
  };
}

Deno.test("findConfigPath() follows XDG where its path is absolute, and each system's folder", () => {
  const find = (operatingSystem: string, variables: Record<string, string>): string | null =>
    findConfigPath(createWorld({ operatingSystem, variables }));
  const file = "vllm-htop/config.json";
  assertEquals(find("linux", { XDG_CONFIG_HOME: "/x", HOME: "/h" }), `/x/${file}`);
  assertEquals(find("linux", { XDG_CONFIG_HOME: "x", HOME: "/h" }), `/h/.config/${file}`);
  assertEquals(find("linux", { XDG_CONFIG_HOME: "", HOME: "/h" }), `/h/.config/${file}`);
  assertEquals(find("linux", { HOME: "" }), null);
  assertEquals(find("darwin", { HOME: "/h" }), `/h/Library/Application Support/${file}`);
  assertEquals(find("darwin", { HOME: "/h", XDG_CONFIG_HOME: "/x" }), `/x/${file}`);
  const roaming = "C:\\Users\\me\\AppData\\Roaming";
  assertEquals(find("windows", { APPDATA: roaming, HOME: "/h" }), `${roaming}/${file}`);
  assertEquals(find("windows", {}), null);
});

Deno.test("loadConfig() reads the usual file, which may be missing, and the one that is named, which may not", async () => {
  const variables = { HOME: "/h" };
  const path = "/h/.config/vllm-htop/config.json";
  const files = { [path]: '{ "interval": 5 }', "other.json": '{ "token-file": "t" }' };
  const usual = await loadConfig(createWorld({ files, variables }), null);
  assert(!("error" in usual));
  assertEquals([...usual.values.keys()], ["interval"]);
  const named = await loadConfig(createWorld({ files, variables }), "other.json");
  assert(!("error" in named));
  assertEquals(named.values.get("token-file")?.texts, ["./t"]);
  const none = await loadConfig(createWorld({ variables }), null);
  assert(!("error" in none) && none.values.size === 0);
  const missing = await loadConfig(createWorld({ variables }), "/no\x1bwhere");
  assertEquals(missing, {
    error: 'the file of settings "/no\\x1bwhere" does not exist: check the path',
  });
});

Deno.test("loadConfig() names the file and the line of what is wrong", async () => {
  const files = { "/c": '{\n"x": 1 }', "/d": "{\n", "/e": `"${"x".repeat(2 ** 20)}"` };
  const platform = createWorld({ files });
  const warned = await loadConfig(platform, "/c");
  assert(!("error" in warned));
  assertEquals(warned.warnings, ['the file of settings "/c": unknown key "x" (line 2)']);
  const broken = await loadConfig(platform, "/d");
  assertMatch("error" in broken ? broken.error : "", /^the file of settings "\/d": line 2: /);
  const long = await loadConfig(platform, "/e");
  assertMatch("error" in long ? long.error : "", /is longer than 1048576 bytes/);
});

Deno.test("loadConfig() refuses a file with a password that others can read", async () => {
  const files = { "/c": '{ "url": "http://me:pw@gpu1" }', "/d": '{ "url": "gpu1" }' };
  for (const mode of [0o644, 0o640, 0o604, 0o660]) {
    const config = await loadConfig(createWorld({ files, mode }), "/c");
    assertEquals(config, {
      error: 'the file of settings "/c" has a password in it, and others can read it: chmod 600',
    });
    assert(!("error" in await loadConfig(createWorld({ files, mode }), "/d")));
  }
  for (const mode of [0o600, 0o400, null]) {
    assert(!("error" in await loadConfig(createWorld({ files, mode }), "/c")));
  }
});

Deno.test("fileMode() of the platform gives the bits of a file, and null for none", async () => {
  const { fileMode } = createDenoPlatform();
  const path = await Deno.makeTempFile();
  try {
    if (Deno.build.os !== "windows") {
      await Deno.chmod(path, 0o640);
      assertEquals((await fileMode(path) ?? 0) & 0o777, 0o640);
    }
  } finally {
    await Deno.remove(path);
  }
  assertEquals(await fileMode(path), null);
});
