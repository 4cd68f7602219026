// Mblocks written and committed through the daemon, which copies the bytes out of shared memory, beside the
// embedded library, which writes them from where they are.
import { MIB } from '../../src/base/units.ts';
import { DaemonRig, type OnPool } from '../daemon-rig.ts';
import type { Workload } from '../workload.ts';
import { writeAll } from './bulk.ts';

const NAME = 'daemon-write';

export const daemonWrite: Workload = {
  name: NAME,
  about:
    'mblock writes of a client of the daemon, 1 MiB chunks at queue depth 4, against embedded ones',
  async run(bench) {
    const options = { sizeBytes: bench.sizeBytes / 2, preparation: 'written' } as const;
    const mblockCount = Math.floor((options.sizeBytes * 0.6) / (32 * MIB));
    const writes: OnPool<number> = async (pool) => {
      const { ids, mibps } = await writeAll(pool, mblockCount);
      await pool.mblocks.delete(ids);
      return mibps;
    };
    await DaemonRig.with(bench, NAME, options, (rig) =>
      bench.compare({
        id: NAME,
        work: 'client: mblock write and commit, 1 MiB chunks, queue depth 4',
        unit: 'MiB/s',
        ours: () => rig.client(writes),
        peer: { name: 'embedded', run: () => rig.embedded(writes) },
        atLeastRatio: 0.85,
      }),
    );
  },
};
