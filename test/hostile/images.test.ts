// Goal: whatever is on media, a pool opens or not, and what is read from it was once written to it: right data or a
//   typed error, no other exception, no hang, nothing left behind, and nothing written by who only reads.
// Method: small pools of every kind of structure, at several moments of their lives. A bit wrong at each byte of each
//   structure (a part of them; all of them with npm run hostile); ranges of anything; truncated devices; old
//   and new structures of one pool, and those of two pools, in one image. Each image is opened for reading and for
//   writing, checked and dumped, and compared with all that was ever written.
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { below, chance, type Prng, SeededPrng } from '../../src/base/prng.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { flipSubject, judgeFlip, usedBytes } from './flips.ts';
import { isLong, SEED, seeds, withSeed } from './long.ts';
import {
  addSight,
  CAPACITY,
  inspect,
  look,
  Memory,
  noSight,
  type Sight,
  STAGING,
} from './memory.ts';
import { livePool, type PoolLife, type Region } from './pools.ts';
import { tally } from '../tally.ts';

/** A prime, so that each run begins at other bytes of all structures. */
const EVERY = isLong ? 97 : 997;

interface Subject {
  life: PoolLife;
  memory: Memory;
}

async function subject(seed: number, sectorBytes: 512 | 4096): Promise<Subject> {
  const memory = new Memory();
  return { life: await livePool(seed, sectorBytes, memory), memory };
}

/** All that is done with an image. `host` is not changed. */
async function judge(host: SimHost, memory: Memory, total: Sight): Promise<void> {
  const image = host.clone();
  addSight(total, await look(image, memory, { readOnly: true }));
  await inspect(image);
  const writing = await look(image, memory);
  addSight(total, writing);
  // Recovery changed nothing that was right.
  const again = await look(image, memory);
  assert.deepEqual(again, writing, 'opened a second time, it is the same');
}

function tell(t: TestContext, images: number, total: Sight): void {
  tally('hostile images', images);
  t.diagnostic(`${images} images from SEED=${SEED}: ${JSON.stringify(total)}`);
}

for (const sectorBytes of [512, 4096] as const) {
  test(`a wrong bit in each structure, sectors of ${sectorBytes}`, async (t) => {
    const flipped = await flipSubject(sectorBytes);
    const total = noSight();
    let images = 0;
    for (const region of flipped.regions) {
      const used = usedBytes(flipped, region);
      for (let at = SEED % EVERY; at < used; at += EVERY) {
        const flip = { region, at, bit: (at + SEED) % 8 };
        addSight(total, await judgeFlip(flipped, flip, images));
        images += 1;
      }
    }
    tell(t, images, total);
    assert.ok(total.refused > 0 && total.errors > 0 && total.right > images);
  });
}

/** A range within a region, mostly of whole sectors. */
function part(prng: Prng, region: Region): Region {
  const unit = [1, 512, 4096][below(prng, 3)]!;
  const units = Math.floor(region.lengthBytes / unit);
  // The front of a structure is where most of it is.
  const first = chance(prng, 0.5) ? below(prng, Math.min(units, 8)) : below(prng, units);
  const count = 1 + below(prng, Math.min(units - first, chance(prng, 0.3) ? units : 4));
  return {
    ...region,
    offsetBytes: region.offsetBytes + first * unit,
    lengthBytes: count * unit,
  };
}

function anyOf<T>(prng: Prng, items: readonly T[]): T {
  return items[below(prng, items.length)]!;
}

test('ranges of anything', async (t) => {
  const { life, memory } = await subject(6, 512);
  const total = noSight();
  let images = 0;
  for (const seed of seeds(45)) {
    await withSeed(seed, async () => {
      const prng = new SeededPrng(seed);
      const image = anyOf(prng, life.moments).clone();
      for (let n = 1 + below(prng, 4); n > 0; n--) {
        const { path, offsetBytes, lengthBytes } = part(prng, anyOf(prng, life.regions));
        const kind = below(prng, 3);
        const bytes = Uint8Array.from({ length: lengthBytes }, () =>
          kind === 0 ? 0 : kind === 1 ? 0xff : below(prng, 256),
        );
        image.disk(path).poke(offsetBytes, bytes);
      }
      await judge(image, memory, total);
      images += 1;
    });
  }
  tell(t, images, total);
  assert.ok(total.right > 0);
});

test('truncated devices, as they are and made as long as before with zeros', async (t) => {
  const { life, memory } = await subject(7, 512);
  const total = noSight();
  let images = 0;
  for (const seed of seeds(30)) {
    await withSeed(seed, async () => {
      const prng = new SeededPrng(seed);
      const image = anyOf(prng, life.moments).clone();
      const path = anyOf(prng, [CAPACITY, STAGING]);
      const { sizeBytes } = image.disk(path);
      const cutBytes = chance(prng, 0.5) ? below(prng, sizeBytes) : below(prng, 20 * 4096);
      const leftBytes = Math.floor((sizeBytes - cutBytes) / 512) * 512;
      image.disk(path).resize(leftBytes);
      if (chance(prng, 0.5)) image.disk(path).resize(sizeBytes);
      await judge(image, memory, total);
      images += 1;
    });
  }
  tell(t, images, total);
  assert.ok(total.refused > 0);
});

test('old and new structures, and those of another pool, in one image', async (t) => {
  const one = await subject(8, 512);
  const other = await livePool(9, 512, one.memory);
  const { memory, life } = one;
  const sources = [...life.moments, ...life.moments, ...other.moments];
  const total = noSight();
  let images = 0;
  for (const seed of seeds(60)) {
    await withSeed(seed, async () => {
      const prng = new SeededPrng(seed);
      const image = anyOf(prng, life.moments).clone();
      for (let n = 1 + below(prng, 5); n > 0; n--) splice(prng, image, anyOf(prng, sources), life);
      await judge(image, memory, total);
      images += 1;
    });
  }
  tell(t, images, total);
  assert.ok(total.right > 0 && total.refused + total.errors > 0);
});

/** Copies a structure, or a part of one, mostly to where it was. */
function splice(prng: Prng, image: SimHost, source: SimHost, { regions }: PoolLife): void {
  const region = anyOf(prng, regions);
  const from = chance(prng, 0.6) ? region : part(prng, region);
  const bytes = source.disk(from.path).bytes(from.offsetBytes, from.lengthBytes);
  const to = chance(prng, 0.85) ? from : anyOf(prng, regions);
  const disk = image.disk(to.path);
  disk.poke(
    to.offsetBytes,
    bytes.subarray(0, Math.min(bytes.length, disk.sizeBytes - to.offsetBytes)),
  );
}
