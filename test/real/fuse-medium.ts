/**
 * The content of one file, whose every change goes to a write log, and which fails, waits and lies as it is told.
 *
 * 1. A change is in the log, and to be read, from when it is asked for; it is `done` before it is answered.
 * 2. What others told before they asked for a change is in the log before it: told files are read dry first.
 * 3. A flush covers the writes that were answered before it was asked for, and no other.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { below, chance, SeededPrng } from '../../src/base/prng.ts';
import { ERRNO } from './fuse-abi.ts';
import { type Kind, type LogRecord, WriteLogWriter } from './write-log.ts';

export type Errno = keyof typeof ERRNO;
export type Operation = 'read' | 'write' | 'flush' | 'discard' | 'resize';

export interface Fault {
  on: readonly Operation[];
  /** Those that come first are spared. */
  after?: number | undefined;
  /** So many of them; by default all. */
  times?: number | undefined;
  errno?: Errno | undefined;
  /** Not answered before release(). */
  holds?: boolean | undefined;
  /** A flush that is answered and did nothing. */
  lies?: boolean | undefined;
}

/** Answers at random late, so that many are under way at once and end in another order. */
export interface Jitter {
  chance: number;
  mostMs: number;
  seed: number;
}

/** `errno` 0 is success, and has the data of a read. */
export type Answer = (errno: number, data?: Uint8Array) => void;

interface Told {
  fd: number;
  atBytes: number;
  rest: Buffer;
}

interface Rule extends Fault {
  after: number;
  times: number;
}

/** Whoever waits for what is held, and should not, fails instead of never coming to an end. */
const HOLD_MS_MAX = 20_000;
const TOLD_BYTES = 65_536;

export class Medium {
  readonly counts = {
    read: 0,
    write: 0,
    flush: 0,
    discard: 0,
    resize: 0,
    failed: 0,
    durable: 0,
    told: 0,
  };
  readonly #log: WriteLogWriter;
  #content: Buffer;
  #lastOperation = 0;
  #faults: Rule[] = [];
  #jitter: { settings: Jitter; prng: SeededPrng } | undefined;
  readonly #held: (() => void)[] = [];
  readonly #told: Told[] = [];
  readonly #toldBytes = Buffer.alloc(TOLD_BYTES);

  constructor(content: Buffer, logPath: string) {
    this.#content = content;
    this.#log = new WriteLogWriter(logPath);
    const isBlank = content.every((byte) => byte === 0);
    const payload = isBlank ? undefined : content;
    this.#log.append('resize', 0, { lengthBytes: content.length, ...(payload && { payload }) });
  }

  get sizeBytes(): number {
    return this.#content.length;
  }
  get content(): Uint8Array {
    return this.#content;
  }
  get logBytes(): number {
    return this.#log.sizeBytes;
  }

  setFaults(faults: readonly Fault[]): void {
    this.#faults = faults.map((fault) => {
      return { ...fault, after: fault.after ?? 0, times: fault.times ?? Infinity };
    });
  }

  /** How many are held. */
  get heldCount(): number {
    return this.#held.length;
  }

  /** Answers all that is held. */
  release(): void {
    for (const finish of this.#held.splice(0)) finish();
  }

  setJitter(settings: Jitter | undefined): void {
    this.#jitter = settings && { settings, prng: new SeededPrng(settings.seed) };
  }

  /** From now on each line that is added to the file is an event. @returns its number */
  listenTo(path: string): number {
    return this.#told.push({ fd: openSync(path, 'r'), atBytes: 0, rest: Buffer.alloc(0) }) - 1;
  }

  read(offsetBytes: number, lengthBytes: number, answer: Answer): void {
    this.#begin('read', answer, () => {
      // A copy: what is there now is what is read, however late it is answered.
      const data = Buffer.from(this.#content.subarray(offsetBytes, offsetBytes + lengthBytes));
      return (finish) => finish(0, data);
    });
  }

  write(offsetBytes: number, data: Uint8Array, durable: boolean, answer: Answer): void {
    if (durable) this.counts.durable += 1;
    this.#begin('write', answer, (fault) => {
      if (fault?.errno !== undefined) return (finish) => finish(ERRNO[fault.errno!]);
      const done = this.#record('write', { offsetBytes, payload: data, durable });
      this.#content.set(data, offsetBytes);
      return (finish) => finish(0, done());
    });
  }

  discard(offsetBytes: number, lengthBytes: number, answer: Answer): void {
    this.#begin('discard', answer, () => {
      const done = this.#record('discard', { offsetBytes, lengthBytes });
      this.#content.fill(0, offsetBytes, offsetBytes + lengthBytes);
      return (finish) => finish(0, done());
    });
  }

  flush(answer: Answer): void {
    this.#begin('flush', answer, (fault) => {
      if (fault?.lies === true) return (finish) => finish(0);
      if (fault?.errno !== undefined) {
        this.#record('flushFailed', {});
        return (finish) => finish(ERRNO[fault.errno!]);
      }
      const done = this.#record('flush', {});
      return (finish) => finish(0, done());
    });
  }

  resize(sizeBytes: number, answer: Answer): void {
    this.#begin('resize', answer, () => {
      const done = this.#record('resize', { lengthBytes: sizeBytes });
      const content = Buffer.alloc(sizeBytes);
      content.set(this.#content.subarray(0, sizeBytes));
      this.#content = content;
      return (finish) => finish(0, done());
    });
  }

  /** What was told until now is in the log. */
  hear(): void {
    for (const [number, told] of this.#told.entries()) this.#hearOne(number, told);
  }

  close(): void {
    this.hear();
    this.#log.close();
    for (const { fd } of this.#told) closeSync(fd);
  }

  /** `work` does what is asked for, unless it is to fail, and returns how it ends. */
  #begin(
    operation: Operation,
    answer: Answer,
    work: (fault: Rule | undefined) => (finish: Answer) => void,
  ): void {
    this.hear();
    this.counts[operation] += 1;
    const fault = this.#faultOf(operation);
    const isHandled = operation === 'write' || operation === 'flush';
    const end =
      fault?.errno !== undefined && !isHandled
        ? (finish: Answer) => finish(ERRNO[fault.errno!])
        : work(fault);
    const finish = (): void => {
      // What is told before the answer was not told because of it.
      this.hear();
      end((errno, data) => {
        if (errno !== 0) this.counts.failed += 1;
        answer(errno, data);
      });
    };
    const delayMs = this.#jitterMs();
    if (fault?.holds === true) this.#hold(finish);
    else if (delayMs > 0) setTimeout(finish, delayMs);
    else finish();
  }

  #hold(finish: () => void): void {
    this.#held.push(finish);
    setTimeout(() => this.#held.includes(finish) && this.release(), HOLD_MS_MAX).unref();
  }

  #faultOf(operation: Operation): Rule | undefined {
    for (const fault of this.#faults) {
      if (!fault.on.includes(operation)) continue;
      if (fault.after > 0) fault.after -= 1;
      else if (fault.times > 0) {
        fault.times -= 1;
        return fault;
      }
    }
    return undefined;
  }

  #jitterMs(): number {
    if (this.#jitter === undefined) return 0;
    const { settings, prng } = this.#jitter;
    return chance(prng, settings.chance) ? 1 + below(prng, settings.mostMs) : 0;
  }

  #record(kind: Kind, more: Partial<LogRecord>): () => undefined {
    this.#lastOperation += 1;
    const operation = this.#lastOperation;
    this.#log.append(kind, operation, more);
    return () => {
      this.#log.append('done', operation);
      return undefined;
    };
  }

  #hearOne(number: number, told: Told): void {
    for (;;) {
      const length = readSync(told.fd, this.#toldBytes, 0, TOLD_BYTES, told.atBytes);
      if (length === 0) return;
      told.atBytes += length;
      const bytes = Buffer.concat([told.rest, this.#toldBytes.subarray(0, length)]);
      const end = bytes.lastIndexOf(10) + 1;
      told.rest = bytes.subarray(end);
      for (const line of bytes.toString('utf8', 0, end).split('\n')) {
        if (line === '') continue;
        this.counts.told += 1;
        this.#log.append('event', number, { payload: Buffer.from(line) });
      }
    }
  }
}
