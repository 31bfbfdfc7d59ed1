/**
 * Tries what the program must not be able to do, with the program's permissions.
 *
 * `deno task compile --probe` compiles it with the flags of the program;
 * `try_binary.ts` runs it. The program itself has no way to try any of this.
 * Prints one JSON object: act -> `NotCapable` where Deno refused, else how it
 * ended. Its argument is a folder that may be written to.
 *
 * @module
 */

const [folder = "."] = Deno.args;

const acts: Record<string, () => unknown> = {
  "write a file": () => Deno.writeTextFile(`${folder}/written`, "x"),
  "append to a file": () => Deno.open(`${folder}/written`, { append: true, create: true }),
  "make a folder": () => Deno.mkdir(`${folder}/made`),
  "make a temporary file": () => Deno.makeTempFile(),
  "rename a file": () => Deno.rename(`${folder}/a`, `${folder}/b`),
  "remove a file": () => Deno.remove(`${folder}/a`),
  "link a file": () => Deno.symlink("/etc/passwd", `${folder}/link`),
  "change a file's mode": () => Deno.chmod(`${folder}/a`, 0o777),
  "run id": () => new Deno.Command("id").output(),
  "run a shell": () => new Deno.Command("/bin/sh", { args: ["-c", "id"] }).output(),
  "run itself": () => new Deno.Command(Deno.execPath(), { args: ["--version"] }).output(),
  "load a library": () => Deno.dlopen("libc.so.6", {}),
  "read a variable that is not listed": () => Deno.env.get("SHELL"),
  "read all variables": () => Deno.env.toObject(),
  "read the name of the host": () => Deno.hostname(),
  "signal another process": () => Deno.kill(1, "SIGCONT"),
  "import from a host": () => import("https://esm.sh/" + "left-pad"),
};

const outcomes: Record<string, string> = {};
for (const [name, act] of Object.entries(acts)) {
  try {
    await act();
    outcomes[name] = "done";
  } catch (error) {
    const isRefused = error instanceof Error &&
      // A compiled program has no way to load what it does not carry.
      (error.name === "NotCapable" || /^Module not found/.test(error.message));
    outcomes[name] = isRefused ? "NotCapable" : String(error);
  }
}
// Where it may ask, this would wait for an answer, or be "prompt".
outcomes["ask for more"] = (await Deno.permissions.request({ name: "write" })).state;
console.log(JSON.stringify(outcomes));
