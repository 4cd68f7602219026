// Goal: a counter at its end is refused, never wrapped, and what was there stays; and nothing that is durable
// depends on the time of day, however it jumps.
// Method: pools whose counters were set near their ends on media; simulated clocks set to any time, and back.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GENERATION_MAX } from '../../src/format/log-header.ts';
import { SEQUENCE_MAX } from '../../src/format/log-frame.ts';
import { SUPERBLOCK_GENERATION_MAX } from '../../src/format/superblock.ts';
import { encodeIdCheckpoint } from '../../src/format/records.ts';
import { UNIQUIFIER_MAX } from '../../src/format/object-id.ts';
import { activate } from '../../src/pool/activate.ts';
import { OpenMlog } from '../../src/pool/mlog.ts';
import { StoreMlogs } from '../../src/pool/mlogs.ts';
import { Log } from '../../src/pool/log.ts';
import { freshLogEnd } from '../../src/pool/log-place.ts';
import { readSuperblocks, writeSuperblocks } from '../../src/pool/superblocks.ts';
import { SimClock, type SimHost } from '../../src/testing/index.ts';
import {
  A,
  allOf,
  B,
  closeClean,
  freshPool,
  MIB,
  openHere,
  pattern,
  refuses,
  reopen,
  texts,
} from './pool-host.ts';

async function setGeneration(host: SimHost, generation: number): Promise<void> {
  const device = await host.openDevice(A, { access: 'write' });
  const { newest } = await readSuperblocks(device);
  await writeSuperblocks(device, { ...newest!, generation });
  await device.close();
}

async function storeOf(host: SimHost) {
  return activate(host.environment, {
    capacityPath: A,
    stagingPaths: [],
    readOnly: false,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: undefined,
  });
}

test('the last superblock is not followed by an older one: the pool changes no more, and serves', async () => {
  const setup = await freshPool();
  const { host } = setup;
  await closeClean(setup);
  await setGeneration(host, SUPERBLOCK_GENERATION_MAX - 1);
  host.addDisk(B, { sizeBytes: 64 * MIB });
  host.disk(A).resize(72 * MIB);
  const pool = await openHere(host);
  assert.equal(await pool.grow(), 8 * MIB);
  assert.equal((await pool.info()).generation, SUPERBLOCK_GENERATION_MAX);
  host.disk(A).resize(80 * MIB);
  await refuses(() => pool.grow(), 'ERR_MPOOL_NO_SPACE', /generation 4294967295 is its last/);
  const staging = { path: B, mblockSizeBytes: MIB };
  await refuses(() => pool.addMediaClass('staging', staging), 'ERR_MPOOL_NO_SPACE');
  const bytes = await host.peek(B, 0, MIB);
  assert.ok(
    bytes.every((byte) => byte === 0),
    'the other device was not written to',
  );
  assert.equal((await pool.info()).health, 'optimal');
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(4096));
  await mblock.commit();
  const again = await reopen({ host, pool });
  assert.equal((await again.pool.mblocks.read(mblock.id, 0, 4096)).length, 4096);
  assert.equal((await again.pool.info()).generation, SUPERBLOCK_GENERATION_MAX);
  await closeClean(again);
});

test('the last generation of a log can be written and read, and erased no more', async () => {
  const setup = await freshPool();
  const allocation = await setup.pool.mlogs.alloc({ capacityBytes: 65_536 });
  await allocation.commit();
  let log = await setup.pool.mlogs.open(allocation.id);
  await log.erase(BigInt(GENERATION_MAX));
  assert.equal(log.generation, BigInt(GENERATION_MAX));
  await log.append('kept', { sync: true });
  await refuses(() => log.erase(), 'ERR_MPOOL_NO_SPACE', /is the last/);
  await log.append('goes on', { sync: true });
  await log.close();
  const again = await reopen(setup);
  log = await again.pool.mlogs.open(allocation.id);
  assert.deepEqual(await texts(log.records()), ['kept', 'goes on']);
  await refuses(() => log.erase(), 'ERR_MPOOL_NO_SPACE');
  assert.deepEqual(await texts(log.records()), ['kept', 'goes on']);
  await log.close();
  await closeClean(again);
});

test('a log whose frames are counted to the end is refused, and nothing else', async () => {
  // Records are counted when a log is read: their number is never believed.
  for (const sequenceSeenMax of [SEQUENCE_MAX - 9, SEQUENCE_MAX - 2 ** 47]) {
    const setup = await freshPool();
    const { host } = setup;
    await closeClean(setup);
    const store = await storeOf(host);
    const mlogs = new StoreMlogs(store);
    const allocation = await mlogs.alloc({ capacityBytes: 65_536 });
    await allocation.commit();
    const handle = await mlogs.open(allocation.id);
    const [open] = [...store.held].filter((held) => held instanceof OpenMlog);
    const { place, header } = open!.log;
    await handle.close();
    const log = new Log(place, store.capacity.gate, header, { ...freshLogEnd(), sequenceSeenMax });
    void log.append(Buffer.from('x'));
    await log.sync();
    await log.drop();
    await store.shutdown(true);
    const pool = await openHere(host);
    await refuses(() => pool.mlogs.open(allocation.id), 'ERR_MPOOL_CORRUPT');
    assert.equal((await pool.info()).health, 'degraded');
    await pool.mlogs.delete([allocation.id]);
    assert.equal((await pool.info()).health, 'optimal');
    await closeClean({ host, pool });
  }
});

test('the last object id is followed by none; what is there can be read and deleted', async () => {
  const setup = await freshPool();
  const mblock = await setup.pool.mblocks.alloc();
  await mblock.write(pattern(4096));
  await mblock.commit();
  await closeClean(setup);
  const { host } = setup;
  const store = await storeOf(host);
  const record = encodeIdCheckpoint(UNIQUIFIER_MAX - 2);
  await store.catalog.log.append(record, 'frees', () => {});
  await store.shutdown(true);
  const pool = await openHere(host);
  await refuses(() => pool.mblocks.alloc(), 'ERR_MPOOL_NO_SPACE', /object ids/);
  await refuses(() => pool.mlogs.alloc({ capacityBytes: 8192 }), 'ERR_MPOOL_NO_SPACE');
  await refuses(() => pool.mdcs.alloc({ capacityBytes: 8192 }), 'ERR_MPOOL_NO_SPACE');
  assert.equal((await pool.mblocks.read(mblock.id, 0, 4096)).length, 4096);
  await pool.mblocks.delete([mblock.id]);
  assert.deepEqual(await allOf(pool.mblocks.list()), []);
  assert.equal((await pool.info()).health, 'optimal');
  await closeClean({ host, pool });
});

const YEAR_MS = 365 * 24 * 3_600_000;

test('the time of day may be any, and jump: what is durable does not know it', async () => {
  for (const wallMs of [-5 * YEAR_MS, 0, 1.7e12, 8.6e15 - 1e9]) {
    const setup = await freshPool({ host: { clock: new SimClock({ wallMs }) } });
    const { host } = setup;
    let { pool } = setup;
    assert.equal((await pool.info()).createdMs >= 0, true);
    const kept = new Map<bigint, Buffer>();
    for (const [i, jumpMs] of [-40 * YEAR_MS, 30 * YEAR_MS, -1, 9 * YEAR_MS].entries()) {
      if (Math.abs(host.clock.wallMs() + jumpMs) < 8.6e15) host.clock.jumpWall(jumpMs);
      const before = host.clock.monotonicMs();
      const mblock = await pool.mblocks.alloc();
      const content = pattern(9000, i);
      await mblock.write(content);
      await mblock.commit();
      kept.set(mblock.id, content);
      const gone = await pool.mblocks.alloc();
      await gone.write(content);
      await gone.commit();
      await gone.delete();
      const root = await pool.mdcs.root();
      await root.append(`after ${jumpMs}`, { sync: true });
      await root.close();
      host.clock.jumpWall(-jumpMs / 2);
      await host.clock.advance(5000);
      assert.ok(host.clock.monotonicMs() - before < 60_000, 'nobody waits for the time of day');
      await closeClean({ host, pool });
      pool = await openHere(host);
    }
    for (const [id, content] of kept) {
      assert.ok(content.equals(await pool.mblocks.read(id as never, 0, 9000)));
    }
    const root = await pool.mdcs.root();
    assert.equal((await texts(root.records())).length, 4);
    await root.close();
    // Timers go by monotonic time: a device is slow when it is, not when somebody sets the clock.
    host.clock.jumpWall(20 * YEAR_MS * (wallMs > 1e15 ? -1 : 1));
    await allOf(pool.mblocks.list());
    const { health, problems } = await pool.info();
    assert.deepEqual([health, problems], ['optimal', []]);
    await closeClean({ host, pool });
  }
});
