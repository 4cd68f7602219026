// Goal: what a session holds is its own, is bounded, and is all released at the session's end, however that
//   comes; leases keep the space of deleted objects for as long as someone may read them.
// Method: a daemon in this process on a real file; connections that are closed, cut and killed (real processes);
//   the store's own accounts of space and holders before and after.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { poolHandlers } from '../../src/daemon/server/handlers.ts';
import { poolSocketPath } from '../../src/daemon/rundir.ts';
import { program } from '../device/places.ts';
import { MIB, PAGE, pattern, POOL, type Rig, startRig } from './server-rig.ts';
import { until } from './sockets.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);

async function refuses(answer: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> {
  await assert.rejects(answer, (error: NodeJS.ErrnoException) => {
    assert.equal(error.code, code, error.stack);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });
}

function freeBytes({ service }: Rig): number {
  return service.store.capacity.space.usage().freeUsablePages * PAGE;
}

/** Nothing is held for anyone. */
async function isQuiet(rig: Rig): Promise<void> {
  const { service } = rig;
  await until(() => service.sessions.length === 0 && service.leases.sessions.size === 0);
  assert.equal(service.store.held.size, 0, 'no log, no uncommitted object');
  assert.equal(service.leases.count, 0);
  assert.equal(service.compactions.size, 0);
  assert.equal(service.store.table.deletedCount, 0, 'no deleted object is kept');
}

test('the end of a connection gives everything back, requests under way included', async (t) => {
  const rig = await startRig(t, { limits: { lingerMs: 100 } });
  const free = freeBytes(rig);
  for (const how of ['close', 'destroy'] as const) {
    const client = await rig.client();
    await rig.slotsOf(client);
    const { mblocks } = await client.ask('mblock.alloc', { count: 5 });
    await client.ask('mblock.write', { id: mblocks[0]!.id }, pattern(PAGE));
    await client.ask('mlog.alloc', { capacityBytes: MIB });
    await client.ask('mdc.alloc', { capacityBytes: MIB });
    const { log } = await client.ask('mdc.open', {});
    await client.ask('log.startCompaction', { log });
    await client.ask('log.append', { log, lengths: [3] }, Buffer.from('abc'));
    await client.ask('log.read', { log, reader: 1 });
    assert.equal(rig.service.store.held.size, 8);
    // Answered or not: nobody hears of these.
    const last = [
      client.ask('mblock.alloc', { count: 3 }),
      client.ask('mlog.alloc', { capacityBytes: 65_536 }),
      client.ask('mblock.write', { id: mblocks[1]!.id }, pattern(300_000)),
      client.ask('mdc.open', {}),
    ].map((each) => each.catch(() => {}));
    setImmediate(() => client.channel[how]());
    await Promise.all(last);
    await isQuiet(rig);
    assert.equal(freeBytes(rig), free, how);
  }
});

test('a deleted object stays readable for who leases it, and its space comes back with the last lease', async (t) => {
  const rig = await startRig(t, { limits: { lingerMs: 100 } });
  const [owner, reader, other] = [
    await rig.client(),
    await rig.client({ access: 'read' }),
    await rig.client(),
  ];
  const free = freeBytes(rig);
  const ids = [await owner.mblock(pattern(PAGE, 1)), await owner.mblock(pattern(PAGE, 2))];
  const [first, second] = ids as [string, string];
  await owner.ask('mblock.release', { ids });
  await reader.ask('mblock.lease', { ids: [first, first, second] });
  await other.ask('mblock.lease', { ids: [second] });
  await other.ask('mblock.delete', { ids });
  await until(() => reader.notices.length > 0);
  assert.deepEqual(reader.notices, [{ name: 'revoked', body: { ids } }]);
  assert.deepEqual([owner.notices, other.notices], [[], []], 'who leases nothing, and who did it');
  await refuses(owner.ask('mblock.lease', { ids: [first] }), 'ERR_MPOOL_NOT_FOUND');
  assert.equal(freeBytes(rig), free - 2 * MIB, 'the space is still theirs');

  await reader.ask('mblock.release', { ids: [first] });
  assert.equal(freeBytes(rig), free - 2 * MIB, 'leased once more');
  await reader.ask('mblock.release', { ids: [first] });
  assert.equal(freeBytes(rig), free - MIB);
  await refuses(reader.ask('mblock.release', { ids: [first] }), 'ERR_MPOOL_NOT_FOUND');
  await reader.ask('mblock.release', { ids: [second] });
  assert.equal(freeBytes(rig), free - MIB, 'the other one has it');
  other.channel.destroy();
  await until(() => freeBytes(rig) === free);
});

test('leases are given up in the middle of a deletion of many', async (t) => {
  const rig = await startRig(t);
  const [owner, reader, releaser] = [await rig.client(), await rig.client(), await rig.client()];
  const { mblocks } = await owner.ask('mblock.alloc', { count: 20 });
  const ids = mblocks.map(({ id }) => id);
  await owner.ask('mblock.commit', { ids });
  for (const each of [reader, releaser]) await each.ask('mblock.lease', { ids });
  // As when they do not fit in one record: some are gone, others not yet.
  const { catalog } = rig.service.store;
  const deleteAll = catalog.delete.bind(catalog);
  catalog.delete = async (indices, removed) => {
    await deleteAll(indices.slice(0, 10), removed);
    await releaser.ask('mblock.release', { ids });
    await deleteAll(indices.slice(10), removed);
  };
  await owner.ask('mblock.delete', { ids, release: ids });
  await until(() => reader.notices.length > 0);
  assert.deepEqual(reader.notices, [{ name: 'revoked', body: { ids } }]);
  assert.deepEqual(releaser.notices, []);
  assert.equal(rig.service.leases.count, ids.length);
  assert.equal(rig.service.leases.deleting.size, 0);
  await reader.ask('mblock.release', { ids });
  assert.equal(rig.service.store.table.deletedCount, 0);
});

test('maps of any client are respected by deletions that want to', async (t) => {
  const rig = await startRig(t);
  const [owner, reader] = [await rig.client(), await rig.client({ access: 'read' })];
  const id = await owner.mblock(pattern(PAGE));
  await reader.ask('mblock.lease', { ids: [id] });
  await reader.ask('mblock.lease', { ids: [id], mapped: true });
  assert.deepEqual(
    rig.service.sessions.map(({ info }) => [info.leaseCount, info.mappedCount]),
    [
      [1, 0],
      [1, 1],
    ],
  );
  await refuses(owner.ask('mblock.delete', { ids: [id], refuseMapped: true }), 'ERR_MPOOL_BUSY');
  await reader.ask('mblock.release', { ids: [id], mapped: true });
  const again = reader.ask('mblock.release', { ids: [id], mapped: true });
  await refuses(again, 'ERR_MPOOL_NOT_FOUND');
  await owner.ask('mblock.delete', { ids: [id], refuseMapped: true });
});

test('leases of a process that lives linger; those of one that was killed go at once', async (t) => {
  const rig = await startRig(t, { limits: { lingerMs: 60_000 } });
  const owner = await rig.client();
  const id = await owner.mblock(pattern(PAGE));
  await owner.ask('mblock.release', { ids: [id] });
  const child = await startChild(t, rig, id);
  await owner.ask('mblock.delete', { ids: [id] });
  const free = freeBytes(rig);
  assert.equal(rig.service.leases.count, 1);
  child.kill('SIGKILL');
  await until(() => rig.service.leases.count === 0);
  assert.equal(freeBytes(rig), free + MIB);
  await rig.daemon.pools.services[0]!.setParameters({ label: 'still-serving' });

  const lingering = await startChild(t, rig, await owner.mblock(pattern(PAGE)));
  lingering.send('close');
  await until(() => rig.service.sessions.length === 1);
  assert.equal(rig.service.leases.count, 2, 'its own, and that of the one that made it');
  lingering.kill('SIGKILL');
  await until(() => rig.service.leases.count === 1);
});

/** A process with a lease of that object. */
async function startChild(t: TestContext, rig: Rig, id: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [program('../daemon/server-lease-child')], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, SOCKET: poolSocketPath(rig.rundir, POOL), ID: id },
  });
  t.after(() => child.kill('SIGKILL'));
  await once(child, 'message');
  return child;
}

test('exclusive means alone, and ends with the connection', async (t) => {
  const rig = await startRig(t);
  const first = await rig.client();
  await refuses(rig.client({ exclusive: true }), 'ERR_MPOOL_BUSY', /is open: session/);
  await first.close();
  const exclusive = await rig.client({ exclusive: true });
  await refuses(rig.client({ access: 'read' }), 'ERR_MPOOL_BUSY', /exclusively/);
  await refuses(rig.client({ exclusive: true }), 'ERR_MPOOL_BUSY');
  await exclusive.ask('mblock.alloc', { count: 20 });
  exclusive.channel.destroy();
  await exclusive.channel.ended;
  await rig.client({ exclusive: true });
});

test('a session that only reads can do nothing that changes anything', async (t) => {
  const rig = await startRig(t);
  const reader = await rig.client({ access: 'read' });
  const writing = [...poolHandlers.values()].filter(({ access }) => access === 'write');
  assert.ok(writing.length > 20);
  for (const { operation } of writing) {
    await refuses(reader.ask(operation, {}), 'ERR_MPOOL_READ_ONLY');
  }
  const changing = /alloc|write|commit|abort|delete|append|sync$|erase|ompaction|set|add|grow/;
  const reading = [...poolHandlers.values()].filter(({ access }) => access === 'read');
  const suspects = reading.filter(({ operation }) => changing.test(operation));
  assert.deepEqual(
    suspects.map(({ operation }) => operation),
    ['sync'],
    'which does nothing then',
  );
  const { gate } = rig.service.store.capacity;
  const flushes = gate.count;
  await reader.ask('sync', {});
  assert.equal(gate.count, flushes);
  assert.equal(reader.channel.welcome.pool!.readOnly, true);
});

test('nobody touches what another has not committed', async (t) => {
  const rig = await startRig(t);
  const [owner, thief] = [await rig.client(), await rig.client()];
  const { mblocks } = await owner.ask('mblock.alloc', {});
  const { id } = mblocks[0]!;
  const log = await owner.ask('mlog.alloc', { capacityBytes: 65_536 });
  const mdc = await owner.ask('mdc.alloc', { capacityBytes: 65_536 });
  const attempts = [
    thief.ask('mblock.write', { id }, pattern(PAGE)),
    thief.ask('mblock.commit', { ids: [id] }),
    thief.ask('mblock.abort', { ids: [id] }),
    thief.ask('mblock.delete', { ids: [id] }),
    thief.ask('mblock.lease', { ids: [id] }),
    thief.ask('mlog.commit', { id: log.id }),
    thief.ask('mlog.abort', { id: log.id }),
    thief.ask('mlog.open', { id: log.id }),
    thief.ask('mdc.commit', mdc),
    thief.ask('mdc.abort', mdc),
  ];
  for (const attempt of attempts) await refuses(attempt, 'ERR_MPOOL_UNCOMMITTED');
  await owner.ask('mblock.commit', { ids: [id] });
  await owner.ask('mlog.commit', { id: log.id });
  await owner.ask('mdc.commit', mdc);
});

test('while one client compacts an MDC nobody else appends to it; its end sets it free', async (t) => {
  const rig = await startRig(t);
  const [one, two] = [await rig.client(), await rig.client()];
  const [a, b] = [await one.ask('mdc.open', {}), await two.ask('mdc.open', {})];
  await two.ask('log.append', { log: b.log, lengths: [3], sync: true }, Buffer.from('old'));
  await one.ask('log.startCompaction', { log: a.log });
  await one.ask('log.append', { log: a.log, lengths: [4] }, Buffer.from('half'));
  const append = { log: b.log, lengths: [4], sync: true };
  await refuses(two.ask('log.append', append, Buffer.from('mine')), 'ERR_MPOOL_BUSY', /compacted/);
  for (const operation of [
    'log.startCompaction',
    'log.endCompaction',
    'log.cancelCompaction',
  ] as const) {
    await refuses(two.ask(operation, { log: b.log }), 'ERR_MPOOL_BUSY');
  }
  one.channel.destroy();
  await until(() => rig.service.compactions.size === 0);
  await two.ask('log.append', append, Buffer.from('mine'));
  const { payload } = await two.channel.request('log.read', { log: b.log, reader: 1 });
  assert.equal(
    Buffer.from(payload).toString(),
    'oldmine',
    'what was acknowledged, and nothing of the half',
  );
});

test('every limit of a session is a clear refusal, and only that', async (t) => {
  const rig = await startRig(t, {
    limits: {
      sessionsPerPool: 3,
      openLogs: 2,
      readersPerSession: 2,
      uncommittedObjects: 4,
      leases: 3,
      leasesPerPool: 5,
      lingerMs: 50,
    },
  });
  const client = await rig.client();
  await client.ask('mblock.alloc', { count: 3 });
  await client.ask('mlog.alloc', { capacityBytes: 65_536 });
  await refuses(client.ask('mblock.alloc', {}), 'ERR_MPOOL_LIMIT', /4 uncommitted/);
  await refuses(client.ask('mdc.alloc', { capacityBytes: 65_536 }), 'ERR_MPOOL_LIMIT');

  const [{ log }] = [await client.ask('mdc.open', {}), await client.ask('mdc.open', {})];
  await refuses(client.ask('mdc.open', {}), 'ERR_MPOOL_LIMIT', /2 open logs/);
  await client.ask('log.read', { log, reader: 1 });
  await client.ask('log.read', { log, reader: 2 });
  await refuses(client.ask('log.read', { log, reader: 3 }), 'ERR_MPOOL_LIMIT', /2 log readers/);
  await client.ask('log.closeReader', { log, reader: 1 });
  await client.ask('log.read', { log, reader: 3 });

  const other = await rig.client();
  const ids = [];
  for (let i = 0; i < 3; i++) ids.push(await other.mblock(pattern(PAGE, i)));
  const { mblocks } = await other.ask('mblock.alloc', {});
  const fourth = other.ask('mblock.commit', { ids: [mblocks[0]!.id] });
  await refuses(fourth, 'ERR_MPOOL_LIMIT', /3 objects leased/);
  assert.equal(rig.service.store.table.count, 2 + 3, 'refused before it was committed');
  await refuses(client.ask('mblock.lease', { ids }), 'ERR_MPOOL_LIMIT', /5 objects/);
  await client.ask('mblock.lease', { ids: ids.slice(0, 2) });

  await rig.client();
  await refuses(rig.client(), 'ERR_MPOOL_LIMIT', /3 clients/);
  await other.close();
  await rig.client();
});

test('sessions that come, work and vanish at any moment leave nothing behind', async (t) => {
  console.log(`SEED=${SEED}`);
  const rig = await startRig(t, { limits: { lingerMs: 20 } });
  const prng = new SeededPrng(SEED);
  const mdcs = rig.service.store.table.count;
  const worker = async (): Promise<void> => {
    for (let round = 0; round < 12; round++) {
      const client = await rig.client();
      const work = async (): Promise<void> => {
        const { log } = await client.ask('mdc.open', {});
        for (;;) {
          const { mblocks } = await client.ask('mblock.alloc', { count: 1 + below(prng, 2) });
          const ids = mblocks.map(({ id }) => id);
          await client.ask('mblock.write', { id: ids[0]! }, pattern(PAGE * (1 + below(prng, 20))));
          await client.ask('mblock.commit', { ids });
          await client.ask('log.append', { log, lengths: [8], sync: true }, Buffer.alloc(8));
          await client.ask('mblock.delete', { ids });
          await client.ask('mblock.release', { ids });
        }
      };
      const working = Promise.all([work(), work()]).catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, below(prng, 30)));
      client.channel[below(prng, 2) === 0 ? 'destroy' : 'close']();
      await working;
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  await isQuiet(rig);
  const cleaner = await rig.client();
  const { mblocks } = await cleaner.ask('mblock.list', {});
  if (mblocks.length > 0) await cleaner.ask('mblock.delete', { ids: mblocks.map(({ id }) => id) });
  await cleaner.close();
  await isQuiet(rig);
  const { table, capacity } = rig.service.store;
  assert.equal(table.count, mdcs);
  await capacity.yieldDiscards();
  const { usedPages } = capacity.space.usage();
  let owned = 0;
  for (let index = table.next(-1); index >= 0; index = table.next(index))
    owned += table.pageCount(index);
  const { mdc0 } = rig.service.store.superblock;
  for (const mdc of [mdc0, ...rig.service.store.poolRecords.mdcs]) {
    owned += mdc.logA.pageCount + mdc.logB.pageCount;
  }
  assert.equal(usedPages, owned, 'no space is lost');
  assert.deepEqual(
    rig.events.filter((line) => / error /.test(line)),
    [],
  );
});
