import { formatUuid } from '../base/bytes.ts';
import { isMpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { type FeatureWords, namesOfFeatures } from '../format/features.ts';
import { FRAME_FLAG_CLOSED, type LogWitness } from '../format/log-frame.ts';
import { LogState, type LogHeader } from '../format/log-header.ts';
import { halvesOfId, mdcLogIds, printIdHalves, type IdHalves } from '../format/object-id.ts';
import type { DeviceDescriptor } from '../format/device-descriptor.ts';
import type { Extent } from '../format/extent.ts';
import type { ObjectRecord } from '../format/records.ts';
import type { Superblock } from '../format/superblock.ts';
import type { PoolDevices } from './check.ts';
import { isMblock, isOnCapacity } from './check-records.ts';
import { placeOf, type CheckedDevice } from './check-logs.ts';
import { DumpedRecords } from './dump-records.ts';
import { FrameCursor, type Frame, type LogPlace } from './frame-cursor.ts';
import { ChunkParser, readLogHeader } from './log-scan.ts';
import { readSuperblocks, type SuperblockCopy } from './superblocks.ts';

type DumpStructure =
  | 'superblock'
  | 'log header'
  | 'frame'
  | 'end of log'
  | 'pool record'
  | 'mdc record'
  | 'object record'
  | 'deletion record'
  | 'id checkpoint record'
  | 'log mark record'
  | 'loss record'
  | 'unknown record';

/** One structure on media, for people and programs to read. */
export interface DumpEntry {
  structure: DumpStructure;
  /** Path. */
  device: string;
  /** Of a record: of the frame in which it ends. */
  offsetBytes: number;
  fields: Record<string, string | number>;
}

export interface DumpOptions {
  /** Only these; all by default. */
  structures?: readonly DumpStructure[] | undefined;
  /** Logs of users too, without what is in their records; true by default. */
  userLogs?: boolean | undefined;
}

/**
 * The structures of a pool in the order of docs/format.md: superblocks, the logs of each MDC with
 * their frames and records, then users' logs. Reads only; what cannot be read is said in
 * `fields.problem`, and the dump goes on. Devices must be open for reading at least; the caller
 * closes them.
 */
export async function* dumpPool(
  devices: PoolDevices,
  options: DumpOptions = {},
): AsyncGenerator<DumpEntry, void, undefined> {
  const { structures } = options;
  for await (const entry of everything(devices, options)) {
    if (structures === undefined || structures.includes(entry.structure)) yield entry;
  }
}

async function* everything(
  { capacity, staging }: PoolDevices,
  { userLogs = true }: DumpOptions,
): AsyncGenerator<DumpEntry, void, undefined> {
  const found = await readSuperblocks(capacity);
  for (const copy of found.copies) yield superblockEntry(capacity.path, copy);
  if (staging !== undefined) {
    for (const copy of (await readSuperblocks(staging)).copies) {
      yield superblockEntry(staging.path, copy);
    }
  }
  const { newest } = found;
  if (newest === undefined || found.problem !== undefined) return;
  const on: Devices = { capacity: { device: capacity, descriptor: newest.capacity } };
  if (staging !== undefined && newest.staging !== undefined) {
    on.staging = { device: staging, descriptor: newest.staging };
  }
  const records = new DumpedRecords();
  yield* dumpMdc(on.capacity, newest, 0, newest.mdc0, records);
  // A copy: a damaged pool may name an MDC where none belongs.
  for (const mdc of Array.from(records.mdcs.values())) {
    yield* dumpMdc(on.capacity, newest, mdc.slot, mdc, records);
  }
  if (!userLogs) return;
  for (const object of records.objects.values()) {
    const device = isOnCapacity(object) ? on.capacity : on.staging;
    if (isMblock(object) || device === undefined) continue;
    const id = { low: object.idLow, high: object.idHigh };
    const name = `log ${printIdHalves(object.idLow, object.idHigh)}`;
    yield* dumpLog(placeOf(device, extentOf(object), newest, id), name, undefined);
  }
}

interface Devices {
  capacity: CheckedDevice;
  staging?: CheckedDevice;
}

/** Both logs; records only of the one that counts, so that each is printed once. */
async function* dumpMdc(
  on: CheckedDevice,
  superblock: Superblock,
  slot: number,
  logs: { logA: Extent; logB: Extent },
  records: DumpedRecords,
): AsyncGenerator<DumpEntry, void, undefined> {
  const ids = mdcLogIds(slot);
  const a = placeOf(on, logs.logA, superblock, halvesOfId(ids.logA));
  const b = placeOf(on, logs.logB, superblock, halvesOfId(ids.logB));
  const [ofA, ofB] = [await generationIfCurrent(a), await generationIfCurrent(b)];
  yield* dumpLog(a, `MDC ${slot} log A`, ofA > 0 && ofA >= ofB ? records : undefined);
  yield* dumpLog(b, `MDC ${slot} log B`, ofB > ofA ? records : undefined);
}

async function generationIfCurrent(place: LogPlace): Promise<number> {
  try {
    const read = await readLogHeader(place);
    return read.ok && read.header.state === LogState.current ? read.header.generation : 0;
  } catch (error) {
    problemOf(error);
    return 0;
  }
}

async function* dumpLog(
  place: LogPlace,
  name: string,
  records: DumpedRecords | undefined,
): AsyncGenerator<DumpEntry, void, undefined> {
  let header: LogHeader;
  try {
    const read = await readLogHeader(place);
    if (!read.ok) {
      yield entryIn(place, 'log header', 0, { log: name, problem: read.detail });
      return;
    }
    header = read.header;
  } catch (error) {
    yield entryIn(place, 'log header', 0, { log: name, problem: problemOf(error) });
    return;
  }
  yield entryIn(place, 'log header', 0, { log: name, ...headerFields(header) });
  yield* dumpFrames(place, name, header, records);
}

async function* dumpFrames(
  place: LogPlace,
  name: string,
  header: LogHeader,
  records: DumpedRecords | undefined,
): AsyncGenerator<DumpEntry, void, undefined> {
  const cursor = new FrameCursor(place, header);
  const chunks = new ChunkParser(records?.visit, RECORD_BYTES_MAX);
  let problem: string | undefined;
  try {
    for (;;) {
      // oxlint-disable-next-line no-await-in-loop -- frames are a chain
      const frame = await cursor.next();
      if (frame === undefined) break;
      const before = chunks.recordCount;
      problem = chunks.parse(frame);
      const counted = { log: name, ...frameFields(frame), records: chunks.recordCount - before };
      yield entryIn(place, 'frame', frame.offsetBytes, counted);
      for (const { structure, fields } of records?.take() ?? []) {
        yield entryIn(place, structure, frame.offsetBytes, fields);
      }
      if (problem !== undefined) break;
    }
    problem ??= cursor.stop === 'end' ? 'the extent is full' : `no frame follows (${cursor.stop})`;
  } catch (error) {
    problem = problemOf(error);
  } finally {
    await cursor.close();
  }
  const at = cursor.position.offsetBytes;
  yield entryIn(place, 'end of log', at, { log: name, records: chunks.recordCount, why: problem });
}

/** Records of the pool's own MDCs are small. */
const RECORD_BYTES_MAX = 16 * 2 ** 20;

function superblockEntry(device: string, copy: SuperblockCopy): DumpEntry {
  const { offsetBytes, status, detail, superblock } = copy;
  const fields: DumpEntry['fields'] = { copy: copy.copy, status };
  if (detail !== undefined) fields['problem'] = detail;
  if (superblock === undefined) return { structure: 'superblock', device, offsetBytes, fields };
  Object.assign(fields, {
    name: superblock.name,
    poolUuid: formatUuid(superblock.poolUuid),
    generation: superblock.generation,
    ...featureFields(superblock.features),
    created: dateOf(superblock.createdMs),
    deviceUuid: formatUuid(superblock.deviceUuid),
    ...descriptorFields('capacity', superblock.capacity),
    ...(superblock.staging === undefined ? {} : descriptorFields('staging', superblock.staging)),
    mdc0LogA: extentText(superblock.mdc0.logA),
    mdc0LogB: extentText(superblock.mdc0.logB),
    capacityPath: superblock.capacityPath,
    stagingPath: superblock.stagingPath,
  });
  return { structure: 'superblock', device, offsetBytes, fields };
}

function featureFields(words: FeatureWords): DumpEntry['fields'] {
  const names = namesOfFeatures(words);
  const text = (word: keyof FeatureWords): string =>
    `${hex(words[word])}${names[word].length === 0 ? '' : `: ${names[word].join(', ')}`}`;
  return {
    compatibleFeatures: text('compatible'),
    readOnlyCompatibleFeatures: text('readOnlyCompatible'),
    incompatibleFeatures: text('incompatible'),
  };
}

function descriptorFields(prefix: string, descriptor: DeviceDescriptor): DumpEntry['fields'] {
  return {
    [`${prefix}Uuid`]: formatUuid(descriptor.uuid),
    [`${prefix}Kind`]: descriptor.kind,
    [`${prefix}SectorBytes`]: descriptor.sectorBytes,
    [`${prefix}ZonePages`]: descriptor.zonePages,
    [`${prefix}SizeBytes`]: descriptor.sizeBytes,
    [`${prefix}ZoneCount`]: descriptor.zoneCount,
  };
}

function headerFields(header: LogHeader): DumpEntry['fields'] {
  const id: IdHalves = header.objectId;
  return {
    objectId: printIdHalves(id.low, id.high),
    state: header.state === LogState.current ? 'current' : 'superseded',
    sectorBytes: header.sectorBytes,
    generation: header.generation,
    salt: hex(header.salt),
    committedBytes: header.committedBytes,
  };
}

function frameFields({ header }: Frame): DumpEntry['fields'] {
  return {
    generation: header.generation,
    sequence: header.sequence,
    payloadBytes: header.payloadBytes,
    crc: hex(header.crc),
    previousCrc: hex(header.previousCrc),
    closed: header.flags === FRAME_FLAG_CLOSED ? 'yes' : 'no',
    durableBytes: header.durableBytes,
    recordsBefore: header.recordsBefore,
    ...witnessFields(header.witness),
  };
}

function witnessFields({ generation, endBytes }: LogWitness): DumpEntry['fields'] {
  return endBytes === 0 ? {} : { witnessGeneration: generation, witnessEndBytes: endBytes };
}

function entryIn(
  place: LogPlace,
  structure: DumpStructure,
  offsetBytes: number,
  fields: DumpEntry['fields'],
): DumpEntry {
  const base = place.extent.pageAddress * PAGE_BYTES;
  return { structure, device: place.device.path, offsetBytes: base + offsetBytes, fields };
}

function extentOf({ pageAddress, pageCount }: ObjectRecord): Extent {
  return { pageAddress, pageCount };
}

function extentText({ pageAddress, pageCount }: Extent): string {
  return `${pageCount} pages at page ${pageAddress}`;
}

function dateOf(ms: number): string {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? String(ms) : date.toISOString();
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}

/** What the device said; a bug goes on. */
function problemOf(error: unknown): string {
  if (!isMpoolError(error)) throw error;
  return error.message;
}
