import { invalidArgument, MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { halvesOfId, type MlogId, printObjectId } from '../format/object-id.ts';
import type { ObjectRecord } from '../format/records.ts';
import { logPlace } from './log-place.ts';
import type { LogPlace } from './frame-cursor.ts';
import type { Media } from './media.ts';
import type { Extent } from '../format/extent.ts';
import { extentOf, type Held, type Store } from './store.ts';

/** Where the log of an object in the table is. @throws ERR_MPOOL_NO_DEVICE, ERR_MPOOL_CORRUPT */
export function placeOfObject(store: Store, index: number, id: bigint): LogPlace {
  const { table } = store;
  const name = table.mediaClass(index) === 1 ? 'capacity' : 'staging';
  const media = store.mediaOf(name);
  if (table.isBad(index)) {
    throw new MpoolError(
      'ERR_MPOOL_CORRUPT',
      `mlog ${printObjectId(id)} shares its space with another object`,
    );
  }
  return placeIn(store, media, extentOf(table, index), id);
}

export function placeIn(store: Store, media: Media, extent: Extent, id: bigint): LogPlace {
  const { poolUuid } = store.superblock;
  const { sectorBytes } = media.descriptor;
  const witness = store.witnesses?.mdc1;
  return logPlace(media.device, extent, poolUuid, halvesOfId(id), sectorBytes, witness);
}

/** Space for a log of that size, its header page included. @throws ERR_MPOOL_NO_SPACE */
export function allocLogExtent(media: Media, capacityBytes: number, spare: boolean): Extent {
  const pages = Math.max(LOG_PAGES_MIN, Math.ceil(capacityBytes / PAGE_BYTES));
  const extent = media.space.allocPages(pages, { spare });
  if (extent !== undefined) return extent;
  throw new MpoolError(
    'ERR_MPOOL_NO_SPACE',
    `no run of ${pages * PAGE_BYTES} bytes for a log in ${media.mediaClass}`,
  );
}

export function logRecord(
  media: Media,
  id: bigint,
  extent: Extent,
  role: ObjectRecord['role'],
): ObjectRecord {
  const { low, high } = halvesOfId(id);
  return {
    mediaClass: media.mediaClass === 'capacity' ? 1 : 0,
    role,
    digest: 0,
    idLow: low,
    idHigh: high,
    pageAddress: extent.pageAddress,
    pageCount: extent.pageCount,
    lengthBytes: 0,
  };
}

/**
 * Logs that are held and not committed yet: one for an mlog, two for an MDC. They are committed or given
 * back together.
 */
export class LogAllocation implements Held {
  readonly #store: Store;
  readonly #media: Media;
  readonly #logs: readonly { id: MlogId; extent: Extent; role: ObjectRecord['role'] }[];
  readonly #format: () => Promise<void>;
  #state: 'open' | 'committing' | 'committed' | 'aborted' = 'open';
  #committing: Promise<void> | null = null;

  /** @param format writes the logs' headers */
  constructor(
    store: Store,
    media: Media,
    logs: readonly { id: MlogId; extent: Extent; role: ObjectRecord['role'] }[],
    format: () => Promise<void>,
  ) {
    this.#store = store;
    this.#media = media;
    this.#logs = logs;
    this.#format = format;
    store.held.add(this);
  }

  get what(): string {
    return `mlog ${printObjectId(this.#logs[0]!.id)} is not committed`;
  }
  get committed(): boolean {
    return this.#state === 'committed';
  }
  get id(): MlogId {
    return this.#logs[0]!.id;
  }
  get capacityBytes(): number {
    return (this.#logs[0]!.extent.pageCount - 1) * PAGE_BYTES;
  }

  /** Again, or while it is under way: the same commit. */
  async commit(): Promise<void> {
    if (this.#state === 'committed') return;
    this.#store.assertWritable();
    if (this.#state === 'aborted') throw this.#refusal();
    this.#committing ??= this.#commit().finally(() => (this.#committing = null));
    await this.#committing;
  }

  async #commit(): Promise<void> {
    this.#state = 'committing';
    try {
      await this.#format();
      await this.#media.gate.flush();
      const records = this.#logs.map((log) => logRecord(this.#media, log.id, log.extent, log.role));
      this.#store.committed(await this.#store.catalog.commit(records));
      this.#state = 'committed';
      this.#store.held.delete(this);
    } catch (error) {
      this.#state = 'open';
      throw error;
    }
  }

  async abort(): Promise<void> {
    if (this.#state === 'aborted') return;
    if (this.#state !== 'open') throw this.#refusal();
    this.#state = 'aborted';
    for (const { extent } of this.#logs) this.#media.free(extent);
    this.#store.held.delete(this);
  }

  async release(): Promise<void> {
    await this.#committing?.catch(() => {});
    if (this.#state === 'open') await this.abort();
  }

  #refusal(): MpoolError {
    const code = this.#state === 'aborted' ? 'ERR_MPOOL_NOT_FOUND' : 'ERR_MPOOL_COMMITTED';
    return new MpoolError(code, `mlog ${printObjectId(this.id)}`);
  }
}

/** A header page, and one for frames. */
const LOG_PAGES_MIN = 2;

/** Text is taken as UTF-8. @throws TypeError for what is neither */
export function recordBytes(record: Uint8Array | string): Uint8Array {
  if (typeof record === 'string') return Buffer.from(record);
  if (record instanceof Uint8Array) return record;
  throw invalidArgument('a record must be a Uint8Array or a string', 'type');
}
