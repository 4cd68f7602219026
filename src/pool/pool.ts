import { formatUuid } from '../base/bytes.ts';
import { isMpoolError, MpoolError } from '../base/errors.ts';
import { Serial } from '../base/serial.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { namesOfFeatures } from '../format/features.ts';
import { FORMAT_VERSION, type Superblock } from '../format/superblock.ts';
import type {
  DeviceInfo,
  LocalPool,
  MapOptions,
  MblockId,
  MblockMap,
  MediaClass,
  MediaClassOptions,
  PoolInfo,
  PoolParameters,
  PoolStats,
  ScrubOptions,
  ScrubReport,
  Usage,
} from './api.ts';
import { addMediaClass, grow } from './change-devices.ts';
import { sumOfGroups } from './group-sizes.ts';
import { checkMediaClass } from './media.ts';
import { StoreMblocks } from './mblocks.ts';
import { StoreMdcs } from './mdcs.ts';
import { StoreMlogs } from './mlogs.ts';
import { checkParameters, checkScrubOptions } from './parameters.ts';
import { checkDeviceOptions } from './prepare-device.ts';
import { Scrub } from './scrub.ts';
import type { Store } from './store.ts';
import { classUsage, totalUsage } from './usage.ts';

/** What the handles of one active pool share. */
export interface SharedPool {
  readonly store: Store;
  readonly mblocks: StoreMblocks;
  readonly mlogs: StoreMlogs;
  readonly mdcs: StoreMdcs;
  /** Changes of the superblock and of the parameters, and closing, one at a time. */
  readonly administration: Serial;
}

export function sharePool(store: Store): SharedPool {
  return {
    store,
    mblocks: new StoreMblocks(store),
    mlogs: new StoreMlogs(store),
    mdcs: new StoreMdcs(store),
    administration: new Serial(),
  };
}

/** A user's handle on an active pool. The last one to close shuts the pool down. */
export class StorePool implements LocalPool {
  readonly #shared: SharedPool;
  readonly #leave: (force: boolean) => Promise<void>;
  readonly #scrubs = new Set<Scrub>();
  #closing: Promise<void> | null = null;

  /** @param leave called once, when this handle closes */
  constructor(shared: SharedPool, leave: (force: boolean) => Promise<void>) {
    this.#shared = shared;
    this.#leave = leave;
  }

  get name(): string {
    return this.#superblock.name;
  }
  get uuid(): string {
    return formatUuid(this.#superblock.poolUuid);
  }
  get readOnly(): boolean {
    return this.#shared.store.readOnly;
  }
  get mblocks(): StoreMblocks {
    this.#store();
    return this.#shared.mblocks;
  }
  get mlogs(): StoreMlogs {
    this.#store();
    return this.#shared.mlogs;
  }
  get mdcs(): StoreMdcs {
    this.#store();
    return this.#shared.mdcs;
  }

  async map(ids: readonly MblockId[], options: MapOptions = {}): Promise<MblockMap> {
    return this.#store().maps.map(ids, options, this);
  }

  async info(): Promise<PoolInfo> {
    const store = this.#store();
    const { superblock, fault } = store;
    return {
      name: superblock.name,
      uuid: this.uuid,
      formatVersion: FORMAT_VERSION,
      features: namesOfFeatures(superblock.features),
      generation: superblock.generation,
      createdMs: superblock.createdMs,
      readOnly: store.readOnly,
      health: fault === undefined ? 'optimal' : 'faulted',
      fault,
      mdcCount: 1 + store.poolRecords.mdcs.length,
      parameters: store.parameters,
      devices: await this.devices(),
      usage: totalUsage(store),
      rootMdc: store.poolRecords.properties.rootMdc,
    };
  }

  async parameters(): Promise<PoolParameters> {
    return this.#store().parameters;
  }

  async setParameters(changes: Partial<PoolParameters>): Promise<void> {
    this.#store();
    checkParameters(changes);
    await this.#administer((store) => store.setParameters(definedOf(changes)));
  }

  async usage(mediaClass?: MediaClass): Promise<Usage> {
    const store = this.#store();
    if (mediaClass === undefined) return totalUsage(store);
    return classUsage(store, store.mediaOf(checkMediaClass(mediaClass)));
  }

  async devices(): Promise<DeviceInfo[]> {
    const store = this.#store();
    const classes = ['capacity', 'staging'] as const;
    return classes.flatMap((mediaClass) => {
      const descriptor = store.superblock[mediaClass];
      if (descriptor === undefined) return [];
      const media = mediaClass === 'capacity' ? store.capacity : store.staging;
      const info: DeviceInfo = {
        mediaClass,
        path: media?.device.path ?? store.superblock.stagingPath,
        uuid: formatUuid(descriptor.uuid),
        kind: media?.device.kind ?? descriptor.kind,
        engine: media?.device.engine ?? '-',
        status: media === undefined ? 'missing' : store.failure === null ? 'online' : 'failed',
        sectorBytes: descriptor.sectorBytes,
        mblockSizeBytes: descriptor.zonePages * PAGE_BYTES,
        sizeBytes: descriptor.sizeBytes,
        usage: classUsage(store, media),
      };
      return [info];
    });
  }

  async addMediaClass(
    mediaClass: 'staging',
    options: MediaClassOptions & { force?: boolean | undefined },
  ): Promise<void> {
    this.#store();
    checkMediaClass(mediaClass);
    checkDeviceOptions(options);
    await this.#administer((store) => addMediaClass(store, mediaClass, options));
  }

  async grow(): Promise<number> {
    return this.#administer(grow);
  }

  async sync(): Promise<void> {
    const store = this.#store();
    if (store.readOnly) return;
    store.assertWritable();
    await Promise.all([...store.held].map(async (held) => held.sync?.()));
    await Promise.all(store.allMedia.map((media) => media.gate.flush()));
  }

  async scrub(options: ScrubOptions = {}): Promise<ScrubReport> {
    const store = this.#store();
    checkScrubOptions(options);
    const scrub = new Scrub(store, this.#shared.administration, options);
    this.#scrubs.add(scrub);
    store.background.add(scrub);
    try {
      return await scrub.run();
    } finally {
      this.#scrubs.delete(scrub);
      store.background.delete(scrub);
    }
  }

  stats(): PoolStats {
    const store = this.#store();
    const { catalog, poolRecords } = store;
    return {
      commits: store.commitCount,
      deletes: store.deleteCount,
      flushes: store.allMedia.reduce((sum, media) => sum + media.gate.count, 0),
      metadataFrames: catalog.log.frameCount + poolRecords.log.frameCount,
      metadataGroups: sumOfGroups([catalog.log.groups.counts, poolRecords.log.groups.counts]),
      syncGroups: sumOfGroups(store.allMedia.map((media) => media.gate.syncGroups.counts)),
      compactions: catalog.log.compactionCount + poolRecords.log.compactionCount,
      objectCount: store.table.count,
      objectTableBytes: store.table.bytes,
      checksumErrors: store.reader.checksumErrorCount,
    };
  }

  close(options: { force?: boolean | undefined } = {}): Promise<void> {
    const force = options.force === true;
    if (this.#closing === null) this.#closing = this.#close(force);
    else if (force) {
      this.#closing = this.#closing.catch((error: unknown) => {
        if (isMpoolError(error, 'ERR_MPOOL_BUSY')) return this.#close(true);
        throw error;
      });
    }
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ force: true });
  }

  #close(force: boolean): Promise<void> {
    const closing = this.#shared.administration.run(async () => {
      await this.#leave(force);
      await Promise.all([...this.#scrubs].map((scrub) => scrub.stop()));
      await this.#shared.store.maps.unmapOf(this);
    });
    // Refused: the handle is as open as before, and closing may be tried again.
    closing.catch((error: unknown) => {
      if (isMpoolError(error, 'ERR_MPOOL_BUSY') && this.#closing === closing) this.#closing = null;
    });
    return closing;
  }

  #administer<T>(work: (store: Store) => Promise<T>): Promise<T> {
    const store = this.#store();
    store.assertWritable();
    return this.#shared.administration.run(async () => {
      store.assertWritable();
      return work(store);
    });
  }

  get #superblock(): Superblock {
    return this.#shared.store.superblock;
  }

  #store(): Store {
    if (this.#closing !== null) throw new MpoolError('ERR_MPOOL_CLOSED', `pool ${this.name}`);
    return this.#shared.store;
  }
}

/** What is named with `undefined` stays as it is. */
function definedOf(changes: Partial<PoolParameters>): Partial<PoolParameters> {
  return Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined));
}
