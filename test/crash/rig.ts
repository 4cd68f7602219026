// The scenario language: a pool on a simulated machine together with the model of what it must remember.
// Each verb tells the model before it asks the pool, and again when the pool acknowledged.
import assert from 'node:assert/strict';
import { isMpoolError } from '../../src/base/errors.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { activate } from '../../src/pool/activate.ts';
import type { Mblock, Mdc, Mlog } from '../../src/pool/api.ts';
import { type SharedPool, sharePool, StorePool } from '../../src/pool/pool.ts';
import type { Store } from '../../src/pool/store.ts';
import { mdcOf } from '../../src/pool/mdcs.ts';
import type { MlogId } from '../../src/format/object-id.ts';
import type { SimHost } from '../../src/testing/index.ts';
import type { PoolModel } from './model.ts';
import { type Watch, watched } from './watched-host.ts';

export const CAPACITY = '/dev/capacity';
export const STAGING = '/dev/staging';
export const FILE = '/pool/file';
export const MIB = 2 ** 20;

/** Errors that say: nothing changed. */
export function isRefusal(error: unknown): boolean {
  return isMpoolError(error, 'ERR_MPOOL_NO_SPACE') || isMpoolError(error, 'ERR_MPOOL_LOG_FULL');
}

export interface RigOptions {
  readOnly?: boolean;
  discard?: boolean;
  path?: string;
  /** Sees each I/O before it is submitted. */
  watch?: Watch;
  verifyBytes?: number;
}

/** Bytes that only this object, at this length, has. */
export function contentOf(id: bigint, lengthBytes: number): Uint8Array {
  const bytes = Buffer.alloc(lengthBytes, `mblock ${id.toString(16)}, ${lengthBytes}; `);
  for (let page = 0; page * PAGE_BYTES < lengthBytes; page++) bytes[page * PAGE_BYTES] = page;
  return bytes;
}

/** Bytes of a record that says which it is. */
export function recordOf(name: string, lengthBytes = name.length): Uint8Array {
  return Buffer.alloc(lengthBytes, name);
}

export class Rig {
  readonly host: SimHost;
  readonly model: PoolModel;
  readonly store: Store;
  readonly pool: StorePool;
  readonly #shared: SharedPool;
  readonly #logs: Map<bigint, Promise<Mlog | Mdc>>;
  readonly #others: Rig[] = [];

  /** @param first of whose pool this is another handle */
  private constructor(host: SimHost, model: PoolModel, store: Store, first?: Rig) {
    this.host = host;
    this.model = model;
    this.store = store;
    this.#shared = first === undefined ? sharePool(store) : first.#shared;
    this.#logs = first === undefined ? new Map<bigint, Promise<Mlog | Mdc>>() : first.#logs;
    const leave = first === undefined ? (force: boolean) => store.shutdown(force) : async () => {};
    this.pool = new StorePool(this.#shared, leave);
  }

  /** Another user of the same active pool, with a handle of its own; closed with the first one. */
  another(): Rig {
    const rig = new Rig(this.host, this.model, this.store, this);
    this.#others.push(rig);
    return rig;
  }

  static async open(host: SimHost, model: PoolModel, options: RigOptions = {}): Promise<Rig> {
    const guard = new SpaceGuard();
    const capacityPath = options.path ?? (host.paths.includes(CAPACITY) ? CAPACITY : FILE);
    // Both ways of writing logs: with zeros ahead, as on files, and without.
    const kind =
      host.paths.includes(capacityPath) && host.disk(capacityPath).sectorBytes === 512
        ? 'block'
        : 'file';
    const watch: Watch = (...io) => {
      guard.watch(...io);
      options.watch?.(...io);
    };
    const environment = { ...host.environment, host: watched(host, watch, kind) };
    const store = await activate(environment, {
      capacityPath,
      stagingPaths: host.paths.includes(STAGING) ? [STAGING] : [],
      readOnly: options.readOnly === true,
      force: false,
      engine: undefined,
      discard: options.discard !== false,
      checksumCacheBytes: undefined,
      verifyBytes: options.verifyBytes,
    });
    guard.store = store;
    const rig = new Rig(host, model, store);
    const root = store.poolRecords.properties.rootMdc.logA;
    if (model.root === 0n) {
      model.root = root;
      model.commit([[root, { kind: 'mdc' }]])();
      model.newId(root);
      model.newId(root + (1n << 12n));
    }
    return rig;
  }

  async close(): Promise<void> {
    await Promise.all(this.#others.map((rig) => rig.close()));
    await this.pool.close({ force: true });
  }

  /** After a power cut: what was under way must settle, and give all memory back. */
  async closeAfterCut(): Promise<void> {
    await this.pool.close({ force: true }).catch(() => {});
    this.model.leakedBuffers = this.host.liveBufferCount;
  }

  async alloc(mediaClass: 'capacity' | 'staging' = 'capacity'): Promise<Mblock> {
    const mblock = await this.pool.mblocks.alloc({ mediaClass });
    this.model.newId(mblock.id);
    return mblock;
  }

  async write(mblock: Mblock, lengthBytes: number): Promise<void> {
    const bytes = contentOf(mblock.id, lengthBytes);
    const cut = Math.floor(lengthBytes / 2 / PAGE_BYTES) * PAGE_BYTES;
    if (cut > 0) await mblock.write(bytes.subarray(0, cut));
    await mblock.write(bytes.subarray(cut));
  }

  /** One mblock for each length, in one commit. @returns their ids */
  async mblocks(lengths: number[], mediaClass?: 'capacity' | 'staging'): Promise<bigint[]> {
    const made = await Promise.all(lengths.map(() => this.alloc(mediaClass)));
    await Promise.all(made.map((mblock, i) => this.write(mblock, lengths[i]!)));
    await this.commit(made);
    return made.map(({ id }) => id);
  }

  async commit(mblocks: Mblock[]): Promise<void> {
    const done = this.model.commit(
      mblocks.map(({ id, writtenBytes }) => [
        id,
        { kind: 'mblock', bytes: contentOf(id, writtenBytes) },
      ]),
    );
    const committing =
      mblocks.length === 1 ? mblocks[0]!.commit() : this.pool.mblocks.commit(mblocks);
    await committing.catch((error: unknown) => {
      if (isRefusal(error)) this.model.withdraw(mblocks.map(({ id }) => id));
      throw error;
    });
    done();
  }

  async deleteMblocks(ids: readonly bigint[]): Promise<void> {
    const done = this.model.delete(ids);
    await this.pool.mblocks.delete(ids as Parameters<typeof this.pool.mblocks.delete>[0]);
    done();
  }

  async newMlog(capacityBytes = 16 * PAGE_BYTES): Promise<bigint> {
    const allocation = await this.pool.mlogs.alloc({ capacityBytes });
    this.model.newId(allocation.id);
    const done = this.model.commit([[allocation.id, { kind: 'mlog' }]]);
    await allocation.commit();
    done();
    return allocation.id;
  }

  async newMdc(capacityBytes = 16 * PAGE_BYTES): Promise<bigint> {
    const allocation = await this.pool.mdcs.alloc({ capacityBytes });
    this.model.newId(allocation.id.logA);
    this.model.newId(allocation.id.logB);
    const done = this.model.commit([[allocation.id.logA, { kind: 'mdc' }]]);
    await allocation.commit();
    done();
    return allocation.id.logA;
  }

  /** The open log, opened at first use. */
  log(id: bigint): Promise<Mlog | Mdc> {
    let open = this.#logs.get(id);
    if (open === undefined) {
      const logA = id as MlogId;
      const isMdc = this.model.objects.get(id)?.kind === 'mdc';
      open = isMdc ? this.pool.mdcs.open(mdcOf(logA)) : this.pool.mlogs.open(logA);
      this.#logs.set(id, open);
    }
    return open;
  }

  mdc(id: bigint): Promise<Mdc> {
    return this.log(id) as Promise<Mdc>;
  }

  async closeLog(id: bigint): Promise<void> {
    const durable = this.#model(id).mark();
    const log = await this.log(id);
    this.#logs.delete(id);
    await log.close();
    durable();
  }

  async append(id: bigint, record: Uint8Array | string, sync = false): Promise<void> {
    const log = await this.log(id);
    const bytes = typeof record === 'string' ? Buffer.from(record) : record;
    const model = this.#model(id);
    const durable = model.append(bytes);
    await log.append(bytes, { sync }).catch((error: unknown) => {
      if (isMpoolError(error, 'ERR_MPOOL_LOG_FULL')) model.withdraw(bytes);
      throw error;
    });
    if (sync) durable();
  }

  async sync(id: bigint): Promise<void> {
    const log = await this.log(id);
    const durable = this.#model(id).mark();
    await log.sync();
    durable();
  }

  async erase(id: bigint): Promise<void> {
    const log = (await this.log(id)) as Mlog;
    const done = this.#model(id).erase();
    await log.erase();
    done();
  }

  async startCompaction(id: bigint): Promise<void> {
    await (await this.mdc(id)).startCompaction();
    this.#model(id).startCompaction();
  }

  async endCompaction(id: bigint): Promise<void> {
    const mdc = await this.mdc(id);
    const done = this.#model(id).endCompaction();
    await mdc.endCompaction();
    done();
  }

  async cancelCompaction(id: bigint): Promise<void> {
    await (await this.mdc(id)).cancelCompaction();
    this.#model(id).cancelCompaction();
  }

  async compact(id: bigint, records: string[]): Promise<void> {
    const mdc = await this.mdc(id);
    const model = this.#model(id);
    model.startCompaction();
    for (const record of records) model.append(Buffer.from(record));
    const done = model.endCompaction();
    await mdc.compact(records);
    done();
  }

  async deleteMlog(id: bigint): Promise<void> {
    const done = this.model.delete([id]);
    await this.pool.mlogs.delete([id as MlogId]);
    done();
  }

  async deleteMdc(id: bigint): Promise<void> {
    const done = this.model.delete([id]);
    await this.pool.mdcs.delete(mdcOf(id as MlogId));
    done();
  }

  async setLabel(label: string): Promise<void> {
    const done = this.model.setLabel(label);
    await this.pool.setParameters({ label });
    done();
  }

  async grow(sizeBytes: number): Promise<void> {
    const done = this.model.grow(sizeBytes);
    await this.pool.grow();
    done();
  }

  async addStaging(): Promise<void> {
    this.model.staging = 'maybe';
    await this.pool.addMediaClass('staging', { path: STAGING, mblockSizeBytes: MIB });
    this.model.staging = 'yes';
  }

  #model(id: bigint) {
    const log = this.model.logs.get(id);
    assert.ok(log !== undefined, 'the model knows the log');
    return log;
  }
}

/** I9: each I/O lies in pages that have an owner, or is a superblock copy. */
class SpaceGuard {
  store: Store | null = null;

  readonly watch: Watch = (op, path, offsetBytes, lengthBytes) => {
    const { store } = this;
    if (store === null) return;
    const media = store.allMedia.find(({ device }) => device.path === path);
    // A device that is about to be added is nobody's yet.
    if (media === undefined) return;
    const { space, descriptor } = media;
    const first = Math.floor(offsetBytes / PAGE_BYTES);
    const end = Math.ceil((offsetBytes + lengthBytes) / PAGE_BYTES);
    for (let page = first; page < end; page++) {
      if (page < 32 || page >= Math.floor(descriptor.sizeBytes / PAGE_BYTES) - 16) {
        // A scrub looks whether the reserved pages are zero.
        if (op === 'read') continue;
        const copies = [0, 16, descriptor.sizeBytes / PAGE_BYTES - 16];
        assert.ok(page >= descriptor.sizeBytes / PAGE_BYTES - 16 || copies.includes(page));
        continue;
      }
      const extent = { pageAddress: page, pageCount: 1 };
      if (!space.markUsed(extent)) continue;
      space.free(extent);
      assert.fail(
        `I9: ${op} at ${offsetBytes}, ${lengthBytes} bytes of ${path}: page ${page} is free`,
      );
    }
  };
}
