// Goal: who may open a pool together, what an open refuses, and that a refused open leaves no trace.
// Method: opens and closes in one process and in another's stead; devices gone, swapped, shrunk, of other sectors
//   and of other formats, on simulated disks.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../src/base/bytes.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import type { OpenOptions } from '../../src/pool/api.ts';
import { createPool } from '../../src/pool/create.ts';
import { openPool } from '../../src/pool/open.ts';
import { SimHost } from '../../src/testing/index.ts';
import {
  A,
  B,
  closeClean,
  freshPool,
  HERE,
  MIB,
  NAME,
  openHere,
  pattern,
  refuses,
  turns,
} from './pool-host.ts';

async function closedPool(options: Parameters<typeof freshPool>[0] = {}): Promise<SimHost> {
  const setup = await freshPool(options);
  await closeClean(setup);
  return setup.host;
}

function clean(host: SimHost): void {
  assert.equal(host.liveBufferCount, 0);
  assert.equal(host.inFlightCount, 0);
}

test('opens in one process share the pool; the last close lets go of it', async () => {
  const { host, pool: one } = await freshPool();
  const two = await openHere(host, A);
  const three = await openHere(host, one.uuid);
  const mblock = await one.mblocks.alloc();
  await mblock.write(pattern(100));
  await mblock.commit();
  assert.equal((await two.mblocks.read(mblock.id, 0, 100)).length, 100);
  await one.close();
  await refuses(() => one.info(), 'ERR_MPOOL_CLOSED');
  assert.equal((await two.mblocks.read(mblock.id, 0, 100)).length, 100);
  const open = await three.mblocks.alloc();
  await two.close();
  await refuses(() => three.close(), 'ERR_MPOOL_BUSY');
  await open.abort();
  await Promise.all([three.close(), three.close()]);
  clean(host);
  const device = await host.openDevice(A, { access: 'write' });
  await device.close();
});

test('exclusive, read-only and writing handles keep each other out', async () => {
  const host = await closedPool();
  const cases: [OpenOptions, OpenOptions, boolean][] = [
    [{}, {}, true],
    [{ readOnly: true }, { readOnly: true }, true],
    [{}, { readOnly: true }, false],
    [{ readOnly: true }, {}, false],
    [{ exclusive: true }, {}, false],
    [{}, { exclusive: true }, false],
    [{ exclusive: true }, { exclusive: true }, false],
    [{ exclusive: true, readOnly: true }, { readOnly: true }, false],
    [{ readOnly: true }, { exclusive: true, readOnly: true }, false],
  ];
  for (const [first, second, together] of cases) {
    const one = await openHere(host, NAME, first);
    if (together) await (await openHere(host, NAME, second)).close();
    else await refuses(() => openHere(host, NAME, second), 'ERR_MPOOL_BUSY', /in this process/);
    await one.info();
    await one.close();
    const [a, b] = await Promise.allSettled([
      openHere(host, NAME, first),
      openHere(host, NAME, second),
    ]);
    assert.equal(a.status === 'fulfilled' && b.status === 'fulfilled', together);
    for (const each of [a, b]) if (each.status === 'fulfilled') await each.value.close();
    clean(host);
  }
});

test('another process: one writer or many readers', async () => {
  const host = await closedPool();
  const other = await host.openDevice(A, { access: 'write' });
  await refuses(() => openHere(host), 'ERR_MPOOL_BUSY');
  await refuses(() => openHere(host, NAME, { readOnly: true }), 'ERR_MPOOL_BUSY');
  await other.close();
  const reader = await host.openDevice(A, { access: 'read' });
  await refuses(() => openHere(host), 'ERR_MPOOL_BUSY');
  await closeClean({ host, pool: await openHere(host, NAME, { readOnly: true }) });
  await reader.close();
  await closeClean({ host, pool: await openHere(host) });
});

test('open and close at every moment of each other', async () => {
  const host = await closedPool();
  for (let wait = 0; wait < 40; wait++) {
    const first = await openHere(host);
    const closing = first.close();
    await turns(wait);
    const second = await openHere(host);
    await closing;
    assert.equal((await second.info()).health, 'optimal');
    const mblock = await second.mblocks.alloc();
    await mblock.abort();
    const third = openHere(host);
    // In the middle of one turn: between the microtasks of both.
    for (let i = 0; i < wait; i++) await Promise.resolve();
    await second.close();
    await (await third).setParameters({ mode: wait });
    await (await third).close();
    clean(host);
  }
});

test('an open that fails can be tried again, and leaves nothing open', async () => {
  const host = await closedPool({ stagingBytes: 64 * MIB });
  let failures = 0;
  for (let nth = 1; ; nth++) {
    const before = host.disk(A).bytes(0, 8192);
    const fault = host.addFault({
      op: ['read', 'write', 'flush', 'open'],
      nth,
      effect: { kind: 'error' },
    });
    const result = await openHere(host).catch((error: { code: string }) => error.code);
    if (fault.hits === 0 && typeof result !== 'string') {
      await closeClean({ host, pool: result });
      break;
    }
    host.clearFaults();
    if (typeof result === 'string') {
      failures++;
      assert.ok(
        ['ERR_MPOOL_IO', 'ERR_MPOOL_FAILED', 'ERR_MPOOL_CORRUPT'].includes(result),
        `${nth}: ${result}`,
      );
      assert.deepEqual(host.disk(A).bytes(0, 8192), before);
    } else await result.close({ force: true }).catch(() => {});
    clean(host);
    await closeClean({ host, pool: await openHere(host) });
  }
  assert.ok(failures > 5, `${failures} failures`);
});

test('a staging device that is missing, another, moved or named', async () => {
  const host = await closedPool({ stagingBytes: 64 * MIB });
  const setup = { host, pool: await openHere(host) };
  const mblock = await setup.pool.mblocks.alloc({ mediaClass: 'staging' });
  await mblock.write(pattern(100));
  await mblock.commit();
  const log = await setup.pool.mlogs.alloc({ capacityBytes: 65_536, mediaClass: 'staging' });
  await log.commit();
  await closeClean(setup);
  host.moveDisk(B, '/dev/z');
  await closeClean({ host, pool: await openHere(host) });
  const elsewhere = { places: [], blockDevices: false };
  const open = (options: OpenOptions) => openPool(host.environment, A, options, elsewhere);
  await refuses(() => open({}), 'ERR_MPOOL_NO_DEVICE', /staging/);
  await closeClean({ host, pool: await open({ stagingPath: '/dev/z' }) });
  host.addDisk('/dev/blank', { sizeBytes: 64 * MIB });
  await refuses(() => open({ stagingPath: '/dev/blank' }), 'ERR_MPOOL_NO_DEVICE');
  await refuses(() => open({ stagingPath: A }), 'ERR_MPOOL_NO_DEVICE');
  host.addDisk('/dev/other', { sizeBytes: 64 * MIB });
  host.addDisk('/dev/other-staging', { sizeBytes: 64 * MIB });
  await createPool(host.environment, {
    name: 'other',
    capacity: { path: '/dev/other', mblockSizeBytes: MIB },
    staging: { path: '/dev/other-staging', mblockSizeBytes: MIB },
  });
  await refuses(() => open({ stagingPath: '/dev/other-staging' }), 'ERR_MPOOL_NO_DEVICE');
  await refuses(() => open({ force: true }), 'ERR_MPOOL_NO_DEVICE', /read-only/);
  const before = host.operationCount;
  const pool = await open({ force: true, readOnly: true });
  const info = await pool.info();
  assert.equal(info.health, 'faulted');
  assert.match(info.fault!, /staging device is missing/);
  assert.equal(info.devices[1]!.status, 'missing');
  const found = await pool.mblocks.find(mblock.id);
  assert.equal(found.writtenBytes, 100);
  await refuses(() => found.read(0, 1), 'ERR_MPOOL_NO_DEVICE');
  await refuses(() => pool.mlogs.open(log.id), 'ERR_MPOOL_NO_DEVICE');
  await refuses(() => pool.usage('staging'), 'ERR_MPOOL_NO_DEVICE');
  await (await pool.mdcs.root()).close();
  await closeClean({ host, pool });
  assert.equal(host.operationCount, before, 'read-only');
  assert.ok(
    (await openHere(host, '/dev/z').then(async (p) => (await p.close(), p.name))) === NAME,
    'found by its staging device',
  );
});

test('a device that shrank or has other sectors is refused; one that grew is not', async () => {
  const host = await closedPool();
  host.disk(A).resize(63 * MIB);
  await refuses(() => openHere(host, A), 'ERR_MPOOL_DEVICE_CHANGED', /bytes/);
  await refuses(() => openHere(host, A, { readOnly: true }), 'ERR_MPOOL_DEVICE_CHANGED');
  host.disk(A).resize(64 * MIB);
  await closeClean({ host, pool: await openHere(host, A) });
  host.disk(A).resize(65 * MIB);
  const pool = await openHere(host, A);
  assert.equal((await pool.devices())[0]!.sizeBytes, 64 * MIB, 'not taken in unasked');
  await closeClean({ host, pool });
  const from = host.disk(A);
  for (const [made, now, code] of [
    [512, 4096, 'ERR_MPOOL_DEVICE_CHANGED'],
    [4096, 512, undefined],
  ] as const) {
    const sim = new SimHost({ seed: 3 });
    sim.addDisk(A, { sizeBytes: 64 * MIB, sectorBytes: made });
    await createPool(sim.environment, { name: NAME, capacity: { path: A } });
    const next = new SimHost({ seed: 4 });
    next
      .addDisk(A, { sizeBytes: 64 * MIB, sectorBytes: now })
      .poke(0, sim.disk(A).bytes(0, 64 * MIB));
    if (code !== undefined) await refuses(() => openHere(next, A), code, /sectors/);
    else await closeClean({ host: next, pool: await openHere(next, A) });
  }
  assert.ok(from.sizeBytes > 0);
});

test('nothing there, nothing on it, damaged all over', async () => {
  const host = new SimHost({ seed: 1 });
  host.addDisk(A, { sizeBytes: 64 * MIB });
  await refuses(() => openHere(host, '/dev/none'), 'ERR_MPOOL_NOT_FOUND');
  await refuses(() => openHere(host, 'none'), 'ERR_MPOOL_NOT_FOUND', /looked in/);
  await refuses(() => openHere(host, A), 'ERR_MPOOL_NOT_FOUND', /no pool/);
  for (const target of [null, 5, '', {}] as unknown as string[]) {
    await refuses(() => openHere(host, target), 'ERR_MPOOL_INVALID_ARG');
  }
  const made = await closedPool();
  for (const options of [
    { checksumCacheBytes: -1 },
    { checksumCacheBytes: NaN },
    { checksumCacheBytes: '1' },
  ] as OpenOptions[]) {
    await refuses(() => openHere(made, NAME, options), 'ERR_MPOOL_INVALID_ARG');
  }
  await refuses(
    () => openHere(made, NAME, null as unknown as OpenOptions),
    'ERR_MPOOL_INVALID_ARG',
  );
  await refuses(() => openHere(made, NAME, { parameters: { mode: -1 } }), 'ERR_MPOOL_INVALID_ARG');
  await refuses(() => openHere(made, NAME, { signal: AbortSignal.abort() }), 'ERR_MPOOL_ABORTED');
  clean(made);
  for (const copy of [0, 16 * 4096, 64 * MIB - 16 * 4096, 64 * MIB - 4096])
    made.disk(A).flipBit(copy + 300);
  await refuses(() => openHere(made, A), 'ERR_MPOOL_CORRUPT', /superblock/);
  clean(made);
});

/** The superblock of the kernel driver's that original-mpool.md §8.3 prints. */
const VERSION_1 = Buffer.from(
  [
    '6d706f6f6c44657664656d6f5f706f6f',
    '6c000000000000000000000000000000',
    '0000000000000000f6dae318d5a24afd',
    'ad35385b5496c35501000100000074f5',
    'f37d00000000000001020c168c199b63',
    '874ee1aa9e3693c2c8db620000000000',
    '00200000200000000000004000000000',
    '030000000000000077e6bc6d00000000',
    '01000000000000003a6ce8859e5d4162',
    'b78ef9472a0306f9168c199b63874ee1',
    'aa9e3693c2c8db620100000001000000',
    '00000000000000000200000000000000',
    '6972335b2cc244d1a61ccea281934058',
    '168c199b63874ee1aa9e3693c2c8db62',
    '01000000020000000000000000000000',
    '01020c168c199b63874ee1aa9e3693c2',
    'c8db6200000000000020000020000000',
    '00000040000000000300000000000000',
  ].join(''),
  'hex',
);

test('a pool of the kernel driver, of a newer format, or with unknown features', async () => {
  const host = new SimHost({ seed: 1 });
  assert.equal(VERSION_1.length, 288);
  const disk = host.addDisk(A, { sizeBytes: 64 * MIB });
  disk.poke(0, VERSION_1);
  disk.poke(8192, VERSION_1);
  await refuses(() => openHere(host, A), 'ERR_MPOOL_VERSION', /1/);
  await refuses(() => openHere(host, A, { readOnly: true }), 'ERR_MPOOL_VERSION');
  const words: [number, number, boolean, boolean][] = [
    // offset, bit, may be written, may be read
    [84, 1, true, true],
    [88, 1, false, true],
    // Bit 0 is known here: to a pool whose logs bear witness.
    [92, 3, false, false],
    [56, 3, false, false],
  ];
  for (const [offset, value, write, read] of words) {
    const made = await closedPool();
    for (const at of [0, 16 * 4096, 64 * MIB - 16 * 4096, 64 * MIB - 4096]) {
      const page = made.disk(A).bytes(at, 4096);
      const view = viewOf(page);
      if (offset === 56) view.setUint16(56, value, true);
      else view.setUint32(offset, value, true);
      view.setUint32(62, crc32c(page.subarray(0, 62)), true);
      view.setUint32(68, 0, true);
      view.setUint32(68, crc32c(page), true);
      made.disk(A).poke(at, page);
    }
    for (const [readOnly, may] of [
      [false, write],
      [true, read],
    ] as const) {
      if (may) await closeClean({ host: made, pool: await openHere(made, A, { readOnly }) });
      else await refuses(() => openHere(made, A, { readOnly }), 'ERR_MPOOL_VERSION');
    }
    clean(made);
  }
});

test('parameters given at opening are kept', async () => {
  const host = await closedPool();
  await closeClean({
    host,
    pool: await openHere(host, NAME, { parameters: { label: 'new', mode: 0o640 } }),
  });
  const pool = await openPool(host.environment, NAME, {}, HERE);
  const { label, mode } = await pool.parameters();
  assert.deepEqual([label, mode], ['new', 0o640]);
  await closeClean({ host, pool });
});
