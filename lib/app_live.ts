/**
 * The live screen: keys and mouse in, frames out.
 *
 * A key is answered at
 * once, not at the next poll; outcomes that arrive together are drawn together;
 * while a frame is being written the next one waits, so that a slow terminal
 * gets fewer frames. What keys mean is `bindings`' part, and what they change
 * is the state's.
 *
 * @module
 */

import {
  dispatch,
  MAX_SIMULTANEOUS_ENDPOINTS,
  pollForever,
  pollNow,
  type Session,
  takeInstant,
  wake,
  watchGpus,
} from "./app_session.ts";
import type { TerminalSize } from "./platform.ts";
import { type Message, type State, update } from "./state.ts";
import type { ClickAction, ClickTarget, Command, FilterEdit, UiContext } from "./state_ui.ts";
import { SYNCHRONIZED_MODE, type Terminal } from "./terminal.ts";
import {
  createKeyDecoder,
  decodeKeys,
  ESCAPE_TIMEOUT,
  flushKeys,
  isWaiting,
  type KeyEvent,
  type MouseActionEvent,
  type TerminalEvent,
} from "./terminal_keys.ts";
import { sanitizeText } from "./text.ts";
import type { Seconds } from "./units.ts";
import {
  drawScene,
  getUiContext,
  hasInSight,
  isSameScene,
  layOutScene,
  type Scene,
} from "./view_scene.ts";
import { findCommand, nameKey } from "./view_bindings.ts";

/** Changes that come together are drawn together. */
const MIN_REDRAW_INTERVAL: Seconds = 0.03;

/** How long few endpoints wait for the rest of their round before they are drawn without it. */
const MAX_ROUND_WAIT: Seconds = 0.25;

/** Minimum time between redraws caused by scrapes of many endpoints, which never end. */
const MIN_SCRAPE_REDRAW_INTERVAL: Seconds = 1;

/**
 * For so long keys move in the picture that is there: to look at hundreds of
 * endpoints anew takes longer than a key may wait. News come sooner than that.
 */
const MAX_SCENE_AGE: Seconds = 1.5;

/** Lines that one step of the mouse wheel moves. */
const WHEEL_LINES = 3;

/** The screen, and what can be clicked on it. */
interface Screen {
  readonly session: Session;
  readonly terminal: Terminal;
  /** What is known in the picture that is there. */
  known: State;
  readonly layOut: typeof layOutScene;
  /** What was laid out last: keys move in it. */
  scene: Scene | null;
  targets: readonly ClickTarget[];
  isDrawing: boolean;
  isStale: boolean;
  /** Whether the next picture is to be of the newest state. */
  hasNews: boolean;
  /** Whether the state has changed since it was drawn. */
  isOutdated: boolean;
}

/** The picture that is there, with what the user has chosen since. */
function collectScreenState({ session: { state: { ui, held, interval } }, known }: Screen): State {
  return { ...known, ui, held, interval };
}

/** The scene that was laid out last, or a new one where that will not do. */
function getScene(
  screen: Screen,
  size: TerminalSize,
  suffices: (scene: Scene) => boolean,
): Scene {
  const { scene, session: { view } } = screen;
  const state = collectScreenState(screen);
  if (scene !== null && isSameScene(scene, state, size) && suffices(scene)) return scene;
  return screen.scene = screen.layOut(state, size, view, scene);
}

/** Draws the state as it is now, and again if it changes meanwhile. */
async function draw(screen: Screen): Promise<void> {
  screen.hasNews = true;
  await drawChoice(screen);
}

/** Draws what the user has chosen, in the picture that is there unless it is old. */
async function drawChoice(screen: Screen): Promise<void> {
  const { session, terminal } = screen;
  screen.isStale = true;
  if (screen.isDrawing) return;
  screen.isDrawing = true;
  try {
    while (screen.isStale && !session.stop.signal.aborted) {
      screen.isStale = false;
      const size = session.platform.stdio.terminalSize();
      if (size === null) return;
      const age = session.platform.monotonicSeconds() - screen.known.now;
      if (screen.hasNews || age > MAX_SCENE_AGE) {
        screen.hasNews = screen.isOutdated = false;
        takeInstant(session);
        screen.known = session.state;
      }
      const { ui } = session.state;
      const frame = drawScene(getScene(screen, size, (scene) => hasInSight(scene, ui)), ui);
      screen.targets = frame.targets;
      await terminal.draw(frame, size);
    }
  } finally {
    screen.isDrawing = false;
  }
}

/** How long to wait for more news before those that there are are drawn. */
function measurePause({ session: { platform, watched, busy }, known }: Screen): Seconds {
  if (watched.size <= MAX_SIMULTANEOUS_ENDPOINTS) {
    return busy.size === 0 ? MIN_REDRAW_INTERVAL : MAX_ROUND_WAIT;
  }
  return Math.max(
    MIN_REDRAW_INTERVAL,
    known.now + MIN_SCRAPE_REDRAW_INTERVAL - platform.monotonicSeconds(),
  );
}

/** Draws soon after a change, unless it has been drawn by then: more may follow. */
function planDrawing(screen: Screen): { readonly plan: () => void; readonly cancel: () => void } {
  const { platform, stop } = screen.session;
  let plannedAt = Infinity;
  let cancel = (): void => {};
  const drawChanges = (): void => {
    plannedAt = Infinity;
    if (screen.isOutdated) draw(screen).catch((error) => stop.abort(error));
  };
  const plan = (): void => {
    screen.isOutdated = true;
    const pause = measurePause(screen);
    const at = platform.monotonicSeconds() + pause;
    if (at >= plannedAt) return;
    cancel();
    plannedAt = at;
    cancel = platform.startTimer(pause, drawChanges);
  };
  return { plan, cancel: () => cancel() };
}

function getContext(screen: Screen): UiContext {
  const { platform, state: { ui } } = screen.session;
  const size = platform.stdio.terminalSize() ?? { columns: 80, rows: 24 };
  return getUiContext(getScene(screen, size, () => true), ui);
}

/** Lets the message change what the user has chosen. Whoever calls draws that at once. */
function choose({ session }: Screen, message: Message): void {
  session.state = update(session.state, message);
}

function runCommand(screen: Screen, command: Command): void {
  const { session, terminal } = screen;
  if (command === "quit") session.stop.abort();
  else if (command === "poll_now") pollNow(session);
  else if (command === "redraw") terminal.forget();
  else choose(screen, { kind: "command", command, context: getContext(screen) });
  // A shorter interval may already be over.
  if (command === "faster") wake(session);
}

/** What a key does while the filter is typed. */
function typeFilter(screen: Screen, key: KeyEvent): void {
  const edit = (edit: FilterEdit): void => choose(screen, { kind: "filter", edit });
  const isKey = (name: string): boolean => !key.alt && nameKey(key) === name;
  if (key.name === "enter") edit({ kind: "accept" });
  else if (key.name === "escape") edit({ kind: "clear" });
  else if (key.name === "backspace") edit({ kind: "delete" });
  // As in a shell.
  else if (isKey("Ctrl-W")) edit({ kind: "delete_word" });
  else if (isKey("Ctrl-U")) edit({ kind: "delete_all" });
  else if (key.name === "character" && !key.ctrl && !key.alt) {
    edit({ kind: "insert", text: key.text });
  } else {
    const command = findCommand(key);
    if (command !== null) runCommand(screen, command);
  }
}

function runAction(screen: Screen, action: ClickAction): void {
  switch (action.kind) {
    case "command":
      return runCommand(screen, action.command);
    case "sort":
      return choose(screen, action);
    case "line":
      choose(screen, { kind: "select", key: action.key, context: getContext(screen) });
      return runCommand(screen, "open");
  }
}

function handleMouse(screen: Screen, event: MouseActionEvent): void {
  if (event.action === "wheel_up" || event.action === "wheel_down") {
    const command = event.action === "wheel_up" ? "up" : "down";
    for (let i = 0; i < WHEEL_LINES; i++) runCommand(screen, command);
  } else if (event.action === "press" && event.button === "left") {
    const target = screen.targets.find(({ row, fromColumn, toColumn }) =>
      row === event.row && event.column >= fromColumn && event.column < toColumn
    );
    if (target !== undefined) runAction(screen, target.action);
  }
}

function handleEvent(screen: Screen, event: TerminalEvent): void {
  const { isTyping } = screen.session.state.ui;
  if (event.kind === "mouse") handleMouse(screen, event);
  // 1 and 2: the mode is known, and on or off; 0 and 4: it cannot be had.
  else if (event.kind === "reply" && event.mode === SYNCHRONIZED_MODE) {
    screen.terminal.setSynchronized(event.value === 1 || event.value === 2);
  } else if (event.kind === "paste" && isTyping) {
    const edit = { kind: "insert", text: sanitizeText(event.text) } as const;
    choose(screen, { kind: "filter", edit });
  } else if (event.kind === "key") {
    if (isTyping) return typeFilter(screen, event);
    const command = findCommand(event);
    if (command !== null) runCommand(screen, command);
  }
}

/** Reads what is typed until the session or the input ends. */
async function readKeys(screen: Screen): Promise<void> {
  const { session } = screen;
  const { platform, stop } = session;
  let decoder = createKeyDecoder();
  let reading = platform.stdio.readStdin();
  while (!stop.signal.aborted) {
    const isSilent = isWaiting(decoder) &&
      await Promise.race([
        reading.then(() => false),
        platform.sleep(ESCAPE_TIMEOUT, stop.signal).then(() => true),
      ]);
    const bytes = isSilent ? new Uint8Array() : await reading;
    if (bytes === null) return stop.abort();
    const decoded = isSilent ? flushKeys(decoder) : decodeKeys(decoder, bytes);
    if (!isSilent) reading = platform.stdio.readStdin();
    decoder = decoded.decoder;
    for (const event of decoded.events) handleEvent(screen, event);
    if (decoded.events.length > 0) await drawChoice(screen);
  }
}

/** Control-Z gives the terminal back and stops the program; going on takes it over again. */
function watchJobControl(screen: Screen): readonly (() => void)[] {
  const { session: { platform, stop }, terminal } = screen;
  const goOn = (): void => {
    terminal.resume();
    // Hours may have passed: their average is no rate of now.
    dispatch(screen.session, { kind: "resumed" });
  };
  const stopForAWhile = async (): Promise<void> => {
    await terminal.suspend();
    if (!platform.stopSelf()) goOn();
  };
  return [
    platform.onSignal("SIGTSTP", () => {
      stopForAWhile().catch((error) => stop.abort(error));
    }),
    platform.onSignal("SIGCONT", goOn),
    platform.onSignal("SIGWINCH", () => {
      drawChoice(screen).catch((error) => stop.abort(error));
    }),
  ];
}

/**
 * Shows the session on the terminal until it ends, and throws what ended it if that was an error.
 *
 * @param layOut Lays out a scene; a test counts them.
 */
export async function runLive(
  session: Session,
  terminal: Terminal,
  layOut: typeof layOutScene = layOutScene,
): Promise<void> {
  const { platform, stop } = session;
  const screen: Screen = {
    session,
    terminal,
    known: session.state,
    layOut,
    scene: null,
    targets: [],
    isDrawing: false,
    isStale: false,
    hasNews: true,
    isOutdated: true,
  };
  const drawing = planDrawing(screen);
  session.onChange = drawing.plan;
  const stopWatching = watchJobControl(screen);
  const keys = readKeys(screen).catch((error) => stop.abort(error));
  try {
    await draw(screen);
    // The first picture does not wait for them.
    watchGpus(session).catch((error) => stop.abort(error));
    await pollForever(session, () => draw(screen));
  } finally {
    stop.abort();
    drawing.cancel();
    for (const stopOne of stopWatching) stopOne();
    platform.stdio.closeStdin();
    await keys;
  }
}
