// Metadata through the daemon beside the embedded library: small objects made durable and deleted again,
// commits alone, lookups; and several processes at once, which only the daemon serves.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { MIB } from '../../src/base/units.ts';
import type { Mblock, MblockId, Pool } from '../../src/pool/api.ts';
import { DaemonRig, type OnPool } from '../daemon-rig.ts';
import { commitObjects, idsOf } from '../mcache-pool.ts';
import type { Bench, Workload } from '../workload.ts';
import { inParallel } from '../workspace.ts';
import { churnMblocks } from './churn.ts';

const NAME = 'daemon-objects';
const IN_FLIGHT = 32;
const CLIENT_COUNT = 4;
/** Committed beforehand: for lists and lookups. */
const OBJECT_COUNT = 64;

export const daemonObjects: Workload = {
  name: NAME,
  about:
    'mblocks allocated, committed, deleted, found by clients of the daemon, against embedded calls',
  async run(bench) {
    const options = { sizeBytes: 512 * MIB, mblockSizeBytes: MIB, preparation: 'written' } as const;
    await DaemonRig.with(bench, NAME, options, (rig) => objects(bench, rig));
  },
};

async function objects(bench: Bench, rig: DaemonRig): Promise<void> {
  const { seconds } = bench;
  // What waits for no device is steady sooner.
  const brief = seconds / 3;
  await rig.embedded((pool) => commitObjects(pool, OBJECT_COUNT, 4096));
  const rows: [id: string, work: string, unit: string, run: OnPool<number>][] = [
    [
      'churn',
      `mblock alloc + write 4 KiB + commit + delete, ${IN_FLIGHT} in flight`,
      'objects/s',
      (pool) => churnMblocks(pool, seconds, IN_FLIGHT),
    ],
    [
      'commit',
      `mblock alloc + commit, ${IN_FLIGHT} in flight, deleted together`,
      'objects/s',
      (pool) => commits(pool, seconds),
    ],
    ['list', `listing ${OBJECT_COUNT} mblocks`, 'lists/s', (pool) => lists(pool, brief)],
    [
      'find',
      'finding mblocks that are known, and their properties',
      'finds/s',
      (pool) => finds(pool, brief),
    ],
  ];
  for (const [id, work, unit, run] of rows) {
    await bench.compare({
      id: `${NAME}-${id}`,
      work: `client: ${work}`,
      unit,
      ours: () => rig.client(run),
      peer: { name: 'embedded', run: () => rig.embedded(run) },
      atLeastRatio: id === 'churn' || id === 'commit' ? 0.6 : undefined,
    });
  }
  await bench.compare({
    id: `${NAME}-clients`,
    work:
      `${CLIENT_COUNT} clients at once, mblock alloc + write 4 KiB + commit + delete, ` +
      `${IN_FLIGHT / CLIENT_COUNT} in flight each`,
    unit: 'objects/s',
    ours: () => rig.served(() => churnOfClients(rig, seconds)),
    peer: {
      name: `one embedded process, ${IN_FLIGHT} in flight`,
      run: () => rig.embedded((pool) => churnMblocks(pool, seconds, IN_FLIGHT)),
    },
  });
}

async function commits(pool: Pool, seconds: number): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1000;
  let count = 0;
  let ids: MblockId[] = [];
  await inParallel(IN_FLIGHT, async () => {
    while (performance.now() < end) {
      const mblock: Mblock = await pool.mblocks.alloc();
      await mblock.commit();
      count += 1;
      if (ids.push(mblock.id) < 2 * IN_FLIGHT) continue;
      const full = ids;
      ids = [];
      await pool.mblocks.delete(full);
    }
  });
  const rate = count / ((performance.now() - start) / 1000);
  await pool.mblocks.delete(ids);
  return rate;
}

async function lists(pool: Pool, seconds: number): Promise<number> {
  const start = performance.now();
  const end = start + seconds * 1000;
  let count = 0;
  for (; performance.now() < end; count++) await idsOf(pool);
  return count / ((performance.now() - start) / 1000);
}

async function finds(pool: Pool, seconds: number): Promise<number> {
  const ids = await idsOf(pool);
  const start = performance.now();
  const end = start + seconds * 1000;
  let count = 0;
  let bytes = 0;
  while (performance.now() < end) {
    for (const id of ids) bytes += (await pool.mblocks.find(id)).properties().writtenBytes;
    count += ids.length;
  }
  if (bytes === 0) throw new Error('the objects are empty');
  return count / ((performance.now() - start) / 1000);
}

/** Objects a second of all clients, each a process of its own. */
async function churnOfClients(rig: DaemonRig, seconds: number): Promise<number> {
  const script = fileURLToPath(new URL('../daemon-churn.js', import.meta.url));
  const words = [rig.rundir, rig.poolName, String(seconds), String(IN_FLIGHT / CLIENT_COUNT)];
  const children = Array.from({ length: CLIENT_COUNT }, () =>
    fork(script, words, { execArgv: [] }),
  );
  await Promise.all(children.map((child) => once(child, 'message')));
  for (const child of children) child.send('go');
  const rates = await Promise.all(
    children.map(async (child) => {
      const exited = once(child, 'exit');
      const [rate] = (await once(child, 'message')) as [number];
      await exited;
      return rate;
    }),
  );
  return rates.reduce((sum, rate) => sum + rate, 0);
}
