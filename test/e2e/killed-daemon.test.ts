// Goal: a daemon that is killed at any moment takes nothing with it that was acknowledged; its clients are told what
//   nobody knows the end of, find the next daemon by themselves, and work on.
// Method: processes that write, delete, read, map, append and compact; the daemon is killed after a random number of
//   things they told, the library checks the media, another daemon is started; at the end every byte of the pool
//   is compared with all that was ever told. SEED=n repeats the choices, ROUNDS=n makes it longer.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { clientRig } from '../daemon/client-rig.ts';
import { refuses, texts } from '../pool/pool-host.ts';
import { MIB, POOL, Service, until } from './rig.ts';
import { comparePool } from './told.ts';
import { Worker } from './worker.ts';

const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
const rounds = Number(process.env['ROUNDS'] ?? 4);
const LOST = 'ERR_MPOOL_CONNECTION_LOST';
const AT_MOST_BETWEEN = 400;
/** Each round may leave mblocks of which nobody knows that they are committed. */
const poolBytes = (128 + 64 * rounds) * MIB;

for (const activateAll of [true, false]) {
  const how = activateAll ? 'that activates all it finds' : 'that is told to activate the pool';
  test(`killed at work, again and again, and each time another ${how}, SEED=${seed}`, async (t) => {
    const prng = new SeededPrng(seed);
    const service = await Service.start(t, { activateAll });
    const path = await service.create(POOL, { sizeBytes: poolBytes });
    const workers = [1, 2, 3].map((i) => new Worker(service, seed + i));
    for (const worker of workers) await worker.tells(10);
    for (let round = 0; round < (activateAll ? rounds : 2); round++) {
      await workers[round % workers.length]!.tells(1 + below(prng, AT_MOST_BETWEEN));
      await service.kill();
      await service.isSound(POOL, false);
      await service.start();
      if (!activateAll) await service.daemon.activate(path);
      for (const worker of workers) await worker.tells(20);
    }
    // One of them dies with the daemon: the next one has never heard of it.
    await service.kill();
    await workers[0]!.end('SIGKILL');
    await service.start();
    if (!activateAll) await service.daemon.activate(path);
    for (const worker of workers.slice(1)) {
      await worker.tells(20);
      await worker.end('SIGTERM');
    }
    await service.isQuiet();
    const expectations = workers.map(({ expected }) => expected);
    const pool = await service.daemon.open(POOL);
    await comparePool(pool, expectations);
    await pool.close();
    await service.stop();
    await service.isSound();
    // Each of its five loops is told once of each daemon, and once or twice more as it was killed while connecting.
    for (const { lost } of expectations) assert.ok(lost <= 10 * (rounds + 1), `${lost} losses`);
    const sum = (of: 'lost' | 'acknowledged'): number =>
      expectations.reduce((total, each) => total + each[of], 0);
    t.diagnostic(`${sum('acknowledged')} acknowledged, ${sum('lost')} losses of a connection told`);
    assert.ok(sum('lost') > 0 && sum('acknowledged') > 10 * rounds);
  });
}

test('a compaction that its daemon took along leaves the MDC as it was, to be used', async (t) => {
  const rig = await clientRig(t);
  const pool = await (await rig.client({ hasty: true })).open(POOL);
  const root = await pool.mdcs.root();
  const content: string[] = [];
  const append = async (record: string): Promise<void> => {
    await root.append(record, { sync: true });
    content.push(record);
    assert.deepEqual(await texts(root.records()), content);
  };
  await append('first');

  // Sent and never answered: nobody knows whether it began.
  process.kill((await rig.daemon.status()).pid, 'SIGSTOP');
  const unanswered = root.compact(['of no compaction 1']);
  await Promise.all([refuses(() => unanswered, LOST), sleep(20).then(() => rig.kill())]);
  await rig.start();
  await append('second');

  // Lost in the middle, and nobody there to tell that it is over.
  let go = (): void => {};
  const asked = new Promise<void>((resolve) => (go = resolve));
  let begun = false;
  const records = async function* (): AsyncIterable<string> {
    yield 'of no compaction 2';
    begun = true;
    await asked;
    yield 'of no compaction 3';
  };
  const cut = root.compact(records());
  const refused = refuses(() => cut, LOST);
  await until('it is under way', () => begun);
  await rig.kill();
  go();
  await refused;
  await rig.start();
  await append('third');

  // Begun by hand it is to be cancelled by hand: what is appended must not go to the old content.
  await root.startCompaction();
  await rig.kill();
  await rig.start();
  await refuses(() => root.append('of no compaction 4'), LOST, /cancel it/);
  await refuses(() => root.compact(['of no compaction 5']), LOST, /cancel it/);
  await refuses(() => root.append('of no compaction 6'), LOST, /cancel it/);
  await root.cancelCompaction();
  await append('fourth');
  await root.compact(['fifth']);
  content.splice(0, content.length, 'fifth');
  await append('sixth');
  await pool.close({ force: true });
});
