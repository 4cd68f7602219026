// Small objects made durable and deleted again, 32 in flight, beside files made durable and unlinked
// by 32 callers on 32 libuv threads (a process of its own, because the pool's size is fixed at start).
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { MIB } from '../../src/base/units.ts';
import type { Pool } from '../../src/pool/api.ts';
import type { Workload } from '../workload.ts';
import { inParallel, openPoolAt, type Preparation, randomBuffer } from '../workspace.ts';

const NAME = 'churn';
const IN_FLIGHT = 32;

export const churn: Workload = {
  name: NAME,
  about: 'mblock alloc + write 4 KiB + commit + delete, 32 in flight, against files',
  async run(bench) {
    const { workspace, seconds } = bench;
    for (const preparation of ['written', 'sparse'] as Preparation[]) {
      const options = { sizeBytes: 512 * MIB, mblockSizeBytes: MIB, preparation };
      const pool = await openPoolAt(await workspace.makePool(NAME, options));
      const work = `mblock alloc + write 4 KiB + commit + delete, 32 in flight, ${preparation} file`;
      const peer = 'create + write + fsync + unlink of files, 32 threads';
      await bench.compare({
        id: `${NAME}-${preparation}`,
        work,
        unit: 'objects/s',
        ours: () => churnMblocks(pool, seconds),
        peer: { name: peer, run: () => churnFiles(workspace.folder, seconds, false) },
        atLeastRatio: 5,
      });
      // A delete of ours is durable; an unlink is only when its directory is synced.
      await bench.compare({
        id: `${NAME}-${preparation}-durable`,
        work,
        unit: 'objects/s',
        ours: () => churnMblocks(pool, seconds),
        peer: {
          name: `${peer}, + fsync of the directory`,
          run: () => churnFiles(workspace.folder, seconds, true),
        },
      });
      await pool.close();
      workspace.remove(`${NAME}.mpool`);
    }
  },
};

export async function churnMblocks(
  pool: Pool,
  seconds: number,
  inFlight = IN_FLIGHT,
): Promise<number> {
  const data = randomBuffer(4096, 3);
  const start = performance.now();
  const end = start + seconds * 1000;
  let count = 0;
  await inParallel(inFlight, async () => {
    while (performance.now() < end) {
      const mblock = await pool.mblocks.alloc();
      await mblock.write(data);
      await mblock.commit();
      await mblock.delete();
      count += 1;
    }
  });
  return count / ((performance.now() - start) / 1000);
}

async function churnFiles(
  folder: string,
  seconds: number,
  durableUnlink: boolean,
): Promise<number> {
  const script = fileURLToPath(new URL('../file-churn.js', import.meta.url));
  const env = { ...process.env, UV_THREADPOOL_SIZE: String(IN_FLIGHT) };
  const words = [folder, String(seconds), String(IN_FLIGHT), durableUnlink ? 'sync' : ''];
  const child = fork(script, words, { env, execArgv: [] });
  const [perSecond] = (await once(child, 'message')) as [number];
  await once(child, 'exit');
  return perSecond;
}
