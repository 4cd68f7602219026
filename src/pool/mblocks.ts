import { abandonable, abandonableItems, type WaitOptions } from '../base/abandon.ts';
import { invalidArgument, MpoolError } from '../base/errors.ts';
import { isMblockId, type MblockId, OBJECT_TYPE_MBLOCK } from '../format/object-id.ts';
import type {
  DeleteOptions,
  ListOptions,
  Mblock,
  MblockProperties,
  Mblocks,
  MediaClass,
} from './api.ts';
import { newIdHalves } from './catalog.ts';
import { checkMediaClass } from './media.ts';
import { checkArray, checkOptions } from './parameters.ts';
import { commitMblocks, StoreMblock } from './mblock.ts';
import type { Store } from './store.ts';

export class StoreMblocks implements Mblocks {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  async alloc(
    options: { mediaClass?: MediaClass | undefined; spare?: boolean | undefined } = {},
  ): Promise<StoreMblock> {
    const store = this.#store;
    checkOptions(options);
    const mediaClass = checkMediaClass(options.mediaClass);
    store.assertWritable();
    const media = store.mediaOf(mediaClass);
    const uniquifier = await store.catalog.newUniquifier();
    store.assertWritable();
    const spare = options.spare === true;
    let pageAddress = media.space.allocZone({ spare });
    if (pageAddress < 0) {
      await media.yieldDiscards();
      store.assertWritable();
      pageAddress = media.space.allocZone({ spare });
    }
    if (pageAddress < 0) {
      throw new MpoolError('ERR_MPOOL_NO_SPACE', `no free mblock in ${media.mediaClass}`);
    }
    const id = newIdHalves(uniquifier, OBJECT_TYPE_MBLOCK);
    return StoreMblock.allocated(store, media, pageAddress, id);
  }

  find(id: MblockId, options?: WaitOptions): Promise<Mblock> {
    return abandonable('find', options?.signal, async () => this.#found(id));
  }

  async commit(mblocks: readonly Mblock[]): Promise<void> {
    checkArray('mblocks', mblocks);
    await commitMblocks(
      this.#store,
      mblocks.map((mblock) => this.#own(mblock)),
    );
  }

  async abort(mblocks: readonly Mblock[]): Promise<void> {
    checkArray('mblocks', mblocks);
    const own = mblocks.map((mblock) => this.#own(mblock));
    for (const mblock of own) mblock.assertAbortable();
    await Promise.all(own.map((mblock) => mblock.abort()));
  }

  async delete(ids: readonly MblockId[], options: DeleteOptions = {}): Promise<void> {
    checkArray('ids', ids);
    checkOptions(options);
    this.#store.assertWritable();
    const indices = ids.map((id) => this.#indexOf(id));
    await this.#store.deleteObjects([...new Set(indices)], options.refuseMapped === true);
  }

  list(options: ListOptions = {}): AsyncIterable<MblockProperties> {
    return abandonableItems('list', options?.signal, this.#list(options));
  }

  async *#list(options: ListOptions): AsyncGenerator<MblockProperties> {
    checkOptions(options);
    if (options.mediaClass !== undefined) checkMediaClass(options.mediaClass);
    this.#store.assertOpen();
    for await (const { index } of this.#store.objects(OBJECT_TYPE_MBLOCK)) {
      const properties = StoreMblock.found(this.#store, index).properties();
      if (options.mediaClass !== undefined && properties.mediaClass !== options.mediaClass)
        continue;
      yield properties;
    }
  }

  async read(
    id: MblockId,
    offsetBytes: number,
    lengthBytes: number,
    options?: WaitOptions,
  ): Promise<Uint8Array> {
    return this.#found(id).read(offsetBytes, lengthBytes, options);
  }

  #found(id: MblockId): StoreMblock {
    return StoreMblock.found(this.#store, this.#indexOf(id));
  }

  #indexOf(id: MblockId): number {
    if (!isMblockId(id)) throw invalidArgument(`${String(id)} is not the id of an mblock`, 'type');
    this.#store.assertOpen();
    return this.#store.indexOf(id);
  }

  #own(mblock: Mblock): StoreMblock {
    if (mblock instanceof StoreMblock && mblock.belongsTo(this.#store)) return mblock;
    throw invalidArgument('not an mblock of this pool', 'type');
  }
}
