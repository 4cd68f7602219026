// Goal: a client that is killed, or stopped, at any moment of its work takes nothing from others, and nothing of it is
//   left but what it committed, all of it and byte for byte.
// Method: processes that write, delete, read, map, append and compact, and tell what was acknowledged; they are
//   killed after a random number of things told, others work on; then the daemon's own accounts and every byte
//   of the pool are compared. SEED=n repeats the choices.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { Remote } from './remote.ts';
import { MIB, POOL, Service, until } from './rig.ts';
import { comparePool } from './told.ts';
import { Worker } from './worker.ts';

const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
const rounds = Number(process.env['ROUNDS'] ?? 2);
const LENGTH = 70_000;
/** What those that were killed committed stays. */
const poolBytes = (128 + 64 * rounds) * MIB;

test(`clients killed at work leave what they committed and nothing else, SEED=${seed}`, async (t) => {
  const prng = new SeededPrng(seed);
  const service = await Service.start(t);
  await service.create(POOL, { sizeBytes: poolBytes });
  const bystander = await Remote.start(service);
  await bystander.get('open', { pool: POOL });
  const ids = await bystander.get('put', { as: POOL, count: 8, lengthBytes: LENGTH });
  const others = new Map(ids.map((id) => [id, LENGTH]));
  await bystander.get('map', { as: POOL, ids });
  // It works through all rounds, while those beside it are killed.
  const survivor = new Worker(service, seed);
  const all = [survivor];
  for (let round = 0; round < rounds; round++) {
    const workers = [1, 2, 3].map((i) => new Worker(service, seed + 10 * round + i));
    all.push(...workers);
    for (const worker of workers) await worker.tells(10);
    for (const worker of workers) {
      await worker.tells(below(prng, 150));
      await worker.end('SIGKILL');
      await survivor.tells(20);
    }
  }
  await survivor.end('SIGTERM');
  assert.ok(
    all.every(({ expected }) => expected.lost === 0),
    'the daemon was there all the time',
  );
  assert.ok(await bystander.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }));
  assert.equal(await bystander.get('mappedBytes', {}), LENGTH);
  await bystander.kill();
  await service.isQuiet();

  const pool = await service.daemon.open(POOL);
  const expectations = all.map(({ expected }) => expected);
  await comparePool(pool, expectations, others);
  await pool.close();
  await service.isQuiet();
  await service.stop();
  await service.isSound();
  const acknowledged = expectations.map((each) => each.acknowledged);
  t.diagnostic(`acknowledged by each: ${acknowledged.join(', ')}`);
  assert.ok(acknowledged.every((count) => count > 0));
});

test('a stopped client keeps what it has, and nobody else from anything; killed, it has nothing', async (t) => {
  const service = await Service.start(t);
  await service.create();
  const [stopped, other] = [await Remote.start(service), await Remote.start(service)];
  for (const each of [stopped, other]) await each.get('open', { pool: POOL });
  const { usedBytes: before } = (await service.metricsOf()).classes['capacity']!;
  const ids = await other.get('put', { as: POOL, count: 6, lengthBytes: LENGTH });
  await stopped.get('map', { as: POOL, ids });
  await stopped.get('hold', { as: POOL, count: 4, lengthBytes: LENGTH });
  await other.get('appendRoot', { as: POOL, records: ['old'] });
  await stopped.get('startCompaction', { as: POOL });
  stopped.child.kill('SIGSTOP');
  // It hears nothing of these, and can see what it mapped for as long as it likes.
  for (let round = 0; round < 20; round++) {
    const own = await other.get('put', { as: POOL, count: 4, lengthBytes: LENGTH });
    assert.ok(await other.get('isIntact', { as: POOL, ids: own, lengthBytes: LENGTH }));
    await other.get('delete', { as: POOL, ids: own });
  }
  await other.get('delete', { as: POOL, ids });
  const compacted = { as: POOL, records: ['lost with the compaction'] };
  assert.equal(await other.codeOf('appendRoot', compacted), 'ERR_MPOOL_BUSY');
  const used = async (): Promise<number> =>
    (await service.metricsOf()).classes['capacity']!.usedBytes;
  await until('the space of the others is free', async () => (await used()) === before + 10 * MIB);
  assert.deepEqual(
    (await service.daemon.clients(POOL)).map((each) => [
      each.pid === stopped.child.pid,
      each.uncommittedCount,
      each.mappedCount,
    ]),
    [
      [true, 4, 6],
      [false, 0, 0],
    ],
  );

  await stopped.kill();
  await until('its space is free', async () => (await used()) === before);
  await until('its compaction is over', async () => {
    return (await other.codeOf('appendRoot', { as: POOL, records: ['new'] })) === 'done';
  });
  await other.kill();
  await service.isQuiet();
  await service.stop();
  await service.isSound();
});
