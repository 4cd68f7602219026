/**
 * Records of MDC 1 … 255 that say what devices acknowledged, and what they lost of it.
 *
 * 6 Log mark (40 bytes): the log was durable up to there when the record was made
 *     2  2  zero
 *     4  4  CRC field of the last frame below the end; 0 when there is none
 *     8  8  object id of the log
 *    16  8  generation
 *    24  8  sequence of that frame; 0 when there is none
 *    32  8  durableBytes: offset in the extent of the log
 *
 * 7 Loss (40 bytes): a device had acknowledged these bytes, and does not have them
 *     2  6  zero
 *     8  8  object id
 *    16  8  when it was noticed, milliseconds since 1970
 *    24  8  from byte: of a log's extent, of an mblock's content
 *    32  8  to byte; both zero: the loss is mended or accepted
 *
 * The last one of an object counts. Of an object that does not exist they mean nothing.
 */
import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { GENERATION_MAX, LOG_HEADER_BYTES } from './log-header.ts';
import { SEQUENCE_MAX } from './log-frame.ts';
import {
  OBJECT_TYPE_MBLOCK,
  OBJECT_TYPE_MLOG,
  slotOfLow,
  typeOfLow,
  uniquifierOfHalves,
} from './object-id.ts';
import {
  idHighAt,
  idLowAt,
  LOG_MARK_RECORD_BYTES,
  LOSS_RECORD_BYTES,
  RECORD_LOG_MARK,
  RECORD_LOSS,
  RECORD_VERSION,
} from './records.ts';
import { getU64, setU64 } from './u64.ts';

export interface LogMark {
  idLow: number;
  idHigh: number;
  generation: number;
  /** In the extent: below it all frames of the generation were durable. */
  durableBytes: number;
  /** Of the last frame below it; both 0 when there is none. */
  sequence: number;
  crc: number;
}

export interface Loss {
  idLow: number;
  idHigh: number;
  sinceMs: number;
  /** Of a log's extent, of an mblock's content. Both 0: it is over. */
  fromBytes: number;
  toBytes: number;
}

/** Writes the 40 bytes of a mark at `offset`. */
export function writeLogMark(view: DataView, offset: number, mark: LogMark): void {
  const problem = markProblem(mark);
  assert(problem === undefined, `log mark: ${problem}`);
  begin(view, offset, RECORD_LOG_MARK, mark);
  view.setUint32(offset + 4, mark.crc, true);
  setU64(view, offset + 16, mark.generation);
  setU64(view, offset + 24, mark.sequence);
  setU64(view, offset + 32, mark.durableBytes);
}

/** Several of them as one record of an MDC. */
export function encodeLogMarks(marks: readonly LogMark[]): Uint8Array {
  const bytes = new Uint8Array(marks.length * LOG_MARK_RECORD_BYTES);
  const view = viewOf(bytes);
  for (const [i, mark] of marks.entries()) writeLogMark(view, i * LOG_MARK_RECORD_BYTES, mark);
  return bytes;
}

/** The mark at `start`, of recordType() RECORD_LOG_MARK and whole, or what is wrong with it. */
export function readLogMark(view: DataView, start: number): LogMark | string {
  const mark: LogMark = {
    idLow: idLowAt(view, start),
    idHigh: idHighAt(view, start),
    crc: view.getUint32(start + 4, true),
    generation: getU64(view, start + 16),
    sequence: getU64(view, start + 24),
    durableBytes: getU64(view, start + 32),
  };
  return view.getUint16(start + 2, true) === 0 ? (markProblem(mark) ?? mark) : NOT_ZERO;
}

/** Writes the 40 bytes of a loss at `offset`. */
export function writeLoss(view: DataView, offset: number, loss: Loss): void {
  const problem = lossProblem(loss);
  assert(problem === undefined, `loss: ${problem}`);
  begin(view, offset, RECORD_LOSS, loss);
  setU64(view, offset + 16, loss.sinceMs);
  setU64(view, offset + 24, loss.fromBytes);
  setU64(view, offset + 32, loss.toBytes);
}

/** Several of them as one record of an MDC. */
export function encodeLosses(losses: readonly Loss[]): Uint8Array {
  const bytes = new Uint8Array(losses.length * LOSS_RECORD_BYTES);
  const view = viewOf(bytes);
  for (const [i, loss] of losses.entries()) writeLoss(view, i * LOSS_RECORD_BYTES, loss);
  return bytes;
}

/** The loss at `start`, of recordType() RECORD_LOSS and whole, or what is wrong with it. */
export function readLoss(view: DataView, start: number): Loss | string {
  const loss: Loss = {
    idLow: idLowAt(view, start),
    idHigh: idHighAt(view, start),
    sinceMs: getU64(view, start + 16),
    fromBytes: getU64(view, start + 24),
    toBytes: getU64(view, start + 32),
  };
  const zero = view.getUint16(start + 2, true) === 0 && view.getUint32(start + 4, true) === 0;
  return zero ? (lossProblem(loss) ?? loss) : NOT_ZERO;
}

/** It was mended, or given up knowingly. */
export function isOver(loss: Loss): boolean {
  return loss.toBytes === 0;
}

const NOT_ZERO = 'reserved bytes are not zero';

function begin(
  view: DataView,
  offset: number,
  type: number,
  id: { idLow: number; idHigh: number },
): void {
  setU64(view, offset, 0);
  view.setUint8(offset, type);
  view.setUint8(offset + 1, RECORD_VERSION);
  view.setUint32(offset + 8, id.idLow, true);
  view.setUint32(offset + 12, id.idHigh, true);
}

function markProblem(mark: LogMark): string | undefined {
  const { idLow, generation, sequence, durableBytes, crc } = mark;
  if (typeOfLow(idLow) !== OBJECT_TYPE_MLOG || !idIsRecordable(mark)) return 'no id of a log';
  if (!(generation >= 1 && generation <= GENERATION_MAX)) return `generation ${generation}`;
  if (sequence > SEQUENCE_MAX) return `sequence ${sequence}`;
  const possible = durableBytes >= LOG_HEADER_BYTES && Number.isSafeInteger(durableBytes);
  if (!possible || durableBytes % 512 !== 0) return `durable up to ${durableBytes}`;
  const isEmpty = durableBytes === LOG_HEADER_BYTES;
  const agrees = isEmpty === (sequence === 0) && (!isEmpty || crc === 0);
  return agrees ? undefined : 'its end and its last frame contradict';
}

function lossProblem(loss: Loss): string | undefined {
  const { idLow, sinceMs, fromBytes, toBytes } = loss;
  const type = typeOfLow(idLow);
  const isObject = type === OBJECT_TYPE_MBLOCK || type === OBJECT_TYPE_MLOG;
  if (!isObject || !idIsRecordable(loss)) return 'an impossible object id';
  if (!Number.isSafeInteger(sinceMs)) return 'an impossible time';
  const isRange = Number.isSafeInteger(toBytes) && fromBytes < toBytes;
  return isRange || (fromBytes === 0 && toBytes === 0) ? undefined : 'no range of bytes';
}

function idIsRecordable({ idLow, idHigh }: { idLow: number; idHigh: number }): boolean {
  return slotOfLow(idLow) >= 1 && uniquifierOfHalves(idLow, idHigh) >= 1;
}
