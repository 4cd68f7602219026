// Goal: renaming and destroying are done or not done, refuse a pool in use, and never touch another one.
// Method: pools with and without staging, in use, incomplete and damaged; a power cut at each operation.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { destroyPool, refuseTakenName, renamePool } from '../../src/pool/administer.ts';
import { createPool } from '../../src/pool/create.ts';
import { findPools } from '../../src/pool/find-pools.ts';
import { SimHost } from '../../src/testing/index.ts';
import { randomSurvive } from '../../src/testing/index.ts';
import { A, B, closeClean, HERE, MIB, NAME, openHere, refuses } from './pool-host.ts';

const SIZE = 64 * MIB;

async function machine(seed = 1): Promise<SimHost> {
  const host = new SimHost({ seed, keepTrace: false });
  for (const path of [A, B, '/dev/c']) host.addDisk(path, { sizeBytes: SIZE });
  await createPool(host.environment, { name: NAME, capacity: { path: A }, staging: { path: B } });
  await createPool(host.environment, { name: 'other', capacity: { path: '/dev/c' } });
  return host;
}

function rename(host: SimHost, target: string, name: string): Promise<void> {
  return renamePool(host.environment, target, name, HERE);
}

function destroy(host: SimHost, target: string, force = false): Promise<void> {
  return destroyPool(host.environment, target, HERE, { force });
}

async function names(host: SimHost): Promise<string[]> {
  return (await findPools(host, HERE)).map(({ name }) => name);
}

test('rename: the name changes, nothing else, and both devices know it', async () => {
  const host = await machine();
  const [before] = (await findPools(host, HERE)).filter(({ name }) => name === NAME);
  const wrong: unknown[] = ['', '-x', 'a/b', 'x'.repeat(32), 5, null, undefined];
  for (const name of wrong as string[])
    await refuses(() => rename(host, NAME, name), 'ERR_MPOOL_INVALID_ARG');
  await refuses(() => rename(host, NAME, 'other'), 'ERR_MPOOL_EXISTS', /other/);
  await refuses(() => rename(host, NAME, NAME), 'ERR_MPOOL_EXISTS');
  await refuses(() => rename(host, 'none', 'x'), 'ERR_MPOOL_NOT_FOUND');
  await refuses(() => refuseTakenName(host.environment, NAME, HERE), 'ERR_MPOOL_EXISTS');
  const pool = await openHere(host);
  const { generation } = await pool.info();
  await refuses(() => rename(host, NAME, 'new'), 'ERR_MPOOL_BUSY');
  await closeClean({ host, pool });
  await rename(host, NAME, 'new');
  assert.deepEqual(await names(host), ['new', 'other']);
  const [after] = await findPools(host, HERE);
  assert.deepEqual({ ...after, name: NAME }, before);
  await refuses(() => openHere(host, NAME), 'ERR_MPOOL_NOT_FOUND');
  const renamed = await openHere(host, 'new');
  assert.equal(renamed.name, 'new');
  assert.equal((await renamed.info()).generation, generation + 1, 'it rises with every update');
  await closeClean({ host, pool: renamed });
  assert.equal(host.liveBufferCount, 0);
});

test('rename: at every power cut it has the old name or the new', async () => {
  let [olds, news] = [0, 0];
  for (let cut = 1; ; cut++) {
    const host = await machine(cut);
    const before = host.operationCount;
    host.cutPowerAfter(cut);
    const done = await rename(host, NAME, 'new').then(
      () => true,
      () => false,
    );
    if (done && host.operationCount - before < cut) break;
    for (let seed = 1; seed <= 4; seed++) {
      const image = host.crash({ survivors: randomSurvive(seed * 100 + cut) });
      const pool = await openHere(image, A);
      assert.ok(pool.name === NAME || pool.name === 'new');
      if (done) assert.equal(pool.name, 'new', 'acknowledged');
      if (pool.name === 'new') news++;
      else olds++;
      await closeClean({ host: image, pool });
      assert.deepEqual(await names(image), [pool.name, 'other'].toSorted());
    }
  }
  assert.ok(olds > 0 && news > 0, `${olds} old, ${news} new`);
});

test('destroy: gone from both devices; in use or named wrongly it is refused', async () => {
  const host = await machine();
  await refuses(() => destroy(host, 'none'), 'ERR_MPOOL_NOT_FOUND');
  const pool = await openHere(host);
  await refuses(() => destroy(host, NAME), 'ERR_MPOOL_BUSY');
  await refuses(() => destroy(host, NAME, true), 'ERR_MPOOL_BUSY');
  await closeClean({ host, pool });
  const staging = await host.openDevice(B, { access: 'write' });
  await refuses(() => destroy(host, NAME), 'ERR_MPOOL_BUSY');
  await staging.close();
  assert.deepEqual(await names(host), ['other', NAME], 'a refused one is there as before');
  await destroy(host, NAME);
  assert.deepEqual(await names(host), ['other']);
  await refuses(() => openHere(host, A), 'ERR_MPOOL_NOT_FOUND');
  await refuses(() => openHere(host, B), 'ERR_MPOOL_NOT_FOUND');
  await refuses(() => destroy(host, A, true), 'ERR_MPOOL_NOT_FOUND');
  assert.equal(host.liveBufferCount, 0);
  await createPool(host.environment, { name: NAME, capacity: { path: A }, staging: { path: B } });
});

test('destroy: without its staging device only by force, and never another pool there', async () => {
  for (const instead of ['nothing', 'another pool', 'blank'] as const) {
    const host = await machine();
    host.pullDisk(B);
    if (instead !== 'nothing') host.addDisk(B, { sizeBytes: SIZE });
    if (instead === 'another pool')
      await createPool(host.environment, { name: 'innocent', capacity: { path: B } });
    const before = await names(host);
    await refuses(() => destroy(host, NAME), 'ERR_MPOOL_NO_DEVICE', /force/);
    assert.deepEqual(await names(host), before);
    await destroy(host, NAME, true);
    assert.deepEqual(
      await names(host),
      before.filter((name) => name !== NAME),
    );
    assert.equal(host.liveBufferCount, 0);
  }
});

test('destroy: what is damaged or of another version only by force', async () => {
  const host = await machine();
  for (const at of [0, 16 * 4096, SIZE - 16 * 4096, SIZE - 4096])
    host.disk('/dev/c').flipBit(at + 200);
  await refuses(() => destroy(host, '/dev/c'), 'ERR_MPOOL_CORRUPT');
  await destroy(host, '/dev/c', true);
  await refuses(() => openHere(host, '/dev/c'), 'ERR_MPOOL_NOT_FOUND');
  assert.deepEqual(await names(host), [NAME]);
});
