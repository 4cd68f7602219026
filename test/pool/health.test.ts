// Goal: whatever is wrong with an open pool can be seen in info() as long as it is wrong, and no longer.
// Method: faults of a simulated device, one of each kind; what is told is compared before, while and after.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Health } from '../../src/pool/health.ts';
import type { LocalPool, Pool } from '../../src/pool/api.ts';
import { printObjectId } from '../../src/format/object-id.ts';
import { SimClock } from '../../src/testing/index.ts';
import {
  A,
  B,
  closeClean,
  freshPool,
  MIB,
  openHere,
  pattern,
  refuses,
  reopen,
} from './pool-host.ts';

async function told(pool: Pool): Promise<string[]> {
  const { health, problems } = await pool.info();
  return [health, ...problems.map(({ kind, object }) => `${kind} ${object ?? '-'}`)];
}

async function committed(pool: Pool, lengthBytes = 8192) {
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(lengthBytes));
  await mblock.commit();
  return mblock;
}

test('damage: of which object, where, how often; gone with the object', async () => {
  const setup = await freshPool();
  const { host } = setup;
  const ids = [(await committed(setup.pool)).id, (await committed(setup.pool)).id] as const;
  const id = printObjectId(ids[1]);
  const { pool } = await reopen(setup);
  const [sound, rotten] = [await pool.mblocks.find(ids[0]), await pool.mblocks.find(ids[1])];
  const table = host.addFault({ op: 'read', times: 2, effect: { kind: 'flip', bit: 9 } });
  await refuses(() => rotten.read(0, 4096), 'ERR_MPOOL_CHECKSUM', /the checksum table of/);
  await refuses(() => rotten.read(0, 4096), 'ERR_MPOOL_CHECKSUM');
  assert.equal(table.hits, 2);
  await rotten.read(0, 4096);
  const fault = host.addFault({ op: 'read', effect: { kind: 'flip' } });
  await refuses(() => rotten.read(4096, 4096), 'ERR_MPOOL_CHECKSUM', /page 1 of mblock/);
  assert.equal(fault.hits, 1);
  assert.deepEqual(await told(pool), ['degraded', `damaged ${id}`]);
  const [problem] = (await pool.info()).problems;
  const where = new RegExp(`checksum table of mblock ${id}, byte \\d+ of ${A}`);
  assert.match(problem!.message, where, 'the first of them is told');
  assert.deepEqual([problem!.count, problem!.sinceMs <= host.clock.wallMs()], [3, true]);
  await sound.read(0, 8192);
  await sound.delete();
  assert.deepEqual(await told(pool), ['degraded', `damaged ${id}`], 'it is of the other');
  await rotten.delete();
  assert.deepEqual(await told(pool), ['optimal']);
  await closeClean({ host, pool });
});

test('a read of a deleted object that ends late leaves nothing behind', async () => {
  const { host, pool } = await freshPool();
  const mblock = await committed(pool);
  await mblock.read(0, 4096);
  const held = host.addFault({ op: 'read', effect: { kind: 'hold' } });
  const flipped = host.addFault({ op: 'read', effect: { kind: 'flip' } });
  const reads = [mblock.read(0, 4096), mblock.read(4096, 4096)];
  await mblock.delete();
  held.release();
  const results = await Promise.allSettled(reads);
  assert.equal(flipped.hits, 1);
  assert.ok(results.some(({ status }) => status === 'rejected'));
  assert.deepEqual(await told(pool), ['optimal']);
  await closeClean({ host, pool });
});

test('an mblock whose write failed, until it is aborted', async () => {
  const { host, pool } = await freshPool();
  const mblock = await pool.mblocks.alloc();
  host.addFault({ op: 'write', effect: { kind: 'error' } });
  await refuses(() => mblock.write(pattern(4096)), 'ERR_MPOOL_IO');
  assert.deepEqual(await told(pool), ['degraded', `object-failed ${printObjectId(mblock.id)}`]);
  await refuses(() => mblock.commit(), 'ERR_MPOOL_FAILED');
  await mblock.abort();
  assert.deepEqual(await told(pool), ['optimal']);
  await closeClean({ host, pool });
});

test('a log and an MDC that failed, until they were opened again', async () => {
  const { host, pool } = await freshPool();
  const allocation = await pool.mlogs.alloc({ capacityBytes: 65536 });
  await allocation.commit();
  const log = await pool.mlogs.open(allocation.id);
  const root = await pool.mdcs.root();
  await log.append('kept', { sync: true });
  await root.append('kept', { sync: true });
  host.addFault({ op: 'write', times: 2, effect: { kind: 'error' } });
  await refuses(() => log.append('lost', { sync: true }), 'ERR_MPOOL_FAILED');
  await refuses(() => root.append('lost', { sync: true }), 'ERR_MPOOL_FAILED');
  const failed = [log.id, root.id.logA].map((id) => `object-failed ${printObjectId(id)}`);
  assert.deepEqual((await told(pool)).toSorted(), ['degraded', ...failed].toSorted());
  await refuses(() => log.close(), 'ERR_MPOOL_FAILED');
  await refuses(() => root.close(), 'ERR_MPOOL_FAILED');
  await (await pool.mlogs.open(log.id)).close();
  assert.deepEqual(await told(pool), ['degraded', failed[1]]);
  await (await pool.mdcs.root()).close();
  assert.deepEqual(await told(pool), ['optimal']);
  await closeClean({ host, pool });
});

test('a log that cannot be read, when opened and when read; gone with it', async () => {
  const { host, pool } = await freshPool();
  const allocation = await pool.mlogs.alloc({ capacityBytes: 65536 });
  await allocation.commit();
  const damaged = ['degraded', `damaged ${printObjectId(allocation.id)}`];
  const log = await pool.mlogs.open(allocation.id);
  await log.append('kept', { sync: true });
  const rot = host.addFault({ op: 'read', times: Infinity, effect: { kind: 'flip', bit: 99 } });
  await refuses(() => log.reader().next(), 'ERR_MPOOL_CHECKSUM');
  assert.deepEqual(await told(pool), damaged);
  rot.remove();
  await log.close();
  await (await pool.mlogs.open(log.id)).close();
  assert.deepEqual(await told(pool), ['optimal'], 'it could be read again');
  host.addFault({ op: 'read', times: Infinity, effect: { kind: 'flip', bit: 99 } });
  await refuses(() => pool.mlogs.open(log.id), 'ERR_MPOOL_CORRUPT');
  assert.deepEqual(await told(pool), damaged);
  host.clearFaults();
  await pool.mlogs.delete([log.id]);
  assert.deepEqual(await told(pool), ['optimal']);
  await closeClean({ host, pool });
});

test('a pool that failed is faulted, whatever else is wrong with it', async () => {
  const { host, pool } = await freshPool();
  const [lost, mblock] = [await pool.mblocks.alloc(), await pool.mblocks.alloc()];
  host.addFault({ op: 'write', effect: { kind: 'error' } });
  await refuses(() => lost.write(pattern(4096)), 'ERR_MPOOL_IO');
  await mblock.write(pattern(4096));
  host.addFault({ op: 'flush', effect: { kind: 'error' } });
  await refuses(() => mblock.commit(), 'ERR_MPOOL_IO');
  assert.deepEqual(await told(pool), [
    'faulted',
    'failed -',
    `object-failed ${printObjectId(lost.id)}`,
  ]);
  const { fault, problems } = await pool.info();
  assert.match(fault!, /^a write failed: \/dev\/a: fsync: EIO/);
  assert.equal(problems[0]!.message, fault);
  await closeClean({ host, pool }, true);
});

test('a missing device is a fault', async () => {
  const { host, pool } = await freshPool({ stagingBytes: 64 * MIB });
  await closeClean({ host, pool });
  host.pullDisk(B);
  const forced = await openHere(host, A, { readOnly: true, force: true });
  assert.deepEqual(await told(forced), ['faulted', 'device-missing -']);
  await forced.close();
});

test('what a scrub finds is told until the object is gone', async () => {
  const { host, pool } = await freshPool({ host: { keepTrace: true } });
  const rotten = await committed(pool);
  const id = printObjectId(rotten.id);
  await rotten.read(0, 8192);
  const { allocatedBytes } = rotten.properties();
  const where = host.trace.events.findLast(({ op }) => op === 'read')!.offsetBytes;
  const range = { offsetBytes: where - (where % allocatedBytes), lengthBytes: allocatedBytes };
  host.addFault({ op: 'read', range, times: Infinity, effect: { kind: 'flip', bit: 7 } });
  const report = await (pool as LocalPool).scrub();
  assert.ok(!report.clean);
  assert.deepEqual(await told(pool), ['degraded', `damaged ${id}`]);
  await rotten.delete();
  assert.deepEqual(await told(pool), ['optimal']);
  await closeClean({ host, pool });
});

test('a device that does not answer, from when to when; and what waits for it goes on', async () => {
  const { host, pool } = await freshPool({ stagingBytes: 64 * MIB, open: { slowDeviceMs: 8000 } });
  const mblock = await committed(pool);
  await mblock.read(0, 4096);
  const held = host.addFault({
    op: ['read', 'flush'],
    disk: A,
    times: 2,
    effect: { kind: 'hold' },
  });
  const read = mblock.read(4096, 4096);
  const sync = pool.sync();
  await host.clock.advance(7500);
  assert.deepEqual(await told(pool), ['optimal'], 'not yet');
  await host.clock.advance(3000);
  assert.deepEqual(await told(pool), ['degraded', `slow-device ${A}`]);
  const [problem] = (await pool.info()).problems;
  assert.match(
    problem!.message,
    /^\/dev\/a has not answered a read of 4096 bytes at byte \d+ since/,
  );
  assert.equal(problem!.count, 2);
  held.release();
  assert.equal((await read).length, 4096);
  await sync;
  assert.deepEqual(await told(pool), ['optimal'], 'it answers again');
  // Many short ones one after the other are not a slow one.
  for (let i = 0; i < 40; i++) {
    const late = host.addFault({ op: 'read', effect: { kind: 'delay', delayMs: 900 } });
    await Promise.all([mblock.read(0, 4096), host.clock.advance(400)]);
    assert.equal(late.hits, 1);
    assert.deepEqual(await told(pool), ['optimal']);
  }
  await closeClean({ host, pool });
});

test('many problems of one kind hide none of another, and all are counted', () => {
  const clock = new SimClock();
  const health = new Health(clock);
  for (let i = 0; i < 150; i++) health.note('damaged', `${i}`, `0x${i}`);
  for (let i = 0; i < 7; i++) health.note('damaged', 'again', '0x3');
  assert.equal(health.state, 'degraded');
  health.note('lost-writes', 'a device lied', A);
  health.note('failed', 'a write failed');
  const { problems, counts, state, fault } = health;
  assert.deepEqual([state, fault, problems.length], ['faulted', 'a write failed', 102]);
  assert.deepEqual([problems[0]!.kind, problems[1]!.kind], ['failed', 'lost-writes']);
  assert.deepEqual([counts.damaged, counts.failed, counts.engine], [157, 1, 0]);
  assert.deepEqual(
    [problems[5]!.object, problems[5]!.count, problems[5]!.message],
    ['0x3', 8, '3'],
  );
  health.forget(() => '0x3');
  health.clear('failed');
  health.clear('lost-writes', A);
  assert.deepEqual(
    [health.problems.length, health.state, health.fault],
    [99, 'degraded', undefined],
  );
  for (const { object } of health.problems) health.forget(() => object!);
  assert.equal(health.state, 'optimal');
  health.forget(() => assert.fail('not asked where nothing is wrong'));
});
