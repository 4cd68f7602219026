/** Random life of objects and maps on one pool, every byte of which is compared with what was written. */
import assert from 'node:assert/strict';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { MblockId, MblockMap, Pool, Temperature } from '../../src/pool/api.ts';
import { isMpoolError } from '../../src/index.ts';

const PAGE = 4096;
const TEMPERATURES: readonly Temperature[] = ['cold', 'warm', 'hot', 'pinned'];

interface Known {
  id: MblockId;
  seed: number;
  lengthBytes: number;
}

export interface ChurnCounts {
  written: number;
  deleted: number;
  mapped: number;
  compared: number;
  bytes: number;
}

export class Churn {
  readonly counts: ChurnCounts = { written: 0, deleted: 0, mapped: 0, compared: 0, bytes: 0 };
  readonly #pool: Pool;
  readonly #prng: SeededPrng;
  readonly #objectBytesMax: number;
  readonly #objects: Known[] = [];
  readonly #maps: { map: MblockMap; objects: Known[] }[] = [];
  #nextSeed = 1;

  constructor(pool: Pool, seed: number, objectBytesMax: number) {
    this.#pool = pool;
    this.#prng = new SeededPrng(seed);
    this.#objectBytesMax = objectBytesMax;
  }

  /** Several actors at once until `stop` says so, then everything once more in order. */
  async run(actors: number, stop: () => boolean): Promise<void> {
    await Promise.all(
      Array.from({ length: actors }, async () => {
        while (!stop()) await this.#act();
      }),
    );
    for (const { map, objects } of this.#maps) {
      for (const [i, known] of objects.entries()) await this.#compare(map, i, known);
      await map.unmap();
    }
    for (const known of this.#objects) {
      const bytes = await this.#pool.mblocks.read(known.id, 0, known.lengthBytes);
      assert.ok(contentOf(known).equals(bytes), `object of seed ${known.seed}, directly`);
    }
  }

  async #act(): Promise<void> {
    const dice = this.#prng.u32() % 100;
    if (dice < 8) await this.#write();
    else if (dice < 11) await this.#delete();
    else if (dice < 14) await this.#map();
    else if (dice < 16) await this.#unmap();
    else if (dice < 17) await this.#advise();
    else await this.#look();
  }

  async #write(): Promise<void> {
    const lengthBytes = 1 + (this.#prng.u32() % this.#objectBytesMax);
    const known = { seed: this.#nextSeed++, lengthBytes };
    try {
      const mblock = await this.#pool.mblocks.alloc();
      await mblock.write(contentOf(known));
      await mblock.commit();
      this.#objects.push({ ...known, id: mblock.id });
      this.counts.written += 1;
    } catch (error) {
      if (!isMpoolError(error, 'ERR_MPOOL_NO_SPACE')) throw error;
      await this.#delete();
      if (this.#maps.length > 8) await this.#unmap();
    }
  }

  async #delete(): Promise<void> {
    const known = this.#objects.splice(this.#below(this.#objects.length), 1)[0];
    if (known === undefined) return;
    await this.#pool.mblocks.delete([known.id]);
    this.counts.deleted += 1;
  }

  async #map(): Promise<void> {
    if (this.#objects.length === 0 || this.#maps.length > 40) return;
    const count = 1 + this.#below(8);
    const objects = Array.from(
      { length: count },
      () => this.#objects[this.#below(this.#objects.length)]!,
    );
    const map = await this.#pool.map(
      objects.map(({ id }) => id),
      { temperature: TEMPERATURES[this.#below(4)]!, linear: this.#below(4) === 0 },
    );
    this.#maps.push({ map, objects });
    this.counts.mapped += 1;
  }

  async #unmap(): Promise<void> {
    const entry = this.#maps.splice(this.#below(this.#maps.length), 1)[0];
    if (entry === undefined) return;
    const view = entry.map.view(0);
    const unmapping = entry.map.unmap();
    assert.equal(view.length, 0);
    await unmapping;
  }

  async #advise(): Promise<void> {
    const entry = this.#maps[this.#below(this.#maps.length)];
    if (entry === undefined) return;
    const advice = (['willneed', 'dontneed', 'sequential', 'normal'] as const)[this.#below(4)]!;
    try {
      if (this.#below(3) === 0) await entry.map.purge();
      else await entry.map.adviseAll(advice);
    } catch (error) {
      if (entry.map.mapped) throw error;
    }
  }

  async #look(): Promise<void> {
    const entry = this.#maps[this.#below(this.#maps.length)];
    if (entry === undefined) return;
    const index = this.#below(entry.objects.length);
    try {
      await this.#compare(entry.map, index, entry.objects[index]!);
    } catch (error) {
      if (entry.map.mapped || !isMpoolError(error, 'ERR_MPOOL_CLOSED')) throw error;
    }
  }

  async #compare(map: MblockMap, index: number, known: Known): Promise<void> {
    const content = contentOf(known);
    const offset = this.#below(known.lengthBytes);
    const length = Math.min(known.lengthBytes - offset, 1 + this.#below(64 * PAGE));
    const want = content.subarray(offset, offset + length);
    const say = (how: string) =>
      `object of seed ${known.seed}, bytes ${offset} + ${length}, ${how}`;
    const way = this.#below(3);
    if (way === 0) {
      assert.ok(want.equals(map.view(index).subarray(offset, offset + length)), say('viewed'));
    } else if (way === 1) {
      assert.ok(want.equals(await map.read(index, offset, length)), say('read'));
    } else {
      const [page] = await map.getPages(index, [offset]);
      // Another actor may have been quicker to unmap it.
      if (!map.mapped) return;
      const start = offset - (offset % PAGE);
      assert.ok(content.subarray(start, start + PAGE).equals(page!), say('by getPages'));
    }
    this.counts.compared += 1;
    this.counts.bytes += length;
  }

  #below(limit: number): number {
    return limit === 0 ? 0 : below(this.#prng, limit);
  }
}

function contentOf({ seed, lengthBytes }: { seed: number; lengthBytes: number }): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  const block = Buffer.alloc(Math.min(lengthBytes, PAGE + 4), seed & 0xff);
  const prng = new SeededPrng(seed);
  for (let at = 0; at + 4 <= block.length; at += 4) block.writeUInt32LE(prng.u32(), at);
  // Every page differs from every other of every object: by the seed, the place, and a shift.
  for (let at = 0; at < lengthBytes; at += block.length) block.copy(bytes, at);
  for (let at = 0; at + 8 <= lengthBytes; at += PAGE) {
    bytes.writeUInt32LE(seed, at);
    bytes.writeUInt32LE(at, at + 4);
  }
  return bytes;
}
