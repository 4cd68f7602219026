// A small pool on two simulated disks, made of structures alone: the store has no part in it.
import { crc32cPages } from '../../src/base/crc32c.ts';
import { SeededPrng } from '../../src/base/prng.ts';
import { encodeSums, mblockDigest } from '../../src/format/checksum-table.ts';
import type { DeviceDescriptor } from '../../src/format/device-descriptor.ts';
import { LogState } from '../../src/format/log-header.ts';
import {
  halvesOfId,
  idHigh,
  idLow,
  makeObjectId,
  mdcLogIds,
  type IdHalves,
} from '../../src/format/object-id.ts';
import {
  encodeDeletionRecord,
  encodeIdCheckpoint,
  encodeMdcRecord,
  encodeObjectRecord,
  encodePoolRecord,
  type ObjectRecord,
} from '../../src/format/records.ts';
import {
  encodeSuperblock,
  superblockOffsetBytes,
  type Superblock,
} from '../../src/format/superblock.ts';
import type { PoolDevices } from '../../src/pool/check.ts';
import { SimHost } from '../../src/testing/index.ts';
import { CAPACITY_UUID, descriptor, STAGING_UUID, superblock } from '../format/samples.ts';
import { LogImage } from './log-image.ts';

export const CAPACITY = '/dev/capacity';
export const STAGING = '/dev/staging';
const SIZE_BYTES = 16 * 2 ** 20;
const PAGE = 4096;

/** What a test may change before the image is made. */
export interface PoolImageChanges {
  /** Further entries of MDC 1, each a log record of its own. */
  entries?: Uint8Array[];
  /** In place of the objects. */
  objects?: (objects: ObjectRecord[]) => ObjectRecord[];
  /** Further records of MDC 0. */
  poolRecords?: Uint8Array[];
  checkpoint?: number;
  withStaging?: boolean;
  /** Makes changes to logs before they are finished. */
  logs?: (logs: PoolLogs) => void;
}

export interface PoolLogs {
  mdc0A: LogImage;
  mdc0B: LogImage;
  mdc1A: LogImage;
  mdc1B: LogImage;
  rootA: LogImage;
  rootB: LogImage;
  plain: LogImage;
}

/** Where things are, in pages. */
export const PAGES = {
  mdc0A: 32,
  mdc0B: 48,
  mdc1A: 64,
  mdc1B: 96,
  rootA: 128,
  rootB: 144,
  plain: 160,
  /** Three pages and a table. */
  large: 256,
  /** One page. */
  small: 512,
  /** Nothing was written. */
  empty: 768,
  /** On staging: 300 pages do not fit, so 200 and a table. */
  staged: 256,
};

export const SIZES = { large: 2 * PAGE + 100, small: 1000, staged: 200 * PAGE };

function log(pageCount: number, objectId: IdHalves): LogImage {
  return new LogImage({ pageCount, objectId, generation: 4, salt: 77 });
}

export class PoolImage {
  readonly host = new SimHost({ seed: 5, keepTrace: false });
  readonly logs: PoolLogs;
  readonly objects: ObjectRecord[];
  /** Of the capacity device. */
  readonly superblock: Superblock;
  readonly #capacity = new Uint8Array(SIZE_BYTES);
  readonly #staging = new Uint8Array(SIZE_BYTES);
  readonly #withStaging: boolean;

  constructor(changes: PoolImageChanges = {}) {
    this.#withStaging = changes.withStaging ?? true;
    const [mdc0, mdc1] = [mdcLogIds(0), mdcLogIds(1)];
    this.logs = {
      mdc0A: log(16, halvesOfId(mdc0.logA)),
      mdc0B: log(16, halvesOfId(mdc0.logB)),
      mdc1A: log(32, halvesOfId(mdc1.logA)),
      mdc1B: log(32, halvesOfId(mdc1.logB)),
      rootA: log(16, halvesOfId(makeObjectId(1, 2, 1))),
      rootB: log(16, halvesOfId(makeObjectId(2, 2, 1))),
      plain: log(16, halvesOfId(makeObjectId(3, 2, 1))),
    };
    const objects = this.#makeObjects();
    this.objects = changes.objects?.(objects) ?? objects;
    this.#writeRecords(changes);
    for (const image of Object.values(this.logs)) {
      if (image.header.state === LogState.current) image.header.committedBytes = image.offsetBytes;
    }
    changes.logs?.(this.logs);
    for (const [name, image] of Object.entries(this.logs)) {
      this.#capacity.set(image.finish(), PAGES[name as keyof PoolLogs] * PAGE);
    }
    this.superblock = this.#writeSuperblocks();
    for (const [path, bytes] of [
      [CAPACITY, this.#capacity],
      [STAGING, this.#staging],
    ] as const) {
      this.host.addDisk(path, { sizeBytes: SIZE_BYTES, sectorBytes: 512 }).poke(0, bytes);
    }
  }

  /** Opens the devices for reading, and closes them after the work. */
  async use<T>(work: (devices: PoolDevices) => Promise<T>): Promise<T> {
    const capacity = await this.host.openDevice(CAPACITY, { access: 'read' });
    const staging = await this.host.openDevice(STAGING, { access: 'read' });
    try {
      return await work(this.#withStaging ? { capacity, staging } : { capacity });
    } finally {
      await Promise.all([capacity.close(), staging.close()]);
    }
  }

  #makeObjects(): ObjectRecord[] {
    const mlog = (uniquifier: number, role: 0 | 1 | 2, pageAddress: number): ObjectRecord => ({
      mediaClass: 1,
      role,
      digest: 0,
      idLow: idLow(uniquifier, 2, 1),
      idHigh: idHigh(uniquifier),
      pageAddress,
      pageCount: 16,
      lengthBytes: 0,
    });
    const objects = [
      mlog(1, 1, PAGES.rootA),
      mlog(2, 2, PAGES.rootB),
      mlog(3, 0, PAGES.plain),
      this.#mblock(4, this.#capacity, PAGES.large, SIZES.large, 1),
      this.#mblock(5, this.#capacity, PAGES.small, SIZES.small, 1),
      this.#mblock(6, this.#capacity, PAGES.empty, 0, 1),
    ];
    if (this.#withStaging) {
      objects.push(this.#mblock(7, this.#staging, PAGES.staged, SIZES.staged, 0));
    }
    return objects;
  }

  #mblock(
    uniquifier: number,
    disk: Uint8Array,
    pageAddress: number,
    lengthBytes: number,
    mediaClass: 0 | 1,
  ): ObjectRecord {
    const prng = new SeededPrng(uniquifier);
    const start = pageAddress * PAGE;
    for (let i = 0; i < lengthBytes; i++) disk[start + i] = prng.u32();
    const pages = Math.ceil(lengthBytes / PAGE);
    const sums = new Uint32Array(pages);
    crc32cPages(disk.subarray(start, start + pages * PAGE), sums);
    const table = encodeSums(sums);
    if (pages > 1) disk.set(table, start + pages * PAGE);
    const [low, high] = [idLow(uniquifier, 1, 1), idHigh(uniquifier)];
    return {
      mediaClass,
      role: 0,
      digest: mblockDigest(low, high, lengthBytes, table),
      idLow: low,
      idHigh: high,
      pageAddress,
      pageCount: 256,
      lengthBytes,
    };
  }

  #writeRecords(changes: PoolImageChanges): void {
    const { mdc0A, mdc0B, mdc1A, mdc1B, rootA, rootB, plain } = this.logs;
    const pool = encodePoolRecord({
      uid: 0,
      gid: 0,
      mode: 0o600,
      utype: new Uint8Array(16),
      label: 'check',
      sparePercentCapacity: 5,
      sparePercentStaging: 5,
      readAheadPages: 8,
      mappedRegionLog2: 30,
      rootMdc: { logA: makeObjectId(1, 2, 1), logB: makeObjectId(2, 2, 1) },
    });
    const mdc1 = encodeMdcRecord({
      slot: 1,
      logA: { pageAddress: PAGES.mdc1A, pageCount: 32 },
      logB: { pageAddress: PAGES.mdc1B, pageCount: 32 },
    });
    mdc0A.records(pool, mdc1, ...(changes.poolRecords ?? []));
    // MDC 1 was compacted into B; A holds what it held before.
    mdc1A.records(encodeIdCheckpoint(1));
    mdc1B.header.generation = 5;
    mdc1B.records(encodeIdCheckpoint(changes.checkpoint ?? 100));
    mdc1B.records(Buffer.concat(this.objects.map(encodeObjectRecord)));
    const gone = { ...this.objects[0]!, idLow: idLow(50, 2, 1), role: 0 as const };
    mdc1B.flushed();
    mdc1B.records(encodeObjectRecord(gone));
    mdc1B.records(encodeDeletionRecord(gone.idLow, gone.idHigh));
    for (const entry of changes.entries ?? []) mdc1B.records(entry);
    rootA.records(Buffer.from('content of the root MDC'));
    for (let i = 0; i < 3; i++) {
      plain.records(Buffer.from(`record ${i}`));
      plain.flushed();
    }
    for (const spare of [mdc0B, mdc1A, rootB]) spare.header.state = LogState.superseded;
    mdc0B.header.generation = 3;
    rootB.header.generation = 3;
  }

  #writeSuperblocks(): Superblock {
    const capacity = descriptor({ sizeBytes: SIZE_BYTES });
    const staging = descriptor({
      sizeBytes: SIZE_BYTES,
      uuid: STAGING_UUID,
      mediaClass: 'staging',
    });
    const base = superblock({ capacity, capacityPath: CAPACITY, stagingPath: STAGING });
    if (this.#withStaging) base.staging = staging;
    else delete base.staging;
    const put = (disk: Uint8Array, own: DeviceDescriptor, deviceUuid: Uint8Array): void => {
      for (let copy = 0; copy < 4; copy++) {
        const page = encodeSuperblock({ ...base, deviceUuid }, copy);
        disk.set(page, superblockOffsetBytes(copy, own.sizeBytes));
      }
    };
    put(this.#capacity, capacity, CAPACITY_UUID);
    if (this.#withStaging) put(this.#staging, staging, STAGING_UUID);
    return base;
  }
}

/** Byte ranges [device, from, to) of which every bit matters. */
export function meaningfulRanges({ logs }: PoolImage): [string, number, number][] {
  const ranges: [string, number, number][] = [];
  for (const device of [CAPACITY, STAGING]) {
    for (let copy = 0; copy < 4; copy++) {
      const offset = superblockOffsetBytes(copy, SIZE_BYTES);
      ranges.push([device, offset, offset + PAGE]);
    }
  }
  for (const [name, image] of Object.entries(logs)) {
    const offset = PAGES[name as keyof PoolLogs] * PAGE;
    ranges.push([CAPACITY, offset, offset + 512]);
    const superseded = image.header.state === LogState.superseded;
    if (!superseded) ranges.push([CAPACITY, offset + PAGE, offset + image.offsetBytes]);
  }
  ranges.push([CAPACITY, PAGES.large * PAGE, (PAGES.large + 4) * PAGE]);
  ranges.push([CAPACITY, PAGES.small * PAGE, (PAGES.small + 1) * PAGE]);
  ranges.push([STAGING, PAGES.staged * PAGE, (PAGES.staged + 201) * PAGE]);
  return ranges;
}
