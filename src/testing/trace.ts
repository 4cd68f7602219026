import { crc32c } from '../base/crc32c.ts';
import type { OperationInfo } from './faults.ts';

/** A step in an operation's life. Each has one 'submit' and one 'complete'. */
export interface OperationEvent extends OperationInfo {
  phase: 'submit' | 'complete';
  /** Of the operation, rising with submission. */
  number: number;
  /** CRC32C of what was written or read; 0 where nothing was. */
  checksum: number;
  /** Code of the error it completed with. */
  error?: string;
}

/** What happened, in order. Two runs with the same seed have the same. */
export class Trace {
  readonly #keeps: boolean;
  readonly #events: OperationEvent[] = [];
  #hash = 0;

  constructor(options: { keepEvents: boolean }) {
    this.#keeps = options.keepEvents;
  }

  get events(): readonly OperationEvent[] {
    return this.#events;
  }

  /** Of all events so far, kept or not. */
  get hash(): number {
    return this.#hash;
  }

  add(event: OperationEvent): void {
    if (this.#keeps) this.#events.push(event);
    const line = [
      event.phase,
      event.number,
      event.op,
      event.disk,
      event.offsetBytes,
      event.lengthBytes,
      event.durability ?? '',
      event.checksum,
      event.error ?? '',
    ].join(' ');
    this.#hash = crc32c(Buffer.from(line), this.#hash);
  }
}
