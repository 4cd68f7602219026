import { assert } from '../base/assert.ts';
import { invalidArgument, isMpoolError, MpoolError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { viewOf } from '../base/bytes.ts';
import { PAGE_BYTES } from '../base/units.ts';
import {
  idHigh,
  idLow,
  mdcLogIds,
  OBJECT_TYPE_MLOG,
  type ObjectType,
  halvesOfId,
  printIdHalves,
  slotOfLow,
  typeOfLow,
  UNIQUIFIER_MAX,
  uniquifierOfHalves,
} from '../format/object-id.ts';
import {
  blankObjectRecord,
  checkpointAt,
  checkpointProblem,
  DELETION_RECORD_BYTES,
  deletionProblem,
  encodeDeletionRecord,
  encodeIdCheckpoint,
  idHighAt,
  idLowAt,
  type MdcRecord,
  newerRecord,
  OBJECT_RECORD_BYTES,
  type ObjectRecord,
  readObjectRecord,
  RECORD_DELETION,
  RECORD_ID_CHECKPOINT,
  RECORD_LOG_MARK,
  RECORD_LOSS,
  RECORD_OBJECT,
  recordBytesOf,
  recordType,
  writeObjectRecord,
} from '../format/records.ts';
import type { LogWitness } from '../format/log-frame.ts';
import {
  encodeLogMarks,
  encodeLosses,
  isOver,
  type LogMark,
  type Loss,
  readLogMark,
  readLoss,
} from '../format/log-mark.ts';
import { LogMarks } from './log-marks.ts';
import { NewestObjects } from './newest-objects.ts';
import type { Witnesses } from './witnesses.ts';
import { LogPair, METADATA_RECORD_BYTES_MAX } from './log-pair.ts';
import type { Log } from './log.ts';
import { logPlace } from './log-place.ts';
import type { LogPlace } from './log-scan.ts';
import type { Media } from './media.ts';
import { MetadataLog } from './metadata-log.ts';
import { ObjectTable } from './object-table.ts';
import { type PoolRecords, refuseNewer } from './pool-records.ts';

/** The MDC that the store writes objects to: docs/decisions/0001. */
export const OBJECT_SLOT = 1;
/** Ids made known as possibly used at a time: one small durable write for so many allocations. */
const ID_STEP = 4096;
/** Deletions in one record: small enough to find room in the smallest log. */
const DELETIONS_PER_RECORD = 512;
const OBJECTS_PER_SNAPSHOT_RECORD = 256;

/**
 * The committed objects of a pool: in memory as a table, on media as MDC 1.
 *
 * Invariants
 * 1. An object is in the table exactly while its record is durable.
 * 2. No id is handed out before a checkpoint above it is durable, so none is ever used twice.
 */
export class Catalog {
  readonly table: ObjectTable;
  readonly log: MetadataLog;
  /** What is known of the ends of users' logs; null in a pool whose logs bear no witness. */
  readonly marks: LogMarks | null;
  /** What devices lost of objects, by uniquifier, as far as it was noticed. */
  readonly losses: Map<number, Loss>;
  /** As they were when the pool was opened. */
  readonly newestMblocks: NewestObjects;
  readonly newestLogs: NewestObjects;
  /** Objects with lower ones were there, or not, before the pool was opened. */
  readonly firstUniquifier: number;
  #logCount: number;
  readonly #media: Media;
  readonly #poolRecords: PoolRecords;
  #nextUniquifier: number;
  #uniquifierLimit: number;
  #extending: Promise<void> | null = null;

  private constructor(
    pair: LogPair,
    loaded: Loader,
    media: Media,
    poolRecords: PoolRecords,
    witness: LogWitness | undefined,
  ) {
    const { table, uniquifierLimit } = loaded;
    this.table = table;
    this.#nextUniquifier = uniquifierLimit;
    this.#uniquifierLimit = uniquifierLimit;
    this.firstUniquifier = uniquifierLimit;
    this.newestMblocks = loaded.newest;
    this.newestLogs = loaded.newestLogs;
    this.marks = loaded.marks;
    this.losses = loaded.losses;
    this.#logCount = loaded.logCount;
    this.#media = media;
    this.#poolRecords = poolRecords;
    const owner = {
      snapshot: () => this.#snapshot(),
      liveBytes: () => LIVE_BYTES_AT_LEAST + this.#liveCount() * OBJECT_COST_BYTES,
      move: (from: LogPair, bytes: number, fill: (target: Log) => Promise<void>) =>
        this.#move(from, bytes, fill),
    };
    this.log = new MetadataLog(pair, owner, { witness, rider: this.marks });
  }

  /** @param witnesses of a pool whose logs bear witness of each other */
  static places(
    media: Media,
    poolUuid: Uint8Array,
    mdc: MdcRecord,
    witnesses: Witnesses | undefined,
  ): [LogPlace, LogPlace] {
    const ids = mdcLogIds(mdc.slot);
    const { sectorBytes } = media.descriptor;
    const place = (extent: MdcRecord['logA'], id: bigint): LogPlace =>
      logPlace(media.device, extent, poolUuid, halvesOfId(id), sectorBytes, witnesses?.mdc0);
    return [place(mdc.logA, ids.logA), place(mdc.logB, ids.logB)];
  }

  /** Of a new pool; durable with the next flush of the device. */
  static async create(
    places: readonly [LogPlace, LogPlace],
    media: Media,
    prng: Prng,
    poolRecords: PoolRecords,
    witnesses: Witnesses | undefined,
  ): Promise<Catalog> {
    const pair = await LogPair.create(places, media.gate, prng);
    const empty = new Loader(0, witnesses !== undefined);
    return new Catalog(pair, empty, media, poolRecords, witnesses?.mdc1);
  }

  /** @throws ERR_MPOOL_CORRUPT when records contradict each other */
  static async open(
    places: readonly [LogPlace, LogPlace],
    media: Media,
    prng: Prng,
    readOnly: boolean,
    poolRecords: PoolRecords,
    witnesses: Witnesses | undefined,
  ): Promise<Catalog> {
    const loader = new Loader(prng.u32(), witnesses !== undefined);
    const pair = await LogPair.open(places, media.gate, prng, readOnly, loader.visit);
    return new Catalog(pair, loader, media, poolRecords, witnesses?.mdc1);
  }

  /** A new id's uniquifier; a promise only when a checkpoint must become durable first. */
  newUniquifier(): number | Promise<number> {
    if (this.#nextUniquifier < this.#uniquifierLimit) {
      if (this.#uniquifierLimit - this.#nextUniquifier < ID_STEP / 4) {
        // Ahead of need; whoever runs out waits for it, and learns of its failure.
        this.#extend().catch(() => {});
      }
      return this.#nextUniquifier++;
    }
    return this.#extend().then(() => this.newUniquifier());
  }

  /** Two uniquifiers in a row: the logs of an MDC. */
  async newUniquifierPair(): Promise<number> {
    while (this.#nextUniquifier + 1 >= this.#uniquifierLimit) await this.#extend();
    this.#nextUniquifier += 2;
    return this.#nextUniquifier - 2;
  }

  /**
   * Makes objects exist, all or none. Their data must be durable already.
   * @returns their indices in the table
   */
  async commit(objects: readonly ObjectRecord[]): Promise<number[]> {
    const recordBytes = objects.length * OBJECT_RECORD_BYTES;
    if (recordBytes > METADATA_RECORD_BYTES_MAX) {
      const most = Math.floor(METADATA_RECORD_BYTES_MAX / OBJECT_RECORD_BYTES);
      throw invalidArgument(
        `${objects.length} objects in one commit, at most ${most} are possible`,
      );
    }
    const record = new Uint8Array(recordBytes);
    const view = viewOf(record);
    objects.forEach((object, i) => writeObjectRecord(view, i * OBJECT_RECORD_BYTES, object));
    let indices: number[] = [];
    const logCount = objects.filter((o) => typeOfLow(o.idLow) === OBJECT_TYPE_MLOG).length;
    // Each log will have a mark.
    const moreBytes = this.marks === null ? 0 : logCount * OBJECT_COST_BYTES;
    const adds = { adds: record.length + moreBytes };
    await this.log.append(record, adds, () => {
      this.#logCount += logCount;
      indices = objects.map((o) => {
        const index = this.table.insert(o.idHigh, o.idLow, o);
        assert(index >= 0, 'a new object is new');
        return index;
      });
    });
    return indices;
  }

  /** Makes objects cease to exist. @param removed called for each once that is durable */
  async delete(indices: readonly number[], removed: (index: number) => void): Promise<void> {
    const jobs: Promise<void>[] = [];
    for (let from = 0; from < indices.length; from += DELETIONS_PER_RECORD) {
      const part = indices.slice(from, from + DELETIONS_PER_RECORD);
      const record = new Uint8Array(part.length * DELETION_RECORD_BYTES);
      part.forEach((index, i) => {
        const one = encodeDeletionRecord(this.table.idLow(index), this.table.idHigh(index));
        record.set(one, i * DELETION_RECORD_BYTES);
      });
      const gone = (index: number): void => {
        this.#forget(index);
        removed(index);
      };
      jobs.push(this.log.append(record, 'frees', () => part.forEach(gone)));
    }
    // All of them: while one is under way its objects must not be deleted again.
    const settled = await Promise.allSettled(jobs);
    for (const job of settled) if (job.status === 'rejected') throw job.reason;
  }

  /** Makes losses known durably, and those that are over. */
  async recordLosses(losses: readonly Loss[]): Promise<void> {
    for (let from = 0; from < losses.length; from += OBJECTS_PER_SNAPSHOT_RECORD) {
      const part = losses.slice(from, from + OBJECTS_PER_SNAPSHOT_RECORD);
      await this.log.append(encodeLosses(part), 'frees', () => {
        for (const loss of part) keepLoss(this.losses, loss);
      });
    }
  }

  /** Makes marks known durably that were put together elsewhere: what is accepted from now on. */
  async recordMarks(marks: readonly LogMark[]): Promise<void> {
    for (const mark of marks) {
      await this.log.append(encodeLogMarks([mark]), 'frees', () => this.marks?.set(mark));
    }
  }

  /** Says of every log up to where it was acknowledged, and that the pool was closed in good order. */
  async close(): Promise<void> {
    if (this.marks !== null) await this.#markAll(this.marks);
    await this.log.close();
  }

  async #markAll(marks: LogMarks): Promise<void> {
    for (let record = marks.takeRest(); record !== undefined; record = marks.takeRest()) {
      try {
        await this.log.append(record, 'frees', () => {});
      } catch (error) {
        // They are worth no failure to close.
        if (isMpoolError(error, 'ERR_MPOOL_NO_SPACE')) return;
        throw error;
      }
    }
  }

  /** More than there are logs, but in a pool that was full before it had marks. */
  #marksMax(): number {
    const roomBytes = this.log.pair.active.capacityBytes * SNAPSHOT_PART_MAX - LIVE_BYTES_AT_LEAST;
    const others = this.table.count + this.losses.size;
    return Math.max(0, Math.floor(roomBytes / OBJECT_COST_BYTES) - others);
  }

  #liveCount(): number {
    return this.table.count + (this.marks === null ? 0 : this.#logCount) + this.losses.size;
  }

  /** A deletion is durable. */
  #forget(index: number): void {
    const low = this.table.idLow(index);
    const high = this.table.idHigh(index);
    this.losses.delete(uniquifierOfHalves(low, high));
    if (typeOfLow(low) !== OBJECT_TYPE_MLOG) return;
    this.#logCount -= 1;
    this.marks?.drop({ low, high });
  }

  #extend(): Promise<void> {
    this.#extending ??= this.#extendOnce().finally(() => (this.#extending = null));
    return this.#extending;
  }

  async #extendOnce(): Promise<void> {
    const limit = this.#uniquifierLimit + ID_STEP;
    if (limit > UNIQUIFIER_MAX) throw new MpoolError('ERR_MPOOL_NO_SPACE', 'object ids');
    await this.log.append(encodeIdCheckpoint(limit), 'frees', () => {
      this.#uniquifierLimit = limit;
    });
  }

  *#snapshot(): Iterable<Uint8Array> {
    yield encodeIdCheckpoint(this.#uniquifierLimit);
    const { table } = this;
    const buffer = new Uint8Array(OBJECTS_PER_SNAPSHOT_RECORD * OBJECT_RECORD_BYTES);
    const view = viewOf(buffer);
    const object = blankObjectRecord();
    let bytes = 0;
    for (let index = table.next(-1); index >= 0; index = table.next(index)) {
      object.mediaClass = table.mediaClass(index) as ObjectRecord['mediaClass'];
      object.role = table.role(index) as ObjectRecord['role'];
      object.digest = table.digest(index);
      object.idLow = table.idLow(index);
      object.idHigh = table.idHigh(index);
      object.pageAddress = table.pageAddress(index);
      object.pageCount = table.pageCount(index);
      object.lengthBytes = table.lengthBytes(index);
      writeObjectRecord(view, bytes, object);
      bytes += OBJECT_RECORD_BYTES;
      if (bytes === buffer.length) {
        yield buffer;
        bytes = 0;
      }
    }
    if (bytes > 0) yield buffer.subarray(0, bytes);
    // What there is no room for are the oldest.
    const all = this.marks?.current ?? [];
    const marks = all.slice(Math.max(0, all.length - this.#marksMax()));
    for (let from = 0; from < marks.length; from += OBJECTS_PER_SNAPSHOT_RECORD) {
      yield encodeLogMarks(marks.slice(from, from + OBJECTS_PER_SNAPSHOT_RECORD));
    }
    const losses = [...this.losses.values()];
    for (let from = 0; from < losses.length; from += OBJECTS_PER_SNAPSHOT_RECORD) {
      yield encodeLosses(losses.slice(from, from + OBJECTS_PER_SNAPSHOT_RECORD));
    }
  }

  /** Moves the MDC to logs of at least twice the size. */
  async #move(
    from: LogPair,
    bytes: number,
    fill: (target: Log) => Promise<void>,
  ): Promise<LogPair | undefined> {
    const { space } = this.#media;
    const oldPages = from.places[0].extent.pageCount;
    const pages = Math.max(oldPages * 2, Math.ceil(bytes / PAGE_BYTES) + 1);
    const logA = space.allocPages(pages, { spare: true });
    const logB = logA && space.allocPages(pages, { spare: true });
    if (logA === undefined || logB === undefined) {
      if (logA !== undefined) space.free(logA);
      return undefined;
    }
    const places = from.places.map((place, i) => ({
      ...place,
      extent: i === 0 ? logA : logB,
    })) as [LogPlace, LogPlace];
    // The active log may be B: the new pair begins with A, so A's identity goes with A's place.
    const target = LogPair.beginAt(from, places[0]);
    let moved: LogPair;
    try {
      await fill(target);
      moved = await from.moved(target, places[1]);
    } catch (error) {
      await target.drop();
      space.free(logA);
      space.free(logB);
      throw error;
    }
    try {
      await this.#poolRecords.setMdc({ slot: OBJECT_SLOT, logA, logB });
    } catch (error) {
      // Only media knows which of the places counts: none can be written to, and both stay taken.
      from.fail(error as MpoolError);
      throw error;
    }
    for (const place of from.places) this.#media.free(place.extent);
    return moved;
  }
}

/** What one object takes of a log, its share of a chunk header included, rounded up. */
const OBJECT_COST_BYTES = OBJECT_RECORD_BYTES + 1;
const LIVE_BYTES_AT_LEAST = 1024;
/** Of a log, what is written anew takes at most so much: the rest is for headers of frames. */
const SNAPSHOT_PART_MAX = 0.9;

/** Builds the table from the records of MDC 1. A million of them: nothing is allocated for each. */
class Loader {
  readonly table: ObjectTable;
  readonly marks: LogMarks | null;
  readonly losses = new Map<number, Loss>();
  readonly newest = new NewestObjects();
  readonly newestLogs = new NewestObjects();
  uniquifierLimit = 1;
  logCount = 0;
  readonly #object = blankObjectRecord();
  #bytes: Uint8Array | null = null;
  #view: DataView = new DataView(new ArrayBuffer(0));

  constructor(seed: number, witnesses: boolean) {
    const table = new ObjectTable(seed);
    this.table = table;
    const exists = (mark: LogMark): boolean => table.find(mark.idHigh, mark.idLow) >= 0;
    this.marks = witnesses ? new LogMarks(exists) : null;
  }

  readonly visit = (bytes: Uint8Array, start: number, end: number): void => {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = viewOf(bytes);
    }
    for (let at = start; at < end;) {
      const type = recordType(bytes, at, end);
      const next = at + recordBytesOf(type);
      if (type === 0) refuseNewer(`MDC ${OBJECT_SLOT}`, newerRecord(bytes, at, end));
      if (type === 0 || next > end) corrupt(`a record of type ${bytes[at]} at its end`);
      if (type === RECORD_OBJECT) this.#add(at, next);
      else if (type === RECORD_DELETION) this.#remove(at, next);
      else if (type === RECORD_ID_CHECKPOINT) this.#checkpoint(at, next);
      else if (type === RECORD_LOG_MARK && this.marks !== null) this.#mark(at, this.marks);
      else if (type === RECORD_LOSS && this.marks !== null) this.#loss(at);
      else corrupt(`a record of type ${type}`);
      at = next;
    }
  };

  #add(start: number, end: number): void {
    const object = this.#object;
    const problem = readObjectRecord(this.#view, start, end, object);
    const name = (): string => printIdHalves(object.idLow, object.idHigh);
    if (problem !== undefined) corrupt(`object ${name()}: ${problem}`);
    if (slotOfLow(object.idLow) !== OBJECT_SLOT) corrupt(`object ${name()} is another MDC's`);
    if (this.table.insert(object.idHigh, object.idLow, object) < 0) {
      corrupt(`object ${name()} exists twice`);
    }
    const uniquifier = uniquifierOfHalves(object.idLow, object.idHigh);
    if (uniquifier >= this.uniquifierLimit) this.uniquifierLimit = uniquifier + 1;
    const isLog = typeOfLow(object.idLow) === OBJECT_TYPE_MLOG;
    if (isLog) this.logCount += 1;
    (isLog ? this.newestLogs : this.newest).add(object.idHigh, object.idLow);
  }

  #remove(start: number, end: number): void {
    const problem = deletionProblem(this.#view, start, end);
    if (problem !== undefined) corrupt(problem);
    const low = idLowAt(this.#view, start);
    const high = idHighAt(this.#view, start);
    const index = this.table.find(high, low);
    if (index < 0) corrupt(`the deletion of ${printIdHalves(low, high)}, which does not exist`);
    this.table.remove(index);
    this.losses.delete(uniquifierOfHalves(low, high));
    if (typeOfLow(low) !== OBJECT_TYPE_MLOG) return;
    this.logCount -= 1;
    this.marks?.drop({ low, high });
  }

  #mark(start: number, marks: LogMarks): void {
    const mark = readLogMark(this.#view, start);
    if (typeof mark === 'string') corrupt(`a log mark: ${mark}`);
    if (this.table.find(mark.idHigh, mark.idLow) >= 0) marks.set(mark);
  }

  #loss(start: number): void {
    const loss = readLoss(this.#view, start);
    if (typeof loss === 'string') corrupt(`a loss: ${loss}`);
    if (this.table.find(loss.idHigh, loss.idLow) >= 0) keepLoss(this.losses, loss);
  }

  #checkpoint(start: number, end: number): void {
    const problem = checkpointProblem(this.#view, start, end);
    if (problem !== undefined) corrupt(problem);
    const limit = checkpointAt(this.#view, start);
    if (limit < this.uniquifierLimit) corrupt(`an id checkpoint that goes back to ${limit}`);
    this.uniquifierLimit = limit;
  }
}

/** The last one of an object counts. */
function keepLoss(losses: Map<number, Loss>, loss: Loss): void {
  const uniquifier = uniquifierOfHalves(loss.idLow, loss.idHigh);
  if (isOver(loss)) losses.delete(uniquifier);
  else losses.set(uniquifier, loss);
}

function corrupt(detail: string): never {
  throw new MpoolError('ERR_MPOOL_CORRUPT', `MDC ${OBJECT_SLOT}: ${detail}`);
}

/** The halves of a new object's id. */
export function newIdHalves(uniquifier: number, type: ObjectType): { low: number; high: number } {
  return { low: idLow(uniquifier, type, OBJECT_SLOT), high: idHigh(uniquifier) };
}
