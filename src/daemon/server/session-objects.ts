import { MpoolError } from '../../base/errors.ts';
import { type MblockId, type MlogId, printObjectId } from '../../format/object-id.ts';
import type { MdcAllocation, Mblock, MediaClass, MlogAllocation } from '../../pool/api.ts';
import type { StoreMblock } from '../../pool/mblock.ts';
import type { SharedPool } from '../../pool/pool.ts';
import { limitReached } from './limits.ts';
import type { UserAccount } from './user-accounts.ts';

export interface AllocOptions {
  mediaClass?: MediaClass | undefined;
  spare?: boolean | undefined;
}

export interface LogAllocOptions extends AllocOptions {
  capacityBytes: number;
}

/**
 * What one session allocated and has not committed: nobody else can write, commit or abort it, and it goes
 * with the session.
 */
export class SessionObjects {
  readonly #shared: SharedPool;
  readonly #most: number;
  readonly #account: UserAccount;
  readonly #mblocks = new Map<bigint, StoreMblock>();
  /** By id, that of log A for an MDC. */
  readonly #logs = new Map<bigint, MlogAllocation | MdcAllocation>();
  /** Mblocks of which a commit is under way. */
  readonly #committing = new Map<bigint, Promise<void>>();
  /** Being allocated. */
  #coming = 0;

  constructor(shared: SharedPool, most: number, account: UserAccount) {
    this.#shared = shared;
    this.#most = most;
    this.#account = account;
  }

  get count(): number {
    return this.#mblocks.size + this.#logs.size + this.#coming;
  }

  /** So many, or none. */
  async allocMblocks(options: AllocOptions, count: number): Promise<StoreMblock[]> {
    return this.#counted(count, async () => {
      const { mblocks } = this.#shared;
      if (count === 1) return [this.#keepMblock(await mblocks.alloc(options))];
      const settled = await Promise.allSettled(
        Array.from({ length: count }, () => mblocks.alloc(options)),
      );
      const got = settled.flatMap((each) => (each.status === 'fulfilled' ? [each.value] : []));
      const refusal = settled.find((each) => each.status === 'rejected');
      if (refusal === undefined) return got.map((mblock) => this.#keepMblock(mblock));
      await mblocks.abort(got);
      throw refusal.reason as Error;
    });
  }

  async allocMlog(options: LogAllocOptions): Promise<MlogAllocation> {
    return this.#counted(1, async () => {
      const allocation = await this.#shared.mlogs.alloc(options);
      this.#keep(this.#logs, allocation.id, allocation);
      return allocation;
    });
  }

  async allocMdc(options: LogAllocOptions): Promise<MdcAllocation> {
    return this.#counted(1, async () => {
      const allocation = await this.#shared.mdcs.alloc(options);
      this.#keep(this.#logs, allocation.id.logA, allocation);
      return allocation;
    });
  }

  /** @throws ERR_MPOOL_COMMITTED, ERR_MPOOL_NOT_FOUND */
  mblockToWrite(id: MblockId): Mblock {
    const mblock = this.#mblocks.get(id);
    if (mblock !== undefined) return mblock;
    throw this.#refusal(id, 'mblock');
  }

  /**
   * Of those that are not committed.
   * @param lengths what was written to each, as the client knows it
   * @throws ERR_MPOOL_FAILED when a write was refused that the client did not wait for
   */
  assertWhole(ids: readonly MblockId[], lengths: readonly number[]): void {
    for (const [i, id] of ids.entries()) {
      const mblock = this.#mblocks.get(id);
      if (mblock === undefined || mblock.acceptedBytes === lengths[i]) continue;
      const have = `has ${mblock.acceptedBytes} bytes, not ${lengths[i]}: abort it`;
      throw new MpoolError('ERR_MPOOL_FAILED', `mblock ${printObjectId(id)} ${have}`);
    }
  }

  /** All or none; those that are committed already stay so. */
  async commitMblocks(ids: readonly MblockId[]): Promise<void> {
    const mblocks = ids.flatMap((id) => {
      const mblock = this.#mblocks.get(id);
      if (mblock === undefined) this.#shared.store.indexOf(id);
      return mblock ?? [];
    });
    const committing = this.#shared.mblocks.commit(mblocks);
    for (const { id } of mblocks) this.#committing.set(id, committing);
    try {
      await committing;
      for (const { id } of mblocks) this.#forget(this.#mblocks, id);
    } finally {
      for (const { id } of mblocks) {
        if (this.#committing.get(id) === committing) this.#committing.delete(id);
      }
    }
  }

  async abortMblocks(ids: readonly MblockId[]): Promise<void> {
    const mblocks = ids.map((id) => this.mblockToWrite(id));
    await this.#shared.mblocks.abort(mblocks);
    for (const id of ids) this.#forget(this.#mblocks, id);
  }

  /**
   * Waits for commits under way of these, however they end: what a client asks of an mblock after its commit
   * happens after its commit. A promise only when there is something to wait for.
   */
  settled(ids: readonly MblockId[]): Promise<unknown> | undefined {
    if (this.#committing.size === 0) return undefined;
    const commits = ids.flatMap((id) => this.#committing.get(id)?.catch(() => {}) ?? []);
    return commits.length === 0 ? undefined : Promise.all(commits);
  }

  /** Of an mlog, or of an MDC by its log A. Committed already: no effect. */
  async commitLog(id: MlogId): Promise<void> {
    const allocation = this.#logs.get(id);
    if (allocation === undefined) {
      this.#shared.store.indexOf(id);
      return;
    }
    await allocation.commit();
    this.#forget(this.#logs, id);
  }

  async abortLog(id: MlogId): Promise<void> {
    const allocation = this.#logs.get(id);
    if (allocation === undefined) throw this.#refusal(id, 'mlog');
    await allocation.abort();
    this.#forget(this.#logs, id);
  }

  /** Gives all of it back; a commit under way is waited for. */
  async close(): Promise<void> {
    const all = [...this.#mblocks.values(), ...this.#logs.values()];
    this.#mblocks.clear();
    this.#logs.clear();
    const settled = await Promise.allSettled(all.map((each) => each[Symbol.asyncDispose]()));
    this.#account.give('uncommittedObjects', all.length);
    const failed = settled.find((each) => each.status === 'rejected');
    if (failed !== undefined) throw failed.reason as Error;
  }

  #keepMblock(mblock: StoreMblock): StoreMblock {
    this.#keep(this.#mblocks, mblock.id, mblock);
    return mblock;
  }

  #keep<T>(map: Map<bigint, T>, id: bigint, object: T): void {
    map.set(id, object);
    this.#account.add('uncommittedObjects', 1);
  }

  #forget(map: Map<bigint, unknown>, id: bigint): void {
    if (map.delete(id)) this.#account.give('uncommittedObjects', 1);
  }

  async #counted<T>(count: number, allocate: () => Promise<T>): Promise<T> {
    if (this.count + count > this.#most) {
      throw limitReached(`${this.#most} uncommitted objects of one client`);
    }
    this.#account.take('uncommittedObjects', count);
    this.#coming += count;
    try {
      return await allocate();
    } finally {
      this.#coming -= count;
      this.#account.give('uncommittedObjects', count);
    }
  }

  /** Why what is no uncommitted object of this session cannot be changed. */
  #refusal(id: MblockId | MlogId, what: string): Error {
    try {
      this.#shared.store.indexOf(id);
    } catch (error) {
      return error as Error;
    }
    return new MpoolError('ERR_MPOOL_COMMITTED', `${what} ${printObjectId(id)}`);
  }
}
