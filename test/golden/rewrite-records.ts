/** Records of the pool's own MDCs, beside what they are encoded as today. */
import { viewOf } from '../../src/base/bytes.ts';
import { readLogMark, readLoss, writeLogMark, writeLoss } from '../../src/format/log-mark.ts';
import {
  blankObjectRecord,
  checkpointAt,
  checkpointProblem,
  decodeMdcRecord,
  decodePoolRecord,
  deletionProblem,
  encodeDeletionRecord,
  encodeIdCheckpoint,
  encodeMdcRecord,
  encodeObjectRecord,
  encodePoolRecord,
  idHighAt,
  idLowAt,
  LOG_MARK_RECORD_BYTES,
  LOSS_RECORD_BYTES,
  readObjectRecord,
} from '../../src/format/records.ts';
import type { Rewritten } from './rewrite.ts';

interface RewrittenRecord {
  structure: Rewritten;
  kinds: string[];
}

/** Its kinds are as the bytes say, by the numbers of docs/format.md. */
type Encode = (bytes: Buffer, view: DataView) => Uint8Array;

const SIZES = [0, 128, 40, 40, 16, 16, 40, 40];
const ENCODE: readonly (Encode | undefined)[] = [
  undefined,
  (bytes) => encodePoolRecord(must(decodePoolRecord(bytes, 0, bytes.length))),
  (bytes) => encodeMdcRecord(must(decodeMdcRecord(bytes, 0, bytes.length))),
  (bytes, view) => {
    const object = blankObjectRecord();
    none(readObjectRecord(view, 0, bytes.length, object));
    return encodeObjectRecord(object);
  },
  (bytes, view) => {
    none(deletionProblem(view, 0, bytes.length));
    return encodeDeletionRecord(idLowAt(view, 0), idHighAt(view, 0));
  },
  (bytes, view) => {
    none(checkpointProblem(view, 0, bytes.length));
    return encodeIdCheckpoint(checkpointAt(view, 0));
  },
  (_, view) => {
    const again = new Uint8Array(LOG_MARK_RECORD_BYTES);
    writeLogMark(viewOf(again), 0, must(readLogMark(view, 0)));
    return again;
  },
  (_, view) => {
    const again = new Uint8Array(LOSS_RECORD_BYTES);
    writeLoss(viewOf(again), 0, must(readLoss(view, 0)));
    return again;
  },
];

/** @param record of an MDC: one or more, one after the other */
export function* rewrittenRecords(record: Buffer): Generator<RewrittenRecord> {
  if (record.length === 0) throw new Error('an empty record');
  for (let at = 0; at < record.length;) {
    const type = record[at]!;
    const encode = ENCODE[type];
    if (encode === undefined) throw new Error(`a record of type ${type}`);
    const bytes = record.subarray(at, at + SIZES[type]!);
    yield { structure: { bytes, again: encode(bytes, viewOf(bytes)) }, kinds: kindsOf(bytes) };
    at += bytes.length;
  }
}

function kindsOf(bytes: Buffer): string[] {
  const kinds = [`record ${bytes[0]}`];
  if (bytes[0] === 3) {
    kinds.push(`object of class ${bytes[2]}`, `object of role ${bytes[3]}`);
    kinds.push(`object of type ${bytes[9]! & 15}`);
  }
  if (bytes[0] === 6) kinds.push(bytes.readBigUInt64LE(24) === 0n ? 'mark, empty' : 'mark');
  if (bytes[0] === 7) kinds.push(bytes.readBigUInt64LE(32) === 0n ? 'loss, over' : 'loss');
  return kinds;
}

function must<T>(decoded: T | string): T {
  if (typeof decoded === 'string') throw new Error(decoded);
  return decoded;
}

function none(problem: string | undefined): void {
  if (problem !== undefined) throw new Error(problem);
}
