import { formatUuid } from '../base/bytes.ts';
import { printIdHalves, printObjectId, uniquifierOfHalves } from '../format/object-id.ts';
import {
  blankObjectRecord,
  checkpointAt,
  decodeMdcRecord,
  decodePoolRecord,
  idHighAt,
  idLowAt,
  readObjectRecord,
  RECORD_DELETION,
  RECORD_ID_CHECKPOINT,
  RECORD_LOG_MARK,
  RECORD_LOSS,
  RECORD_MDC,
  RECORD_OBJECT,
  RECORD_POOL,
  recordBytesOf,
  recordType,
  ROLE_LOG_A,
  ROLE_PLAIN,
  type MdcRecord,
  type ObjectRecord,
} from '../format/records.ts';
import { readLogMark, readLoss } from '../format/log-mark.ts';
import { isMblock, isOnCapacity } from './check-records.ts';
import type { DumpEntry } from './dump.ts';
import type { RecordVisitor } from './log-scan.ts';

type Dumped = Pick<DumpEntry, 'structure' | 'fields'>;

/** Puts records of the MDCs into words, and remembers what leads on: MDCs and objects. */
export class DumpedRecords {
  readonly mdcs = new Map<number, MdcRecord>();
  /** By printed id. */
  readonly objects = new Map<string, ObjectRecord>();
  #dumped: Dumped[] = [];

  /** What was visited since the last call. */
  take(): Dumped[] {
    const dumped = this.#dumped;
    this.#dumped = [];
    return dumped;
  }

  readonly visit: RecordVisitor = (bytes, start, end, view) => {
    for (let entry = start; entry < end;) {
      const type = recordType(bytes, entry, end);
      const next = entry + recordBytesOf(type);
      if (next === entry || next > end) {
        const hex = Buffer.from(bytes.subarray(entry, Math.min(end, entry + 64))).toString('hex');
        this.#dumped.push({ structure: 'unknown record', fields: { bytes: hex } });
        return;
      }
      this.#dumped.push(this.#entry(type, bytes, view, entry, next));
      entry = next;
    }
  };

  #entry(type: number, bytes: Uint8Array, view: DataView, start: number, end: number): Dumped {
    switch (type) {
      case RECORD_POOL:
        return { structure: 'pool record', fields: poolFields(bytes, start, end) };
      case RECORD_MDC:
        return { structure: 'mdc record', fields: this.#mdcFields(bytes, start, end) };
      case RECORD_OBJECT:
        return { structure: 'object record', fields: this.#objectFields(view, start, end) };
      case RECORD_DELETION: {
        const objectId = printIdHalves(idLowAt(view, start), idHighAt(view, start));
        this.objects.delete(objectId);
        return { structure: 'deletion record', fields: { objectId } };
      }
      case RECORD_LOG_MARK:
        return { structure: 'log mark record', fields: markFields(view, start) };
      case RECORD_LOSS:
        return { structure: 'loss record', fields: lossFields(view, start) };
      case RECORD_ID_CHECKPOINT:
        return {
          structure: 'id checkpoint record',
          fields: { uniquifier: checkpointAt(view, start) },
        };
      default:
        return { structure: 'unknown record', fields: { type } };
    }
  }

  #mdcFields(bytes: Uint8Array, start: number, end: number): DumpEntry['fields'] {
    const mdc = decodeMdcRecord(bytes, start, end);
    if (typeof mdc === 'string') return { problem: mdc };
    this.mdcs.set(mdc.slot, mdc);
    return {
      slot: mdc.slot,
      logAPageAddress: mdc.logA.pageAddress,
      logAPageCount: mdc.logA.pageCount,
      logBPageAddress: mdc.logB.pageAddress,
      logBPageCount: mdc.logB.pageCount,
    };
  }

  #objectFields(view: DataView, start: number, end: number): DumpEntry['fields'] {
    const object = blankObjectRecord();
    const problem = readObjectRecord(view, start, end, object);
    const objectId = printIdHalves(object.idLow, object.idHigh);
    if (problem !== undefined) return { objectId, problem };
    this.objects.set(objectId, object);
    const role = object.role === ROLE_LOG_A ? 'log A of an MDC' : 'log B of an MDC';
    return {
      objectId,
      uniquifier: uniquifierOfHalves(object.idLow, object.idHigh),
      type: isMblock(object) ? 'mblock' : 'mlog',
      mediaClass: isOnCapacity(object) ? 'capacity' : 'staging',
      role: object.role === ROLE_PLAIN ? 'plain' : role,
      pageAddress: object.pageAddress,
      pageCount: object.pageCount,
      lengthBytes: object.lengthBytes,
      digest: hexOf(object.digest),
    };
  }
}

function markFields(view: DataView, start: number): DumpEntry['fields'] {
  const mark = readLogMark(view, start);
  if (typeof mark === 'string') return { problem: mark };
  const { idLow, idHigh, crc, ...rest } = mark;
  return { objectId: printIdHalves(idLow, idHigh), ...rest, crc: hexOf(crc) };
}

function lossFields(view: DataView, start: number): DumpEntry['fields'] {
  const loss = readLoss(view, start);
  if (typeof loss === 'string') return { problem: loss };
  const { idLow, idHigh, ...rest } = loss;
  return { objectId: printIdHalves(idLow, idHigh), ...rest };
}

function hexOf(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

function poolFields(bytes: Uint8Array, start: number, end: number): DumpEntry['fields'] {
  const properties = decodePoolRecord(bytes, start, end);
  if (typeof properties === 'string') return { problem: properties };
  const { utype, rootMdc, mode, ...plain } = properties;
  return {
    ...plain,
    mode: `0o${mode.toString(8)}`,
    utype: formatUuid(utype),
    rootMdcLogA: printObjectId(rootMdc.logA),
    rootMdcLogB: printObjectId(rootMdc.logB),
  };
}
