// Goal: space that comes free is discarded later, never while anyone may use it, and never when it must not be.
// Method: simulated time, and discards held in flight.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Mblock, Pool } from '../../src/pool/api.ts';
import { checkMediaClass } from '../../src/pool/media.ts';
import { closeClean, freshPool, MIB, openHere, pattern, turns } from './pool-host.ts';

async function committed(pool: Pool): Promise<Mblock> {
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(4096));
  await mblock.commit();
  return mblock;
}

test("a deleted mblock is discarded a second later, and its space is nobody's meanwhile", async () => {
  const setup = await freshPool({ sparePercent: 0 });
  const { host, pool } = setup;
  const mblock = await committed(pool);
  const before = await pool.usage();
  const held = host.addFault({ op: 'discard', effect: { kind: 'hold' } });
  await mblock.delete();
  assert.equal((await pool.usage()).usedBytes, before.usedBytes - MIB, 'free at once');
  await host.clock.advance(500);
  assert.equal(held.hits, 0);
  await host.clock.advance(600);
  assert.equal(held.hits, 1);
  assert.equal(
    (await pool.usage()).usedBytes,
    before.usedBytes,
    'taken while it is being discarded',
  );
  held.release();
  await turns(20);
  assert.equal((await pool.usage()).usedBytes, before.usedBytes - MIB);
  await closeClean(setup);
});

test('space that is in use again is not discarded', async () => {
  const setup = await freshPool({ sizeBytes: 4 * MIB });
  const { host, pool } = setup;
  const mblocks: Mblock[] = [];
  for (;;) {
    const mblock = await pool.mblocks.alloc({ spare: true }).catch(() => undefined);
    if (mblock === undefined) break;
    await mblock.write(pattern(4096));
    await mblock.commit();
    mblocks.push(mblock);
  }
  const discards = host.addFault({
    op: 'discard',
    times: Infinity,
    effect: { kind: 'delay', delayMs: 0 },
  });
  await mblocks[0]!.delete();
  const next = await pool.mblocks.alloc({ spare: true });
  await next.write(pattern(4096, 2));
  await next.commit();
  await host.clock.advance(3000);
  assert.equal(discards.hits, 0);
  assert.ok(pattern(4096, 2).equals(await next.read(0, 4096)));
  await closeClean(setup);
});

test('discarding can be declined, may fail, and stops when the pool closes', async () => {
  const setup = await freshPool({ open: { discard: false } });
  const none = setup.host.addFault({ op: 'discard', times: Infinity, effect: { kind: 'error' } });
  await (await committed(setup.pool)).delete();
  await setup.host.clock.advance(3000);
  assert.equal(none.hits, 0);
  await closeClean(setup);
  const pool = await openHere(setup.host);
  await (await committed(pool)).delete();
  await setup.host.clock.advance(3000);
  assert.equal(none.hits, 1);
  assert.equal((await pool.info()).health, 'optimal', 'a discard is advice');
  await (await committed(pool)).delete();
  await closeClean({ host: setup.host, pool });
  await setup.host.clock.advance(3000);
  assert.equal(none.hits, 1);
});

test('close waits for a discard in flight', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const held = host.addFault({ op: 'discard', effect: { kind: 'hold' } });
  for (let i = 0; i < 3; i++) await (await committed(pool)).delete();
  await host.clock.advance(1500);
  assert.equal(held.hits, 1);
  let closed = false;
  const closing = pool.close().then(() => (closed = true));
  await turns(100);
  assert.equal(closed, false);
  held.release();
  await closing;
  await closeClean(setup);
});

test('a failed pool neither frees nor discards: an object whose commit is in doubt keeps its data', async () => {
  const setup = await freshPool();
  const { host, pool } = setup;
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(8192));
  host.addFault({ op: 'write', nth: 2, effect: { kind: 'error', lands: 'all' } });
  const discards = host.addFault({
    op: 'discard',
    times: Infinity,
    effect: { kind: 'delay', delayMs: 0 },
  });
  await assert.rejects(mblock.commit(), { code: 'ERR_MPOOL_FAILED' });
  await mblock.abort();
  await host.clock.advance(3000);
  assert.equal(discards.hits, 0);
  await closeClean(setup);
  const again = await openHere(host);
  const found = await again.mblocks.find(mblock.id).catch(() => undefined);
  assert.ok(found !== undefined, 'its record reached the media');
  assert.ok(pattern(8192).equals(await found.read(0, 8192)));
  await closeClean({ host, pool: again });
});

test('media classes', () => {
  assert.equal(checkMediaClass(undefined), 'capacity');
  assert.equal(checkMediaClass('staging'), 'staging');
  for (const wrong of ['Capacity', '', 1, null, 'pmem'] as unknown as 'capacity'[]) {
    assert.throws(() => checkMediaClass(wrong), { code: 'ERR_MPOOL_INVALID_ARG' });
  }
});
