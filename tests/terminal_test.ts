import { assert, assertEquals } from "@std/assert";
import type { Stdio } from "../lib/platform.ts";
import { encodeFrame, enterTerminal } from "../lib/terminal.ts";

const SIZE = { columns: 20, rows: 2 };
const ALTERNATE_SCREEN_OFF = "\x1b[?1049l";

/** A terminal that takes a frame only when told to, and keeps what arrives in its order. */
function createSlowStdio(): {
  readonly stdio: Stdio;
  readonly arrived: string[];
  readonly takeFrame: () => void;
} {
  const arrived: string[] = [];
  const decoder = new TextDecoder();
  const held = Promise.withResolvers<void>();
  const unused = (): never => {
    throw new Error("not of this test");
  };
  const stdio: Stdio = {
    stdinIsTerminal: true,
    stdoutIsTerminal: true,
    stderrIsTerminal: true,
    writeStdout: async (bytes) => {
      await held.promise;
      arrived.push(decoder.decode(bytes));
    },
    writeStdoutSync: (bytes) => {
      arrived.push(decoder.decode(bytes));
    },
    setRawInput: (on) => {
      arrived.push(on ? "raw" : "cooked");
    },
    writeStderr: unused,
    readStdin: unused,
    closeStdin: unused,
    terminalSize: unused,
  };
  return { stdio, arrived, takeFrame: held.resolve };
}

Deno.test("enterTerminal() finish() gives the terminal back after the frame that is under way", async () => {
  const { stdio, arrived, takeFrame } = createSlowStdio();
  const terminal = enterTerminal(stdio);
  const drawn = terminal.draw({ lines: ["a frame", ""] }, SIZE);
  const finished = terminal.finish();
  await terminal.draw({ lines: ["a late frame", ""] }, SIZE);
  assertEquals(arrived.length, 2, "nothing before the frame is out");
  takeFrame();
  await Promise.all([drawn, finished]);
  const [frame, restored, mode, ...more] = arrived.slice(2);
  assert(frame.includes("a frame") && restored.endsWith(ALTERNATE_SCREEN_OFF), `${arrived}`);
  assertEquals([mode, more], ["cooked", []]);
});

Deno.test("enterTerminal() leave() gives the terminal back at once, and only once", async () => {
  const { stdio, arrived, takeFrame } = createSlowStdio();
  const terminal = enterTerminal(stdio);
  const drawn = terminal.draw({ lines: ["a frame", ""] }, SIZE);
  terminal.leave();
  assert(arrived[2].endsWith(ALTERNATE_SCREEN_OFF), `${arrived}`);
  takeFrame();
  terminal.leave();
  await Promise.all([drawn, terminal.finish()]);
  assertEquals(arrived.filter((text) => text.includes(ALTERNATE_SCREEN_OFF)).length, 1);
});

Deno.test("encodeFrame() writes the lines that changed, and nothing where none did", () => {
  const lines = ["first", "second", "third"];
  assertEquals(encodeFrame(lines, lines), "");
  const changed = encodeFrame(lines, ["first", "another", "third"]);
  // Erased before it is written: after a full line the cursor stands on its last cell.
  assert(changed.includes("\x1b[2;1H\x1b[0Kanother"), JSON.stringify(changed));
  assert(!changed.includes("first") && !changed.includes("third"), JSON.stringify(changed));
  for (const line of lines) assert(encodeFrame(null, lines).includes(line));
});
