// Goal: every parameter has its default and range, is all or nothing, and lasts.
// Method: every limit and both sides of it, then a reopening.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PoolParameters } from '../../src/pool/api.ts';
import { closeClean, freshPool, refuses, reopen } from './pool-host.ts';

const DEFAULTS: PoolParameters = {
  uid: 0,
  gid: 0,
  mode: 0o660,
  label: 'raw',
  utype: '00000000-0000-0000-0000-000000000000',
  readAheadPages: 32,
  mappedRegionLog2: 30,
  sparePercentCapacity: 5,
  sparePercentStaging: 5,
};

const RANGES: [keyof PoolParameters, number, number][] = [
  ['uid', 0, 2 ** 32 - 2],
  ['gid', 0, 2 ** 32 - 2],
  ['mode', 0, 0o777],
  ['readAheadPages', 0, 32],
  ['mappedRegionLog2', 27, 32],
  ['sparePercentCapacity', 0, 100],
  ['sparePercentStaging', 0, 100],
];

test('defaults, limits and what is beyond them', async () => {
  let setup = await freshPool();
  assert.deepEqual(await setup.pool.parameters(), DEFAULTS);
  for (const which of [1, 2] as const) {
    const changes = Object.fromEntries(RANGES.map((range) => [range[0], range[which]]));
    await setup.pool.setParameters(changes);
    setup = await reopen(setup);
    assert.deepEqual(await setup.pool.parameters(), { ...DEFAULTS, ...changes });
  }
  const before = await setup.pool.parameters();
  const operations = setup.host.operationCount;
  for (const [name, least, most] of RANGES) {
    for (const value of [
      least - 1,
      most + 1,
      least + 0.5,
      NaN,
      Infinity,
      -Infinity,
      '5',
      null,
      true,
      5n,
    ]) {
      const changes = { label: 'changed', [name]: value } as Partial<PoolParameters>;
      await refuses(
        () => setup.pool.setParameters(changes),
        'ERR_MPOOL_INVALID_ARG',
        new RegExp(name),
      );
    }
  }
  for (const label of ['x'.repeat(64), 'a b', 'ä', 'a/b', 5, null, ['raw']]) {
    await refuses(
      () => setup.pool.setParameters({ label: label as string }),
      'ERR_MPOOL_INVALID_ARG',
    );
  }
  for (const utype of ['', 'x', '0'.repeat(36), 5, null]) {
    await refuses(
      () => setup.pool.setParameters({ utype: utype as string }),
      'ERR_MPOOL_INVALID_ARG',
    );
  }
  for (const changes of [undefined, null, 5, 'label', { unknown: 1 }, { toString: 1 }]) {
    await refuses(() => setup.pool.setParameters(changes as object), 'ERR_MPOOL_INVALID_ARG');
  }
  assert.equal(setup.host.operationCount, operations, 'nothing was written');
  assert.deepEqual(await setup.pool.parameters(), before, 'all or nothing');
  const utype = '6B29FC40-CA47-1067-B31D-00DD010662DA';
  await setup.pool.setParameters({ label: `A-z.0_${'x'.repeat(57)}`, utype });
  setup = await reopen(setup);
  const after = await setup.pool.parameters();
  assert.equal(after.label.length, 63);
  assert.equal(after.utype, utype.toLowerCase());
  await setup.pool.setParameters({ label: '' });
  assert.equal((await setup.pool.parameters()).label, '');
  await closeClean(setup);
});

test("parameters of create are the pool's", async () => {
  const wanted = {
    uid: 7,
    gid: 8,
    mode: 0o600,
    label: 'mine',
    readAheadPages: 1,
    mappedRegionLog2: 27,
  };
  const setup = await freshPool({ create: wanted, sparePercent: 9 });
  const found = await setup.pool.parameters();
  assert.deepEqual(found, {
    ...DEFAULTS,
    ...wanted,
    sparePercentCapacity: found.sparePercentCapacity,
  });
  const returned = await setup.pool.parameters();
  returned.label = 'not by this';
  assert.equal((await setup.pool.parameters()).label, 'mine', 'a copy');
  await closeClean(setup);
});

test('many changes: the log of the pool is compacted, the last one counts', async () => {
  let setup = await freshPool();
  for (let i = 0; i < 400; i++) await setup.pool.setParameters({ uid: i });
  assert.ok(setup.pool.stats().compactions > 0);
  setup = await reopen(setup);
  assert.equal((await setup.pool.parameters()).uid, 399);
  await closeClean(setup);
});

test('a failed write of parameters fails the pool, and says so', async () => {
  const setup = await freshPool();
  setup.host.addFault({ op: 'write', effect: { kind: 'error' } });
  await refuses(() => setup.pool.setParameters({ uid: 1 }), 'ERR_MPOOL_FAILED');
  assert.equal((await setup.pool.parameters()).uid, 0);
  await refuses(() => setup.pool.setParameters({ uid: 1 }), 'ERR_MPOOL_FAILED');
  assert.equal((await setup.pool.info()).health, 'faulted');
  await closeClean(setup);
});
