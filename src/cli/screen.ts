/** A terminal that a verb has for itself for a while, and gives back as it was, however that ends. */
import type { ReadStream, WriteStream } from 'node:tty';
import { ClosedOutput } from './usage-error.ts';

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly hasColours: boolean;
  /** Takes the terminal: its other screen, no cursor, keys as they are typed. */
  open(handlers: { onInput: (text: string) => void; onResize: () => void }): void;
  /**
   * Lines from the top, each painted with whatever clears the rest of it; below them is nothing.
   * @throws ClosedOutput when the terminal is gone; the system's error
   */
  draw(lines: readonly string[]): Promise<void>;
  /** Gives it back. Idempotent. */
  close(): void;
}

export interface TerminalOptions {
  /** Asked for when it is opened; undefined when standard input is no terminal: then there are no keys. */
  input(): Pick<ReadStream, 'on' | 'off' | 'setRawMode' | 'pause' | 'resume'> | undefined;
  readonly output: Pick<WriteStream, 'columns' | 'rows' | 'write' | 'on' | 'off'>;
  readonly hasColours: boolean;
  /** Gives it back at once. */
  readonly signal: AbortSignal;
}

/** The other screen, no cursor, no wrapping of lines that are too long. */
const ENTER = '\u001b[?1049h\u001b[?25l\u001b[?7l\u001b[2J';
const LEAVE = '\u001b[0m\u001b[?7h\u001b[?25h\u001b[?1049l';
const HOME = '\u001b[H';
const CLEAR_BELOW = '\u001b[J';
const CTRL_C = '\u0003';
const CTRL_Z = '\u001a';
/** A signal that stops the process has done so by then. */
const STOPPED_MS = 50;

/**
 *   closed ──open()──► open ──close(), the signal, or the end of the process──► closed
 *                       │ ▲
 *             Ctrl-Z    ▼ │ SIGCONT
 *                     suspended
 */
export class Terminal implements Screen {
  readonly #options: TerminalOptions;
  #handlers: Parameters<Screen['open']>[0] | undefined;
  #input: ReturnType<TerminalOptions['input']>;
  #isEntered = false;

  constructor(options: TerminalOptions) {
    this.#options = options;
  }

  get columns(): number {
    // A terminal that does not know its size says 0.
    return this.#options.output.columns || 80;
  }
  get rows(): number {
    return this.#options.output.rows || 24;
  }
  get hasColours(): boolean {
    return this.#options.hasColours;
  }

  open(handlers: Parameters<Screen['open']>[0]): void {
    const { output, signal } = this.#options;
    // What would give it back has happened already.
    if (signal.aborted) return;
    this.#handlers = handlers;
    const input = (this.#input = this.#options.input());
    signal.addEventListener('abort', this.#close, { once: true });
    input?.on('data', this.#onInput);
    // A terminal that is gone is noticed by its signal, or in writing to it.
    input?.on('error', ignore);
    output.on('resize', handlers.onResize);
    process.on('SIGTSTP', this.#suspend);
    process.on('SIGCONT', this.#resume);
    process.on('exit', this.#close);
    // Before the error is printed, which would be wiped with the other screen.
    process.on('uncaughtExceptionMonitor', this.#close);
    this.#enter();
  }

  draw(lines: readonly string[]): Promise<void> {
    // A suspended or closed one must not be drawn over what the shell shows.
    if (!this.#isEntered) return Promise.resolve();
    const below = lines.length < this.rows ? `\r\n${CLEAR_BELOW}` : '';
    const frame = HOME + lines.join('\r\n') + below;
    return new Promise((resolve, reject) => {
      this.#options.output.write(frame, (error) => {
        if (error) reject(isGone(error) ? new ClosedOutput() : error);
        else resolve();
      });
    });
  }

  close(): void {
    this.#close();
  }

  readonly #close = (): void => {
    if (this.#handlers === undefined) return;
    const { output, signal } = this.#options;
    const input = this.#input;
    const { onResize } = this.#handlers;
    this.#handlers = undefined;
    signal.removeEventListener('abort', this.#close);
    input?.off('data', this.#onInput);
    output.off('resize', onResize);
    process.off('SIGTSTP', this.#suspend);
    process.off('SIGCONT', this.#resume);
    process.off('exit', this.#close);
    process.off('uncaughtExceptionMonitor', this.#close);
    this.#leave();
  };

  readonly #onInput = (chunk: Buffer | string): void => {
    const text = chunk.toString();
    // In raw mode the terminal makes no signals of them.
    if (text.includes(CTRL_C)) process.kill(process.pid, 'SIGINT');
    // The whole group, or the shell waits for whatever started this one.
    else if (text.includes(CTRL_Z)) process.kill(0, 'SIGTSTP');
    else this.#handlers?.onInput(text);
  };

  readonly #suspend = (): void => {
    this.#leave();
    process.off('SIGTSTP', this.#suspend);
    process.kill(process.pid, 'SIGTSTP');
    // A group of processes that no shell waits for is not stopped at all, and gets no SIGCONT.
    setTimeout(() => {
      if (this.#handlers === undefined) return;
      if (!process.listeners('SIGTSTP').includes(this.#suspend)) {
        process.on('SIGTSTP', this.#suspend);
      }
      this.#resume();
    }, STOPPED_MS);
  };

  /** After a SIGSTOP, too, of which nothing is known before. */
  readonly #resume = (): void => {
    if (this.#handlers === undefined) return;
    this.#enter();
    this.#handlers.onResize();
  };

  #enter(): void {
    const input = this.#input;
    const { output } = this.#options;
    this.#isEntered = true;
    attempt(() => input?.setRawMode(true));
    input?.resume();
    output.write(ENTER);
  }

  #leave(): void {
    if (!this.#isEntered) return;
    const input = this.#input;
    const { output } = this.#options;
    this.#isEntered = false;
    attempt(() => output.write(LEAVE));
    attempt(() => input?.setRawMode(false));
    // Nothing keeps the process waiting for keys.
    input?.pause();
  }
}

function ignore(): void {}

/** A terminal that is gone cannot be put in order, and need not be. */
function attempt(action: () => unknown): void {
  try {
    action();
  } catch (error) {
    if (!(error instanceof Error && 'code' in error)) throw error;
  }
}

function isGone(error: Error): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'EPIPE' || code === 'EIO' || code === 'ERR_STREAM_DESTROYED';
}
