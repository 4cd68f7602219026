// Goal: a sparse file on a full file system refuses what it has no room for, loses nothing that was acknowledged, and
// can be emptied without room (I13); what is deleted is room again.
// Method: a pool on a small tmpfs, filled until the file system is; opened again on it as it is, objects deleted.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { create, type Mblock, type MblockId, open, type Pool } from '../../src/index.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { pattern } from '../pool/pool-host.ts';
import { MIB } from './rig.ts';
import { noTmpfs, SmallDisk } from './small-disk.ts';

const LENGTH = 900_000;

async function put(pool: Pool, seed: number): Promise<Mblock> {
  const mblock = await pool.mblocks.alloc();
  try {
    await mblock.write(pattern(LENGTH, seed));
    await mblock.commit();
    return mblock;
  } catch (error) {
    await mblock.abort().catch(() => {});
    throw error;
  }
}

test('a thin file on a full file system, filled and emptied', { skip: noTmpfs() }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'mpool-thin-'));
  let pool: Pool | undefined;
  const after: (() => void)[] = [];
  t.after(async () => {
    await pool?.close({ force: true }).catch(() => {});
    for (const cleanUp of after) cleanUp();
    rmSync(folder, { recursive: true, force: true });
  });
  const disk = new SmallDisk({ folder, after: (cleanUp) => void after.push(cleanUp) }, 16 * MIB);
  const path = join(disk.path, 'thin');
  pool = await create({
    name: 'thin',
    capacity: { path, sizeBytes: 256 * MIB, mblockSizeBytes: MIB },
  });
  const kept = new Map<MblockId, number>();
  let refusals = 0;
  for (let seed = 1; seed <= 60; seed++) {
    try {
      kept.set((await put(pool, seed)).id, seed);
    } catch (error) {
      assert.ok(isMpoolError(error), String(error));
      assert.match(error.code, /^ERR_MPOOL_(NO_SPACE|FAILED)$/);
      refusals += 1;
    }
  }
  assert.ok(refusals > 20 && kept.size > 5, `${kept.size} kept, ${refusals} refused`);
  const isAllThere = async (): Promise<void> => {
    for (const [id, seed] of kept) {
      assert.ok(pattern(LENGTH, seed).equals(await pool!.mblocks.read(id, 0, LENGTH)), `${seed}`);
    }
  };
  await isAllThere();
  await pool.close({ force: true }).catch(() => {});
  pool = await open(path);
  await isAllThere();
  const gone = [...kept.keys()].slice(0, 4);
  await pool.mblocks.delete(gone);
  for (const id of gone) kept.delete(id);
  assert.equal((await pool.info()).health, 'optimal', 'deleting needs no room');
  // Their blocks are given back in the background.
  for (let i = 0; i < 600 && freeBytes(disk.path) < 3 * MIB; i++) await delay(20);
  assert.ok(freeBytes(disk.path) >= 3 * MIB, 'what is deleted is room again');
  kept.set((await put(pool, 99)).id, 99);
  await pool.close();
  pool = await open(path);
  await isAllThere();
  assert.equal((await pool.info()).health, 'optimal');
});

function freeBytes(path: string): number {
  const { bavail, bsize } = statfsSync(path);
  return bavail * bsize;
}
