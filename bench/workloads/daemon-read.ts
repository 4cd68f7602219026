// Verified reads of committed mblocks by a client of the daemon, which reads the device by itself, beside
// those of the embedded library.
import { MIB } from '../../src/base/units.ts';
import { type OnPool, DaemonRig } from '../daemon-rig.ts';
import { commitObjects } from '../mcache-pool.ts';
import type { Bench, Workload } from '../workload.ts';
import { readAll } from './bulk.ts';
import { allMblocks, readsInto } from './random-read.ts';

const NAME = 'daemon-read';
const DEPTHS = [1, 8, 32];
const MBLOCK_BYTES = 32 * MIB;

export const daemonRead: Workload = {
  name: NAME,
  about:
    'direct reads of a client of the daemon: 4 KiB at random, 1 MiB chunks; against embedded ones',
  async run(bench) {
    const options = {
      sizeBytes: bench.sizeBytes / 4,
      mblockSizeBytes: MBLOCK_BYTES,
      preparation: 'sparse',
    } as const;
    await DaemonRig.with(bench, NAME, options, (rig) => reads(bench, rig));
  },
};

async function reads(bench: Bench, rig: DaemonRig): Promise<void> {
  const { seconds } = bench;
  await rig.embedded(async (pool) => {
    const { freeUsableBytes } = await pool.usage('capacity');
    // What is free is not all in whole zones: logs share some.
    await commitObjects(pool, Math.floor(freeUsableBytes / MBLOCK_BYTES) - 1);
  });
  const atDepth =
    (depth: number): OnPool<number> =>
    async (pool) =>
      readsInto(await allMblocks(pool), depth, seconds);
  for (const depth of DEPTHS) {
    await bench.compare({
      id: `${NAME}-${depth}`,
      work: `client: 4 KiB random read, queue depth ${depth}`,
      unit: 'reads/s',
      ours: () => rig.client(atDepth(depth)),
      peer: { name: 'embedded', run: () => rig.embedded(atDepth(depth)) },
      atLeastRatio: 0.98,
    });
  }
  const inChunks: OnPool<number> = async (pool) => readAll(await allMblocks(pool));
  await bench.compare({
    id: `${NAME}-bulk`,
    work: 'client: mblock read, 1 MiB chunks, queue depth 4',
    unit: 'MiB/s',
    ours: () => rig.client(inChunks),
    peer: { name: 'embedded', run: () => rig.embedded(inChunks) },
    atLeastRatio: 0.98,
  });
}
