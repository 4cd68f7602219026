import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { generationsAhead, type LogWitness } from '../format/log-frame.ts';
import { LOG_HEADER_BYTES, type LogHeader } from '../format/log-header.ts';
import type { LogMark } from '../format/log-mark.ts';
import { printIdHalves, slotOfLow, uniquifierOfHalves } from '../format/object-id.ts';
import type { FramePosition } from './frame-cursor.ts';
import type { LogEnd, LogPlace } from './log-scan.ts';

/**
 * What a device lost of a log although it had acknowledged it, told from what others say of the log. All
 * that is said was true when it was written, and a log that no device lost anything of never goes back; so
 * whatever contradicts it is a loss, whichever way the pool was stopped.
 */
export interface LogLoss {
  /** Of the extent; of `generation`. */
  fromBytes: number;
  toBytes: number;
  generation: number;
  /** A sentence's middle: what is not there. */
  detail: string;
}

/** How a log was when it was opened. */
export interface FoundEnd extends LogWitness {
  /** The last frame says that it was closed in good order. */
  closed: boolean;
  /** The most that its frames say of another log. */
  witness: LogWitness;
}

/** What MDC 1 knows to have been acknowledged of a log. */
export type MarkOf = (place: LogPlace) => LogMark | undefined;

export function foundEnd(header: LogHeader, end: LogEnd): FoundEnd {
  const { closed, endBytes, witness } = end;
  return { generation: header.generation, endBytes, closed, witness };
}

/** Of the two logs of an MDC, of which one counts, the mark that tells most: of the higher generation. */
export function markOfPair(
  places: readonly [LogPlace, LogPlace],
  activeIndex: 0 | 1,
  markOf: MarkOf,
): LogMark | undefined {
  const own = markOf(places[activeIndex]);
  const other = markOf(places[activeIndex === 0 ? 1 : 0]);
  if (own === undefined || other === undefined) return own ?? other;
  return other.generation > own.generation ? other : own;
}

/** An erase or a compaction that was acknowledged and is not there. */
export function lossOfHeader(
  mark: LogMark | undefined,
  { generation }: LogHeader,
): LogLoss | undefined {
  if (mark === undefined || generation >= mark.generation) return undefined;
  return {
    fromBytes: LOG_HEADER_BYTES,
    toBytes: Math.max(mark.durableBytes, LOG_HEADER_BYTES + 1),
    generation: mark.generation,
    detail: `generation ${mark.generation} was begun, and its header is of generation ${generation}`,
  };
}

/** Where a frame must end, if the mark speaks of what the log holds now. */
export function expectedOf(
  mark: LogMark | undefined,
  header: LogHeader,
): FramePosition | undefined {
  if (mark === undefined || !isOf(mark, header)) return undefined;
  return { offsetBytes: mark.durableBytes, sequence: mark.sequence, crc: mark.crc };
}

/** Frames that were acknowledged and are not there. */
export function lossOfFrames(
  mark: LogMark | undefined,
  header: LogHeader,
  end: Pick<LogEnd, 'endBytes' | 'passedExpected'>,
): LogLoss | undefined {
  if (mark === undefined || !isOf(mark, header) || end.passedExpected) return undefined;
  const { generation, durableBytes } = mark;
  const ends = end.endBytes < durableBytes;
  return {
    fromBytes: ends ? end.endBytes : LOG_HEADER_BYTES,
    toBytes: durableBytes,
    generation,
    detail: ends
      ? `its frames end at byte ${end.endBytes}`
      : `its frames up to byte ${durableBytes} are others than those that were acknowledged`,
  };
}

function isOf(mark: LogMark, { generation, objectId }: LogHeader): boolean {
  const same = mark.idLow === objectId.low && mark.idHigh === objectId.high;
  return same && mark.generation === generation;
}

/** What a log that should be as far as a witness says is short of. */
export function lossAgainst(
  found: LogWitness,
  witness: LogWitness | undefined,
): LogLoss | undefined {
  if (witness === undefined || witness.endBytes === 0) return undefined;
  const ahead = generationsAhead(witness.generation, found.generation);
  if (ahead < 0 || (ahead === 0 && witness.endBytes <= found.endBytes)) return undefined;
  const fromBytes = ahead === 0 ? found.endBytes : LOG_HEADER_BYTES;
  const generation = found.generation + ahead;
  const detail =
    ahead === 0
      ? `its frames end at byte ${found.endBytes}`
      : `generation ${generation} was begun, and the log that counts is of generation ${found.generation}`;
  return { fromBytes, toBytes: witness.endBytes, generation, detail };
}

export function lossMessage(place: LogPlace, loss: LogLoss): string {
  const { fromBytes, toBytes, generation, detail } = loss;
  const { path } = place.device;
  const at = place.extent.pageAddress * PAGE_BYTES;
  return (
    `${nameOfLog(place)}: ${path} acknowledged bytes ${fromBytes} to ${toBytes} ` +
    `of generation ${generation} of this log, which begins at byte ${at} of the device, ` +
    `and lost them (${detail})`
  );
}

/** @throws ERR_MPOOL_CORRUPT when something is lost */
export function refuseLost(place: LogPlace, loss: LogLoss | undefined): void {
  if (loss === undefined) return;
  const message = `${lossMessage(place, loss)}; 'mpool repair -f' accepts the loss`;
  throw new LostWritesError(message, place, loss);
}

/** ERR_MPOOL_CORRUPT, with what was lost for who has to remember it. */
export class LostWritesError extends MpoolError {
  readonly #place: LogPlace;
  readonly #loss: LogLoss;

  constructor(message: string, place: LogPlace, loss: LogLoss) {
    super('ERR_MPOOL_CORRUPT', message, { path: place.device.path });
    this.#place = place;
    this.#loss = loss;
  }

  get place(): LogPlace {
    return this.#place;
  }
  get loss(): LogLoss {
    return this.#loss;
  }
}

/** As people know it: MDC 0 and MDC 1, or the id of a log of users. */
export function nameOfLog({ objectId: { low, high } }: Pick<LogPlace, 'objectId'>): string {
  if (slotOfLow(low) !== 0) return `log ${printIdHalves(low, high)}`;
  const slot = Math.floor(uniquifierOfHalves(low, high) / 2);
  return `MDC ${slot}`;
}
