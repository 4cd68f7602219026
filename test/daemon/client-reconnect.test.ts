// Goal: a client survives the loss of its daemon: it finds the next one by itself, says of each thing under way that
//   nobody knows how it ended, never takes an object or a record for kept that is gone, and never appends behind a
//   gap. Method: real daemons that are killed at chosen moments and started again on the same directory.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isMpoolError } from '../../src/base/errors.ts';
import type { MblockId, Pool } from '../../src/pool/api.ts';
import { program } from '../device/places.ts';
import { allOf, pattern, refuses, texts } from '../pool/pool-host.ts';
import { clientRig, MIB, PAGE, POOL } from './client-rig.ts';
import { until } from './sockets.ts';

const LOST = 'ERR_MPOOL_CONNECTION_LOST';

async function newLog(pool: Pool, capacityBytes = MIB) {
  const allocation = await pool.mlogs.alloc({ capacityBytes });
  await allocation.commit();
  return pool.mlogs.open(allocation.id);
}

test('handles of committed objects and open logs work again with the next daemon', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client()).open(POOL);
  t.after(() => pool.close({ force: true }));
  const data = pattern(300_000);
  const mblock = await pool.mblocks.alloc();
  await mblock.write(data);
  await mblock.commit();
  const log = await newLog(pool);
  for (let i = 0; i < 10; i++) await log.append(`record ${i}`);
  await log.sync();
  const reader = log.reader();
  for (let i = 0; i < 4; i++) await reader.next();
  const root = await pool.mdcs.root();
  await root.append('root', { sync: true });

  await rig.kill();
  const reading = mblock.read(0, data.length);
  const info = pool.info();
  await rig.start();
  assert.ok(data.equals(await reading), 'what was asked in between waits');
  assert.equal((await info).name, POOL);
  assert.equal(String(Buffer.from((await reader.next())!)), 'record 4', 'at its place');
  await log.append('record 10', { sync: true });
  assert.equal(log.recordCount, 11);
  assert.deepEqual(
    await texts(log.records()),
    Array.from({ length: 11 }, (_, i) => `record ${i}`),
  );
  assert.deepEqual(await texts(root.records()), ['root']);
  const rest: string[] = [];
  for (let record = await reader.next(); record !== undefined; record = await reader.next()) {
    rest.push(Buffer.from(record).toString());
  }
  assert.deepEqual(rest, ['record 5', 'record 6', 'record 7', 'record 8', 'record 9', 'record 10']);
  const more = await pool.mblocks.alloc();
  await more.write(pattern(3 * PAGE));
  await more.commit();
  await pool.mblocks.delete([mblock.id, more.id]);
  await log.close();
  await root.close();
  await pool.close();
});

test('what was not committed is gone, and its handles say so', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client()).open(POOL);
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(100_000));
  const mlog = await pool.mlogs.alloc({ capacityBytes: 65_536 });
  const mdc = await pool.mdcs.alloc({ capacityBytes: 65_536 });
  await rig.kill();
  await until(() => mblock.writtenBytes === 0);
  await rig.start();
  for (const call of [
    () => mblock.read(0, 1),
    () => mblock.write(pattern(PAGE)),
    () => mblock.commit(),
    () => pool.mblocks.commit([mblock]),
    () => mlog.commit(),
    () => mdc.commit(),
  ]) {
    await refuses(call, LOST, /not committed/);
  }
  await refuses(() => pool.mblocks.find(mblock.id), 'ERR_MPOOL_NOT_FOUND');
  assert.equal(mblock.writtenBytes, 0);
  // Letting go of what is gone is never an error, and it keeps no pool open.
  await Promise.all([mblock.abort(), mlog.abort(), mdc.abort()]);
  await mblock[Symbol.asyncDispose]();
  await pool.close();
});

test('each request under way at the end is done or says that nobody knows; what was acknowledged is there', async (t) => {
  for (let round = 0; round < 3; round++) {
    const rig = await clientRig(t, { sizeBytes: 256 * MIB });
    const pool = await (await rig.client()).open(POOL);
    const log = await newLog(pool, 4 * MIB);
    const acknowledged: string[] = [];
    const committed: MblockId[] = [];
    const run = { over: false };
    const appending = Array.from({ length: 8 }, async (_, writer) => {
      for (let i = 0; !run.over; i++) {
        try {
          await log.append(`${writer} ${i}`, { sync: true });
          acknowledged.push(`${writer} ${i}`);
        } catch (error) {
          assert.ok(isMpoolError(error, LOST), String(error));
          return;
        }
      }
    });
    const unknown: { commit: () => Promise<void>; id: bigint }[] = [];
    const committing = Array.from({ length: 8 }, async () => {
      while (!run.over) {
        const mblock = await pool.mblocks.alloc().catch(() => undefined);
        if (mblock === undefined) return;
        try {
          await mblock.write(pattern(5000, Number(mblock.id & 0xffffn)));
          await mblock.commit();
          committed.push(mblock.id);
        } catch (error) {
          assert.ok(isMpoolError(error, LOST), String(error));
          unknown.push({ commit: () => mblock.commit(), id: mblock.id });
          return;
        }
      }
    });
    await until(() => acknowledged.length > 20 * (round + 1) && committed.length > 10);
    run.over = true;
    await rig.kill();
    await rig.start();
    await Promise.all([...appending, ...committing]);
    for (const id of committed) {
      const seed = Number(id & 0xffffn);
      const read = await pool.mblocks.read(id, 0, 5000);
      assert.ok(pattern(5000, seed).equals(read));
    }
    // Asked again, a commit whose end nobody knew is done or lost, as the pool says.
    for (const { commit, id } of unknown) {
      const isThere = (await allOf(pool.mblocks.list())).some((each) => each.id === id);
      if (isThere) await commit();
      else await refuses(commit, LOST);
    }
    const found = new Set(await texts(log.records()));
    for (const record of acknowledged) assert.ok(found.has(record), `${record} was acknowledged`);
    await log.append('goes on', { sync: true });
    await log.close();
    await pool.close();
  }
});

test('records that were not synced and are gone: the log says so, and nothing is appended behind the gap', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client()).open(POOL);
  const log = await newLog(pool);
  await log.append('durable', { sync: true });
  await log.append('buffered in the daemon');
  assert.equal(log.recordCount, 2);
  await rig.kill();
  await rig.start();
  assert.deepEqual(await texts(log.records()), ['durable']);
  for (const call of [() => log.append('behind the gap'), () => log.sync()]) {
    await refuses(call, 'ERR_MPOOL_FAILED');
    await call().catch((error: Error) => assert.match(String(error.cause), /1 records/));
  }
  await log.close().catch(() => {});
  const again = await pool.mlogs.open(log.id);
  await again.append('after opening it again', { sync: true });
  assert.deepEqual(await texts(again.records()), ['durable', 'after opening it again']);
  await again.close();
  await pool.close();
});

test('records that were not synced and are gone are missed, however much another client appended since', async (t) => {
  const rig = await clientRig(t);
  const pools = [await (await rig.client()).open(POOL), await (await rig.client()).open(POOL)];
  const mine = await newLog(pools[0]!);
  const theirs = await pools[1]!.mlogs.open(mine.id);
  await mine.append('mine, durable', { sync: true });
  await theirs.append('theirs, durable', { sync: true });
  await mine.append('mine, buffered in the daemon');
  await rig.kill();
  await rig.start();
  // Who had nothing to lose goes on.
  for (const text of ['theirs 2', 'theirs 3']) await theirs.append(text, { sync: true });
  assert.ok(theirs.recordCount > mine.recordCount);
  await refuses(() => mine.append('behind the gap', { sync: true }), 'ERR_MPOOL_FAILED');
  await mine.close().catch(() => {});
  await theirs.close();
  for (const pool of pools) await pool.close({ force: true });
});

test('a compaction that its connection took along takes no appends until it is cancelled', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client()).open(POOL);
  const root = await pool.mdcs.root();
  await root.append('old', { sync: true });
  await root.startCompaction();
  await root.append('new 1', { sync: true });
  await rig.kill();
  await rig.start();
  for (const call of [
    () => root.append('new 2'),
    () => root.sync(),
    () => root.endCompaction(),
    () => root.startCompaction(),
  ]) {
    await refuses(call, LOST, /cancel/);
  }
  assert.deepEqual(await texts(root.records()), ['old']);
  await root.cancelCompaction();
  await root.append('old too');
  await root.compact(['newest']);
  assert.deepEqual(await texts(root.records()), ['newest']);
  await root.close();
  await pool.close();
});

test('maps end with the connection: views are empty at once, and new maps can be made', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client()).open(POOL);
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(50_000));
  await mblock.commit();
  const map = await pool.map([mblock.id]);
  const view = map.view(0);
  assert.equal(view.length, 50_000);
  await rig.kill();
  await until(() => view.length === 0);
  assert.equal(map.mapped, false);
  for (const call of [
    () => map.read(0, 0, 1),
    () => map.getPages(0, [0]),
    async () => map.view(0),
  ]) {
    await refuses(call, LOST);
  }
  await map.unmap();
  await rig.start();
  await using again = await pool.map([mblock.id]);
  assert.ok(pattern(50_000).equals(again.view(0)));
  await again.unmap();
  await pool.close();
});

test('nobody waits for ever for a daemon that does not come back', async (t) => {
  const rig = await clientRig(t);
  const client = await rig.client({ hasty: true });
  const pool = await client.open(POOL);
  const mblock = await pool.mblocks.alloc();
  await mblock.commit();
  const log = await newLog(pool);
  await log.append('kept', { sync: true });
  await rig.kill();
  for (const call of [
    () => pool.usage(),
    () => pool.mblocks.alloc(),
    () => log.append('x'),
    () => log.reader().next(),
    () => client.status(),
  ]) {
    await refuses(call, LOST, /no daemon for 30 s/);
  }
  await rig.start();
  assert.equal((await pool.usage()).mblockCount, 1, 'and yet, when it does');
  assert.deepEqual(await texts(log.records()), ['kept']);
  await rig.kill();
  await log.close();
  await pool.close();
  await refuses(() => pool.usage(), 'ERR_MPOOL_CLOSED');
});

test('another pool of the same name is not taken for the one that was open', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client()).open(POOL);
  await rig.kill();
  await rig.start({ activate: false });
  await rig.daemon.destroy(rig.path);
  await rig.daemon.create({
    name: POOL,
    capacity: { path: rig.path, force: true } as { path: string },
  });
  await refuses(() => pool.usage(), 'ERR_MPOOL_DEVICE_CHANGED', /another/);
  await pool.close();
  const fresh = await (await rig.client()).open(POOL);
  assert.notEqual(fresh.uuid, pool.uuid);
  await fresh.close();
});

test('a daemon that ends in order says so, and its clients wait for the next', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client()).open(POOL);
  const log = await newLog(pool);
  await log.append('buffered');
  await rig.daemon.shutdown();
  await until(() => pool.stats().commits >= 0);
  await sleep(50);
  await rig.start();
  assert.deepEqual(await texts(log.records()), ['buffered'], 'it closed the log in order');
  await log.append('more', { sync: true });
  await log.close();
  await pool.close();
});

test('an open pool that nobody uses does not keep its process alive', async (t) => {
  const rig = await clientRig(t);
  const { status, stdout, stderr, signal } = spawnSync(
    process.execPath,
    [program('../daemon/client-idle-child'), rig.rundir, POOL],
    { encoding: 'utf8', timeout: 20_000 },
  );
  assert.deepEqual(
    { status, signal, stdout },
    { status: 0, signal: null, stdout: 'done\n' },
    stderr,
  );
});
