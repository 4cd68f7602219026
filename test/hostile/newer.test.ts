// Goal: pools of newer programs are refused, read, or used, as their version and feature words say (docs/format.md §2),
//   and nothing of what a newer program put on media is lost by one that may ignore it.
// Method: superblocks of a pool with raised version or feature bits and right checksums, in all copies, in the newest
//   only, and on the staging device alone; what those features would keep in reserved bytes is looked for afterwards.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../src/base/bytes.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { renamePool } from '../../src/pool/administer.ts';
import { openPool } from '../../src/pool/open.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { seeds, withSeed } from './long.ts';
import { CAPACITY, inspect, look, Memory, STAGING, WHERE } from './memory.ts';
import { livePool, type Region } from './pools.ts';

/** Bytes of a superblock that a compatible feature may use. */
const RESERVED = [
  [120, 128],
  [288, 512],
  [2560, 4096],
] as const;

interface Change {
  version?: number;
  compatible?: number;
  readOnlyCompatible?: number;
  incompatible?: number;
  generation?: number;
  reserved?: boolean;
}

interface Setup {
  host: SimHost;
  memory: Memory;
  copies: Region[];
}

async function setup(): Promise<Setup> {
  const memory = new Memory();
  const { moments, regions } = await livePool(21, 512, memory);
  const copies = regions.filter(({ name }) => name.startsWith('superblock'));
  return { host: moments[2]!, memory, copies };
}

/** As a newer program would have written it. */
function change(host: SimHost, copies: readonly Region[], changes: Change): void {
  for (const { path, offsetBytes } of copies) {
    const page = host.disk(path).bytes(offsetBytes, 4096);
    const view = viewOf(page);
    if (changes.version !== undefined) view.setUint16(56, changes.version, true);
    view.setUint32(58, view.getUint32(58, true) + (changes.generation ?? 0), true);
    view.setUint32(84, changes.compatible ?? 0, true);
    view.setUint32(88, changes.readOnlyCompatible ?? 0, true);
    view.setUint32(92, (view.getUint32(92, true) | (changes.incompatible ?? 0)) >>> 0, true);
    if (changes.reserved === true) for (const [from, to] of RESERVED) page.fill(0x5a, from, to);
    view.setUint32(62, crc32c(page.subarray(0, 62)), true);
    view.setUint32(68, 0, true);
    view.setUint32(68, crc32c(page), true);
    host.disk(path).poke(offsetBytes, page);
  }
}

function contentOf(host: SimHost): Buffer {
  return Buffer.concat(
    [CAPACITY, STAGING].map((path) => host.disk(path).bytes(0, host.disk(path).sizeBytes)),
  );
}

async function isRefused(host: SimHost, readOnly: boolean): Promise<void> {
  const before = contentOf(host);
  await assert.rejects(
    openPool(host.environment, CAPACITY, { readOnly }, WHERE),
    (error) => isMpoolError(error, 'ERR_MPOOL_VERSION'),
    `readOnly ${readOnly}`,
  );
  assert.ok(contentOf(host).equals(before), 'nothing is written');
  assert.equal(host.liveBufferCount, 0);
}

function onlyOn(path: string, copies: readonly Region[]): Region[] {
  return copies.filter((copy) => copy.path === path);
}

test('another version, in all copies or in the newest alone, is refused', async () => {
  const { host, copies } = await setup();
  const [, second] = onlyOn(CAPACITY, copies);
  for (const version of [0, 1, 3, 255, 256, 0xffff]) {
    const all = host.clone();
    change(all, copies, { version });
    for (const readOnly of [true, false]) await isRefused(all, readOnly);
    await inspect(all);
    for (const generation of [0, 1, 1000]) {
      const newest = host.clone();
      change(newest, [second!], { version, generation });
      for (const readOnly of [true, false]) await isRefused(newest, readOnly);
      await inspect(newest);
    }
  }
});

test('a bit of the incompatible features is refused, of the read-only-compatible ones read', async () => {
  const { host, memory, copies } = await setup();
  for (let bit = 0; bit < 32; bit++) {
    const word = 2 ** bit;
    const refused = host.clone();
    // Bit 0 is known here.
    const incompatible = bit === 0 ? 2 : word;
    change(refused, copies, { incompatible, compatible: word, reserved: true });
    for (const readOnly of [true, false]) await isRefused(refused, readOnly);
    const read = host.clone();
    change(read, copies, { readOnlyCompatible: word, reserved: true });
    await isRefused(read, false);
    const sight = await look(read, memory, { readOnly: true });
    assert.equal(sight.opened, 1, `bit ${bit} may be ignored by who only reads`);
    assert.equal(sight.errors, 0);
    if (bit % 8 === 0) await inspect(read);
  }
});

test('compatible features may be ignored, and what they keep in reserved bytes stays', async () => {
  for (const seed of seeds(3)) {
    await withSeed(seed, async () => {
      const { host, memory, copies } = await setup();
      const prng = new SeededPrng(seed);
      const image = host.clone();
      const compatible = (prng.u32() | 1) >>> 0;
      change(image, copies, { compatible, reserved: true });
      const before = contentOf(image);
      assert.equal((await look(image, memory, { readOnly: true })).errors, 0);
      assert.ok(contentOf(image).equals(before));
      const sight = await look(image, memory);
      assert.deepEqual([sight.opened, sight.errors], [1, 0]);
      assertKept(image, copies, compatible, 'after it was open for writing');
      // One copy is lost and repaired, then all are written anew.
      const lost = copies[below(prng, copies.length)]!;
      image.disk(lost.path).poke(lost.offsetBytes, { fill: 0, lengthBytes: 4096 });
      await look(image, memory);
      assertKept(image, copies, compatible, 'after a copy was repaired');
      await renamePool(image.environment, CAPACITY, 'renamed', WHERE);
      assertKept(image, copies, compatible, 'after a change of the superblock');
      await inspect(image);
    });
  }
});

function assertKept(
  host: SimHost,
  copies: readonly Region[],
  compatible: number,
  when: string,
): void {
  for (const { name, path, offsetBytes } of copies) {
    const page = host.disk(path).bytes(offsetBytes, 4096);
    assert.equal(viewOf(page).getUint32(84, true), compatible, `${name} of ${path} ${when}`);
    for (const [from, to] of RESERVED) {
      const same = page.subarray(from, to).every((byte) => byte === 0x5a);
      assert.ok(same, `bytes ${from} to ${to} of ${name} of ${path} ${when}`);
    }
  }
}

test('features on the staging device alone are the capacity device’s business', async () => {
  const { host, memory, copies } = await setup();
  const image = host.clone();
  change(image, onlyOn(STAGING, copies), { incompatible: 2 });
  // Not known to be this pool's any more: without it only by force.
  for (const readOnly of [true, false]) {
    await assert.rejects(openPool(image.environment, CAPACITY, { readOnly }, WHERE), (error) =>
      isMpoolError(error, 'ERR_MPOOL_NO_DEVICE'),
    );
  }
  const sight = await look(image, memory, { readOnly: true, force: true });
  assert.equal(sight.opened, 1);
  assert.ok(sight.right > 0 && sight.errors > 0, 'what is on it is missing, the rest is right');
});
