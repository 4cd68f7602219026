import { formatUuid } from '../base/bytes.ts';
import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, roundDown } from '../base/units.ts';
import { zoneCountOf } from '../format/device-descriptor.ts';
import { FORMAT_VERSION, type Superblock } from '../format/superblock.ts';
import type {
  DeviceInfo,
  MediaClass,
  MediaClassOptions,
  Pool,
  PoolInfo,
  PoolParameters,
  PoolStats,
  Usage,
} from './api.ts';
import { checkMediaClass, Media } from './media.ts';
import { StoreMblocks } from './mblocks.ts';
import { StoreMdcs } from './mdcs.ts';
import { StoreMlogs } from './mlogs.ts';
import { checkParameters } from './parameters.ts';
import { clearDevice, prepareDevice } from './prepare-device.ts';
import type { Store } from './store.ts';
import { writeSuperblocks } from './superblocks.ts';
import { classUsage, totalUsage } from './usage.ts';

/** What the handles of one active pool share. */
export interface SharedPool {
  readonly store: Store;
  readonly mblocks: StoreMblocks;
  readonly mlogs: StoreMlogs;
  readonly mdcs: StoreMdcs;
}

export function sharePool(store: Store): SharedPool {
  return {
    store,
    mblocks: new StoreMblocks(store),
    mlogs: new StoreMlogs(store),
    mdcs: new StoreMdcs(store),
  };
}

/** A user's handle on an active pool. The last one to close shuts the pool down. */
export class StorePool implements Pool {
  readonly #shared: SharedPool;
  readonly #leave: (force: boolean) => Promise<void>;
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

  async info(): Promise<PoolInfo> {
    const store = this.#store();
    const { superblock, fault } = store;
    return {
      name: superblock.name,
      uuid: this.uuid,
      formatVersion: FORMAT_VERSION,
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
    const store = this.#store();
    checkParameters(changes);
    store.assertWritable();
    await store.setParameters(changes);
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
    const store = this.#store();
    store.assertWritable();
    checkMediaClass(mediaClass);
    if (mediaClass !== 'staging' || store.superblock.staging !== undefined) {
      throw new MpoolError('ERR_MPOOL_EXISTS', `media class ${mediaClass} of pool ${this.name}`);
    }
    const { environment } = store;
    const settings = { force: options.force === true, engine: undefined };
    const prepared = await prepareDevice(environment, mediaClass, options, settings);
    const { device, descriptor } = prepared;
    let media: Media;
    const changes: Partial<Superblock> = { staging: descriptor };
    try {
      media = new Media(descriptor, device, 0, { clock: environment.clock });
      const page = media.space.allocZone({ spare: true });
      if (page < 0) {
        throw new MpoolError('ERR_MPOOL_NO_SPACE', `${options.path}: not one mblock fits`);
      }
      media.space.free({ pageAddress: page, pageCount: media.mblockPages });
      changes.stagingPath = (await environment.host.stat(options.path))?.path ?? options.path;
      await clearDevice(prepared);
      const own = { ...store.superblock, ...changes, deviceUuid: descriptor.uuid };
      // The capacity device's superblock decides: until it names the device, this one is nobody's.
      await writeSuperblocks(device, own, { first: true });
      const sparePercentStaging = options.sparePercent ?? store.parameters.sparePercentStaging;
      await store.setParameters({ sparePercentStaging });
      media.space.setSparePercent(sparePercentStaging);
    } catch (error) {
      await prepared.undo();
      throw error;
    }
    store.staging = media;
    await store.updateSuperblock(changes);
  }

  async grow(): Promise<number> {
    const store = this.#store();
    store.assertWritable();
    let gainedBytes = 0;
    const changes: Partial<Superblock> = {};
    for (const media of store.allMedia) {
      const { descriptor } = media;
      const sizeBytes = roundDown(await media.device.refreshSize(), PAGE_BYTES);
      if (sizeBytes <= descriptor.sizeBytes) continue;
      gainedBytes += sizeBytes - descriptor.sizeBytes;
      const zoneCount = zoneCountOf(sizeBytes, descriptor.zonePages);
      changes[media.mediaClass] = { ...descriptor, sizeBytes, zoneCount };
    }
    if (gainedBytes === 0) return 0;
    await store.updateSuperblock(changes);
    for (const media of store.allMedia) {
      const grown = changes[media.mediaClass];
      if (grown === undefined) continue;
      media.descriptor = grown;
      media.space.grow(grown.zoneCount, grown.sizeBytes / PAGE_BYTES);
    }
    return gainedBytes;
  }

  async sync(): Promise<void> {
    const store = this.#store();
    if (store.readOnly) return;
    store.assertWritable();
    await Promise.all([...store.held].map((held) => held.sync?.()));
    await Promise.all(store.allMedia.map((media) => media.gate.flush()));
  }

  stats(): PoolStats {
    const store = this.#store();
    const { catalog, poolRecords } = store;
    return {
      commits: store.commitCount,
      deletes: store.deleteCount,
      flushes: store.allMedia.reduce((sum, media) => sum + media.gate.count, 0),
      metadataFrames: catalog.log.frameCount + poolRecords.log.frameCount,
      compactions: catalog.log.compactionCount + poolRecords.log.compactionCount,
      objectCount: store.table.count,
      objectTableBytes: store.table.bytes,
      checksumErrors: store.reader.checksumErrorCount,
    };
  }

  close(options: { force?: boolean | undefined } = {}): Promise<void> {
    if (this.#closing === null) {
      const closing = this.#leave(options.force === true);
      this.#closing = closing;
      // Refused: the handle is as open as before, and closing may be tried again.
      closing.catch((error: unknown) => {
        if (error instanceof MpoolError && error.code === 'ERR_MPOOL_BUSY') this.#closing = null;
      });
    }
    return this.#closing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ force: true });
  }

  get #superblock(): Superblock {
    return this.#shared.store.superblock;
  }

  #store(): Store {
    if (this.#closing !== null) throw new MpoolError('ERR_MPOOL_CLOSED', `pool ${this.name}`);
    return this.#shared.store;
  }
}
