import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Stdio } from "../lib/platform.ts";
import { encodeFrame, enterTerminal } from "../lib/terminal.ts";
import { showBytes, showLines } from "./fixtures/screens.ts";

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

Deno.test("enterTerminal() finish() restores the terminal after the current frame", async () => {
  const { stdio, arrived, takeFrame } = createSlowStdio();
  const terminal = enterTerminal(stdio, { mouse: true });
  const drawn = terminal.draw({ lines: ["a frame", ""], cursorRow: null }, SIZE);
  const finished = terminal.finish();
  await terminal.draw({ lines: ["a late frame", ""], cursorRow: null }, SIZE);
  assertEquals(arrived.length, 2, "nothing before the frame is out");
  takeFrame();
  await Promise.all([drawn, finished]);
  await terminal.finish();
  const [frame, restored, mode, ...more] = arrived.slice(2);
  assert(frame.includes("a frame") && restored.endsWith(ALTERNATE_SCREEN_OFF), `${arrived}`);
  assertEquals([mode, more], ["cooked", []]);
});

Deno.test("encodeFrame() writes only changed cells", () => {
  const lines = ["first", "second", "third"];
  assertEquals(encodeFrame(lines, lines), "");
  const changed = encodeFrame(lines, ["first", "another", "third"]);
  assertEquals(changed, "\x1b[2;1Hanother");
  // Wide characters may stand elsewhere than where they are thought to.
  assert(encodeFrame(["模a"], ["模b"]).includes("\x1b[1;1H\x1b[0K模b"));
  assert(!changed.includes("first") && !changed.includes("third"), JSON.stringify(changed));
  for (const line of lines) assert(encodeFrame(null, lines).includes(line));
});

Deno.test("encodeFrame() leaves what a whole frame would draw", async () => {
  const text = fc.array(
    fc.tuple(fc.constantFrom("", "\x1b[2m", "\x1b[1;31m"), fc.stringMatching(/^[a-c ─▓⣿]{0,9}$/)),
    { maxLength: 8 },
  ).map((parts) =>
    parts.map(([style, word]) => style === "" ? word : `${style}${word}\x1b[0m`).join("")
  );
  await fc.assert(
    fc.asyncProperty(text, text, async (before, after) => {
      const size = { columns: 80, rows: 1 };
      const first = await showLines([before], size);
      const changes = encodeFrame([before], [after]);
      const { rows, styles } = await showBytes(encodeFrame(null, [before]) + changes, size);
      const whole = await showLines([after], size);
      assertEquals([rows, styles], [whole.rows, whole.styles]);
      if (before === after) assertEquals([changes, first.rows], ["", whole.rows]);
    }),
    { numRuns: 60 },
  );
});

/** A terminal that takes everything at once, and how often it was written to. */
function createFastStdio(): { readonly stdio: Stdio; readonly arrived: string[] } {
  const { stdio, arrived, takeFrame } = createSlowStdio();
  takeFrame();
  return { stdio, arrived };
}

Deno.test("enterTerminal() enables the mouse only if wanted, and resets every mode", async () => {
  for (const mouse of [true, false]) {
    const { stdio, arrived } = createFastStdio();
    await enterTerminal(stdio, { mouse }).finish();
    const [, entered, left] = arrived;
    assertEquals(entered.includes("\x1b[?1000h") && entered.includes("\x1b[?1006h"), mouse);
    for (const mode of [1049, 2004]) assert(entered.includes(`\x1b[?${mode}h`), `${mode}`);
    for (const mode of [7, 25]) {
      assert(entered.includes(`\x1b[?${mode}l`) && left.includes(`\x1b[?${mode}h`), `${mode}`);
    }
    // The mouse is switched off whoever switched it on.
    for (const mode of [1000, 1002, 1003, 1006, 2004, 2026, 1049]) {
      assert(left.includes(`\x1b[?${mode}l`), `${mode}`);
    }
  }
});

Deno.test("enterTerminal() draw() writes each frame once, and nothing if nothing changed", async () => {
  const { stdio, arrived } = createFastStdio();
  const terminal = enterTerminal(stdio, { mouse: false });
  const frame = { lines: ["one", "two"], cursorRow: null };
  const count = arrived.length;
  await terminal.draw(frame, SIZE);
  assertEquals(arrived.length, count + 1);
  await terminal.draw({ ...frame }, SIZE);
  assertEquals(arrived.length, count + 1);
  await terminal.draw({ lines: ["one", "2"], cursorRow: null }, SIZE);
  const last = arrived.at(-1) ?? "";
  assert(last.includes("2") && !last.includes("one"), JSON.stringify(last));
  // Another size, or a screen that something else wrote to, is drawn whole.
  await terminal.draw({ lines: ["one", "2"], cursorRow: null }, {
    columns: 30,
    rows: 2,
  });
  assert(arrived.at(-1)?.includes("one"));
  terminal.forget();
  await terminal.draw({ lines: ["one", "2"], cursorRow: null }, {
    columns: 30,
    rows: 2,
  });
  assert(arrived.at(-1)?.includes("one"));
  await terminal.finish();
});

Deno.test("enterTerminal() suspend() restores the terminal until resume()", async () => {
  const { stdio, arrived } = createFastStdio();
  const terminal = enterTerminal(stdio, { mouse: true });
  const frame = { lines: ["one"], cursorRow: null };
  await terminal.draw(frame, SIZE);
  await terminal.suspend();
  assertEquals(arrived.at(-1), "cooked");
  assert(arrived.at(-2)?.endsWith(ALTERNATE_SCREEN_OFF));
  await terminal.draw({ lines: ["two"], cursorRow: null }, SIZE);
  assertEquals(arrived.at(-1), "cooked", "another program has the terminal");
  terminal.resume();
  await terminal.draw(frame, SIZE);
  assert(arrived.at(-1)?.includes("one"), "drawn whole again");
  await terminal.finish();
  const count = arrived.length;
  await terminal.suspend();
  terminal.resume();
  assertEquals(arrived.length, count, "what was left is not entered again");
});

Deno.test("enterTerminal() queries synchronized updates, and uses them if supported", async () => {
  const { stdio, arrived } = createFastStdio();
  const terminal = enterTerminal(stdio, { mouse: false });
  assert(arrived.some((text) => text.endsWith("\x1b[?2026$p")), `${arrived}`);
  await terminal.draw({ lines: ["one"], cursorRow: null }, SIZE);
  assert(!arrived.at(-1)?.includes("?2026"), "nothing has been answered");
  terminal.setSynchronized(true);
  await terminal.draw({ lines: ["two"], cursorRow: 1 }, SIZE);
  const frame = arrived.at(-1) ?? "";
  assert(frame.startsWith("\x1b[?2026h"), JSON.stringify(frame));
  // The cursor is left on the selected line.
  assert(frame.endsWith("\x1b[2;1H\x1b[?2026l"), JSON.stringify(frame));
  await terminal.finish();
});

Deno.test("enterTerminal() abandon() writes nothing, also later", async () => {
  const { stdio, arrived, takeFrame } = createSlowStdio();
  const terminal = enterTerminal(stdio, { mouse: true });
  void terminal.draw({ lines: ["a frame"], cursorRow: null }, SIZE);
  terminal.abandon();
  assertEquals(arrived.slice(2), []);
  takeFrame();
  await terminal.finish();
  await terminal.draw({ lines: ["late"], cursorRow: null }, SIZE);
  const [frame, ...more] = arrived.slice(2);
  assert(frame.includes("a frame"), `${arrived}`);
  assertEquals(more, []);
});
