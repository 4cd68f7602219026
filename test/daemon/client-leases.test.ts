// Goal: what one client reads or maps is safe from what others do: a deletion is known to all soon, reads and maps
//   under way keep their bytes and their space, and nothing is leased longer than it is used or worth keeping.
// Method: several clients of one real daemon, each with connections of its own, which is what other processes are;
//   the daemon's own list of clients says what they hold.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import type { ClientInfo } from '../../src/daemon/protocol.ts';
import type { Mblock, MblockId, Pool } from '../../src/pool/api.ts';
import { committed, some } from '../contract/contract.ts';
import { pattern, refuses } from '../pool/pool-host.ts';
import { type ClientRig, clientRig, MIB, PAGE, POOL } from './client-rig.ts';

async function opened(rig: ClientRig, count: number): Promise<Pool[]> {
  const pools: Pool[] = [];
  for (let i = 0; i < count; i++) pools.push(await (await rig.client()).open(POOL));
  return pools;
}

/** What the daemon says of the clients, in the order in which they came; waits until it is so. */
async function holds(
  rig: ClientRig,
  what: string,
  isSo: (clients: ClientInfo[]) => boolean,
): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const clients = await rig.daemon.clients(POOL);
    if (isSo(clients)) return;
    const found = clients.map(({ leaseCount, mappedCount }) => ({ leaseCount, mappedCount }));
    if (attempt === 500) assert.fail(`${what}: ${JSON.stringify(found)}`);
    await sleep(5);
  }
}

/** Waits for the notice. */
async function gone(call: () => Promise<unknown>): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt++) {
    try {
      await call();
      await sleep(2);
    } catch (error) {
      assert.ok(isMpoolError(error, 'ERR_MPOOL_NOT_FOUND'), String(error));
      return;
    }
  }
  assert.fail('never heard of it');
}

/** Takes all space that can be had. */
async function fill(pool: Pool): Promise<Mblock[]> {
  const all: Mblock[] = [];
  for (;;) {
    const mblock = await pool.mblocks.alloc({ spare: true }).catch(() => undefined);
    if (mblock === undefined) return all;
    await mblock.write(Buffer.alloc(100 * PAGE, 0xee));
    all.push(mblock);
  }
}

test('a deletion is known to the handles of other clients, and their leases are given up', async (t) => {
  const rig = await clientRig(t);
  const [one, two, three] = (await opened(rig, 3)) as [Pool, Pool, Pool];
  const mblock = await committed(one, pattern(9000));
  const handles = [await two.mblocks.find(mblock.id), await three.mblocks.find(mblock.id)];
  for (const handle of handles) assert.ok(pattern(9000).equals(await handle.read(0, 9000)));
  await holds(rig, 'each leases it', (clients) => clients.every((each) => each.leaseCount === 1));
  await one.mblocks.delete([mblock.id]);
  await refuses(() => mblock.read(0, 1), 'ERR_MPOOL_NOT_FOUND');
  for (const handle of handles) {
    await gone(() => handle.read(0, 1));
    assert.equal(handle.writtenBytes, 0);
    await refuses(() => handle.delete(), 'ERR_MPOOL_NOT_FOUND');
  }
  await holds(rig, 'nobody does', (clients) => clients.every((each) => each.leaseCount === 0));
  for (const pool of [one, two, three]) await pool.close();
});

test('what another client deletes keeps its space until the last reader and the last map are done', async (t) => {
  const rig = await clientRig(t);
  const [writer, reader] = (await opened(rig, 2)) as [Pool, Pool];
  const data = pattern(200 * PAGE);
  const mblock = await committed(writer, data);
  const map = await reader.map([mblock.id]);
  const view = map.view(0);
  await refuses(
    () => writer.mblocks.delete([mblock.id], { refuseMapped: true }),
    'ERR_MPOOL_BUSY',
    /mapped/,
  );
  await writer.mblocks.delete([mblock.id]);
  await gone(() => reader.mblocks.find(mblock.id));
  await refuses(() => reader.map([mblock.id]), 'ERR_MPOOL_NOT_FOUND');
  const others = await fill(writer);
  assert.ok(others.length > 40);
  assert.ok(data.equals(view), 'nothing was written over it');
  await map.purge();
  assert.ok(data.equals(await map.read(0, 0, data.length)));
  await refuses(() => writer.mblocks.alloc({ spare: true }), 'ERR_MPOOL_NO_SPACE');
  await map.unmap();
  await holds(rig, 'released', ([, second]) => second!.leaseCount === 0);
  await (await writer.mblocks.alloc({ spare: true })).abort();
  await writer.mblocks.abort(others);
  await reader.close();
  await writer.close();
});

test('no more leases are kept than are used or worth keeping', async (t) => {
  const rig = await clientRig(t, { sizeBytes: 16_384 * MIB });
  const [writer, reader] = (await opened(rig, 2)) as [Pool, Pool];
  const mblocks = await Promise.all(Array.from({ length: 8000 }, () => writer.mblocks.alloc()));
  await writer.mblocks.commit(mblocks);
  const ids = mblocks.map(({ id }) => id);
  for (let at = 0; at < ids.length; at += 500) {
    await Promise.all(ids.slice(at, at + 500).map((id) => reader.mblocks.read(id, 0, 0)));
  }
  const isFew = ({ leaseCount }: ClientInfo): boolean => leaseCount > 1000 && leaseCount < 5000;
  await holds(rig, 'a few thousand', (clients) => clients.every(isFew));
  const map = await reader.map(ids);
  await holds(rig, 'all mapped', ([, second]) => second!.mappedCount === 8000);
  await map.unmap();
  await holds(rig, 'none mapped', ([, second]) => second!.mappedCount === 0);
  await writer.mblocks.delete(ids, { refuseMapped: true });
  await holds(rig, 'none left', (clients) => clients.every(({ leaseCount }) => leaseCount === 0));
  await reader.close();
  await writer.close();
});

test('readers, mappers and a deleter at once: every byte is right, or the object is not there', async (t) => {
  const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
  t.diagnostic(`seed ${seed}`);
  const rig = await clientRig(t, { sizeBytes: 48 * MIB });
  const pools = await opened(rig, 3);
  const live = new Map<MblockId, number>();
  const prng = new SeededPrng(seed);
  const counts = { written: 0, read: 0, mapped: 0, missed: 0 };
  const run = { over: false };
  const lengthOf = (content: number): number => 1 + ((content * 7919) % 300_000);
  const pick = (): [MblockId, number] | undefined => [...live][below(prng, live.size || 1)];
  const writer = async (pool: Pool): Promise<void> => {
    for (let content = 1; content <= 150; content++) {
      if (live.size >= 25) {
        const [id] = pick()!;
        live.delete(id);
        await pool.mblocks.delete([id]);
      }
      const mblock = await committed(pool, pattern(lengthOf(content), content));
      live.set(mblock.id, content);
      counts.written++;
    }
    run.over = true;
  };
  const reader = async (pool: Pool): Promise<void> => {
    while (!run.over) {
      const picked = pick();
      await new Promise(setImmediate);
      if (picked === undefined) continue;
      const [id, content] = picked;
      const want = pattern(lengthOf(content), content);
      try {
        if (below(prng, 2) === 0) {
          const read = await pool.mblocks.read(id, 0, want.length);
          assert.ok(want.equals(read), `seed ${seed}: content ${content}`);
          counts.read++;
        } else {
          await using map = await pool.map([id, id]);
          assert.ok(want.equals(await map.read(1, 0, want.length)), `seed ${seed}: ${content}`);
          await new Promise(setImmediate);
          assert.ok(want.equals(map.view(0)), `seed ${seed}: content ${content}`);
          counts.mapped++;
          await map.unmap();
        }
      } catch (error) {
        if (!isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) throw error;
        counts.missed++;
      }
    }
  };
  const readers = pools.flatMap((pool) => [reader(pool), reader(pool)]);
  await Promise.all([writer(pools[0]!), ...readers]);
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.read > 50 && counts.mapped > 50, JSON.stringify(counts));
  await pools[1]!.mblocks.delete([...live.keys()]);
  await holds(rig, 'none left', (clients) => clients.every(({ leaseCount }) => leaseCount === 0));
  const heldBytes = async (): Promise<number> => {
    const { usedBytes, metadataBytes, mlogAllocatedBytes } = await pools[0]!.usage();
    return usedBytes - metadataBytes - mlogAllocatedBytes;
  };
  for (let attempt = 0; attempt < 500 && (await heldBytes()) > 0; attempt++) await sleep(5);
  assert.equal(await heldBytes(), 0, 'all space came back');
  for (const pool of pools) await pool.close();
});

test('a pool that closes leaves nothing behind; one that is exclusive is alone', async (t) => {
  const rig = await clientRig(t);
  const [one] = (await opened(rig, 1)) as [Pool];
  const ids = await some(one, 20, 10_000);
  const map = await one.map(ids);
  assert.equal(map.view(3).length, 10_000);
  await one.mblocks.alloc();
  await one.mdcs.root();
  const client = await rig.client();
  await refuses(() => client.open(POOL, { exclusive: true }), 'ERR_MPOOL_BUSY');
  await one.close({ force: true });
  const alone = await client.open(POOL, { exclusive: true });
  await refuses(async () => (await rig.client()).open(POOL), 'ERR_MPOOL_BUSY');
  await refuses(() => rig.daemon.deactivate(POOL), 'ERR_MPOOL_BUSY');
  await alone.close();
  await rig.daemon.deactivate(POOL);
  await refuses(() => client.open(POOL), 'ERR_MPOOL_NOT_FOUND', /active/);
});
