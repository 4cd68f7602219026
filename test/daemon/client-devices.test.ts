// Goal: a client reads, maps and writes pools on whatever devices the daemon has them on, with every way to do I/O.
// Method: files on disk and on tmpfs, and loop devices of both sector sizes, through a real daemon.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { committed } from '../contract/contract.ts';
import { ENGINES, loopDevice, noLoopDevices } from '../device/places.ts';
import { pattern } from '../pool/pool-host.ts';
import { clientRig, MIB } from './client-rig.ts';

function folder(t: TestContext, parent: string): string {
  const path = resolve(mkdtempSync(join(parent, 'mpool-client-')));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

async function works(t: TestContext, path: string, sizeBytes: number | undefined): Promise<void> {
  const { daemon } = await clientRig(t);
  const capacity = { path, mblockSizeBytes: MIB, ...(sizeBytes !== undefined && { sizeBytes }) };
  await daemon.create({ name: 'other', capacity });
  for (const engine of ENGINES) {
    const pool = await daemon.open('other', { engine });
    for (const length of [1, 4096, 5000, 300_001, 255 * 4096]) {
      const data = pattern(length, length);
      const mblock = await committed(pool, data);
      const found = await pool.mblocks.find(mblock.id);
      assert.ok(data.equals(await found.read(0, length)), `${engine}: ${length} bytes`);
      const offset = Math.floor(length / 3);
      assert.ok(data.subarray(offset).equals(await found.read(offset, length - offset)));
      await using map = await pool.map([mblock.id]);
      assert.ok(data.equals(await map.read(0, 0, length)) && data.equals(map.view(0)));
      await map.unmap();
      await mblock.delete();
    }
    await pool.close();
  }
  await daemon.destroy('other');
}

test('a file on disk', async (t) => {
  await works(t, join(folder(t, 'build'), 'file'), 64 * MIB);
});

test('a file on tmpfs, where there is no direct I/O', async (t) => {
  if (!existsSync('/dev/shm')) return t.skip('no /dev/shm');
  await works(t, join(folder(t, '/dev/shm'), 'file'), 64 * MIB);
});

for (const sectorBytes of [512, 4096]) {
  test(`a loop device with sectors of ${sectorBytes} bytes`, async (t) => {
    const reason = noLoopDevices();
    if (reason !== undefined) return t.skip(reason);
    const file = join(folder(t, 'build'), 'loop');
    writeFileSync(file, '');
    truncateSync(file, 64 * MIB);
    await works(t, loopDevice(t, file, sectorBytes), undefined);
  });
}
