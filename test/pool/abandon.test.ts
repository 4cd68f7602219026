// Goal: whoever waits for a device that does not answer can stop waiting, at once; and nothing that the device
// still has is used for anything else before it answers (I18, I9).
// Method: a simulated device that holds operations; each call that may be abandoned is, then the device goes on,
// and what is left is counted: buffers, space, open logs, claims.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Fault, SimHost } from '../../src/testing/index.ts';
import type { MblockId, Pool } from '../../src/pool/api.ts';
import {
  A,
  allOf,
  closeClean,
  freshPool,
  MIB,
  openHere,
  pattern,
  refuses,
  reopen,
  type Setup,
  texts,
  turns,
} from './pool-host.ts';

const REASON = new Error('somebody closed the window');

async function filled(): Promise<Setup & { id: MblockId; content: Buffer }> {
  const setup = await freshPool();
  const mblock = await setup.pool.mblocks.alloc();
  const content = pattern(16384);
  await mblock.write(content);
  await mblock.commit();
  // So that nothing of it is cached.
  return { ...(await reopen(setup)), id: mblock.id, content };
}

function hold(host: SimHost, op: 'read' | 'flush' | 'write' = 'read'): Fault {
  return host.addFault({ op, disk: A, times: Infinity, effect: { kind: 'hold' } });
}

/** The call is under way, is abandoned, and rejects without anything of the device. */
async function abandoned(call: (signal: AbortSignal) => Promise<unknown>): Promise<void> {
  const controller = new AbortController();
  const outcome = call(controller.signal).then(
    () => assert.fail('it was not abandoned'),
    (error: NodeJS.ErrnoException) => error,
  );
  await turns(20);
  controller.abort(REASON);
  const error = await outcome;
  assert.equal(error.code, 'ERR_MPOOL_ABORTED', error.stack);
  assert.equal(error.cause, REASON);
}

async function goOn(host: SimHost, held: Fault): Promise<void> {
  held.remove();
  held.release();
  for (let i = 0; i < 5; i++) {
    await host.clock.advance(1000);
    await turns(20);
  }
}

test('a read: its memory, the caller’s too, and the space are held until the device answers', async () => {
  const { host, pool, id, content } = await filled();
  const mblock = await pool.mblocks.find(id);
  const held = hold(host);
  await abandoned((signal) => mblock.read(0, 4096, { signal }));
  await abandoned((signal) => pool.mblocks.read(id, 4096, 10, { signal }));
  const into = Buffer.alloc(8192, 0x77);
  await abandoned((signal) => mblock.readInto(0, into, { signal }));
  await abandoned((signal) => mblock.readMany([{ offsetBytes: 0, lengthBytes: 1 }], { signal }));
  assert.ok(host.liveBufferCount > 0, 'the device has memory');
  await mblock.delete();
  const { freeUsableBytes, freeSpareBytes } = await pool.usage();
  const given = [];
  for (let left = freeUsableBytes + freeSpareBytes; left >= MIB; left -= MIB) {
    const other = await pool.mblocks.alloc({ spare: true });
    await other.write(pattern(4096, 9));
    given.push(other);
  }
  await refuses(() => pool.mblocks.alloc({ spare: true }), 'ERR_MPOOL_NO_SPACE');
  await goOn(host, held);
  assert.ok(
    into.every((byte) => byte === 0x77),
    'nothing came into memory that was not lent',
  );
  const last = await pool.mblocks.alloc({ spare: true });
  assert.ok(last, 'its space is free now');
  await pool.mblocks.abort([...given, last]);
  const again = await pool.mblocks.alloc();
  await again.write(content);
  await again.commit();
  const { signal } = new AbortController();
  await again.readInto(100, into.subarray(0, 5000), { signal });
  assert.ok(content.subarray(100, 5100).equals(into.subarray(0, 5000)));
  await closeClean({ host, pool });
});

test('opening a pool: what opens after all is let go of', async () => {
  const setup = await filled();
  await closeClean(setup);
  const { host, id } = setup;
  const held = hold(host);
  await abandoned((signal) => openHere(host, A, { signal }));
  let opened: Pool | undefined;
  const second = openHere(host, A).then((pool) => (opened = pool));
  await turns(20);
  assert.equal(opened, undefined, 'whoever did not give up waits');
  await goOn(host, held);
  await second;
  assert.equal((await opened!.mblocks.read(id, 0, 4096)).length, 4096);
  await closeClean({ host, pool: opened! });
  const again = hold(host);
  await abandoned((signal) => openHere(host, A, { signal }));
  await goOn(host, again);
  assert.equal(host.liveBufferCount, 0);
  const device = await host.openDevice(A, { access: 'write' });
  await device.close();
});

test('a log: opening it, its next record, all of its records', async () => {
  const { host, pool } = await filled();
  const allocation = await pool.mlogs.alloc({ capacityBytes: 65536 });
  await allocation.commit();
  const { id } = allocation;
  let held = hold(host);
  await abandoned((signal) => pool.mlogs.open(id, { signal }));
  await abandoned((signal) => pool.mdcs.root({ signal }));
  await goOn(host, held);
  const log = await pool.mlogs.open(id);
  for (const record of ['a', 'b', 'c']) await log.append(record, { sync: true });
  held = hold(host);
  const reader = log.reader();
  await abandoned((signal) => reader.next({ signal }));
  await abandoned((signal) => allOf(log.records({ signal })));
  await abandoned((signal) => reader.next({ signal }));
  await goOn(host, held);
  assert.equal(Buffer.from((await reader.next())!).toString(), 'a', 'none was taken');
  assert.equal(Buffer.from((await reader.next())!).toString(), 'b');
  await reader.close();
  const { signal } = new AbortController();
  assert.deepEqual(await texts(log.records({ signal })), ['a', 'b', 'c']);
  await log.close();
  await turns(20);
  await pool.mlogs.delete([id]);
  await closeClean({ host, pool });
});

test('a log that is abandoned by one is opened for another', async () => {
  const { host, pool } = await filled();
  const allocation = await pool.mlogs.alloc({ capacityBytes: 65536 });
  await allocation.commit();
  const held = hold(host);
  const other = pool.mlogs.open(allocation.id);
  await abandoned((signal) => pool.mlogs.open(allocation.id, { signal }));
  await goOn(host, held);
  const log = await other;
  await log.append('x', { sync: true });
  await log.close();
  await closeClean({ host, pool });
});

test('maps, and their pages', async () => {
  const { host, pool, id, content } = await filled();
  let held = host.addFault({ op: 'map', effect: { kind: 'hold' } });
  await abandoned((signal) => pool.map([id], { signal }));
  await goOn(host, held);
  await turns(20);
  const map = await pool.map([id]);
  held = host.addFault({ op: ['read', 'cache'], times: Infinity, effect: { kind: 'hold' } });
  await abandoned((signal) => map.getPages(0, [0], { signal }));
  await abandoned((signal) => map.read(0, 5000, 100, { signal }));
  await goOn(host, held);
  const bytes = await map.read(0, 5000, 100, { signal: new AbortController().signal });
  assert.ok(content.subarray(5000, 5100).equals(bytes));
  await map.unmap();
  await closeClean({ host, pool });
});

test('what is over before it begins asks nothing of the device; lists end where they are', async () => {
  const { host, pool, id } = await filled();
  const { operationCount } = host;
  const signal = AbortSignal.abort(REASON);
  const options = { signal };
  for (const call of [
    () => pool.mblocks.find(id, options),
    () => pool.mblocks.read(id, 0, 1, options),
    () => allOf(pool.mblocks.list(options)),
    () => allOf(pool.mlogs.list(options)),
    () => allOf(pool.mdcs.list(options)),
    () => pool.mdcs.root(options),
    () => pool.map([id], options),
    () => openHere(host, A, options),
  ]) {
    await refuses(call, 'ERR_MPOOL_ABORTED');
  }
  assert.equal(host.operationCount, operationCount);
  const controller = new AbortController();
  const seen: unknown[] = [];
  await assert.rejects(
    async () => {
      for await (const each of pool.mblocks.list({ signal: controller.signal })) {
        seen.push(each.id);
        controller.abort();
      }
    },
    { code: 'ERR_MPOOL_ABORTED' },
  );
  assert.deepEqual(seen, [id]);
  const wrong = { signal: 'soon' as unknown as AbortSignal };
  await refuses(() => pool.mblocks.find(id, wrong), 'ERR_MPOOL_INVALID_ARG');
  await closeClean({ host, pool });
});

test('closing: the pool is closed to all, and its devices are let go of when they answer', async () => {
  for (const force of [false, true]) {
    const { host, pool, id } = await filled();
    const read = pool.mblocks.read(id, 0, 4096).catch(() => {});
    const held = hold(host, 'write');
    const reads = hold(host);
    const late = pool.mblocks.read(id, 4096, 4096);
    await abandoned((signal) => pool.close({ force, signal }));
    await refuses(() => pool.info(), 'ERR_MPOOL_CLOSED');
    await refuses(() => host.openDevice(A, { access: 'write' }), 'ERR_MPOOL_BUSY');
    let closed = false;
    const closing = pool.close().then(() => (closed = true));
    await turns(20);
    assert.ok(!closed, 'memory that the device has is waited for');
    assert.ok(host.liveBufferCount > 0);
    reads.remove();
    reads.release();
    await goOn(host, held);
    await closing;
    assert.equal((await late).length, 4096);
    await read;
    assert.equal(host.liveBufferCount, 0);
    await (await host.openDevice(A, { access: 'write' })).close();
  }
});
