/** The screen that is drawn again and again until someone has seen enough. */
import type { Clock } from '../../base/clock.ts';
import type { Screen } from '../screen.ts';
import { CLIENT_SORTS } from './client-table.ts';
import { drawFrame, helpLines, type Frame } from './frame.ts';
import { type Key, keysOf } from './keys.ts';
import { paintLine, type Line } from './line.ts';
import { clockTime } from './numbers.ts';
import { atMost, pause } from './pace.ts';
import type { Watch } from './watch.ts';

export interface LiveOptions {
  /** Asked once already: what they answered is drawn first. */
  readonly watches: readonly Watch[];
  readonly screen: Screen;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly intervalMs: number;
  /** How often it is drawn anew before it ends by itself. */
  readonly count: number;
  readonly userName: (uid: number) => string;
}

/** So long a daemon that does not answer keeps the others from being drawn. */
const STRAGGLER_MS = 500;

/** Ends with the key q, the last of `count`, or the signal. @throws when the terminal cannot be written to */
export async function live(options: LiveOptions): Promise<void> {
  const { screen } = options;
  const picture = new Picture(options);
  screen.open({
    onInput: (text) => picture.take(keysOf(text)),
    onResize: () => picture.draw(),
  });
  try {
    await picture.run();
  } catch (error) {
    // The caller says so of a signal; whoever wanted to quit has nothing to be told.
    if (!picture.hasQuit && !options.signal.aborted) throw picture.failure ?? error;
  } finally {
    screen.close();
  }
}

class Picture {
  readonly #options: LiveOptions;
  readonly #ended = new AbortController();
  readonly #signal: AbortSignal;
  /** Of the terminal. */
  failure: Error | undefined;
  hasQuit = false;
  #isPaused = false;
  #hasHelp = false;
  #sort = 0;
  #offset = 0;
  /** Of what is shown. */
  #time = '';
  #frame: Frame | undefined;
  #writing = false;
  /** Something changed while a frame was being written. */
  #isStale = false;

  constructor(options: LiveOptions) {
    this.#options = options;
    this.#signal = AbortSignal.any([options.signal, this.#ended.signal]);
  }

  /** @throws once it is to end before its time */
  async run(): Promise<void> {
    const { watches, clock, intervalMs, count } = this.#options;
    const stragglerMs = Math.min(STRAGGLER_MS, intervalMs);
    this.#tick();
    let tookMs = 0;
    // The first one, which has no rates, does not count.
    for (let drawn = 0; drawn < count;) {
      await pause(clock, Math.max(intervalMs - tookMs, intervalMs / 10), this.#signal);
      tookMs = 0;
      if (this.#isPaused) continue;
      const beganMs = clock.monotonicMs();
      const asked = Promise.all(watches.map((watch) => watch.ask()));
      await atMost(clock, stragglerMs, this.#signal, asked);
      this.#tick();
      drawn++;
      tookMs = clock.monotonicMs() - beganMs;
    }
  }

  #tick(): void {
    this.#time = clockTime(this.#options.clock.wallMs());
    this.draw();
  }

  take(keys: readonly Key[]): void {
    for (const key of keys) {
      if (key === 'quit') {
        this.hasQuit = true;
        this.#ended.abort();
        return;
      }
      if (this.#hasHelp) this.#hasHelp = false;
      else this.#obey(key);
    }
    this.draw();
  }

  #obey(key: Key): void {
    const page = Math.max(1, (this.#frame?.clientRows ?? 1) - 1);
    const steps: Partial<Record<Key, number>> = {
      up: -1,
      down: 1,
      pageUp: -page,
      pageDown: page,
      first: -Infinity,
      last: Infinity,
    };
    if (key === 'help') this.#hasHelp = true;
    else if (key === 'pause') this.#isPaused = !this.#isPaused;
    else if (key === 'sort') this.#sort = (this.#sort + 1) % CLIENT_SORTS.length;
    const most = this.#frame?.offsetMax ?? 0;
    this.#offset = Math.min(most, Math.max(0, this.#offset + (steps[key] ?? 0)));
  }

  /** Frames that a slow terminal has no time for are left out. */
  draw(): void {
    if (this.#signal.aborted) return;
    if (this.#writing) {
      this.#isStale = true;
      return;
    }
    const { screen } = this.#options;
    const { columns, rows, hasColours } = screen;
    const lines = this.#hasHelp ? helpLines(columns, rows) : this.#lines(columns, rows);
    this.#writing = true;
    screen.draw(lines.map((line) => paintLine(line, columns, hasColours))).then(
      () => {
        this.#writing = false;
        if (this.#isStale) this.draw();
      },
      (error: Error) => {
        this.failure = error;
        this.#ended.abort();
      },
    );
    this.#isStale = false;
  }

  #lines(columns: number, rows: number): readonly Line[] {
    const { watches, intervalMs, userName } = this.#options;
    this.#frame = drawFrame(
      watches.map((watch) => watch.view()),
      {
        columns,
        rows,
        userName,
        time: this.#time,
        intervalText: `every ${intervalMs / 1000} s`,
        sort: this.#sort,
        offset: this.#offset,
        isPaused: this.#isPaused,
      },
    );
    return this.#frame.lines;
  }
}
