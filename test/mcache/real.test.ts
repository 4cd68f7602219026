// Goal: on real devices maps give the right bytes whatever happens around them, cost one VMA, and end safely
// with threads, garbage collection and damage. Method: files, tmpfs and loop devices; random churn with a printed
// seed (CHURN_SECONDS for longer runs); child processes where a process may die.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import {
  attachMap,
  create,
  isMpoolError,
  type MblockId,
  open,
  type Pool,
  reaper,
  type SharedMap,
} from '../../src/index.ts';
import { loopDevice, noLoopDevices, temporaryFolder } from '../device/places.ts';
import { pattern } from '../pool/pool-host.ts';
import { Churn } from './churn.ts';

const MIB = 2 ** 20;
const PAGE = 4096;
const seconds = Number(process.env['CHURN_SECONDS'] ?? 2);
const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);

async function filled(pool: Pool, count: number, lengthBytes: number): Promise<MblockId[]> {
  const ids: MblockId[] = [];
  for (let i = 0; i < count; i++) {
    const mblock = await pool.mblocks.alloc();
    await mblock.write(pattern(lengthBytes, i + 1));
    await mblock.commit();
    ids.push(mblock.id);
  }
  return ids;
}

async function churn(path: string, sizeBytes: number | undefined): Promise<string> {
  const name = `churn-${process.pid}`;
  const pool = await create({ name, capacity: { path, sizeBytes, mblockSizeBytes: MIB } });
  const before = { ...reaper.settings };
  // So little that objects come and go all the time.
  reaper.configure({ budgetBytes: MIB, ttlMs: 20 });
  try {
    const actors = new Churn(pool, seed, 300_000);
    const end = performance.now() + seconds * 1000;
    await actors.run(6, () => performance.now() > end);
    const { counts } = actors;
    assert.ok(
      counts.compared > 50 && counts.deleted > 5 && counts.mapped > 5,
      JSON.stringify(counts),
    );
    return JSON.stringify({ seed, ...counts, evicted: reaper.stats().evictedObjects });
  } finally {
    reaper.configure(before);
    await pool.close({ force: true });
  }
}

test('churn on a file', async (t) => {
  t.diagnostic(await churn(join(temporaryFolder(t, 'build'), 'churn.mpool'), 48 * MIB));
});

test('churn on tmpfs, without direct I/O', async (t) => {
  if (!existsSync('/dev/shm')) return t.skip('no /dev/shm');
  t.diagnostic(await churn(join(temporaryFolder(t, '/dev/shm'), 'churn.mpool'), 48 * MIB));
});

for (const sectorBytes of [512, 4096]) {
  test(`churn on a loop device with sectors of ${sectorBytes} bytes`, async (t) => {
    const reason = noLoopDevices();
    if (reason !== undefined) return t.skip(reason);
    const file = join(temporaryFolder(t, 'build'), 'loop');
    writeFileSync(file, '');
    truncateSync(file, 48 * MIB);
    t.diagnostic(await churn(loopDevice(t, file, sectorBytes), undefined));
  });
}

test('one VMA, whatever is mapped and viewed', async (t) => {
  const path = join(temporaryFolder(t, 'build'), 'vma.mpool');
  const pool = await create({
    name: `vma-${process.pid}`,
    capacity: { path, sizeBytes: 64 * MIB, mblockSizeBytes: MIB },
  });
  t.after(() => pool.close({ force: true }));
  const ids = await filled(pool, 20, 50_000);
  const vmas = (): number =>
    readFileSync('/proc/self/maps', 'latin1')
      .split('\n')
      .filter((line) => line.includes(path)).length;
  const maps = await Promise.all(Array.from({ length: 200 }, () => pool.map(ids)));
  for (const map of maps) {
    for (let i = 0; i < 20; i++) assert.equal(map.view(i)[0], pattern(1, i + 1)[0]);
  }
  assert.equal(vmas(), 1);
  const linear = await pool.map(ids, { linear: true });
  assert.equal(linear.region()[linear.bucketBytes!], pattern(1, 2)[0]);
  assert.equal(vmas(), 21, 'a linear map has one an object');
  await linear.unmap();
  await Promise.all(maps.map((map) => map.unmap()));
  await pool.close();
  assert.equal(vmas(), 0);
});

test('a file truncated underneath: rejected promises, no signal', async (t) => {
  const path = join(temporaryFolder(t, 'build'), 'short.mpool');
  const pool = await create({
    name: `short-${process.pid}`,
    capacity: { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB },
  });
  t.after(() => pool.close({ force: true }).catch(() => {}));
  const ids = await filled(pool, 3, 500_000);
  const map = await pool.map(ids);
  await map.getPages(2, [0]);
  await map.purge();
  truncateSync(path, MIB / 2);
  for (const call of [() => map.getPages(1, [0, 8 * PAGE]), () => map.read(2, 100, 400_000)]) {
    await assert.rejects(call, (error) => isMpoolError(error, 'ERR_MPOOL_IO'));
  }
  assert.equal(map.ready(1, 0, 1), false);
  await map.unmap();
});

test('other threads have the same memory, and the owner waits for them', async (t) => {
  const path = join(temporaryFolder(t, 'build'), 'threads.mpool');
  const pool = await create({
    name: `threads-${process.pid}`,
    capacity: { path, sizeBytes: 64 * MIB, mblockSizeBytes: MIB },
  });
  t.after(() => pool.close({ force: true }));
  const ids = await filled(pool, 10, 700_000);
  const worker = (how: string, map: object) =>
    new Worker(new URL('./attach-child.js', import.meta.url), { workerData: { how, map } });
  const said = (from: Worker): Promise<unknown> =>
    new Promise((resolve, reject) => from.once('message', resolve).once('error', reject));
  const ended = (one: Worker): Promise<unknown> =>
    one.threadId === -1 ? Promise.resolve() : new Promise((resolve) => one.once('exit', resolve));

  const map = await pool.map(ids);
  await map.getPages(0, [0]);
  const reading = worker('compare', map.share());
  assert.equal(await said(reading), 'the same');
  assert.ok(map.ready(3, 0, 700_000), 'what another thread verified is verified');

  // It holds on to views, and is told; the owner's promise waits for it.
  const holding = worker('hold', map.share());
  assert.equal(await said(holding), 'holding');
  await pool.mblocks.delete([ids[9]!]);
  const lastWords = said(holding);
  const unmapping = map.unmap();
  assert.equal(await lastWords, 'views ended: 0');
  await unmapping;
  await Promise.all([ended(reading), ended(holding)]);

  // One that is killed while it looks is not waited for, nor does it take anything along.
  const second = await pool.map(ids.slice(0, 9));
  const killed = worker('spin', second.share());
  assert.equal(await said(killed), 'spinning');
  await killed.terminate();
  const exits = worker('exit', second.share());
  await ended(exits);
  assert.equal(second.view(0)[5], pattern(6, 1)[5]);
  const token = second.share();
  await second.unmap();
  const late = worker('late', token);
  assert.equal(await said(late), 'ERR_MPOOL_CLOSED');
  await ended(late);
  await pool.close();
});

test('a map that ends just as others attach ends all the same', async (t) => {
  const path = join(temporaryFolder(t, 'build'), 'recall.mpool');
  const name = `recall-${process.pid}`;
  const pool = await create({
    name,
    capacity: { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB },
  });
  t.after(() => pool.close({ force: true }));
  const ids = await filled(pool, 2, 100_000);
  const worker = new Worker(new URL('./attach-child.js', import.meta.url), {
    workerData: { how: 'again and again', map: undefined },
  });
  t.after(() => worker.terminate());
  let attached = 0;
  worker.on('message', (how) => (attached += Number(how === 'attached')));
  for (let trial = 0; trial < 60; trial++) {
    const map = await pool.map(ids);
    worker.postMessage(map.share());
    for (const end = performance.now() + (trial % 12); performance.now() < end;);
    if (trial % 3 === 0) await new Promise(setImmediate);
    await map.unmap();
  }
  assert.ok(attached > 0, 'some were attached in time');

  const map = await pool.map(ids);
  const token = map.share();
  for (const wrong of [
    JSON.parse(JSON.stringify(token)),
    { ...token, objects: undefined },
    { ...token, mappings: [] },
    { ...token, processId: 1 },
    { kind: 'mpool.map' },
    undefined,
  ]) {
    assert.throws(() => attachMap(wrong as SharedMap), { code: 'ERR_MPOOL_INVALID_ARG' });
  }
  // In this thread too, with marks of its own; what one purges no one has.
  const own = attachMap(token);
  await map.getPages(0, [0]);
  assert.ok(own.ready(0, 0, 1));
  await own.purge();
  assert.ok(!own.ready(0, 0, 1) && !map.ready(0, 0, 1));
  await map.unmap();
  assert.equal(own.mapped, false);
});

test('a map that is forgotten is released by the garbage collector, with a warning; its views keep it', (t) => {
  const script = fileURLToPath(new URL('./forget-child.js', import.meta.url));
  const folder = temporaryFolder(t, 'build');
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', script, folder], {
    encoding: 'utf8',
  });
  assert.equal(status, 0, stderr);
  assert.deepEqual(stdout.trim().split('\n'), [
    'kept by its view: true',
    'warning: MPOOL_NOT_UNMAPPED',
    'may be deleted: true',
  ]);
});

test('a pool that grew maps what lies in its new part', async (t) => {
  const path = join(temporaryFolder(t, 'build'), 'grow.mpool');
  const pool = await create({
    name: `grow-${process.pid}`,
    capacity: { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB },
  });
  t.after(() => pool.close({ force: true }));
  const first = await filled(pool, 2, 100_000);
  const before = await pool.map(first);
  truncateSync(path, 96 * MIB);
  assert.ok((await pool.grow()) > 0);
  const more = await filled(pool, 60, 100_000);
  await using map = await pool.map([...first, ...more]);
  for (let i = 0; i < 62; i++) {
    const want = pattern(100_000, i < 2 ? i + 1 : i - 1);
    assert.ok(
      want.equals(map.view(i)) && want.equals(await map.read(i, 0, 100_000)),
      `object ${i}`,
    );
  }
  assert.ok(pattern(100_000, 1).equals(before.view(0)));
  await pool.close();
  const again = await open(path, { readOnly: true });
  await using readOnly = await again.map(more);
  assert.ok(pattern(100_000, 60).equals(readOnly.view(59)));
  await readOnly.unmap();
  await again.close();
});
