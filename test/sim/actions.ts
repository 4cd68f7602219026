// What users of a simulated pool do: each action draws all that is random in it from its own seed, and
// chooses among the objects that the model knows and nobody is busy with.
import { isMpoolError } from '../../src/base/errors.ts';
import { below, chance, type SeededPrng } from '../../src/base/prng.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { MblockId, Mlog, MlogId, PoolParameters, Temperature } from '../../src/pool/api.ts';
import { contentOf, isRefusal, MIB, recordOf, type Rig, STAGING } from '../crash/rig.ts';
import { lengthOf, onlyMpoolErrors, sameBytes, take } from './choices.ts';
import { checkClosed, endMap, keepMap, openMap, press, some, useMap } from './held-maps.ts';
import { commitAndDelete, deleteTwice, mapAndReuse } from './races.ts';
import type { World } from './world.ts';

/** How often each is drawn. */
export const ACTION_WEIGHTS = {
  commit: 20,
  abort: 3,
  delete: 10,
  read: 8,
  'map-read': 6,
  'keep-map': 4,
  'use-map': 8,
  'end-map': 2,
  'delete-twice': 1,
  'commit-and-delete': 2,
  'map-and-reuse': 2,
  'close-handle': 1,
  pressure: 4,
  starve: 2,
  'fill-up': 1,
  'new-log': 5,
  'delete-log': 2,
  append: 24,
  'read-log': 4,
  'close-log': 4,
  'sync-log': 3,
  'replace-log': 6,
  'mark-compaction': 2,
  label: 3,
  parameters: 1,
  'compact-metadata': 3,
  scrub: 1,
  usage: 1,
  grow: 1,
  'add-staging': 2,
  'let-time-pass': 2,
  sync: 2,
};

type ActionName = keyof typeof ACTION_WEIGHTS;

export class User {
  #rig: Rig;
  readonly #first: Rig;
  readonly #world: World;

  /** @param first of the pool; the user has a handle of its own, unless told that it is this one */
  constructor(first: Rig, world: World, isFirst: boolean) {
    this.#first = first;
    this.#rig = isFirst ? first : first.another();
    this.#world = world;
  }

  /** @throws what is no MpoolError: then the store, or the model, is wrong */
  async act(action: string, prng: SeededPrng): Promise<void> {
    const run = this.#actions[action as ActionName];
    if (run === undefined) throw new SyntaxError(`no action: ${action}`);
    this.#world.actions += 1;
    try {
      await run(prng);
      this.#world.see(action);
    } catch (error) {
      if (!isMpoolError(error)) throw new Error(`${action}: ${String(error)}`, { cause: error });
      const damaged = error.code === 'ERR_MPOOL_CORRUPT' || error.code === 'ERR_MPOOL_CHECKSUM';
      if (damaged && !this.#world.faulty && !this.#rig.host.powerIsCut) {
        throw new Error(`${action}: damage where none was done: ${error.message}`, {
          cause: error,
        });
      }
      this.#world.see(error.code);
      this.#world.errors += 1;
    }
  }

  readonly #actions: Record<ActionName, (prng: SeededPrng) => Promise<unknown>> = {
    commit: (prng) => this.#commit(prng),
    abort: (prng) => this.#abort(prng),
    delete: (prng) => this.#delete(prng, 1 + below(prng, 3)),
    read: (prng) => this.#read(prng),
    'map-read': (prng) => this.#mapRead(prng),
    'keep-map': (prng) => this.#keepMap(prng),
    'use-map': (prng) => useMap(this.#world, prng),
    'end-map': (prng) => this.#endMap(prng),
    'delete-twice': (prng) => this.#delete(prng, 2, (ids) => deleteTwice(this.#rig, ids)),
    'commit-and-delete': (prng) => commitAndDelete(this.#rig, prng),
    'map-and-reuse': (prng) => this.#mapAndReuse(prng),
    'close-handle': () => this.#closeHandle(),
    starve: (prng) => this.#starve(prng),
    pressure: async (prng) => press(this.#rig, prng),
    'fill-up': (prng) => this.#fillUp(prng),
    'new-log': (prng) => this.#newLog(prng),
    'delete-log': (prng) => this.#deleteLog(prng),
    append: (prng) => this.#withLog(prng, (id) => this.#append(id, prng), 'beside others'),
    'read-log': (prng) => this.#withLog(prng, (id) => this.#readLog(id)),
    'close-log': (prng) => this.#withLog(prng, (id) => this.#rig.closeLog(id)),
    'sync-log': (prng) => this.#withLog(prng, (id) => this.#rig.sync(id), 'beside others'),
    'replace-log': (prng) => this.#withLog(prng, (id) => this.#replaceLog(id, prng)),
    'mark-compaction': (prng) => this.#withLog(prng, (id) => this.#markCompaction(id, prng)),
    label: (prng) => this.#alone('label', () => this.#rig.setLabel(`label-${prng.u32()}`)),
    parameters: (prng) => this.#setParameters(prng),
    'compact-metadata': (prng) => this.#compactMetadata(prng),
    scrub: () => this.#scrub(),
    usage: () => this.#usage(),
    grow: (prng) => this.#alone('devices', () => this.#grow(prng)),
    'add-staging': () => this.#alone('devices', () => this.#addStaging()),
    'let-time-pass': async (prng) => this.#rig.host.clock.advance(below(prng, 1500)),
    sync: () => this.#rig.pool.sync(),
  };

  #mediaClass(prng: SeededPrng): 'capacity' | 'staging' {
    return this.#rig.model.staging === 'yes' && chance(prng, 0.4) ? 'staging' : 'capacity';
  }

  async #commit(prng: SeededPrng): Promise<void> {
    const count = chance(prng, 0.3) ? 2 + below(prng, 3) : 1;
    const made = [];
    try {
      for (let i = 0; i < count; i++) {
        const mblock = await this.#rig.alloc(this.#mediaClass(prng));
        made.push(mblock);
        await this.#rig.write(mblock, lengthOf(prng));
      }
      await this.#rig.commit(made);
    } catch (error) {
      // Also of what a failed commit left in doubt: an abort must not harm it.
      for (const mblock of made) await mblock.abort().catch(onlyMpoolErrors);
      throw error;
    }
  }

  async #abort(prng: SeededPrng): Promise<void> {
    const mblock = await this.#rig.alloc(this.#mediaClass(prng));
    const writing = this.#rig.write(mblock, lengthOf(prng));
    if (chance(prng, 0.5)) await writing.catch(onlyMpoolErrors);
    await Promise.allSettled([writing, mblock.abort()]);
    await mblock.abort();
  }

  async #delete(
    prng: SeededPrng,
    count: number,
    how: (ids: bigint[]) => Promise<void> = (ids) => this.#rig.deleteMblocks(ids),
  ): Promise<void> {
    const ids = this.#mblocks();
    const chosen: bigint[] = [];
    while (chosen.length < count && ids.length > 0) chosen.push(take(ids, prng));
    if (chosen.length === 0) return;
    await this.#world.exclusively(chosen, () => how(chosen));
  }

  async #read(prng: SeededPrng): Promise<void> {
    const ids = this.#rig.model.idsOf('mblock');
    if (ids.length === 0) return;
    const id = take(ids, prng);
    const wanted = contentOf(id, this.#rig.model.objects.get(id)!.bytes!.length);
    const from = below(prng, wanted.length + 1);
    const length = below(prng, wanted.length - from + 1);
    const bytes = await this.#rig.pool.mblocks.read(id as MblockId, from, length);
    sameBytes(bytes, wanted.subarray(from, from + length), `I2: 0x${id.toString(16)}`);
  }

  /** Also while others delete the objects: a map keeps what it has. */
  async #mapRead(prng: SeededPrng): Promise<void> {
    const ids = some(this.#mblocks(), prng);
    if (ids.length === 0) return;
    const held = await openMap(this.#rig, ids, prng);
    const { map, wanted } = held;
    try {
      for (let reads = 1 + below(prng, 4); reads > 0; reads--) {
        const index = below(prng, ids.length);
        const bytes = wanted[index]!;
        const from = below(prng, bytes.length + 1);
        const length = below(prng, bytes.length - from + 1);
        const found = await map.read(index, from, length);
        sameBytes(found, bytes.subarray(from, from + length), `I11: 0x${ids[index]!.toString(16)}`);
        if (chance(prng, 0.3)) await this.#rig.host.clock.advance(below(prng, 3000));
        if (chance(prng, 0.2)) await this.#world.evicting(() => map.purge());
        if (chance(prng, 0.2)) await map.adviseAll('willneed');
      }
      await map.residency();
    } finally {
      await endMap(held);
    }
  }

  async #keepMap(prng: SeededPrng, wish?: Temperature): Promise<void> {
    const ids = some(this.#mblocks(), prng);
    if (ids.length > 0) await keepMap(this.#rig, this.#world, ids, prng, wish);
  }

  async #endMap(prng: SeededPrng): Promise<void> {
    const { maps } = this.#world;
    if (maps.length > 0) await endMap(maps.splice(below(prng, maps.length), 1)[0]!);
  }

  /** Memory gets short, and stays so for a while: what is mapped is there still, if not in memory. */
  async #starve(prng: SeededPrng): Promise<void> {
    const { host } = this.#rig;
    await this.#keepMap(prng, 'cold');
    await this.#keepMap(prng, 'pinned');
    host.environment.mcache.reaper.configure({ enabled: true, ttlMs: 1 + below(prng, 500) });
    host.memory.leaveFree(below(prng, 48) * PAGE_BYTES);
    await host.clock.advance(1000 + below(prng, 8000));
    await useMap(this.#world, prng);
    if (chance(prng, 0.7)) host.memory.leaveFree(2 ** 33);
  }

  async #mapAndReuse(prng: SeededPrng): Promise<void> {
    const ids = this.#mblocks();
    if (ids.length === 0) return;
    const id = take(ids, prng);
    const reuse = (): Promise<void> => mapAndReuse(this.#rig, this.#world, id, prng);
    await this.#world.exclusively([id], reuse);
  }

  /** While all that was asked through it may be under way; then another one. */
  async #closeHandle(): Promise<void> {
    if (this.#rig === this.#first) return;
    const { pool } = this.#rig;
    this.#rig = this.#first.another();
    await pool.close({ force: true });
    checkClosed(this.#world, pool);
  }

  async #setParameters(prng: SeededPrng): Promise<void> {
    const changes: Partial<PoolParameters>[] = [
      { sparePercentCapacity: below(prng, 30) },
      { readAheadPages: below(prng, 33) },
      { mappedRegionLog2: 27 + below(prng, 6), mode: below(prng, 0o1000) },
      ...(this.#rig.model.staging === 'yes' ? [{ sparePercentStaging: below(prng, 30) }] : []),
    ];
    await this.#rig.pool.setParameters(changes[below(prng, changes.length)]!);
  }

  /** Takes all space there is; then deletion must work (I13). */
  async #fillUp(prng: SeededPrng): Promise<void> {
    try {
      for (;;) await this.#rig.mblocks([lengthOf(prng)]);
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
    await this.#delete(prng, 4);
  }

  async #newLog(prng: SeededPrng): Promise<void> {
    const rig = this.#rig;
    if (rig.model.logs.size >= 6) return;
    const bytes = chance(prng, 0.1) ? MIB + 1 : (2 + below(prng, 40)) * PAGE_BYTES;
    await (chance(prng, 0.5) ? rig.newMlog(bytes) : rig.newMdc(bytes));
  }

  #deleteLog(prng: SeededPrng): Promise<void> {
    return this.#withLog(prng, async (id) => {
      const rig = this.#rig;
      if (id === rig.model.root) return;
      await rig.closeLog(id);
      if (rig.model.objects.get(id)!.kind === 'mdc') await rig.deleteMdc(id);
      else await rig.deleteMlog(id);
    });
  }

  async #append(id: bigint, prng: SeededPrng): Promise<void> {
    const jobs: Promise<void>[] = [];
    for (let left = 1 + below(prng, 6); left > 0; left--) {
      const long = chance(prng, 0.01) ? 300_000 : chance(prng, 0.2) ? 9000 : 600;
      const record = recordOf(`${prng.u32()}.${left} `, below(prng, long));
      jobs.push(this.#rig.append(id, record, chance(prng, 0.3)));
      if (chance(prng, 0.3)) jobs.push(this.#rig.sync(id));
    }
    const results = await Promise.allSettled(jobs);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  /** A reader sees all that was appended, durable or not. */
  async #readLog(id: bigint): Promise<void> {
    const wanted = this.#rig.model.logs.get(id)!.records;
    const log = await this.#rig.log(id);
    let count = 0;
    for await (const record of log.records()) {
      sameBytes(record, wanted[count] ?? Buffer.from('?'), `I6: record ${count}`);
      count += 1;
    }
    if (count !== wanted.length) throw new Error(`I6: ${count} of ${wanted.length} records`);
  }

  async #replaceLog(id: bigint, prng: SeededPrng): Promise<void> {
    const rig = this.#rig;
    if (rig.model.objects.get(id)!.kind === 'mlog') return rig.erase(id);
    if (chance(prng, 0.3)) return rig.compact(id, [`compact ${prng.u32()}`, '2']);
    await rig.startCompaction(id);
    try {
      for (let i = below(prng, 5); i > 0; i--) {
        await rig.append(id, recordOf(`compacted ${i} `, below(prng, 5000)), chance(prng, 0.2));
      }
      if (chance(prng, 0.7)) return await rig.endCompaction(id);
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
    await rig.cancelCompaction(id);
  }

  /** Markers are no records: an mlog's content is the same with them; not ended, it is refused as such. */
  async #markCompaction(id: bigint, prng: SeededPrng): Promise<void> {
    const rig = this.#rig;
    if (rig.model.objects.get(id)!.kind !== 'mlog') return;
    await rig.erase(id);
    await rig.closeLog(id);
    const open = (): Promise<Mlog> =>
      rig.pool.mlogs.open(id as MlogId, { compactionSemantics: true });
    const log = await open();
    const ended = chance(prng, 0.7);
    try {
      await log.startCompaction();
      const record = recordOf(`compacted ${prng.u32()} `, below(prng, 3000));
      const model = rig.model.logs.get(id)!;
      const durable = model.append(record);
      await log.append(record, { sync: true }).catch((error: unknown) => {
        if (isRefusal(error)) model.withdraw(record);
        throw error;
      });
      durable();
      if (ended) await log.endCompaction();
    } finally {
      await log.close();
    }
    if (ended) return;
    const refusal = await open().then(
      async (again) => again.close(),
      (error: unknown) => error,
    );
    if (refusal === undefined) throw new Error('I6: a compaction that did not end counts');
  }

  async #compactMetadata(prng: SeededPrng): Promise<void> {
    const { catalog, poolRecords } = this.#rig.store;
    await (chance(prng, 0.7) ? catalog.log.compact() : poolRecords.log.compact());
  }

  async #scrub(): Promise<void> {
    const { findings } = await this.#rig.pool.scrub({ bytesPerSecond: Infinity });
    const bad = findings.filter(({ severity }) => severity !== 'note');
    if (bad.length === 0 || this.#world.faulty || this.#rig.host.powerIsCut) return;
    throw new Error(`a scrub of a sound pool finds ${JSON.stringify(bad[0])}`);
  }

  async #usage(): Promise<void> {
    const { totalBytes, usedBytes, freeUsableBytes, freeSpareBytes } = await this.#rig.pool.usage();
    if (usedBytes + freeUsableBytes + freeSpareBytes !== totalBytes) throw new Error('I4: usage');
    await this.#rig.pool.info();
  }

  async #grow(prng: SeededPrng): Promise<void> {
    const { host, store } = this.#rig;
    const { path } = store.capacity.device;
    const sizeBytes = host.disk(path).sizeBytes + (16 + below(prng, 800)) * PAGE_BYTES;
    host.disk(path).resize(sizeBytes);
    const staging = store.staging?.device.path;
    if (staging !== undefined && chance(prng, 0.3)) {
      host.disk(staging).resize(host.disk(staging).sizeBytes + below(prng, 800) * PAGE_BYTES);
    }
    await this.#rig.grow(sizeBytes);
  }

  async #addStaging(): Promise<void> {
    const { host, model } = this.#rig;
    if (model.staging === 'no' && host.paths.includes(STAGING)) await this.#rig.addStaging();
  }

  async #withLog(
    prng: SeededPrng,
    use: (id: bigint) => Promise<void>,
    how: 'alone' | 'beside others' = 'alone',
  ): Promise<void> {
    const { objects, logs } = this.#rig.model;
    const world = this.#world;
    const isFree = (id: bigint): boolean =>
      !world.busy.has(id) && !world.failed.has(id) && (how !== 'alone' || !world.shared.has(id));
    const usable = [...logs.keys()].filter((id) => objects.get(id)!.there === 'yes' && isFree(id));
    if (usable.length === 0) return;
    const id = take(usable, prng);
    try {
      if (how === 'alone') await world.exclusively([id], () => use(id));
      else await world.together(id, () => use(id));
    } catch (error) {
      if (!isRefusal(error)) world.failed.add(id);
      throw error;
    }
  }

  #mblocks(): bigint[] {
    const { busy } = this.#world;
    return [...this.#rig.model.objects]
      .filter(([id, o]) => o.kind === 'mblock' && o.there === 'yes' && !busy.has(id))
      .map(([id]) => id);
  }

  async #alone(what: string, use: () => Promise<void>): Promise<void> {
    if (!this.#world.busy.has(what)) await this.#world.exclusively([what], use);
  }
}
