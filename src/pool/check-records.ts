import { PAGE_BYTES } from '../base/units.ts';
import { CLASS_CAPACITY, extentProblem } from '../format/device-descriptor.ts';
import {
  halvesOfId,
  OBJECT_TYPE_MBLOCK,
  printIdHalves,
  slotOfLow,
  typeOfLow,
  uniquifierOfHalves,
} from '../format/object-id.ts';
import {
  blankObjectRecord,
  checkpointAt,
  checkpointProblem,
  decodeMdcRecord,
  decodePoolRecord,
  deletionProblem,
  idHighAt,
  idLowAt,
  newerRecord,
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
  ROLE_LOG_B,
  ROLE_PLAIN,
  type MdcRecord,
  type ObjectRecord,
  type PoolProperties,
} from '../format/records.ts';
import { isOver, type LogMark, type Loss, readLogMark, readLoss } from '../format/log-mark.ts';
import type { CheckLocation, Findings } from './check-findings.ts';
import { locationIn, type CheckedDevice } from './check-logs.ts';
import type { LogPlace, RecordVisitor } from './log-scan.ts';

/** What the records of MDC 0 add up to. */
export class PoolRecordsCheck {
  properties: PoolProperties | undefined;
  readonly mdcs = new Map<number, MdcRecord>();
  /** What a newer version wrote, if anything. */
  newer: string | undefined;
  /** Records that break a rule, and count for nothing here. */
  refusedCount = 0;
  readonly #findings: Findings;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  visitor(place: LogPlace): RecordVisitor {
    return (bytes, start, end, _view, frameOffsetBytes) => {
      const at = locationIn(place, frameOffsetBytes);
      const type = recordType(bytes, start, end);
      if (type === RECORD_POOL) {
        const properties = decodePoolRecord(bytes, start, end);
        if (typeof properties === 'string') this.#bad(at, `properties of the pool: ${properties}`);
        else this.properties = properties;
      } else if (type === RECORD_MDC) {
        const mdc = decodeMdcRecord(bytes, start, end);
        if (typeof mdc === 'string') this.#bad(at, `an MDC: ${mdc}`);
        else this.mdcs.set(mdc.slot, mdc);
      } else {
        const newer = newerRecord(bytes, start, end);
        this.newer ??= newer;
        this.#bad(at, newer ?? `a record of type ${bytes[start]} in MDC 0`);
      }
    };
  }

  #bad(at: CheckLocation, message: string): void {
    this.refusedCount += 1;
    this.#findings.add('error', 'record', at, message);
  }
}

/** The objects of one MDC, as its records add up. */
export class SlotCheck {
  readonly slot: number;
  /** By uniquifier. */
  readonly objects = new Map<number, ObjectRecord>();
  /** Records that break a rule, and count for nothing here. */
  refusedCount = 0;
  /** What a newer version wrote, if anything. */
  newer: string | undefined;
  /** Checkpoints that are wrong: they lose nothing. */
  checkpointProblems = 0;
  /** Of logs that exist, by uniquifier: up to where they were acknowledged. */
  readonly marks = new Map<number, LogMark>();
  /** Of objects that exist, by uniquifier: what a device lost of them. */
  readonly losses = new Map<number, Loss>();
  readonly #findings: Findings;
  readonly #deleted = new Set<number>();
  #checkpoint = 0;
  #uniquifierMax = 0;

  constructor(slot: number, findings: Findings) {
    this.slot = slot;
    this.#findings = findings;
  }

  visitor(place: LogPlace): RecordVisitor {
    return (bytes, start, end, view, frameOffsetBytes) => {
      const at = locationIn(place, frameOffsetBytes);
      if (start === end) this.#bad(at, 'an empty record');
      for (let entry = start; entry < end;) {
        const type = recordType(bytes, entry, end);
        const next = entry + recordBytesOf(type);
        if (next === entry || next > end) {
          const newer = type === 0 ? newerRecord(bytes, entry, end) : undefined;
          this.newer ??= newer;
          this.#bad(at, newer ?? `no known record at byte ${entry - start} of ${end - start}`);
          return;
        }
        if (type === RECORD_OBJECT) this.#object(view, entry, next, at);
        else if (type === RECORD_DELETION) this.#deletion(view, entry, next, at);
        else if (type === RECORD_ID_CHECKPOINT) this.#checkpointRecord(view, entry, next, at);
        else if (type === RECORD_LOG_MARK && place.witness !== undefined)
          this.#mark(view, entry, at);
        else if (type === RECORD_LOSS && place.witness !== undefined) this.#loss(view, entry, at);
        else this.#bad(at, `a record of type ${type}, which does not belong here`);
        entry = next;
      }
    };
  }

  /** After the last record. @param at of the MDC */
  finish(at: CheckLocation): void {
    if (this.#uniquifierMax < this.#checkpoint || this.#uniquifierMax === 0) return;
    this.checkpointProblems += 1;
    const message = `no id checkpoint is above uniquifier ${this.#uniquifierMax}: it may be used twice`;
    this.#findings.add('error', 'record', at, message);
  }

  /** No uniquifier from it on was ever used, as far as the records say. */
  get uniquifierLimit(): number {
    return Math.max(this.#checkpoint, this.#uniquifierMax + 1);
  }

  #object(view: DataView, start: number, end: number, at: CheckLocation): void {
    const record = blankObjectRecord();
    const problem = readObjectRecord(view, start, end, record);
    if (problem !== undefined) return this.#bad(at, `an object: ${problem}`, record);
    if (!this.#slotIsRight(record, at)) return;
    const uniquifier = uniquifierOfHalves(record.idLow, record.idHigh);
    this.#uniquifierMax = Math.max(this.#uniquifierMax, uniquifier);
    if (this.objects.has(uniquifier)) {
      const other = this.objects.get(uniquifier)!;
      const otherId = printIdHalves(other.idLow, other.idHigh);
      return this.#bad(at, `its uniquifier is that of ${otherId}, which exists`, record);
    }
    if (this.#deleted.has(uniquifier)) {
      return this.#bad(at, 'an id is used again after its deletion', record);
    }
    this.objects.set(uniquifier, record);
  }

  #deletion(view: DataView, start: number, end: number, at: CheckLocation): void {
    const problem = deletionProblem(view, start, end);
    const id = { idLow: idLowAt(view, start), idHigh: idHighAt(view, start) };
    if (problem !== undefined) return this.#bad(at, `a deletion: ${problem}`, id);
    if (!this.#slotIsRight(id, at)) return;
    const uniquifier = uniquifierOfHalves(id.idLow, id.idHigh);
    const object = this.objects.get(uniquifier);
    if (object === undefined || object.idLow !== id.idLow) {
      return this.#bad(at, 'the deletion of an object that does not exist', id);
    }
    this.objects.delete(uniquifier);
    this.marks.delete(uniquifier);
    this.losses.delete(uniquifier);
    this.#deleted.add(uniquifier);
  }

  #mark(view: DataView, start: number, at: CheckLocation): void {
    const mark = readLogMark(view, start);
    if (typeof mark === 'string') return this.#bad(at, `a log mark: ${mark}`);
    if (!this.#slotIsRight(mark, at)) return;
    const uniquifier = uniquifierOfHalves(mark.idLow, mark.idHigh);
    if (this.objects.get(uniquifier)?.idLow === mark.idLow) this.marks.set(uniquifier, mark);
  }

  #loss(view: DataView, start: number, at: CheckLocation): void {
    const loss = readLoss(view, start);
    if (typeof loss === 'string') return this.#bad(at, `a loss: ${loss}`);
    if (!this.#slotIsRight(loss, at)) return;
    const uniquifier = uniquifierOfHalves(loss.idLow, loss.idHigh);
    if (this.objects.get(uniquifier)?.idLow !== loss.idLow) return;
    if (isOver(loss)) this.losses.delete(uniquifier);
    else this.losses.set(uniquifier, loss);
  }

  #checkpointRecord(view: DataView, start: number, end: number, at: CheckLocation): void {
    const problem = checkpointProblem(view, start, end);
    if (problem !== undefined) return this.#bad(at, `an id checkpoint: ${problem}`);
    const checkpoint = checkpointAt(view, start);
    if (checkpoint < this.#checkpoint) {
      this.checkpointProblems += 1;
      const message = `an id checkpoint fell from ${this.#checkpoint} to ${checkpoint}`;
      this.#findings.add('error', 'record', at, message);
    }
    this.#checkpoint = Math.max(this.#checkpoint, checkpoint);
  }

  #slotIsRight(id: { idLow: number; idHigh: number }, at: CheckLocation): boolean {
    if (slotOfLow(id.idLow) === this.slot) return true;
    this.#bad(at, `an id of another slot in MDC ${this.slot}`, id);
    return false;
  }

  #bad(at: CheckLocation, message: string, id?: { idLow: number; idHigh: number }): void {
    this.refusedCount += 1;
    this.#findings.add('error', 'record', at, message, id);
  }
}

/** Each extent has one owner, lies where extents may, and an object's class exists. */
export class ExtentCheck {
  readonly #findings: Findings;
  readonly #owned = new Map<CheckedDevice, Owned[]>();

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** @param whole the extent must be one zone */
  add(on: CheckedDevice, owned: Owned, options: { whole: boolean }): void {
    const problem = extentProblem(on.descriptor, owned, options);
    if (problem !== undefined) {
      this.#findings.add('error', 'extent', locationOf(on, owned), problem, idOf(owned));
    }
    const list = this.#owned.get(on);
    if (list === undefined) this.#owned.set(on, [owned]);
    else list.push(owned);
  }

  /** After all were added. */
  finish(): void {
    for (const [on, list] of this.#owned) {
      list.sort((a, b) => a.pageAddress - b.pageAddress);
      let last: Owned | undefined;
      for (const owned of list) {
        if (last !== undefined && owned.pageAddress < last.pageAddress + last.pageCount) {
          const message = `the extents of ${nameOf(last)} and ${nameOf(owned)} overlap`;
          this.#findings.add('error', 'extent', locationOf(on, owned), message, idOf(owned));
        }
        const end = last === undefined ? 0 : last.pageAddress + last.pageCount;
        if (owned.pageAddress + owned.pageCount > end) last = owned;
      }
    }
  }
}

export type Owned = ObjectRecord | { name: string; pageAddress: number; pageCount: number };

/** Logs of users' MDCs come in pairs, and the root MDC is one of them. */
export function checkRoles(
  slots: ReadonlyMap<number, SlotCheck>,
  properties: PoolProperties | undefined,
  findings: Findings,
  locate: (object: ObjectRecord) => CheckLocation,
  mdc0: CheckLocation,
): void {
  for (const { objects } of slots.values()) {
    for (const [uniquifier, object] of objects) {
      if (object.role === ROLE_PLAIN) continue;
      const isA = object.role === ROLE_LOG_A;
      const partner = objects.get(isA ? uniquifier + 1 : uniquifier - 1);
      if (partner?.role === (isA ? ROLE_LOG_B : ROLE_LOG_A)) continue;
      const message = `log ${isA ? 'A' : 'B'} of an MDC has no log ${isA ? 'B' : 'A'}`;
      findings.add('error', 'object', locate(object), message, object);
    }
  }
  if (properties === undefined) return;
  for (const [role, id] of [
    [ROLE_LOG_A, properties.rootMdc.logA],
    [ROLE_LOG_B, properties.rootMdc.logB],
  ] as const) {
    const { low, high } = halvesOfId(id);
    const object = slots.get(slotOfLow(low))?.objects.get(uniquifierOfHalves(low, high));
    if (object?.idLow === low && object.role === role) continue;
    const idHalves = { idLow: low, idHigh: high };
    findings.add('error', 'object', mdc0, 'a log of the root MDC does not exist', idHalves);
  }
}

export function isMblock(object: ObjectRecord): boolean {
  return typeOfLow(object.idLow) === OBJECT_TYPE_MBLOCK;
}

export function isOnCapacity(object: ObjectRecord): boolean {
  return object.mediaClass === CLASS_CAPACITY;
}

function locationOf(on: CheckedDevice, { pageAddress }: Owned): CheckLocation {
  return { device: on.device.path, offsetBytes: pageAddress * PAGE_BYTES };
}

function idOf(owned: Owned): ObjectRecord | undefined {
  return 'name' in owned ? undefined : owned;
}

function nameOf(owned: Owned): string {
  return 'name' in owned ? owned.name : printIdHalves(owned.idLow, owned.idHigh);
}
