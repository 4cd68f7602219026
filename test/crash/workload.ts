// Random work on a pool, several tasks at once, against the model: what the long run and the determinism
// test use. Everything random comes from one seed.
import assert from 'node:assert/strict';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, chance, type SeededPrng } from '../../src/base/prng.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { contentOf, isRefusal, MIB, recordOf, type Rig } from './rig.ts';

type Action = (work: Workload) => Promise<void>;

const ACTIONS: [weight: number, name: string, action: Action][] = [
  [20, 'commit', (work) => work.commit()],
  [4, 'abort', (work) => work.abort()],
  [12, 'delete', (work) => work.delete()],
  [10, 'read', (work) => work.read()],
  [3, 'new log', (work) => work.newLog()],
  [2, 'delete log', (work) => work.deleteLog()],
  [30, 'append', (work) => work.append()],
  [5, 'read log', (work) => work.readLog()],
  [4, 'close log', (work) => work.withLog((id) => work.rig.closeLog(id))],
  [5, 'replace log', (work) => work.replaceLog()],
  [3, 'label', (work) => work.label()],
  [3, 'compact', (work) => work.compactMetadata()],
  [2, 'time', (work) => work.rig.host.clock.advance(below(work.prng, 1500)).then(() => {})],
  [2, 'sync', (work) => work.rig.pool.sync()],
];

const TASKS = 4;
const LOGS_MAX = 6;

export class Workload {
  readonly rig: Rig;
  readonly prng: SeededPrng;
  /** Objects that a task is busy with. */
  readonly #busy = new Set<bigint | string>();
  /** Logs that failed: not used again until the pool is reopened. */
  readonly #failed = new Set<bigint>();
  #left = 0;
  actions = 0;
  errors = 0;

  constructor(rig: Rig, prng: SeededPrng) {
    this.rig = rig;
    this.prng = prng;
  }

  /** So many actions, or until the pool fails or the power is cut. Throws only what is no MpoolError. */
  async run(actions: number): Promise<void> {
    this.#left = actions;
    await Promise.all(Array.from({ length: TASKS }, () => this.#task()));
  }

  async #task(): Promise<void> {
    while (this.#left > 0 && !this.rig.host.powerIsCut && this.rig.store.failure === null) {
      this.#left -= 1;
      this.actions += 1;
      const [, name, action] = this.#choose();
      try {
        await action(this);
      } catch (error) {
        if (!isMpoolError(error)) throw new Error(`${name}: ${String(error)}`, { cause: error });
        this.errors += 1;
      }
    }
  }

  #choose(): (typeof ACTIONS)[number] {
    const total = ACTIONS.reduce((sum, [weight]) => sum + weight, 0);
    let at = below(this.prng, total);
    for (const action of ACTIONS) {
      at -= action[0];
      if (at < 0) return action;
    }
    return ACTIONS[0]!;
  }

  #length(): number {
    const { prng } = this;
    if (chance(prng, 0.05)) return below(prng, MIB - 2 * PAGE_BYTES);
    return chance(prng, 0.2) ? below(prng, 3) * PAGE_BYTES : below(prng, 12 * PAGE_BYTES);
  }

  #mediaClass(): 'capacity' | 'staging' {
    return this.rig.model.staging === 'yes' && chance(this.prng, 0.3) ? 'staging' : 'capacity';
  }

  async commit(): Promise<void> {
    const count = chance(this.prng, 0.3) ? 2 + below(this.prng, 3) : 1;
    const made = [];
    try {
      for (let i = 0; i < count; i++) {
        const mblock = await this.rig.alloc(this.#mediaClass());
        made.push(mblock);
        await this.rig.write(mblock, this.#length());
      }
      await this.rig.commit(made);
    } catch (error) {
      // Also of what a failed commit left in doubt: an abort must not harm it.
      for (const mblock of made) await mblock.abort().catch(onlyMpoolErrors);
      throw error;
    }
  }

  async abort(): Promise<void> {
    const mblock = await this.rig.alloc(this.#mediaClass());
    const writing = this.rig.write(mblock, this.#length());
    if (chance(this.prng, 0.5)) await writing;
    await Promise.allSettled([writing, mblock.abort()]);
    await mblock.abort();
  }

  async delete(): Promise<void> {
    const ids = this.#mblocks();
    if (ids.length === 0) return;
    const count = Math.min(ids.length, 1 + below(this.prng, 3));
    const chosen = Array.from({ length: count }, () => this.#take(ids));
    await this.#exclusively(chosen, () => this.rig.deleteMblocks(chosen));
  }

  /** Also of objects that others are deleting at the same time: the right bytes, or NOT_FOUND. */
  async read(): Promise<void> {
    const ids = this.rig.model.idsOf('mblock');
    if (ids.length === 0) return;
    const id = this.#take(ids);
    const wanted = contentOf(id, this.rig.model.objects.get(id)!.bytes!.length);
    const from = below(this.prng, wanted.length + 1);
    const length = below(this.prng, wanted.length - from + 1);
    const mblockId = id as Parameters<typeof this.rig.pool.mblocks.read>[0];
    const bytes = await this.rig.pool.mblocks.read(mblockId, from, length);
    const right = Buffer.compare(bytes, wanted.subarray(from, from + length)) === 0;
    if (!right) throw new Error(`I2: other bytes in 0x${id.toString(16)}`);
  }

  async newLog(): Promise<void> {
    if (this.rig.model.logs.size >= LOGS_MAX) return;
    const bytes = chance(this.prng, 0.2) ? MIB + 1 : (2 + below(this.prng, 40)) * PAGE_BYTES;
    if (chance(this.prng, 0.5)) await this.rig.newMlog(bytes);
    else await this.rig.newMdc(bytes);
  }

  deleteLog(): Promise<void> {
    return this.withLog(async (id) => {
      if (id === this.rig.model.root) return;
      await this.rig.closeLog(id);
      if (this.rig.model.objects.get(id)!.kind === 'mdc') await this.rig.deleteMdc(id);
      else await this.rig.deleteMlog(id);
    });
  }

  append(): Promise<void> {
    return this.withLog(async (id) => {
      const jobs: Promise<void>[] = [];
      for (let left = 1 + below(this.prng, 6); left > 0; left--) {
        const long = chance(this.prng, 0.02) ? 300_000 : chance(this.prng, 0.2) ? 9000 : 600;
        const record = recordOf(`${this.actions}.${left} `, below(this.prng, long));
        jobs.push(this.rig.append(id, record, chance(this.prng, 0.3)));
        if (chance(this.prng, 0.3)) jobs.push(this.rig.sync(id));
      }
      const results = await Promise.allSettled(jobs);
      for (const result of results) if (result.status === 'rejected') throw result.reason;
    });
  }

  /** A reader sees all that was appended, durable or not. */
  readLog(): Promise<void> {
    return this.withLog(async (id) => {
      const wanted = this.rig.model.logs.get(id)!.records;
      const log = await this.rig.log(id);
      let count = 0;
      for await (const record of log.records()) {
        const right = Buffer.compare(record, wanted[count] ?? Buffer.from('?')) === 0;
        if (!right) throw new Error(`I6: record ${count} of 0x${id.toString(16)} is another`);
        count += 1;
      }
      if (count !== wanted.length) throw new Error(`I6: ${count} of ${wanted.length} records`);
    });
  }

  replaceLog(): Promise<void> {
    return this.withLog(async (id) => {
      const { rig, prng } = this;
      if (rig.model.objects.get(id)!.kind === 'mlog') return rig.erase(id);
      if (chance(prng, 0.3)) return rig.compact(id, [`compact ${this.actions}`, '2']);
      await rig.startCompaction(id);
      try {
        for (let i = below(prng, 5); i > 0; i--) {
          const record = recordOf(`compacted ${i} `, below(prng, 5000));
          await rig.append(id, record, chance(prng, 0.2));
        }
        if (chance(prng, 0.7)) return await rig.endCompaction(id);
      } catch (error) {
        if (!isRefusal(error)) throw error;
      }
      await rig.cancelCompaction(id);
    });
  }

  async label(): Promise<void> {
    if (this.#busy.has('label')) return;
    this.#busy.add('label');
    try {
      await this.rig.setLabel(`label-${this.actions}`);
    } finally {
      this.#busy.delete('label');
    }
  }

  async compactMetadata(): Promise<void> {
    const { catalog, poolRecords } = this.rig.store;
    await (chance(this.prng, 0.7) ? catalog.log.compact() : poolRecords.log.compact());
  }

  /** With one of the logs, alone. */
  async withLog(use: (id: bigint) => Promise<void>): Promise<void> {
    const { objects, logs } = this.rig.model;
    const usable = [...logs.keys()].filter(
      (id) => objects.get(id)!.there === 'yes' && !this.#busy.has(id) && !this.#failed.has(id),
    );
    if (usable.length === 0) return;
    const id = this.#take(usable);
    try {
      await this.#exclusively([id], () => use(id));
    } catch (error) {
      if (!isRefusal(error)) this.#failed.add(id);
      throw error;
    }
  }

  #mblocks(): bigint[] {
    const { objects } = this.rig.model;
    return [...objects]
      .filter(([id, o]) => o.kind === 'mblock' && o.there === 'yes' && !this.#busy.has(id))
      .map(([id]) => id);
  }

  #take(ids: bigint[]): bigint {
    const [id] = ids.splice(below(this.prng, ids.length), 1);
    assert.ok(id !== undefined, 'there is one');
    return id;
  }

  async #exclusively(ids: readonly bigint[], use: () => Promise<void>): Promise<void> {
    for (const id of ids) this.#busy.add(id);
    try {
      await use();
    } finally {
      for (const id of ids) this.#busy.delete(id);
    }
  }
}

function onlyMpoolErrors(error: unknown): void {
  if (!isMpoolError(error)) throw error;
}
