/**
 * Plays a recording: the same program over its messages, as if it were now. Time is that of the
 * recorded clock, so that screens and documents say what they said when it was made.
 * @module
 */

import type { Course } from "./app_live.ts";
import { createViewOptions, createWriter, isTextForm, printOnce } from "./app_output.ts";
import { dispatch, type ReplayControls, type Session, startSession } from "./app_session.ts";
import {
  applyEntry,
  closeTape,
  createEntryReader,
  createTapeState,
  openTape,
  type OwnChoices,
  parseStart,
  readEntries,
  resolveMoment,
  type Tape,
} from "./app_tape.ts";
import { EXIT_CONFIGURATION, EXIT_OK } from "./cli_exit.ts";
import { createStartUi, type Options } from "./cli_options.ts";
import type { Moment } from "./cli_values.ts";
import { NO_PRICING, type Pricing } from "./cost.ts";
import type { DiscoveryError } from "./discovery.ts";
import type { Platform } from "./platform.ts";
import type { BlockTimes } from "./record_block.ts";
import type { ReadEntry } from "./record_file.ts";
import { DEFAULT_RULES } from "./rules_table.ts";
import { createScrapePool } from "./scrape_pool.ts";
import type { Replay, State } from "./state.ts";
import { createPast } from "./state_past.ts";
import type { Command } from "./state_ui.ts";
import { quote } from "./text.ts";
import {
  type EpochSeconds,
  formatLocalTime,
  formatTimestamp,
  type Seconds,
  SECONDS_PER_MINUTE,
} from "./units.ts";

const SPEEDS: readonly number[] = [1, 2, 10, 100, Infinity];
/** Nothing was recorded for longer: it is passed over. */
const MAX_GAP: Seconds = 5 * SECONDS_PER_MINUTE;
/** Between two pictures while seeking. */
const SEEK_REDRAW_INTERVAL: Seconds = 0.25;
const MIN_REDRAW_INTERVAL: Seconds = 0.03;
/** Between two turns of keys and signals. */
const MAX_TURN: Seconds = 0.02;

/** Plays without waiting until there, or until the next event. */
type Target = EpochSeconds | "event" | null;

function startPlayer(session: Session, parts: {
  readonly tape: Tape;
  /** In place of what was recorded. */
  readonly own: OwnChoices;
  /** Its clock goes on. */
  readonly real: Platform;
  readonly speed: number;
  readonly from: EpochSeconds;
  readonly to: EpochSeconds;
  /** Scrapes before `from` are passed over: figures then count from there. */
  readonly isSpan: boolean;
}) {
  const { tape, from } = parts;
  return {
    ...{ session, ...parts },
    read: createEntryReader(session, tape.start),
    /** Of the last entry. */
    epoch: tape.span.from,
    recordedSession: "",
    isPaused: false,
    /** Rounds to play while paused. */
    steps: 0,
    target: (from > tape.span.from ? from : null) as Target,
    isOver: false,
    /** The speed counts from there. */
    anchor: { at: parts.real.monotonicSeconds(), epoch: tape.span.from },
    /** Ends the wait for the next entry. */
    wake: () => {},
  };
}

type Player = ReturnType<typeof startPlayer>;

/** The clock that stands at the last recorded moment. */
function createTapePlatform(platform: Platform, getState: () => State): Platform {
  return {
    ...platform,
    monotonicSeconds: () => getState().now,
    epochSeconds: () => getState().nowEpoch,
    utcOffset: () => getState().utcOffset,
  };
}

function isFast({ target, speed }: Player): boolean {
  return target !== null || speed === Infinity;
}

/** Tells the screen how it plays. */
function tell(player: Player): void {
  const { speed, isOver, isPaused, target, tape: { remarks } } = player;
  const status = isOver ? "over" : target !== null ? "seeking" : isPaused ? "paused" : "playing";
  const replay: Replay = { speed, status, remarks: [...remarks] };
  dispatch(player.session, { kind: "tape", changes: { replay } });
}

/** The speed counts from now on. */
function setAnchor(player: Player, epoch: EpochSeconds): void {
  player.anchor = { at: player.real.monotonicSeconds(), epoch };
}

/** Starts a new state where a new recording begins, but not where one goes on in the next file. */
function startOver(player: Player, entry: ReadEntry): void {
  const { session, own } = player;
  const start = parseStart(entry);
  const known = player.recordedSession;
  player.recordedSession = entry.session;
  if (start === null || known === "" || start.previousSession === known) return;
  const { ui, replay } = session.state;
  player.read = createEntryReader(session, start);
  session.state = { ...createTapeState(start, { ...own, ui }), replay };
  if (session.past !== null) session.past = createPast(session.state);
}

/** Resolves after the span, or when a key or the end of the session wakes the player. */
function wait(player: Player, span: Seconds): Promise<void> {
  const { session: { stop }, real } = player;
  const woken = new AbortController();
  player.wake = () => woken.abort();
  return real.sleep(span, AbortSignal.any([stop.signal, woken.signal]));
}

/** Resolves when the entry is due. */
async function waitForEntry(player: Player, { epoch }: ReadEntry): Promise<void> {
  const { session: { stop }, real } = player;
  if (typeof player.target === "number" && epoch >= player.target) {
    player.target = null;
    setAnchor(player, epoch);
    tell(player);
  }
  if (epoch - player.epoch > MAX_GAP || epoch < player.epoch) setAnchor(player, epoch);
  while (!stop.signal.aborted && player.target === null) {
    if (player.isPaused) {
      if (player.steps > 0) return;
      await wait(player, Infinity);
      setAnchor(player, player.epoch);
      continue;
    }
    const { anchor, speed } = player;
    const left = anchor.at + (epoch - anchor.epoch) / speed - real.monotonicSeconds();
    if (speed === Infinity || left <= 0) return;
    await wait(player, left);
  }
}

/** Returns whether documents follow. @throws {TypeError} If it is not what we record. */
function playEntry(player: Player, entry: ReadEntry): boolean {
  const { session } = player;
  const before = session.state.evaluation.events;
  player.epoch = entry.epoch;
  if (parseStart(entry) !== null) startOver(player, entry);
  else if (applyEntry(session, entry, player.read)) {
    player.steps = Math.max(0, player.steps - 1);
    if (player.target === "event" && session.state.evaluation.events !== before) {
      player.target = null;
      player.isPaused = true;
      tell(player);
    }
    return true;
  }
  return false;
}

/** Whether the entry only adds to figures of the time before. */
function isBefore({ isSpan, from }: Player, { epoch, stream }: ReadEntry): boolean {
  return isSpan && epoch < from && /^(?:scraped |scrape_failed|asked|round|clock)/.test(stream);
}

/** Calls `show` after each round, until the recording or the session ends. */
async function play(player: Player, show: () => Promise<void>): Promise<void> {
  const { session, tape, real, to } = player;
  let turnedAt = real.monotonicSeconds();
  for await (const entry of readEntries(tape)) {
    if (entry.epoch > to) break;
    if (isBefore(player, entry)) continue;
    await waitForEntry(player, entry);
    if (session.stop.signal.aborted) return;
    let isRound: boolean;
    try {
      isRound = playEntry(player, entry);
    } catch (error) {
      if (!(error instanceof TypeError || error instanceof SyntaxError)) throw error;
      tape.remarks.push(`this version cannot read it from ${formatTimestamp(entry.epoch)} on`);
      break;
    }
    if (isRound) await show();
    else if (entry.stream === "clock" && !isFast(player)) session.onChange();
    const now = real.monotonicSeconds();
    if (now - turnedAt < MAX_TURN) continue;
    await real.nextTurn();
    turnedAt = real.monotonicSeconds();
  }
  player.isOver = true;
  player.target = null;
  tell(player);
}

// ---- The live screen.

function createControls(player: Player): ReplayControls {
  const { session } = player;
  const change = (changes: Partial<Player>): true => {
    Object.assign(player, changes);
    setAnchor(player, player.epoch);
    tell(player);
    player.wake();
    return true;
  };
  const stepSpeed = (direction: 1 | -1): number =>
    SPEEDS[SPEEDS.indexOf(player.speed) + direction] ?? player.speed;
  const run = (command: Command): boolean => {
    const isNow = session.state.held === null;
    switch (command) {
      case "pause":
        return change({ isPaused: !player.isPaused, target: null });
      case "faster":
        return change({ speed: stepSpeed(1) });
      case "slower":
        return change({ speed: stepSpeed(-1) });
      case "poll_now":
        return change({ target: "event", isPaused: false });
      case "look_forward":
        return isNow && change({ isPaused: true, steps: player.steps + 1 });
      case "look_forward_minute":
        return isNow && change({ target: player.epoch + SECONDS_PER_MINUTE });
      case "look_now":
        return isNow && change({ target: Infinity });
      case "look_back":
      case "look_back_minute":
        change({ isPaused: true, target: null });
        return false;
      default:
        return false;
    }
  };
  return { run };
}

/** Stays at the end of the recording until the user leaves. */
function createCourse(player: Player): Course {
  const { session, real } = player;
  return async ({ options: { replaySpeed } }, show) => {
    let shownAt = -Infinity;
    player.speed = replaySpeed ?? SPEEDS[0];
    tell(player);
    await play(player, async () => {
      const now = real.monotonicSeconds();
      const pause = isFast(player) ? SEEK_REDRAW_INTERVAL : MIN_REDRAW_INTERVAL;
      if (now - shownAt < pause) return session.past?.keep(session.state);
      await show();
      shownAt = real.monotonicSeconds();
    });
    await show();
    while (!session.stop.signal.aborted) await wait(player, Infinity);
  };
}

// ---- Plain output.

async function playPlain(player: Player): Promise<number | DiscoveryError> {
  const { session, real, tape, from } = player;
  const write = createWriter(session, isTextForm(session.options.output) ? "\n" : "");
  let refusal: DiscoveryError | null = null;
  await play(player, async () => {
    if (player.epoch >= from) refusal ??= await write();
    if (refusal !== null) session.stop.abort();
  });
  warn(real, tape);
  return refusal ?? EXIT_OK;
}

/** Prints the last round until then. */
async function playOnce(player: Player): Promise<number | DiscoveryError> {
  const { session, real, tape } = player;
  let { state } = session;
  await play(player, () => {
    state = session.state;
    return Promise.resolve();
  });
  session.state = state;
  warn(real, tape);
  return await printOnce(session);
}

function warn({ stdio }: Platform, { path, remarks }: Tape): void {
  for (const remark of remarks) {
    stdio.writeStderr(`vllm-htop: the recording ${quote(path)}: ${remark}\n`);
  }
}

function chooseOwn(
  { objectives, rules, cost }: Options,
  { currency, ...prices }: Pricing,
): OwnChoices {
  const { input, cachedInput, output } = cost.tokenPrices;
  const isPriced = [input, cachedInput, output, cost.usdPerGpuHour, cost.gpuCount, cost.pricesFile]
    .some((value) => value !== null);
  return {
    ...(objectives.length === 0 ? {} : { objectives }),
    ...(JSON.stringify(rules) === JSON.stringify(DEFAULT_RULES) ? {} : { rules }),
    pricing: {
      ...(isPriced ? prices : {}),
      ...(currency === NO_PRICING.currency ? {} : { currency }),
    },
  };
}

function describeSpan({ path, span, start }: Tape): string {
  const [from, to] = [span.from, span.to].map((epoch) =>
    formatLocalTime(Math.round(epoch), start.utcOffset)
  );
  return `the recording ${quote(path)} is of ${from} to ${to}`;
}

/** Whatever plays it then. */
interface OpenedReplay {
  readonly session: Session;
  readonly course: Course;
  readonly runPlain: () => Promise<number | DiscoveryError>;
  /** Plays it without output, and calls `show` after each round. */
  readonly play: (show: () => void) => Promise<void>;
  /** What of it is played. */
  readonly span: BlockTimes;
  readonly close: () => void;
}

export async function openReplay(
  platform: Platform,
  options: Options,
  pricing: Pricing,
): Promise<OpenedReplay | DiscoveryError> {
  const { replayFile, replayFrom, replayTo, replaySpeed } = options;
  if (replayFile === null) throw new Error("There is no recording to replay");
  const refuse = (message: string): DiscoveryError => ({ message, exitCode: EXIT_CONFIGURATION });
  const tape = await openTape(platform, replayFile);
  if (typeof tape === "string") return refuse(tape);
  const resolve = (moment: Moment | null, fallback: EpochSeconds): EpochSeconds =>
    moment === null ? fallback : resolveMoment(moment, tape);
  const [from, to] = [resolve(replayFrom, -Infinity), resolve(replayTo, Infinity)];
  if (to < tape.span.from || from > tape.span.to || from > to) {
    closeTape(tape);
    return refuse(`${describeSpan(tape)}: there is nothing at that time`);
  }
  const own = chooseOwn(options, pricing);
  const state = createTapeState(tape.start, { ...own, ui: createStartUi(options) });
  const session = startSession({
    platform: createTapePlatform(platform, () => session.state),
    ...{ options, view: createViewOptions(platform, options), state },
    pool: createScrapePool(),
  });
  const speed = replaySpeed ?? Infinity;
  const isSpan = options.comparedSpans.length > 0;
  const player = startPlayer(session, { tape, own, real: platform, speed, from, to, isSpan });
  session.replay = createControls(player);
  return {
    session,
    span: { from: Math.max(from, tape.span.from), to: Math.min(to, tape.span.to) },
    play: async (show) => {
      await play(player, () => Promise.resolve(show()));
      warn(platform, tape);
    },
    course: createCourse(player),
    runPlain: () => options.once ? playOnce(player) : playPlain(player),
    close: () => closeTape(tape),
  };
}
