import { abandonable, abandonableItems, type WaitOptions } from '../../base/abandon.ts';
import { invalidArgument } from '../../base/errors.ts';
import { isMblockId, type MblockId } from '../../format/object-id.ts';
import type {
  DeleteOptions,
  ListOptions,
  Mblock,
  MblockProperties,
  Mblocks,
  MediaClass,
} from '../../pool/api.ts';
import { checkMediaClass } from '../../pool/media.ts';
import { checkArray, checkOptions } from '../../pool/parameters.ts';
import type { Wire } from '../protocol.ts';
import { idFromWire } from '../wire-values.ts';
import type { Attachment } from './attachment.ts';
import { ClientMblock } from './client-mblock.ts';
import { listed } from './listed.ts';
import { commitMblocks, deleteMblocks } from './mblock-changes.ts';
import type { Session } from './session.ts';
import { Together } from './together.ts';

/** Of one request. */
const ALLOC_MAX = 1024;

interface Allocated {
  attachment: Attachment;
  properties: Wire<MblockProperties>;
}

export class ClientMblocks implements Mblocks {
  readonly #session: Session;
  readonly #allocating = new Map<string, Together<undefined, Allocated>>();

  constructor(session: Session) {
    this.#session = session;
  }

  async alloc(
    options: { mediaClass?: MediaClass | undefined; spare?: boolean | undefined } = {},
  ): Promise<Mblock> {
    const session = this.#session;
    checkOptions(options);
    const mediaClass = checkMediaClass(options.mediaClass);
    session.assertWritable();
    const spare = options.spare === true;
    const { attachment, properties } = await session.during(
      this.#allocations(mediaClass, spare).add(undefined),
    );
    return ClientMblock.allocated(session, attachment, idOf(properties.id), {
      mediaClass: properties.mediaClass,
      capacityBytes: properties.capacityBytes,
      allocatedBytes: properties.allocatedBytes,
      optimalBytes: properties.optimalWriteSizeBytes,
      writtenBytes: 0,
    });
  }

  find(id: MblockId, options?: WaitOptions): Promise<Mblock> {
    return abandonable('find', options?.signal, () => this.#found(id));
  }

  async commit(mblocks: readonly Mblock[]): Promise<void> {
    checkArray('mblocks', mblocks);
    await commitMblocks(
      this.#session,
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
    this.#session.assertWritable();
    for (const id of ids) checkMblockId(id);
    await deleteMblocks(this.#session, ids, options);
  }

  list(options: ListOptions = {}): AsyncIterable<MblockProperties> {
    return abandonableItems('list', options?.signal, this.#list(options));
  }

  async *#list(options: ListOptions): AsyncGenerator<MblockProperties> {
    checkOptions(options);
    if (options.mediaClass !== undefined) checkMediaClass(options.mediaClass);
    this.#session.assertOpen();
    const { mediaClass } = options;
    yield* listed(this.#session, async (after) => {
      const asked = { ...(after !== undefined && { after }), ...(mediaClass && { mediaClass }) };
      const { mblocks, done } = (await this.#session.request('mblock.list', asked)).body;
      const items = mblocks.map((each) => ({ ...each, id: idOf(each.id) }));
      return { items, lastId: mblocks.at(-1)?.id, done };
    });
  }

  read(
    id: MblockId,
    offsetBytes: number,
    lengthBytes: number,
    options?: WaitOptions,
  ): Promise<Uint8Array> {
    return abandonable('read', options?.signal, async () =>
      (await this.#found(id)).read(offsetBytes, lengthBytes),
    );
  }

  /** Allocations of one kind, asked for together. */
  #allocations(mediaClass: MediaClass, spare: boolean): Together<undefined, Allocated> {
    const kind = `${mediaClass} ${spare}`;
    const known = this.#allocating.get(kind);
    if (known !== undefined) return known;
    const together: Together<undefined, Allocated> = new Together({
      ask: async ({ length: count }) => {
        const session = this.#session;
        const attachment = session.attachment ?? (await session.attached());
        const asked = { mediaClass, ...(spare && { spare }), ...(count > 1 && { count }) };
        const { body } = await session.requestOn(attachment, 'mblock.alloc', asked);
        return body.mblocks.map((properties) => ({ attachment, properties }));
      },
      cut: ({ length }) => Math.min(length, ALLOC_MAX),
    });
    this.#allocating.set(kind, together);
    return together;
  }

  async #found(id: MblockId): Promise<ClientMblock> {
    checkMblockId(id);
    const session = this.#session;
    session.assertOpen();
    for (;;) {
      const attachment = session.attachment ?? (await session.attached());
      // What a handle says of its device must be known.
      if (attachment.opening !== undefined) await attachment.opening;
      const index = attachment.leases.find(id);
      if (index >= 0) return ClientMblock.leased(session, attachment, index);
      await session.during(attachment.leases.lease(id));
    }
  }

  #own(mblock: Mblock): ClientMblock {
    if (mblock instanceof ClientMblock && mblock.belongsTo(this.#session)) return mblock;
    throw invalidArgument('not an mblock of this pool', 'type');
  }
}

function idOf(wire: string): MblockId {
  return idFromWire(wire, 'id') as MblockId;
}

function checkMblockId(id: MblockId): void {
  if (!isMblockId(id)) throw invalidArgument(`${String(id)} is not the id of an mblock`, 'type');
}
