// Goal: operations that overlap, and ones that fail half-way, leave each other alone.
// Method: each test replays one story that a review found, with the I/O in between held or failed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import type { Mblock, MlogId, Pool } from '../../src/pool/api.ts';
import { closeClean, freshPool, MIB, openHere, pattern, turns } from './pool-host.ts';

async function committed(pool: Pool, count: number): Promise<Mblock[]> {
  const mblocks = await Promise.all(Array.from({ length: count }, () => pool.mblocks.alloc()));
  await pool.mblocks.commit(mblocks);
  return mblocks;
}

async function committedLog(pool: Pool): Promise<MlogId> {
  const allocation = await pool.mlogs.alloc({ capacityBytes: MIB });
  await allocation.commit();
  return allocation.id;
}

test('a large deletion that fails in part is not half retried into a corrupt log', async () => {
  const setup = await freshPool({ sizeBytes: 1024 * MIB });
  const { host, pool } = setup;
  const ids = (await committed(pool, 600)).map(({ id }) => id);
  host.addFault({ op: 'write', nth: 1, effect: { kind: 'error', errno: 'EIO' } });
  await assert.rejects(pool.mblocks.delete(ids), (error) => isMpoolError(error));
  await assert.rejects(pool.mblocks.delete(ids), (error) => isMpoolError(error));
  await pool.close({ force: true });
  host.clearFaults();
  const again = await openHere(host);
  let left = 0;
  for await (const _ of again.mblocks.list()) left += 1;
  assert.ok(left === 600 || left === 88 || left === 0, `${left} of 600 are left`);
  await closeClean({ host, pool: again });
});

test('a log that is closed while it is being erased is erased when it is closed', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const id = await committedLog(pool);
  const log = await pool.mlogs.open(id);
  await log.append('gone', { sync: true });
  const erased = log.erase();
  await log.close();
  await erased;
  const again = await pool.mlogs.open(id);
  assert.equal(again.recordCount, 0);
  assert.equal(again.generation, 2n);
  await again.close();
  await pool.mlogs.delete([id]);
  await closeClean(setup);
});

test('data that is taken away while it is written fails the write, and only it', async () => {
  const setup = await freshPool();
  const { pool } = setup;
  const mblock = await pool.mblocks.alloc();
  const shrinking = new Uint8Array(4 * 4096);
  // It says more than it has: as a buffer does that is shrunk between the check and the copy.
  Object.defineProperty(shrinking, 'length', { value: 8 * 4096 });
  const pieces = [pattern(4096), shrinking];
  await assert.rejects(mblock.write(pieces), (error: Error & { code?: string }) => {
    return error.code === 'ERR_MPOOL_INVALID_ARG';
  });
  await mblock.abort();
  const [other] = await committed(pool, 1);
  await other!.delete();
  await closeClean(setup);
});

test('a full pool whose free space is just being discarded is not full', async () => {
  const setup = await freshPool({ sizeBytes: 8 * MIB, sparePercent: 0 });
  const { host, pool } = setup;
  const all: Mblock[] = [];
  for (;;) {
    const next = await pool.mblocks.alloc().catch(() => undefined);
    if (next === undefined) break;
    all.push(next);
  }
  await pool.mblocks.commit(all);
  const held = host.addFault({ op: 'discard', effect: { kind: 'hold' } });
  await all[0]!.delete();
  await host.clock.advance(1100);
  assert.equal(held.hits, 1);
  const waiting = pool.mblocks.alloc();
  await turns(5);
  held.release();
  await (await waiting).abort();
  await closeClean(setup);
});

test('a flush that fails for a log fails the pool', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const allocation = await pool.mlogs.alloc({ capacityBytes: MIB });
  host.addFault({ op: 'flush', effect: { kind: 'error', errno: 'EIO' } });
  await assert.rejects(allocation.commit(), (error) => isMpoolError(error));
  assert.equal((await pool.info()).health, 'faulted');
  await assert.rejects(pool.mblocks.alloc(), (error) => isMpoolError(error, 'ERR_MPOOL_FAILED'));
  await pool.close({ force: true });
});
