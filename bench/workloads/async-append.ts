// Small records appended without waiting for the disk, with one sync at the end, beside
// fs.createWriteStream fed the same records and an fsync at the end.
import { once } from 'node:events';
import { createWriteStream, fsync } from 'node:fs';
import { finished } from 'node:stream/promises';
import { promisify } from 'node:util';
import { MIB } from '../../src/base/units.ts';
import type { Pool } from '../../src/pool/api.ts';
import type { Workload } from '../workload.ts';
import { openPoolAt } from '../workspace.ts';

const NAME = 'async-append';
const fsyncDescriptor = promisify(fsync);

export const asyncAppend: Workload = {
  name: NAME,
  about: 'mlog appends of 64 and 512 bytes, synced at the end, against fs.createWriteStream',
  async run(bench) {
    const { workspace, quick } = bench;
    const payloadBytes = (quick ? 32 : 128) * MIB;
    const options = { sizeBytes: 512 * MIB, preparation: 'written' as const };
    const pool = await openPoolAt(await workspace.makePool(NAME, options));
    const peerPath = await workspace.makeFile(`${NAME}-peer`, 256 * MIB, 'written');
    for (const recordBytes of [64, 512]) {
      const record = Buffer.alloc(recordBytes, 'record');
      const count = payloadBytes / recordBytes;
      const work = `mlog append, ${recordBytes} B records, one sync at the end`;
      const peer = {
        name: 'fs.createWriteStream',
        run: () => streamAll(peerPath, record, count),
      };
      await bench.compare({
        id: `${NAME}-${recordBytes}`,
        work: `${work}, each awaited`,
        unit: 'MB/s',
        ours: () => appendAll(pool, record, count, 1),
        peer,
        atLeastRatio: 3,
      });
      await bench.compare({
        id: `${NAME}-${recordBytes}-64`,
        work: `${work}, every 64th awaited`,
        unit: 'MB/s',
        ours: () => appendAll(pool, record, count, 64),
        peer,
        atLeastRatio: 3,
      });
    }
    await pool.close();
    workspace.remove(`${NAME}.mpool`);
    workspace.remove(`${NAME}-peer`);
  },
};

/** @param awaitEvery 64: the stream's writes are not awaited one by one either */
async function appendAll(
  pool: Pool,
  record: Uint8Array,
  count: number,
  awaitEvery: number,
): Promise<number> {
  const allocation = await pool.mlogs.alloc({ capacityBytes: 192 * MIB });
  await allocation.commit();
  const log = await pool.mlogs.open(allocation.id);
  const start = performance.now();
  for (let i = 0; i < count; i += awaitEvery) {
    for (let j = 1; j < awaitEvery; j++) void log.append(record);
    await log.append(record);
  }
  await log.sync();
  const seconds = (performance.now() - start) / 1000;
  await log.close();
  await pool.mlogs.delete([allocation.id]);
  return (count * record.length) / 1e6 / seconds;
}

async function streamAll(path: string, record: Uint8Array, count: number): Promise<number> {
  const stream = createWriteStream(path, { flags: 'r+', autoClose: false });
  await once(stream, 'open');
  const start = performance.now();
  for (let i = 0; i < count; i++) {
    if (!stream.write(record)) await once(stream, 'drain');
  }
  stream.end();
  await finished(stream);
  await fsyncDescriptor((stream as unknown as { fd: number }).fd);
  const seconds = (performance.now() - start) / 1000;
  stream.destroy();
  return (count * record.length) / 1e6 / seconds;
}
