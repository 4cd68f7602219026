import { isMpoolError } from '../base/errors.ts';
import { viewOf } from '../base/bytes.ts';
import type { Prng } from '../base/prng.ts';
import { GIB, PAGE_BYTES } from '../base/units.ts';
import { extentProblem } from '../format/device-descriptor.ts';
import type { Extent } from '../format/extent.ts';
import { hasWitnesses } from '../format/features.ts';
import { laterWitness, type LogWitness, NO_WITNESS } from '../format/log-frame.ts';
import { encodeLogMarks, encodeLosses, type LogMark, type Loss } from '../format/log-mark.ts';
import { halvesOfId, mdcLogIds, printIdHalves, UNIQUIFIER_MAX } from '../format/object-id.ts';
import {
  encodeIdCheckpoint,
  encodeMdcRecord,
  encodePoolRecord,
  OBJECT_RECORD_BYTES,
  type ObjectRecord,
  writeObjectRecord,
} from '../format/records.ts';
import { nextLogGeneration } from '../format/log-header.ts';
import type { Superblock } from '../format/superblock.ts';
import { OBJECT_SLOT } from './catalog.ts';
import { Findings } from './check-findings.ts';
import { locationIn, placeOf } from './check-logs.ts';
import { isMblock, isOnCapacity, PoolRecordsCheck, SlotCheck } from './check-records.ts';
import { logPlace } from './log-place.ts';
import { lossAgainst, type LogLoss } from './log-evidence.ts';
import { type LogPlace, readLogHeader, scanLog } from './log-scan.ts';
import { AcceptedEnds } from './repair-accept.ts';
import { Media } from './media.ts';
import { PoolRecords, refuseNewer } from './pool-records.ts';
import { mendHeader } from './repair-headers.ts';
import { gapsBeyond, readPair, replayPair, type PairFound } from './repair-pair.ts';
import { type RepairSteps, stepAt } from './repair-report.ts';
import { hasNewerPair, LIVE_PART, repairSpare, writePair } from './repair-write.ts';
import type { Gap } from './salvage.ts';
import { nextGeneration, writeSuperblocks } from './superblocks.ts';
import type { Device } from '../device/device.ts';

/** Ids made known as possibly used at a time by the store: what a lost checkpoint may have been. */
const ID_STEP = 4096;
const OBJECTS_PER_RECORD = 256;
/** The shortest record with its chunk header: so many may have been in lost bytes. */
const RECORD_BYTES_MIN = 20;
/** Logs are held in memory: no pool's own is near it, but what media say may be anything. */
const LOG_PAGES_MAX = GIB / PAGE_BYTES;

export interface RepairedDevices {
  capacity: Device;
  staging: Device | undefined;
}

/** What the metadata say after repair: of the objects, whatever could be read. */
export interface RepairedMetadata {
  superblock: Superblock;
  objects: ReadonlyMap<number, ObjectRecord>;
  /** Of logs and objects, by uniquifier, as MDC 1 says. */
  marks: ReadonlyMap<number, LogMark>;
  losses: ReadonlyMap<number, Loss>;
  /** Takes what there is to say of them; undefined when MDC 1 cannot be appended to. */
  accepted: AcceptedEnds | undefined;
  /** Where the logs of the metadata are, old and new. */
  metadata: readonly Extent[];
}

const GENERATIONS_LOST_MAX = 65_536;

/**
 * Repairs MDC 0 and MDC 1. What cannot be appended to as it is, is written anew at free places, from all that
 * can be read, and one write makes that count: the superblock for MDC 0, a record in MDC 0 for MDC 1. The
 * damaged logs are not touched before, so a crash leaves them for the next repair.
 */
export class MetadataRepair {
  #superblock: Superblock;
  readonly #devices: RepairedDevices;
  readonly #prng: Prng;
  readonly #steps: RepairSteps;
  readonly #media: Media;
  readonly #allocated: Extent[] = [];

  constructor(superblock: Superblock, devices: RepairedDevices, prng: Prng, steps: RepairSteps) {
    this.#superblock = superblock;
    this.#devices = devices;
    this.#prng = prng;
    this.#steps = steps;
    this.#media = new Media(superblock.capacity, devices.capacity, 0, null);
  }

  /** @returns undefined when the pool has no metadata to go on with */
  async run(): Promise<RepairedMetadata | undefined> {
    const { mdc0 } = this.#superblock;
    const zeroPlaces = this.#places(0, mdc0.logA, mdc0.logB);
    for (const place of zeroPlaces) await mendHeader(this.#steps, place);
    const zero = await readPair(zeroPlaces);
    if (zero === undefined) return undefined;
    const records = new PoolRecordsCheck(new Findings());
    replayPair(zero, needsOld(zero), (place) => records.visitor(place));
    refuseNewer('MDC 0', records.newer);
    const mdc = records.mdcs.get(OBJECT_SLOT);
    if (records.properties === undefined || mdc === undefined || records.mdcs.size !== 1) {
      return undefined;
    }
    for (const extent of [mdc.logA, mdc.logB]) {
      const impossible = extentProblem(this.#superblock.capacity, extent) !== undefined;
      if (impossible || extent.pageCount > LOG_PAGES_MAX) return undefined;
    }
    const places = this.#places(OBJECT_SLOT, mdc.logA, mdc.logB);
    for (const place of places) await mendHeader(this.#steps, place);
    const one = await readPair(places);
    if (one === undefined) return undefined;
    const state = new ObjectState(one);
    this.#claim(mdc0.logA, mdc0.logB, mdc.logA, mdc.logB);
    for (const object of state.objects.values()) if (isOnCapacity(object)) this.#claim(object);
    const repaired = await this.#mdc0(zero, records, one.salvaged.witness);
    const users = await this.#witnessOfUsers(state.objects);
    const witness = laterWitness(zero.salvaged.witness, users);
    const appendable = repaired && (await this.#mdc1(one, state, witness));
    const metadata = [mdc0.logA, mdc0.logB, mdc.logA, mdc.logB, ...this.#allocated];
    const { objects, marks, remembered: losses } = state;
    const accepted = appendable ? this.#acceptedEnds() : undefined;
    return { superblock: this.#superblock, objects, marks, losses, accepted, metadata };
  }

  /** The most that logs of users say of MDC 1. */
  async #witnessOfUsers(objects: ReadonlyMap<number, ObjectRecord>): Promise<LogWitness> {
    let most: LogWitness = NO_WITNESS;
    if (!hasWitnesses(this.#superblock.features)) return most;
    for (const object of objects.values()) {
      const place = isMblock(object) ? undefined : this.#placeOf(object);
      if (place === undefined) continue;
      try {
        const read = await readLogHeader(place);
        if (!read.ok) continue;
        most = laterWitness(most, (await scanLog(place, read.header)).witness);
      } catch (error) {
        // One that cannot be read says nothing.
        if (!isMpoolError(error)) throw error;
      }
    }
    return most;
  }

  #placeOf(object: ObjectRecord): LogPlace | undefined {
    const onCapacity = isOnCapacity(object);
    const device = onCapacity ? this.#devices.capacity : this.#devices.staging;
    const descriptor = onCapacity ? this.#superblock.capacity : this.#superblock.staging;
    if (device === undefined || descriptor === undefined) return undefined;
    const { pageAddress, pageCount, idLow: low, idHigh: high } = object;
    if (extentProblem(descriptor, object) !== undefined) return undefined;
    return placeOf({ device, descriptor }, { pageAddress, pageCount }, this.#superblock, {
      low,
      high,
    });
  }

  #acceptedEnds(): AcceptedEnds {
    const { mdc0 } = this.#superblock;
    return new AcceptedEnds(
      this.#media,
      this.#prng,
      this.#places(0, mdc0.logA, mdc0.logB),
      (records) => {
        const { logA, logB } = records.mdcs.find(({ slot }) => slot === OBJECT_SLOT)!;
        return this.#places(OBJECT_SLOT, logA, logB);
      },
    );
  }

  /** @returns whether MDC 0 can be appended to */
  async #mdc0(found: PairFound, records: PoolRecordsCheck, witness: LogWitness): Promise<boolean> {
    const short = shortOf(found, witness);
    const reasons = reasonsOf(found, short);
    if (records.refusedCount > 0) reasons.push(`${records.refusedCount} impossible records`);
    if (reasons.length === 0) {
      await this.#spare(found);
      return true;
    }
    const losses = lossesOf(found, gapsLeft(found, needsOld(found)), 'MDC 0', 'parameters', short);
    if (records.refusedCount > 0) losses.push(`${records.refusedCount} records of MDC 0`);
    const mdc = records.mdcs.get(OBJECT_SLOT)!;
    const encoded = [encodePoolRecord(records.properties!), encodeMdcRecord(mdc)];
    const moved = losses.length > 0 && (await this.#hasMoved(mdc.logA, mdc.logB));
    const extents = this.#allocate(found.active.extent.pageCount);
    const step = stepAt(
      'log',
      locationIn(found.active, 0),
      `MDC 0 is written anew from what can be read: ${reasons.join('; ')}`,
      { losses },
    );
    if (moved) {
      step.losses.push('the place of MDC 1, which moved: it is not known any more where it is');
    }
    if (extents === undefined || moved) {
      this.#steps.withhold(step);
      return false;
    }
    return this.#steps.take(step, async () => {
      const [logA, logB] = extents;
      const last = Math.max(found.header.generation, short?.generation ?? 0);
      const generation = nextLogGeneration(last);
      const places = this.#places(0, logA, logB);
      await writePair(places, generation, encoded, this.#media.gate, this.#prng);
      this.#superblock = {
        ...this.#superblock,
        generation: nextGeneration(this.#superblock),
        mdc0: { logA, logB },
      };
      await this.#writeSuperblocks();
    });
  }

  /** @returns whether MDC 1 can be appended to */
  async #mdc1(found: PairFound, state: ObjectState, witness: LogWitness): Promise<boolean> {
    const short = shortOf(found, witness);
    const reasons = [...reasonsOf(found, short), ...state.reasons];
    if (reasons.length === 0) {
      await this.#spare(found);
      return true;
    }
    const losses = [...state.losses, ...tailLosses(short, 'MDC 1', 'objects made or deleted')];
    const { places } = found;
    const upTo = short?.generation ?? 0;
    const moved =
      upTo > found.header.generation &&
      (await this.#hasMoved(places[0].extent, places[1].extent, upTo));
    if (moved) losses.push('the place of MDC 1, which moved: it is not known any more where it is');
    if (short !== undefined) state.addLostIds(short, found.header.generation, found.bytes.length);
    const at = locationIn(found.active, 0);
    const extents = this.#allocate(this.#pagesFor(found, state.objects.size));
    const message = `MDC 1 is written anew from what can be read, with ${state.objects.size} objects`;
    const step = stepAt('log', at, `${message}: ${reasons.join('; ')}`, { losses });
    if (extents === undefined || moved) {
      this.#steps.withhold(step);
      return false;
    }
    return this.#steps.take(step, async () => {
      const [logA, logB] = extents;
      const gate = this.#media.gate;
      const last = Math.max(found.header.generation, short?.generation ?? 0);
      // The log that does not count is of the generation before: above what was lost, it is no move of MDC 1.
      const generation = nextLogGeneration(last, short === undefined ? 0 : last + 2);
      const pair = this.#places(OBJECT_SLOT, logA, logB);
      await writePair(pair, generation, state.records(), gate, this.#prng);
      await this.#nameMdc(logA, logB);
    });
  }

  /** The write that makes the new logs of MDC 1 count. */
  async #nameMdc(logA: Extent, logB: Extent): Promise<void> {
    const { mdc0 } = this.#superblock;
    const places = this.#places(0, mdc0.logA, mdc0.logB);
    const records = await PoolRecords.open(places, this.#media.gate, this.#prng, false, undefined);
    await records.setMdc({ slot: OBJECT_SLOT, logA, logB });
    await records.log.close();
  }

  /** The header of the log that does not count. */
  async #spare(found: PairFound): Promise<void> {
    if (found.otherHeader !== undefined) return;
    const other = found.places.find((place) => place !== found.active)!;
    await repairSpare(this.#steps, other, found.header.generation, this.#prng);
  }

  async #writeSuperblocks(): Promise<void> {
    const { capacity, staging } = this.#devices;
    await writeSuperblocks(capacity, this.#superblock);
    const own = this.#superblock.staging;
    if (staging === undefined || own === undefined) return;
    await writeSuperblocks(staging, { ...this.#superblock, deviceUuid: own.uuid });
  }

  /**
   * Whether logs of MDC 1 that are newer than those at these places are somewhere on the device.
   * @param upTo those of later generations are what a repair left that was cut off
   */
  async #hasMoved(logA: Extent, logB: Extent, upTo = Infinity): Promise<boolean> {
    const places = this.#places(OBJECT_SLOT, logA, logB);
    const { sizeBytes } = this.#superblock.capacity;
    return hasNewerPair(places, this.#devices.capacity, sizeBytes, upTo);
  }

  #pagesFor(found: PairFound, objectCount: number): number {
    const bytes = (objectCount * (OBJECT_RECORD_BYTES + 1)) / LIVE_PART;
    return Math.max(found.active.extent.pageCount, Math.ceil(bytes / PAGE_BYTES) + 2);
  }

  #allocate(pageCount: number): [Extent, Extent] | undefined {
    const { space } = this.#media;
    const logA = space.allocPages(pageCount, { spare: true });
    const logB = logA && space.allocPages(pageCount, { spare: true });
    if (logA === undefined || logB === undefined) return undefined;
    this.#allocated.push(logA, logB);
    return [logA, logB];
  }

  /** What is not free; an extent that is claimed twice or impossible is a finding of check's. */
  #claim(...extents: Extent[]): void {
    for (const { pageAddress, pageCount } of extents) {
      this.#media.space.markUsed({ pageAddress, pageCount });
    }
  }

  #places(slot: number, logA: Extent, logB: Extent): [LogPlace, LogPlace] {
    const ids = mdcLogIds(slot);
    const { poolUuid, capacity, features } = this.#superblock;
    const witness = hasWitnesses(features) ? NO_WITNESS : undefined;
    const place = (extent: Extent, id: bigint): LogPlace =>
      logPlace(
        this.#devices.capacity,
        extent,
        poolUuid,
        halvesOfId(id),
        capacity.sectorBytes,
        witness,
      );
    return [place(logA, ids.logA), place(logB, ids.logB)];
  }
}

/** The objects as MDC 1 adds up, whatever is wrong with it. */
class ObjectState {
  readonly objects: ReadonlyMap<number, ObjectRecord>;
  readonly marks: ReadonlyMap<number, LogMark>;
  readonly remembered: ReadonlyMap<number, Loss>;
  readonly reasons: string[] = [];
  /** What of MDC 1 itself nobody can tell any more. */
  readonly losses: string[];
  #uniquifierLimit: number;

  constructor(found: PairFound) {
    const slot = new SlotCheck(OBJECT_SLOT, new Findings());
    replayPair(found, false, (place) => slot.visitor(place));
    refuseNewer(`MDC ${OBJECT_SLOT}`, slot.newer);
    slot.finish(locationIn(found.active, 0));
    if (slot.refusedCount > 0) this.reasons.push(`${slot.refusedCount} impossible records`);
    if (slot.checkpointProblems > 0) this.reasons.push('its id checkpoints are wrong');
    if (found.salvaged.miscounts > 0) this.reasons.push('its frames miscount the records');
    const both = new SlotCheck(OBJECT_SLOT, new Findings());
    if (needsOld(found)) replayPair(found, true, (place) => both.visitor(place));
    const withOld = needsOld(found) && (found.headerLost || fits(found, slot, both));
    const gaps = gapsLeft(found, withOld);
    const used = withOld ? both : slot;
    this.losses = lossesOf(found, gaps, 'MDC 1', 'objects made or deleted');
    if (slot.refusedCount > 0)
      this.losses.push(`${slot.refusedCount} records that contradict others`);
    this.#uniquifierLimit = used.uniquifierLimit + lostIds(gaps);
    this.marks = used.marks;
    this.remembered = used.losses;
    this.objects = used.objects;
    if (this.losses.length > 0) this.objects = this.#withoutOverlaps(used.objects);
  }

  /** Records from which all of it can be built again. */
  records(): Uint8Array[] {
    const records = [encodeIdCheckpoint(this.#uniquifierLimit)];
    const all = [...this.objects.values()];
    for (let from = 0; from < all.length; from += OBJECTS_PER_RECORD) {
      const part = all.slice(from, from + OBJECTS_PER_RECORD);
      const record = new Uint8Array(part.length * OBJECT_RECORD_BYTES);
      const view = viewOf(record);
      for (const [i, object] of part.entries()) {
        writeObjectRecord(view, i * OBJECT_RECORD_BYTES, object);
      }
      records.push(record);
    }
    for (const [uniquifier, mark] of this.marks) {
      if (this.objects.has(uniquifier)) records.push(encodeLogMarks([mark]));
    }
    for (const [uniquifier, loss] of this.remembered) {
      if (this.objects.has(uniquifier)) records.push(encodeLosses([loss]));
    }
    return records;
  }

  /** Ids that checkpoints may have allowed that the device lost. */
  addLostIds(short: LogLoss, generation: number, extentBytes: number): void {
    const { fromBytes, toBytes } = short;
    // No device loses more: what says so is not of this pool's life, and must not use up its ids.
    const generations = Math.min(short.generation - generation, GENERATIONS_LOST_MAX);
    const lostBytes = generations > 0 ? (generations + 1) * extentBytes : toBytes - fromBytes;
    const ids = ID_STEP * Math.ceil(lostBytes / RECORD_BYTES_MIN);
    this.#uniquifierLimit = Math.min(this.#uniquifierLimit + ids, UNIQUIFIER_MAX);
  }

  /**
   * When deletions are among what is lost, objects come back whose space was given to others since. Ids only
   * rise, so of two that overlap the one with the higher is the one that has it.
   */
  #withoutOverlaps(objects: ReadonlyMap<number, ObjectRecord>): Map<number, ObjectRecord> {
    const kept = new Map(objects);
    const byPlace = [...objects].toSorted(([, a], [, b]) => {
      return a.mediaClass - b.mediaClass || a.pageAddress - b.pageAddress;
    });
    let last: [number, ObjectRecord] | undefined;
    for (const entry of byPlace) {
      const overlaps =
        last !== undefined &&
        last[1].mediaClass === entry[1].mediaClass &&
        entry[1].pageAddress < last[1].pageAddress + last[1].pageCount;
      if (overlaps) {
        const [uniquifier, object] = last![0] < entry[0] ? last! : entry;
        kept.delete(uniquifier);
        const id = printIdHalves(object.idLow, object.idHigh);
        this.losses.push(`object ${id}: its space is another's, so it was deleted`);
        if (uniquifier === entry[0]) continue;
      }
      last = entry;
    }
    return kept;
  }
}

/**
 * Damage in the first content of a log can be filled from the log that was compacted into it; and only that
 * tells that nothing is missing when the header is lost, unless the log was closed.
 */
function needsOld({ salvaged, header, headerLost, old }: PairFound): boolean {
  if (old === undefined) return false;
  if (headerLost) return !salvaged.closed;
  return salvaged.gaps.some(({ fromBytes }) => fromBytes < header.committedBytes);
}

function gapsLeft({ salvaged, header }: PairFound, withOld: boolean): readonly Gap[] {
  return withOld ? gapsBeyond(salvaged.gaps, header.committedBytes) : salvaged.gaps;
}

/**
 * Whether the old log's objects can be those that the active one began with: as many are missing from
 * what can
 * be read of it as there is room for in the records that are lost.
 */
function fits(found: PairFound, readable: SlotCheck, both: SlotCheck): boolean {
  const { gaps } = found.salvaged;
  if (gaps.some(({ recordCount }) => recordCount === undefined)) return true;
  const lost = gaps.reduce((sum, { recordCount }) => sum + (recordCount ?? 0), 0);
  const more = both.objects.size - readable.objects.size;
  return Math.abs(more) <= lost * OBJECTS_PER_RECORD;
}

/** What a witness knows of the MDC that is not there. */
function shortOf({ header, salvaged }: PairFound, witness: LogWitness): LogLoss | undefined {
  const { generation } = header;
  return lossAgainst({ generation, endBytes: salvaged.endBytes }, witness);
}

function tailLosses(short: LogLoss | undefined, name: string, what: string): string[] {
  if (short === undefined) return [];
  const { fromBytes, toBytes, generation } = short;
  const range = `bytes ${fromBytes} to ${toBytes} of generation ${generation}`;
  return [`what was acknowledged in ${range} of ${name}: ${what}`];
}

function reasonsOf(
  { salvaged, headerLost, conflict }: PairFound,
  short: LogLoss | undefined,
): string[] {
  const reasons: string[] = [];
  if (short !== undefined) {
    reasons.push(`the device lost bytes up to ${short.toBytes} of it, ${short.detail}`);
  }
  if (headerLost) reasons.push('the header of its current log is lost');
  if (conflict !== undefined) reasons.push(conflict);
  for (const { fromBytes, toBytes } of salvaged.gaps) {
    reasons.push(`bytes ${fromBytes} to ${toBytes} of its log are damaged`);
  }
  return reasons;
}

/** What the pair cannot tell any more. @param gaps that nothing fills */
function lossesOf(
  found: PairFound,
  gaps: readonly Gap[],
  name: string,
  what: string,
  short?: LogLoss,
): string[] {
  const { headerLost, salvaged, conflict, old } = found;
  const losses = gaps.map(({ fromBytes, toBytes, recordCount }) => {
    const count = recordCount === undefined ? 'all records' : `${recordCount} records`;
    return `${count} in bytes ${fromBytes} to ${toBytes} of the log of ${name}: ${what}`;
  });
  losses.push(...tailLosses(short, name, what));
  if (conflict !== undefined) losses.push(`what the other log of ${name} says: ${conflict}`);
  if (headerLost && !salvaged.closed && old === undefined) {
    losses.push(`records at the end of ${name}, if the frames that held them are gone too`);
  }
  return losses;
}

/** How many ids the checkpoints that are lost may have allowed. */
function lostIds(gaps: readonly Gap[]): number {
  return gaps.reduce((sum, { fromBytes, toBytes, recordCount }) => {
    return sum + ID_STEP * (recordCount ?? Math.ceil((toBytes - fromBytes) / RECORD_BYTES_MIN));
  }, 0);
}
