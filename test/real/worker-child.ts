/** A worker that commits mblocks to a pool and tells each id, until it is ended. */
import { parentPort, workerData } from 'node:worker_threads';
import { open } from '../../src/index.ts';

const pool = await open(workerData as string);
for (;;) {
  const mblocks = await Promise.all([1, 2, 3, 4].map(() => pool.mblocks.alloc()));
  await Promise.all(mblocks.map((mblock) => mblock.write(Buffer.alloc(64 * 1024, 'worker '))));
  await pool.mblocks.commit(mblocks);
  for (const { id } of mblocks) parentPort!.postMessage(id);
  await pool.mblocks.delete(mblocks.slice(1).map(({ id }) => id));
}
