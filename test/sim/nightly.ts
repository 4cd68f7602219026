// Lifetimes on all processors, for hours. Seeds are dealt out to processes in small lots, so that one which dies,
// hangs or has grown is replaced by another, and only its seed is lost and told of.
import { type ChildProcess, fork } from 'node:child_process';
import { appendFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { addCounts } from './play.ts';
import { lineOf, noSum, type Sum, tableOf } from './totals.ts';

/** Seeds that a process is given at a time. */
export interface ToChild {
  firstSeed: number;
  count: number;
}
export type FromChild =
  | { kind: 'idle'; memoryBytes: number }
  | { kind: 'begin'; seed: number }
  | { kind: 'end'; sum: Sum; failure: string | undefined };

export interface NightlyOptions {
  seconds: number;
  firstSeed: number;
  /** What fails is appended to it. */
  failuresPath: string;
  /** Processes; as many as processors by default. */
  jobs?: number;
  tell?: (line: string) => void;
}

const LOT = 32;
const MEMORY_BYTES_MAX = 2 ** 30;
/** A failure is made short for a minute, and a hang is noticed after twenty seconds each time. */
const SILENCE_MS = 300_000;
const TELL_MS = 60_000;
const FAILURES_MAX = 100;

class Nightly {
  readonly sum = noSum();
  readonly #options: NightlyOptions;
  readonly #tell: (line: string) => void;
  readonly #beginMs = performance.now();
  readonly #children = new Set<ChildProcess>();
  #nextSeed: number;
  #onEnd: () => void = () => {};

  constructor(options: NightlyOptions) {
    this.#options = options;
    this.#nextSeed = options.firstSeed;
    this.#tell = options.tell ?? console.log;
  }

  async run(): Promise<Sum> {
    const { jobs = availableParallelism(), seconds, firstSeed, failuresPath } = this.#options;
    this.#tell(`seeds from ${firstSeed}, for ${seconds} s, in ${jobs} processes`);
    this.#tell(`what fails is appended to ${failuresPath}`);
    const teller = setInterval(() => this.#tell(lineOf(this.sum, this.#seconds)), TELL_MS);
    await new Promise<void>((resolve) => {
      this.#onEnd = resolve;
      for (let job = 0; job < jobs; job++) this.#start();
    });
    clearInterval(teller);
    this.#tell(tableOf(this.sum));
    this.#tell(lineOf(this.sum, this.#seconds));
    this.#tell(`seeds ${firstSeed}–${this.#nextSeed - 1}`);
    return this.sum;
  }

  get #seconds(): number {
    return (performance.now() - this.#beginMs) / 1000;
  }
  get #isOver(): boolean {
    return this.#seconds >= this.#options.seconds || this.sum.failures >= FAILURES_MAX;
  }

  #start(): void {
    const path = fileURLToPath(new URL('nightly-child.js', import.meta.url));
    const child = fork(path, { execArgv: ['--enable-source-maps'] });
    this.#children.add(child);
    let seed: number | undefined;
    let alarm: NodeJS.Timeout | undefined;
    child.on('message', (message: FromChild) => {
      clearTimeout(alarm);
      alarm = setTimeout(() => child.kill('SIGKILL'), SILENCE_MS);
      if (message.kind === 'begin') ({ seed } = message);
      else if (message.kind === 'end') this.#add(message.sum, message.failure);
      else {
        seed = undefined;
        this.#deal(child, message.memoryBytes);
      }
    });
    child.on('exit', (code, signal) => {
      clearTimeout(alarm);
      this.#children.delete(child);
      if (seed !== undefined) {
        this.sum.failures += 1;
        this.#fail(`# SEED=${seed}: the process ended: ${signal ?? `status ${code}`}`);
      }
      if (!this.#isOver) this.#start();
      else if (this.#children.size === 0) this.#onEnd();
    });
  }

  /** The next seeds; none when the time is over, or for a process that has grown. */
  #deal(child: ChildProcess, memoryBytes: number): void {
    if (this.#isOver || memoryBytes > MEMORY_BYTES_MAX) {
      child.disconnect();
      return;
    }
    const lot: ToChild = { firstSeed: this.#nextSeed, count: LOT };
    this.#nextSeed += LOT;
    child.send(lot);
  }

  #add(sum: Sum, failure: string | undefined): void {
    const { seen, ...counts } = sum;
    for (const [name, count] of Object.entries(counts))
      this.sum[name as keyof typeof counts] += count;
    const all = new Map(Object.entries(this.sum.seen));
    addCounts(all, new Map(Object.entries(seen)));
    this.sum.seen = Object.fromEntries(all);
    if (failure !== undefined) this.#fail(failure);
  }

  #fail(text: string): void {
    this.#tell(text);
    appendFileSync(this.#options.failuresPath, `${text}\n`);
  }
}

export function runNightly(options: NightlyOptions): Promise<Sum> {
  return new Nightly(options).run();
}
