import { LOG_HEADER_BYTES } from '../format/log-header.ts';
import { encodeLogMarks, type LogMark } from '../format/log-mark.ts';
import { type IdHalves, uniquifierOfHalves } from '../format/object-id.ts';
import { LOG_MARK_RECORD_BYTES } from '../format/records.ts';
import type { Log } from './log.ts';

/** Has records to spare for frames that are written for another reason. */
export interface LogRider {
  /**
   * A record of at most so many bytes, or undefined. What it gave before is durable when it is asked
   * again.
   */
  take(roomBytes: number): Uint8Array | undefined;
}

/** With a commit of one object they fit into a sector of 512 bytes. */
const MARKS_PER_FRAME = 8;
/** When they are written for themselves, before the pool is closed. */
const MARKS_PER_RECORD = 256;

/**
 * What MDC 1 says of the logs of users: up to where a device acknowledged each, which every log's own frames
 * cannot tell of its own end.
 *
 * Invariants
 * 1. A mark never passes what a flush acknowledged (Log.mark), so no crash can contradict it: a log goes back
 *    only when a device loses what it acknowledged.
 * 2. Marks cost no write and no flush of their own before the pool is closed.
 */
export class LogMarks implements LogRider {
  /** On media, by uniquifier; the newest last. */
  readonly #known = new Map<number, LogMark>();
  /** Logs that are further than their marks; who waits longest comes first. */
  readonly #moved = new Map<number, Log>();
  #pending: LogMark[] = [];
  readonly #exists: (mark: LogMark) => boolean;

  /** @param exists whether the log was not deleted */
  constructor(exists: (mark: LogMark) => boolean) {
    this.#exists = exists;
  }

  /** Marks on media, the newest first. */
  get newestFirst(): LogMark[] {
    return [...this.#known.values()].toReversed();
  }

  of({ low, high }: IdHalves): LogMark | undefined {
    return this.#known.get(uniquifierOfHalves(low, high));
  }

  /** Of each log that has a mark, or is further than it: for an MDC that is written anew. */
  get current(): LogMark[] {
    this.settle();
    const marks = new Map(this.#known);
    for (const [uniquifier, log] of this.#moved) marks.set(uniquifier, log.mark);
    return [...marks.values()].filter((mark) => this.#exists(mark));
  }

  /** One that is on media. */
  set(mark: LogMark): void {
    const uniquifier = uniquifierOfHalves(mark.idLow, mark.idHigh);
    this.#known.delete(uniquifier);
    this.#known.set(uniquifier, mark);
  }

  /** The log was deleted. */
  drop({ low, high }: IdHalves): void {
    const uniquifier = uniquifierOfHalves(low, high);
    this.#known.delete(uniquifier);
    this.#moved.delete(uniquifier);
  }

  /** More of the log was acknowledged, or it was erased, or compacted. */
  note(log: Log): void {
    const { low, high } = log.place.objectId;
    this.#moved.set(uniquifierOfHalves(low, high), log);
  }

  /** A log was opened: perhaps it is further than its mark. */
  noteOpened(log: Log): void {
    const { generation, durableBytes } = log.mark;
    const known = this.of(log.place.objectId) ?? { generation: 1, durableBytes: LOG_HEADER_BYTES };
    if (generation < known.generation) return;
    if (generation === known.generation && durableBytes <= known.durableBytes) return;
    this.note(log);
  }

  take(roomBytes: number): Uint8Array | undefined {
    if (this.#moved.size === 0 && this.#pending.length === 0) return undefined;
    this.settle();
    return this.#take(Math.min(MARKS_PER_FRAME, Math.floor(roomBytes / LOG_MARK_RECORD_BYTES)));
  }

  /** A record of what else there is to say, for a pool that is closed. Durable as take() says. */
  takeRest(): Uint8Array | undefined {
    this.settle();
    return this.#take(MARKS_PER_RECORD);
  }

  /** What was taken is durable. */
  settle(): void {
    for (const mark of this.#pending) if (this.#exists(mark)) this.set(mark);
    this.#pending = [];
  }

  #take(count: number): Uint8Array | undefined {
    const marks: LogMark[] = [];
    for (const [uniquifier, log] of this.#moved) {
      if (marks.length >= count) break;
      this.#moved.delete(uniquifier);
      const { mark } = log;
      if (this.#exists(mark)) marks.push(mark);
    }
    this.#pending = marks;
    return marks.length === 0 ? undefined : encodeLogMarks(marks);
  }
}
