/**
 * The live screen: keys and mouse in, frames out. Keys are answered at once, not at the next poll;
 * outcomes that arrive together are drawn together; a slow terminal gets fewer frames.
 * @module
 */

import {
  apply,
  dispatch,
  MAX_SIMULTANEOUS_ENDPOINTS,
  pollForever,
  pollNow,
  type Session,
  takeInstant,
  wake,
} from "./app_session.ts";
import type { TerminalSize } from "./platform.ts";
import { identifyLine } from "./rules_alerts.ts";
import type { State } from "./state.ts";
import type { PastMoment } from "./state_past.ts";
import {
  type ClickAction,
  type ClickTarget,
  type Command,
  type FilterEdit,
  findSelectedEvent,
  type LookCommand,
  type UiContext,
} from "./state_ui.ts";
import { SYNCHRONIZED_MODE, type Terminal } from "./terminal.ts";
import type { KeyEvent, MouseActionEvent, TerminalEvent } from "./terminal_keys.ts";
import { sanitizeText } from "./text.ts";
import { type Seconds, SECONDS_PER_MINUTE } from "./units.ts";
import {
  drawScene,
  getUiContext,
  hasInSight,
  isSameScene,
  layOutScene,
  type Scene,
} from "./view_scene.ts";
import { findCommand, nameKey } from "./view_bindings.ts";

/** Changes within this time share a frame. */
const MIN_REDRAW_INTERVAL: Seconds = 0.03;
/** Maximum wait for the rest of a round when few endpoints are watched. */
const MAX_ROUND_WAIT: Seconds = 0.25;
/**
 * Minimum time between redraws caused by scrapes of many endpoints, which never end: evaluating
 * hundreds takes its time. The drawing at the end of each short interval serves for them.
 */
const MIN_SCRAPE_REDRAW_INTERVAL: Seconds = 2.1;
/** The same as a part of the interval: slow polls change little in a second. */
const SCRAPE_REDRAW_SHARE = 0.525;

/** The time in which servers on this machine have answered first. */
const HOSTS_PAUSE: Seconds = 0.05;

/**
 * Until then keys redraw from the last evaluated state: evaluating hundreds of endpoints is too
 * slow for a key.
 */
const MAX_SCENE_AGE: Seconds = 2.5;
const WHEEL_LINES = 3;

type Screen = ReturnType<typeof createScreen>;

function createScreen(session: Session, terminal: Terminal, layOut: typeof layOutScene) {
  return {
    ...{ session, terminal, layOut },
    /** The state on screen. */
    known: session.state,
    /** The last layout, in which keys move. */
    scene: null as Scene | null,
    targets: [] as readonly ClickTarget[],
    isDrawing: false,
    isStale: false,
    /** The moment of the past that is computed; `null` for none. */
    sought: null as PastMoment | null,
    /** Draw the newest state next. */
    needsNewest: true,
    /** The state has changed since it was drawn. */
    hasChanged: true,
  };
}

/** The drawn state with the user's choices since. */
function collectScreenState({ session, known }: Screen): State {
  const { ui, held, interval, pastStep, noted } = session.state;
  return { ...known, ui, held, interval, pastStep, noted };
}

/** The last scene, or a new one if that no longer fits. */
function getScene(screen: Screen, size: TerminalSize, suffices: (scene: Scene) => boolean): Scene {
  const { scene, session: { view } } = screen;
  const state = collectScreenState(screen);
  if (scene !== null && isSameScene(scene, state, size) && suffices(scene)) return scene;
  return screen.scene = screen.layOut(state, size, view, scene);
}

/** Draws the newest state, and again if it changes meanwhile. */
async function draw(screen: Screen): Promise<void> {
  screen.needsNewest = true;
  await drawUi(screen);
}

/** Draws the state, which has been evaluated just now. */
async function drawEvaluated(screen: Screen): Promise<void> {
  screen.known = screen.session.state;
  screen.needsNewest = screen.hasChanged = false;
  await drawUi(screen);
}

/** Draws the user's choices in the drawn state, unless that is old. */
async function drawUi(screen: Screen): Promise<void> {
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
      if (screen.needsNewest || age > MAX_SCENE_AGE) {
        screen.needsNewest = screen.hasChanged = false;
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

function isAmongMany({ session: { watched } }: Screen): boolean {
  return watched.size > MAX_SIMULTANEOUS_ENDPOINTS;
}

function measurePause(screen: Screen): Seconds {
  const { session: { platform, busy, state }, known } = screen;
  const isPending = known.fleet.verdict.level === "PENDING";
  if (isPending || !isAmongMany(screen)) {
    if (busy.size > 0) return MAX_ROUND_WAIT;
    // The first figures do not wait.
    return isPending ? 0 : MIN_REDRAW_INTERVAL;
  }
  const interval = Math.max(MIN_SCRAPE_REDRAW_INTERVAL, SCRAPE_REDRAW_SHARE * state.interval);
  return Math.max(MIN_REDRAW_INTERVAL, known.now + interval - platform.monotonicSeconds());
}

/** Delayed, since more changes may follow. */
function planDrawing(screen: Screen): { readonly plan: () => void; readonly cancel: () => void } {
  const { platform, stop } = screen.session;
  let plannedAt = Infinity;
  let cancel = (): void => {};
  const drawChanges = (): void => {
    plannedAt = Infinity;
    if (!screen.hasChanged) return;
    // Drawn meanwhile, at the end of a round.
    if (measurePause(screen) > MAX_ROUND_WAIT) return plan();
    draw(screen).catch((error) => stop.abort(error));
  };
  const plan = (): void => {
    screen.hasChanged = true;
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

function isLook(command: Command): command is LookCommand {
  return command.startsWith("look_");
}

/** Shows the moment once it is computed, unless another is asked for meanwhile. */
async function showPast(screen: Screen, moment: PastMoment): Promise<void> {
  const { platform, stop } = screen.session;
  screen.sought = moment;
  for (const steps = moment.compute(); screen.sought === moment && !stop.signal.aborted;) {
    const { done, value } = steps.next();
    if (done) {
      screen.sought = null;
      apply(screen.session, { kind: "look", shown: value.state, step: value.step });
      return drawUi(screen);
    }
    await platform.nextTurn();
  }
}

/** The present if there is no such moment. */
function look(screen: Screen, command: LookCommand): void {
  const { session: { past, state, stop }, sought } = screen;
  const at = (sought ?? state.held ?? state).now;
  // Moments are an interval apart.
  const step = command.endsWith("minute") ? SECONDS_PER_MINUTE : state.interval / 2;
  const found = command === "look_now"
    ? null
    : command.startsWith("look_back")
    ? past?.findBefore(at - step)
    : past?.findAfter(at + step);
  if (found) return void showPast(screen, found).catch((error) => stop.abort(error));
  screen.sought = null;
  apply(screen.session, { kind: "look", shown: null, step: 1 });
}

/** Shows the fleet as it was when the selected event began, if that is kept. */
function openEvent(screen: Screen): void {
  const { session: { past, state: { ui, fleet, held, interval }, stop } } = screen;
  const context = getContext(screen);
  const selected = context.eventKeys[findSelectedEvent(ui, context.eventKeys)];
  const event = (held?.fleet ?? fleet).events.find((line) => identifyLine(line) === selected);
  const oldest = past?.findBefore(-Infinity)?.now ?? Infinity;
  if (event === undefined || event.beganAt < oldest - interval) return;
  const moment = past?.findAfter(event.beganAt);
  if (!moment) return;
  apply(screen.session, { kind: "select", key: event.subject.key, context });
  apply(screen.session, { kind: "command", command: "show_fleet", context });
  showPast(screen, moment).catch((error) => stop.abort(error));
}

function runCommand(screen: Screen, command: Command): void {
  const { session, terminal } = screen;
  if (session.replay?.run(command) === true) return;
  const { screen: shown, page } = session.state.ui;
  if (command === "quit") session.stop.abort();
  else if (command === "poll_now") pollNow(session);
  else if (command === "redraw") terminal.forget();
  else if (command === "suspend") suspend(screen);
  else if (isLook(command)) look(screen, command);
  else if (command === "open" && shown === "overview" && page === "events") openEvent(screen);
  else apply(screen.session, { kind: "command", command, context: getContext(screen) });
  if (command === "faster" || command === "slower") wake(session);
  if (command === "pause") screen.sought = null;
  if (session.state.ui.screen === "log") session.onLogShown();
  // It is of the newest scrapes.
  if (command === "mark" || command === "unmark") screen.needsNewest = true;
}

function typeFilter(screen: Screen, key: KeyEvent): void {
  const edit = (edit: FilterEdit): void => apply(screen.session, { kind: "filter", edit });
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
      return apply(screen.session, action);
    case "line":
      // As in htop, the first click selects.
      if (screen.session.state.ui.selectedKey === action.key) return runCommand(screen, "open");
      apply(screen.session, { kind: "select", key: action.key, context: getContext(screen) });
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
  // 1 and 2: supported, on or off; 0 and 4: unsupported.
  else if (event.kind === "reply" && event.mode === SYNCHRONIZED_MODE) {
    screen.terminal.setSynchronized(event.value === 1 || event.value === 2);
  } else if (event.kind === "paste" && isTyping) {
    const edit = { kind: "insert", text: sanitizeText(event.text) } as const;
    apply(screen.session, { kind: "filter", edit });
  } else if (event.kind === "key") {
    if (isTyping) return typeFilter(screen, event);
    const command = findCommand(event);
    if (command !== null) runCommand(screen, command);
  }
}

async function readKeys(screen: Screen): Promise<void> {
  const { session } = screen;
  const { platform, stop } = session;
  let reading = platform.stdio.readStdin();
  // Loaded once the first picture is drawn, as is all that it does not need.
  const { createKeyDecoder, decodeKeys, ESCAPE_TIMEOUT, flushKeys, isWaiting } = await import(
    "./terminal_keys.ts"
  );
  let decoder = createKeyDecoder();
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
    if (decoded.events.length > 0) await drawUi(screen);
  }
}

function resume({ session, terminal }: Screen): void {
  terminal.resume();
  // Hours may have passed: an average over them is no current rate.
  dispatch(session, { kind: "resumed" });
}

/** Restores the terminal and stops the program; SIGCONT resumes it. */
function suspend(screen: Screen): void {
  const { session: { platform, stop }, terminal } = screen;
  terminal.suspend().then(() => {
    if (!platform.stopSelf()) resume(screen);
  }).catch((error) => stop.abort(error));
}

function watchSignals(screen: Screen): readonly (() => void)[] {
  const { platform, stop } = screen.session;
  return [
    platform.onSignal("SIGTSTP", () => suspend(screen)),
    platform.onSignal("SIGCONT", () => resume(screen)),
    platform.onSignal("SIGWINCH", () => {
      drawUi(screen).catch((error) => stop.abort(error));
    }),
  ];
}

/** Calls `show` after each round, until the session ends. */
export type Course = (session: Session, show: () => Promise<void>) => Promise<void>;

/** Servers are asked first: the programs that tell of this machine take time to start. */
const watch: Course = (session, show) => {
  const { platform, stop } = session;
  platform.sleep(HOSTS_PAUSE, stop.signal)
    .then(() => import("./app_hosts.ts"))
    .then(({ watchHosts }) => watchHosts(session))
    .catch((error) => stop.abort(error));
  return pollForever(session, show);
};

/**
 * Runs until the session ends; throws the error that ended it.
 * @param options.layOut Lays out a scene; a test counts its calls.
 */
export async function runLive(
  session: Session,
  terminal: Terminal,
  { layOut = layOutScene, course = watch }: {
    readonly layOut?: typeof layOutScene;
    readonly course?: Course;
  } = {},
): Promise<void> {
  const { platform, stop } = session;
  const screen = createScreen(session, terminal, layOut);
  const drawing = planDrawing(screen);
  session.onChange = drawing.plan;
  const stopWatching = watchSignals(screen);
  const keys = readKeys(screen).catch((error) => stop.abort(error));
  try {
    await draw(screen);
    const { createPast } = await import("./state_past.ts");
    session.past = createPast(session.state);
    // The first picture does not wait for GPUs.
    await course(session, () => {
      session.past?.keep(session.state);
      return drawEvaluated(screen);
    });
  } finally {
    stop.abort();
    drawing.cancel();
    for (const stopOne of stopWatching) stopOne();
    platform.stdio.closeStdin();
    await keys;
  }
}
