import { MpoolError } from '../../base/errors.ts';
import { type MblockId, printObjectId } from '../../format/object-id.ts';
import type { Mcache, StoreMaps } from '../../pool/environment.ts';
import type { Store } from '../../pool/store.ts';
import type { Lease } from '../protocol.ts';
import { LeaseSet } from './lease-set.ts';
import { limitReached } from './limits.ts';
import type { UserAccount } from './user-accounts.ts';

/** Objects let go of before others have their turn: some milliseconds of work. */
const RELEASES_PER_SLICE = 16_384;
/** So that a notice fits in a frame. */
const IDS_PER_NOTICE = 16_384;

/**
 * The objects of one pool that its clients read and map by themselves: for the store these are the
 * maps of the
 * pool, since nothing is mapped in the daemon.
 *
 * Invariant: a session that leases an object holds one reference in the object table, however often it does;
 * so a deleted object's space, and its index, are nobody else's until the last session released it.
 */
export class PoolLeases implements StoreMaps {
  readonly sessions = new Set<SessionLeases>();
  /** Leased objects of which a deletion is under way: from some moment of it on no id leads to them. */
  readonly deleting = new Map<bigint, number>();
  /** Of all sessions: objects leased, each counted for each session. */
  count = 0;

  map(): Promise<never> {
    return Promise.reject(new MpoolError('ERR_MPOOL_PERMISSION', 'maps are made by clients'));
  }

  unmapOf(): Promise<void> {
    return Promise.resolve();
  }

  isMapped(index: number): boolean {
    for (const session of this.sessions) if (session.isMapped(index)) return true;
    return false;
  }

  reclaimed(): void {
    // Clients hear of it when they ask for the object the next time.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Before objects are deleted. */
  beginDeletion({ table }: Store, objects: readonly { id: MblockId; index: number }[]): void {
    for (const { id, index } of objects) {
      if (table.references(index) > 0) this.deleting.set(id, index);
    }
  }

  /**
   * After it, however it went: tells who leases objects that are deleted now.
   * @param by who deleted them, and knows
   */
  revoke(store: Store, objects: readonly { id: MblockId; index: number }[], by: object): void {
    const { table } = store;
    for (const { id, index } of objects) {
      this.deleting.delete(id);
      // Else nobody leases it: the row is gone, or another's already.
      if (!table.holds(index, Number(id >> 32n), Number(id & 0xffffffffn))) continue;
      if (!table.isDeleted(index)) continue;
      for (const session of this.sessions) session.objectDeleted(id, index, session !== by);
    }
  }
}

/** What a store is handed for its maps: reaped they are where they are made, in the clients. */
export function mcacheOf(leases: PoolLeases): Mcache {
  return {
    get reaper(): never {
      throw new MpoolError('ERR_MPOOL_PERMISSION', 'nothing is mapped in the daemon');
    },
    mapsOf: () => leases,
  };
}

export interface LeaseLimits {
  leases: number;
  leasesPerPool: number;
}

/** What one session leases. */
export class SessionLeases {
  readonly #pool: PoolLeases;
  readonly #store: Store;
  readonly #limits: LeaseLimits;
  readonly #account: UserAccount;
  readonly #revoked: (ids: string[]) => void;
  readonly #set = new LeaseSet();
  /** Leased here and deleted: the table no longer finds them by id. */
  readonly #deleted = new Map<bigint, number>();
  readonly #toTell: string[] = [];
  /** Going to be leased. */
  #coming = 0;

  /** @param revoked is told, at the end of a turn, which leased objects others deleted */
  constructor(
    pool: PoolLeases,
    store: Store,
    limits: LeaseLimits,
    account: UserAccount,
    revoked: (ids: string[]) => void,
  ) {
    this.#pool = pool;
    this.#store = store;
    this.#limits = limits;
    this.#account = account;
    this.#revoked = revoked;
    pool.sessions.add(this);
  }

  get count(): number {
    return this.#set.size;
  }
  get mappedCount(): number {
    return this.#set.mappedSize;
  }

  isMapped(index: number): boolean {
    return this.#set.isMapped(index);
  }

  /**
   * One more lease of each, or of none.
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_UNCOMMITTED, ERR_MPOOL_CORRUPT, ERR_MPOOL_LIMIT
   */
  take(ids: readonly MblockId[], mapped: boolean): Lease[] {
    const indices = ids.map((id) => this.#indexToLease(id));
    this.#refuseMore(indices.length);
    return indices.map((index) => {
      if (this.#set.add(index, mapped)) {
        this.#store.table.ref(index);
        this.#pool.count += 1;
        this.#account.add('leases', 1);
      }
      return this.#leaseOf(index);
    });
  }

  /** As take(), once `work` is done: what would be one too many is refused before. */
  async takeAfter(work: () => Promise<void>, ids: readonly MblockId[]): Promise<Lease[]> {
    this.#refuseMore(ids.length);
    this.#coming += ids.length;
    try {
      await work();
    } finally {
      this.#coming -= ids.length;
    }
    return this.take(ids, false);
  }

  /** One lease less of each. @throws ERR_MPOOL_NOT_FOUND after the others, when one was not leased so */
  release(ids: readonly MblockId[], mapped: boolean): void {
    let missing: bigint | undefined;
    for (const id of ids) {
      const index = this.#indexOf(id);
      if (index < 0 || !this.#isLeased(index, mapped)) missing ??= id;
      else if (this.#set.remove(index, mapped)) {
        this.#deleted.delete(id);
        this.#letGo(index);
      }
    }
    if (missing === undefined) return;
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `a lease of mblock ${printObjectId(missing)}`);
  }

  objectDeleted(id: MblockId, index: number, tell: boolean): void {
    if (!this.#set.has(index)) return;
    this.#deleted.set(id, index);
    if (!tell) return;
    if (this.#toTell.length === 0) {
      setImmediate(() => {
        const ids = this.#toTell.splice(0);
        for (let from = 0; from < ids.length; from += IDS_PER_NOTICE) {
          this.#revoked(ids.slice(from, from + IDS_PER_NOTICE));
        }
      });
    }
    this.#toTell.push(printObjectId(id));
  }

  /** All of them, in slices. Nothing can be leased any more. */
  async close(): Promise<void> {
    let count = 0;
    const indices = [...this.#set.indices()];
    this.#pool.sessions.delete(this);
    for (const index of indices) {
      this.#letGo(index);
      count += 1;
      if (count % RELEASES_PER_SLICE === 0) await new Promise(setImmediate);
    }
  }

  #refuseMore(count: number): void {
    const { leases, leasesPerPool } = this.#limits;
    if (this.count + this.#coming + count > leases) {
      throw limitReached(`${leases} objects leased by one client`);
    }
    if (this.#pool.count + this.#coming + count > leasesPerPool) {
      throw limitReached(`${leasesPerPool} objects leased by the clients of the pool`);
    }
    this.#account.refuseMore('leases', this.#coming + count);
  }

  #indexOf(id: bigint): number {
    return this.#deleted.get(id) ?? this.#pool.deleting.get(id) ?? this.#store.table.findId(id);
  }

  #isLeased(index: number, mapped: boolean): boolean {
    const counts = this.#set.countsOf(index);
    return mapped ? counts.mapped > 0 : counts.count > counts.mapped;
  }

  #indexToLease(id: MblockId): number {
    const index = this.#store.indexOf(id);
    if (!this.#store.table.isBad(index)) return index;
    const name = `mblock ${printObjectId(id)}`;
    throw new MpoolError('ERR_MPOOL_CORRUPT', `${name} shares its space with another object`);
  }

  #letGo(index: number): void {
    this.#pool.count -= 1;
    this.#account.give('leases', 1);
    if (this.#store.table.unref(index)) this.#store.reclaim(index);
  }

  #leaseOf(index: number): Lease {
    const { table } = this.#store;
    return {
      id: printObjectId(table.idAt(index)),
      mediaClass: table.mediaClass(index) === 1 ? 'capacity' : 'staging',
      pageAddress: table.pageAddress(index),
      pageCount: table.pageCount(index),
      lengthBytes: table.lengthBytes(index),
      digest: table.digest(index),
    };
  }
}
