// Goal: create makes a pool or leaves things as they were; what it refuses, it refuses before the first write.
// Method: every option wrong, devices of every size and content, a failure at each operation, on simulated
//   disks whose every byte is compared.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import type { CreateOptions } from '../../src/pool/api.ts';
import { createPool } from '../../src/pool/create.ts';
import { findPools } from '../../src/pool/find-pools.ts';
import { SimHost } from '../../src/testing/index.ts';
import {
  A,
  allOf,
  B,
  closeClean,
  HERE,
  MIB,
  NAME,
  openHere,
  pattern,
  refuses,
} from './pool-host.ts';

const GIB = 1024 * MIB;

function machine(sizeBytes = 64 * MIB, other = 64 * MIB): SimHost {
  const host = new SimHost({ seed: 5, keepTrace: false, discardLeaves: 'zeros' });
  host.addDisk(A, { sizeBytes });
  host.addDisk(B, { sizeBytes: other });
  return host;
}

function create(host: SimHost, options: Partial<CreateOptions> = {}): Promise<void> {
  return createPool(host.environment, { name: NAME, capacity: { path: A }, ...options });
}

function contentOf(host: SimHost, path: string): string {
  const hash = createHash('sha1');
  const { sizeBytes } = host.disk(path);
  for (let at = 0; at < sizeBytes; at += 8 * MIB) {
    hash.update(host.disk(path).bytes(at, Math.min(8 * MIB, sizeBytes - at)));
  }
  return hash.digest('hex');
}

function clean(host: SimHost): void {
  assert.equal(host.liveBufferCount, 0);
  assert.equal(host.inFlightCount, 0);
}

test('an empty pool takes at most 3 % of its device, from 64 MiB to 1 TiB', async () => {
  const sizes: [number, number | undefined][] = [
    [64 * MIB, MIB],
    [64 * MIB, undefined],
    [256 * MIB, undefined],
    [GIB, undefined],
    [10 * GIB, undefined],
    [1024 * GIB, undefined],
    [1024 * GIB, 64 * MIB],
    [64 * MIB + 4096 * 3, MIB],
    [100 * MIB, 2 * MIB],
  ];
  for (const [sizeBytes, mblockSizeBytes] of sizes) {
    const host = machine(sizeBytes);
    await create(host, { capacity: { path: A, mblockSizeBytes } });
    const pool = await openHere(host);
    const { usage, devices } = await pool.info();
    const part = (usage.usedBytes + usage.reservedBytes) / sizeBytes;
    assert.ok(part <= 0.03, `${sizeBytes}: ${(part * 100).toFixed(2)} %`);
    assert.equal(usage.mblockCount, 0);
    assert.equal(usage.mlogCount, 2, "the root MDC's");
    assert.equal(usage.totalBytes + usage.reservedBytes, sizeBytes);
    assert.equal(usage.usedBytes, usage.metadataBytes + usage.mlogAllocatedBytes);
    const size = devices[0]!.mblockSizeBytes;
    assert.ok(
      mblockSizeBytes === undefined ? size >= MIB && size <= 32 * MIB : size === mblockSizeBytes,
    );
    assert.ok(usage.freeUsableBytes / size >= 20, 'there is room for some mblocks');
    const mblock = await pool.mblocks.alloc();
    await mblock.write(pattern(5000));
    await mblock.commit();
    assert.equal((await allOf(pool.mblocks.list())).length, 1);
    await closeClean({ host, pool });
  }
});

test('options that are none are refused before any I/O', async () => {
  const host = machine();
  const capacity = { path: A };
  const wrong: unknown[] = [
    undefined,
    null,
    5,
    {},
    { name: NAME },
    { capacity },
    { name: NAME, capacity: null },
    { name: NAME, capacity: A },
    { name: NAME, capacity: {} },
    { name: NAME, capacity: { path: '' } },
    { name: NAME, capacity: { path: 5 } },
    ...['', 'x'.repeat(32), '-x', 'a/b', 'ä', 'a b', '.', '..', 5, null].map((name) => ({
      name,
      capacity,
    })),
    ...[0, 1, 1000, MIB - 1, MIB + 4096, 3 * MIB, 128 * MIB, -MIB, NaN, '1', 1.5, null].flatMap(
      (mblockSizeBytes) => [
        { name: NAME, capacity: { path: A, mblockSizeBytes } },
        { name: NAME, capacity, staging: { path: B, mblockSizeBytes } },
      ],
    ),
    ...[-1, 101, 0.5, NaN, '5', null].map((sparePercent) => ({
      name: NAME,
      capacity: { path: A, sparePercent },
    })),
    ...[0, -1, 1.5, NaN, Infinity, '1', null].map((sizeBytes) => ({
      name: NAME,
      capacity: { path: A, sizeBytes },
    })),
    { name: NAME, capacity, staging: null },
    { name: NAME, capacity, staging: 'x' },
    { name: NAME, capacity, staging: { path: A } },
    { name: NAME, capacity, label: 'x'.repeat(64) },
    { name: NAME, capacity, label: 'a b' },
    { name: NAME, capacity, label: 5 },
    { name: NAME, capacity, mode: 0o1000 },
    { name: NAME, capacity, mode: -1 },
    { name: NAME, capacity, uid: 2 ** 32 },
    { name: NAME, capacity, uid: '0' },
    { name: NAME, capacity, utype: 'none' },
    { name: NAME, capacity, utype: 5 },
    { name: NAME, capacity, readAheadPages: 33 },
    { name: NAME, capacity, mappedRegionLog2: 26 },
  ];
  let operations = 0;
  const fault = host.addFault({
    op: ['open', 'peek', 'read', 'write', 'create'],
    times: Infinity,
    effect: { kind: 'error' },
  });
  for (const options of wrong as CreateOptions[]) {
    await refuses(() => createPool(host.environment, options), 'ERR_MPOOL_INVALID_ARG');
    operations++;
  }
  assert.ok(operations > 60);
  assert.equal(fault.hits, 0, 'no I/O');
  clean(host);
});

test('content is refused, and is intact afterwards; force overwrites it', async () => {
  const contents: [string, (host: SimHost) => Promise<void> | void][] = [
    ['mpool', (host) => host.disk(A).poke(0, Buffer.from('mpoolDev'))],
    [
      'LVM',
      (host) => {
        host.disk(A).poke(512, Buffer.from('LABELONE'));
        host.disk(A).poke(536, Buffer.from('LVM2 001'));
      },
    ],
    [
      // Only its superblocks at the end are left.
      'mpool',
      async (host) => {
        await create(host);
        host.disk(A).poke(0, { fill: 0, lengthBytes: 4 * MIB });
      },
    ],
  ];
  for (const [what, put] of contents) {
    const host = machine();
    await put(host);
    const before = contentOf(host, A);
    await refuses(() => create(host), 'ERR_MPOOL_NOT_BLANK', new RegExp(what));
    assert.equal(contentOf(host, A), before);
    await create(host, { force: true });
    const [found] = await findPools(host, HERE);
    assert.equal(found?.name, NAME);
    await closeClean({ host, pool: await openHere(host, A) });
  }
});

test('a pool is refused without force, and gone with it', async () => {
  const host = machine();
  await create(host, { staging: { path: B } });
  const before = [contentOf(host, A), contentOf(host, B)];
  await refuses(() => create(host, { name: 'p2' }), 'ERR_MPOOL_NOT_BLANK', /mpool/);
  await refuses(() => create(host, { name: 'p2', capacity: { path: B } }), 'ERR_MPOOL_NOT_BLANK');
  const pool = await openHere(host);
  await refuses(() => create(host, { name: 'p2', force: true }), 'ERR_MPOOL_BUSY');
  await refuses(
    () => create(host, { name: 'p2', force: true, capacity: { path: B } }),
    'ERR_MPOOL_BUSY',
  );
  await closeClean({ host, pool });
  assert.equal(contentOf(host, B), before[1]);
  await create(host, {
    name: 'p2',
    force: true,
    capacity: { path: A, sizeBytes: 32 * MIB, mblockSizeBytes: MIB },
  });
  const found = await findPools(host, HERE);
  assert.deepEqual(
    found.map(({ name, complete }) => [name, complete]),
    [
      [NAME, false],
      ['p2', true],
    ],
  );
  await closeClean({ host, pool: await openHere(host, 'p2') });
  await refuses(() => openHere(host, NAME), 'ERR_MPOOL_NO_DEVICE');
});

test('devices that are too small, too large a part, or one and the same', async () => {
  for (const [sizeBytes, mblockSizeBytes] of [
    [MIB, MIB],
    [MIB, undefined],
    [2 * MIB, MIB],
    [4 * MIB, 32 * MIB],
    [32 * MIB, 32 * MIB],
    [4096, undefined],
    [65_536, undefined],
  ] as const) {
    const host = machine(sizeBytes);
    const before = contentOf(host, A);
    await refuses(
      () => create(host, { capacity: { path: A, mblockSizeBytes } }),
      'ERR_MPOOL_INVALID_ARG',
      /too few|small/,
    );
    assert.equal(contentOf(host, A), before);
    clean(host);
  }
  const host = machine();
  await refuses(
    () => create(host, { capacity: { path: A, sizeBytes: 65 * MIB } }),
    'ERR_MPOOL_INVALID_ARG',
    /not/,
  );
  await refuses(
    () => create(host, { capacity: { path: '/files/x' } }),
    'ERR_MPOOL_INVALID_ARG',
    /say a size/,
  );
  await refuses(
    () => create(host, { staging: { path: '/files/x' } }),
    'ERR_MPOOL_INVALID_ARG',
    /say a size/,
  );
  await refuses(() => create(host, { staging: { path: A } }), 'ERR_MPOOL_INVALID_ARG', /another/);
  await refuses(
    () => create(host, { staging: { path: B, sizeBytes: 2 * MIB, mblockSizeBytes: 4 * MIB } }),
    'ERR_MPOOL_INVALID_ARG',
    /too few/,
  );
  const file = { path: '/files/x', sizeBytes: 64 * MIB };
  await refuses(
    () => create(host, { capacity: file, staging: file }),
    'ERR_MPOOL_INVALID_ARG',
    /another/,
  );
  assert.deepEqual(host.paths, [A, B]);
  assert.equal(contentOf(host, A), contentOf(machine(), A));
  clean(host);
});

test('one device under two paths is refused by name, not as busy', async () => {
  const host = machine();
  // A link: both paths are of one device.
  const stat = host.stat.bind(host);
  host.stat = async (path) => {
    const info = await stat(path);
    return path === B ? { ...(await stat(A))! } : info;
  };
  await refuses(
    () => create(host, { staging: { path: B } }),
    'ERR_MPOOL_INVALID_ARG',
    /must be another/,
  );
  clean(host);
});

test('files: made, used when empty, used in part when larger', async () => {
  const host = machine();
  const sizeBytes = 64 * MIB;
  await create(host, {
    name: 'made',
    capacity: { path: '/files/made', sizeBytes },
    staging: { path: '/files/stage', sizeBytes },
  });
  host.addDisk('/files/empty', { kind: 'file', sizeBytes: 0 });
  await create(host, { name: 'empty', capacity: { path: '/files/empty', sizeBytes } });
  host.addDisk('/files/larger', { kind: 'file', sizeBytes: 100 * MIB + 5 });
  await create(host, { name: 'larger', capacity: { path: '/files/larger', sizeBytes } });
  host.addDisk('/files/odd', { kind: 'file', sizeBytes: sizeBytes + 513 });
  await create(host, { name: 'odd', capacity: { path: '/files/odd' } });
  for (const name of ['made', 'empty', 'larger', 'odd']) {
    const pool = await openHere(host, name);
    assert.equal((await pool.devices())[0]!.sizeBytes, sizeBytes, name);
    await closeClean({ host, pool });
  }
  host.addDisk('/files/none', { kind: 'file', sizeBytes: 0 });
  await refuses(() => create(host, { capacity: { path: '/files/none' } }), 'ERR_MPOOL_INVALID_ARG');
  clean(host);
});

for (const files of [true, false]) {
  test(`a failure at each operation leaves no ${files ? 'file' : 'pool'}, and nothing open`, async () => {
    const kinds = ['read', 'write', 'flush', 'discard', 'open', 'peek', 'create', 'grow'] as const;
    let failures = 0;
    for (let nth = 1; ; nth++) {
      const host = machine();
      const sizeBytes = 64 * MIB;
      const [capacity, staging] = files ? ['/files/a', '/files/b'] : [A, B];
      const options = {
        capacity: { path: capacity, sizeBytes, discard: true },
        staging: { path: staging, sizeBytes },
      };
      const fault = host.addFault({
        op: kinds,
        nth,
        effect: { kind: 'error', lands: nth % 2 === 0 ? 'all' : 'none' },
      });
      const failed = await create(host, options).then(
        () => false,
        (error: { code: string }) => error.code,
      );
      if (fault.hits === 0) {
        assert.equal(failed, false);
        break;
      }
      clean(host);
      // A discard is advice: that it fails may be let pass.
      if (failed === false) {
        await closeClean({ host, pool: await openHere(host, capacity) });
        continue;
      }
      failures++;
      assert.match(String(failed), /^ERR_MPOOL_(IO|FAILED)$/);
      if (files) assert.deepEqual(host.paths, [A, B], `files are gone after failure ${nth}`);
      assert.deepEqual(await findPools(host, HERE), [], `no pool after failure ${nth}`);
      await create(host, { ...options, force: true });
      await closeClean({ host, pool: await openHere(host, capacity) });
    }
    assert.ok(failures > 15, `${failures} failures`);
  });
}

test('a device that refuses writes has lost nothing, not even with force', async () => {
  const host = machine();
  await create(host);
  const before = contentOf(host, A);
  host.addFault({ op: 'write', times: Infinity, effect: { kind: 'error' } });
  await refuses(() => create(host, { name: 'p2', force: true }), 'ERR_MPOOL_IO');
  host.clearFaults();
  assert.equal(contentOf(host, A), before);
  await closeClean({ host, pool: await openHere(host) });
});

test('aborted before it began', async () => {
  const host = machine();
  const before = contentOf(host, A);
  await refuses(() => create(host, { signal: AbortSignal.abort() }), 'ERR_MPOOL_ABORTED');
  const file = { path: '/files/a', sizeBytes: 64 * MIB };
  await refuses(
    () => create(host, { capacity: file, signal: AbortSignal.abort() }),
    'ERR_MPOOL_ABORTED',
  );
  assert.deepEqual(host.paths, [A, B]);
  assert.equal(contentOf(host, A), before);
  clean(host);
});
