import { MpoolError } from '../../base/errors.ts';
import { MIB } from '../../base/units.ts';
import type { Device } from '../../device/device.ts';
import { halvesOfId, type MblockId, printObjectId } from '../../format/object-id.ts';
import { ChecksumCache } from '../../pool/checksum-cache.ts';
import type { Health } from '../../pool/health.ts';
import type { Media } from '../../pool/media.ts';
import { MblockReader, type ReaderContext } from '../../pool/mblock-reader.ts';
import type { ClientChannel } from '../client-channel.ts';
import type { Lease } from '../protocol.ts';
import { idFromWire, idToWire } from '../wire-values.ts';
import type { DeletedIds } from './deleted-ids.ts';
import { LeaseTable } from './lease-table.ts';

/** Leases kept of objects that nothing uses: reading them again costs no round trip. */
const KEPT_MAX = 4096;
/** Given up at once, and looked at for it. */
const BATCH = 256;
const LOOKED_AT_MAX = 4 * BATCH;
const LOOK_EVERY = 64;
const KEPT_MAPPED_MAX = 16 * KEPT_MAX;
/** Of one request, so that it and its answer fit in frames. */
const LEASES_PER_REQUEST = 4096;
const RELEASES_PER_REQUEST = 16_384;
const CACHE_BYTES_DEFAULT = 64 * MIB;

export interface LeasesParts {
  channel: ClientChannel;
  /** Of the class with that code; undefined when it is missing. */
  device: (classCode: number) => Device | undefined;
  checksumCacheBytes: number | undefined;
  deleted: DeletedIds;
}

/** What maps have to do with leases. */
export interface MappedObjects {
  isMapped(index: number): boolean;
  reclaimed(index: number): void;
}

/**
 * The leases of one connection: which objects this process reads and maps by itself, and where they lie.
 *
 * Invariants
 * 1. A row in the table stands for one lease that the daemon counts, and with the mark `mapped` for one more;
 *    both are given up when the row goes, and not before.
 * 2. While a row has references its lease is kept: the space is nobody else's.
 * 3. A notice may overtake the answer with the lease that it revokes: so no lease of an object that is known
 *    to be deleted is kept.
 */
export class Leases implements ReaderContext {
  readonly table: LeaseTable;
  readonly cache: ChecksumCache;
  readonly reader: MblockReader;
  /** Where it is noted what was read and is not what was written. */
  health: Health | undefined;
  /** Given when there are maps. */
  maps: MappedObjects | undefined;
  readonly #parts: LeasesParts;
  readonly #coming = new Map<bigint, Promise<void>>();
  #released: string[] = [];
  #releasedMapped: string[] = [];
  #scheduled = false;
  /** The last of the releases that are under way: they take effect in their order. */
  #telling: Promise<void> = Promise.resolve();
  /** Where looking for leases to give up goes on. */
  #hand = -1;
  #insertedSinceLook = 0;

  constructor(parts: LeasesParts) {
    this.#parts = parts;
    this.table = new LeaseTable((index) => this.#giveUpMapped(index));
    this.cache = new ChecksumCache(parts.checksumCacheBytes ?? CACHE_BYTES_DEFAULT);
    this.reader = new MblockReader(this);
  }

  media(classCode: number): Media | undefined {
    const device = this.#parts.device(classCode);
    // The reader uses nothing else of it.
    return device && ({ device } as Media);
  }

  damaged(index: number, message: string): void {
    if (this.table.isDeleted(index)) return;
    this.health?.note('damaged', message, printObjectId(this.table.idAt(index)));
  }

  /** Index of an object that is leased and not deleted, or -1. */
  find(id: bigint): number {
    return this.table.findId(id);
  }

  /** @throws ERR_MPOOL_NOT_FOUND */
  indexOf(id: bigint): number {
    const index = this.find(id);
    if (index >= 0) return index;
    throw new MpoolError('ERR_MPOOL_NOT_FOUND', `object ${printObjectId(id)}`);
  }

  /** True when that row is this object's, and it is not deleted. */
  isLive(index: number, high: number, low: number): boolean {
    return index >= 0 && this.table.holds(index, high, low) && !this.table.isDeleted(index);
  }

  /**
   * Leases an object, once however many ask: then find() knows it, for the moment.
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_UNCOMMITTED …
   */
  async lease(id: MblockId): Promise<void> {
    if (this.find(id) >= 0) return;
    let coming = this.#coming.get(id);
    if (coming === undefined) {
      coming = this.#lease(id).finally(() => this.#coming.delete(id));
      this.#coming.set(id, coming);
    }
    await coming;
  }

  /**
   * Leases all of these for maps, or none. What others do meanwhile may undo it: see areMapped().
   * @throws as lease()
   */
  async leaseMapped(ids: readonly MblockId[]): Promise<void> {
    const wanted = [...new Set(ids)];
    const unknown = wanted.filter((id) => this.find(id) < 0);
    const unmapped = wanted.filter((id) => !this.#isMarkedMapped(id));
    const [plain, mapped] = await Promise.allSettled([
      this.#ask(unknown, false),
      this.#ask(unmapped, true),
    ]);
    // What came is either kept or given up again.
    if (plain.status === 'fulfilled') {
      unknown.forEach((id, i) => this.#insert(id, plain.value[i]!));
    }
    if (mapped.status === 'fulfilled') {
      unmapped.forEach((id, i) => this.#mark(id, mapped.value[i]!));
    }
    if (plain.status === 'rejected') throw plain.reason as Error;
    if (mapped.status === 'rejected') throw mapped.reason as Error;
  }

  /** Whether all have leases for maps: then maps of them can be made, at once. */
  areMapped(ids: readonly MblockId[]): boolean {
    return ids.every((id) => this.#isMarkedMapped(id));
  }

  /** Gives up leases for maps of what no map has. */
  giveUpUnmapped(ids: readonly MblockId[]): void {
    for (const id of ids) this.#giveUpMapped(this.find(id));
  }

  /**
   * Takes in leases that came with the answer to something else.
   * @returns the index of each; -1 for one that is deleted already
   */
  adopt(ids: readonly bigint[], leases: readonly Lease[]): number[] {
    return ids.map((id, i) => this.#insert(id, leases[i]!));
  }

  /** Objects are deleted: nothing new is begun on them, and they are let go of when nothing uses them. */
  revoke(ids: Iterable<bigint>): void {
    for (const id of ids) {
      this.#parts.deleted.add(id);
      this.health?.forget(() => printObjectId(id));
      const index = this.find(id);
      if (index >= 0 && this.table.markDeleted(index)) this.reclaim(index);
    }
  }

  revokeTold(ids: readonly string[]): void {
    this.revoke(ids.map((id) => idFromWire(id, 'a revoked id')));
  }

  /**
   * Forgets leases of which nothing is in use, for a request that gives them up by itself.
   * @returns those that there were
   */
  takeIdle(ids: Iterable<bigint>): string[] {
    const idle: string[] = [];
    for (const id of ids) {
      const index = this.find(id);
      if (index < 0 || this.table.references(index) > 0 || this.table.isMapped(index)) continue;
      this.#forget(index);
      idle.push(idToWire(id));
    }
    return idle;
  }

  /** Nothing uses the deleted object any more. */
  reclaim(index: number): void {
    const id = idToWire(this.table.idAt(index));
    if (this.table.isMapped(index)) this.#release(this.#releasedMapped, id);
    this.#forget(index);
    this.#release(this.#released, id);
  }

  /** Nothing is read or mapped any more: the daemon need not wait whether this process still looks. */
  async giveUpAll(): Promise<void> {
    const { table } = this;
    for (let index = table.nextOwner(-1); index >= 0; index = table.nextOwner(index)) {
      const id = idToWire(table.idAt(index));
      if (table.isMapped(index)) this.#releasedMapped.push(id);
      this.#released.push(id);
    }
    this.flush();
    await this.#telling;
  }

  /** Tells the daemon what was given up, before anything that is asked after it. */
  flush(): void {
    if (this.#released.length > 0) this.#tell(this.#released.splice(0), {});
    if (this.#releasedMapped.length > 0)
      this.#tell(this.#releasedMapped.splice(0), { mapped: true });
  }

  #tell(all: readonly string[], how: { mapped?: boolean }): void {
    for (const ids of slicesOf(all, RELEASES_PER_REQUEST)) {
      // Nobody waits for it, and a connection that ends gives up all leases.
      this.#telling = this.#parts.channel.request('mblock.release', { ids, ...how }).then(
        () => {},
        () => {},
      );
    }
  }

  async #lease(id: MblockId): Promise<void> {
    const [lease] = await this.#ask([id], false);
    this.#insert(id, lease!);
  }

  async #ask(ids: readonly MblockId[], mapped: boolean): Promise<Lease[]> {
    const { channel } = this.#parts;
    this.flush();
    const asked = slicesOf(ids, LEASES_PER_REQUEST).map((slice) =>
      channel.request('mblock.lease', { ids: slice.map(idToWire), ...(mapped && { mapped }) }),
    );
    const answers = await Promise.allSettled(asked);
    const leases = answers.flatMap((each) =>
      each.status === 'fulfilled' ? each.value.body.leases : [],
    );
    const refused = answers.find((each) => each.status === 'rejected');
    if (refused === undefined) return leases;
    for (const { id } of leases) this.#release(mapped ? this.#releasedMapped : this.#released, id);
    throw refused.reason as Error;
  }

  #isMarkedMapped(id: MblockId): boolean {
    const index = this.find(id);
    return index >= 0 && this.table.isMapped(index);
  }

  /** @returns -1 when it is deleted meanwhile, and then the lease is given up again */
  #insert(id: bigint, lease: Lease): number {
    const { table } = this;
    const existing = table.findId(id);
    if (existing >= 0 || this.#parts.deleted.has(id)) {
      // A row stands for one lease, and what is deleted needs none.
      this.#release(this.#released, lease.id);
      return existing;
    }
    this.#insertedSinceLook += 1;
    if (table.count >= KEPT_MAX && this.#insertedSinceLook >= LOOK_EVERY) this.#giveUpIdle();
    const { low, high } = halvesOfId(id);
    return table.insert(high, low, {
      mediaClass: lease.mediaClass === 'capacity' ? 1 : 0,
      role: 0,
      pageAddress: lease.pageAddress,
      pageCount: lease.pageCount,
      lengthBytes: lease.lengthBytes,
      digest: lease.digest,
    });
  }

  /** A lease for maps came. */
  #mark(id: bigint, lease: Lease): void {
    const index = this.find(id);
    if (index >= 0 && !this.table.isMapped(index)) this.table.setMapped(index, true);
    else this.#release(this.#releasedMapped, lease.id);
  }

  /** Second chance: what was read since the hand last came by stays. */
  #giveUpIdle(): void {
    const { table } = this;
    // Maps may come back for pages that are still cached; their rows are worth more.
    const keepsMapped = table.count < KEPT_MAPPED_MAX;
    this.#insertedSinceLook = 0;
    let given = 0;
    for (let looked = 0; looked < LOOKED_AT_MAX && given < BATCH; looked++) {
      this.#hand = table.next(this.#hand);
      if (this.#hand < 0) continue;
      const index = this.#hand;
      if (table.references(index) > 0 || table.isMapped(index) || table.takeTouch(index)) continue;
      if (keepsMapped && table.wasMapped(index)) continue;
      const id = idToWire(table.idAt(index));
      this.#forget(index);
      this.#release(this.#released, id);
      given += 1;
    }
  }

  /** No map has the object any more. */
  #giveUpMapped(index: number): void {
    if (index < 0 || !this.table.isMapped(index) || this.maps?.isMapped(index) === true) return;
    this.table.setMapped(index, false);
    this.#release(this.#releasedMapped, idToWire(this.table.idAt(index)));
  }

  #forget(index: number): void {
    this.cache.delete(index);
    this.maps?.reclaimed(index);
    this.table.setMapped(index, false);
    this.table.remove(index);
  }

  /** Told at the end of the turn, so that many are one request. */
  #release(list: string[], id: string): void {
    list.push(id);
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}

function slicesOf<T>(all: readonly T[], most: number): T[][] {
  const slices: T[][] = [];
  for (let at = 0; at < all.length; at += most) slices.push(all.slice(at, at + most));
  return slices;
}
