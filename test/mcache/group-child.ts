// In a memory control group: reads several times the limit while some objects are hot and some pinned.
import { once } from 'node:events';
import { open, type MblockId, type MblockMap, reaper } from '../../src/index.ts';

const PAGE = 4096;
const [path = '', way = 'pages'] = process.argv.slice(2);
const pool = await open(path, { readOnly: true });
const ids: MblockId[] = [];
for await (const { id } of pool.mblocks.list()) ids.push(id);
const pinned = await pool.map(ids.slice(0, 6), { temperature: 'pinned' });
const hot = await pool.map(ids.slice(6, 12), { temperature: 'hot' });
const cold = await pool.map(ids.slice(12));
for (let i = 0; i < pinned.objectCount; i++) await pinned.read(i, 0, pinned.lengthBytes(i));

let sum = 0;
for (let turn = 0; turn < 2; turn++) {
  for (let i = 0; i < cold.objectCount; i++) {
    await touch(cold, i);
    await touch(hot, i % hot.objectCount);
  }
}
const share = async (map: MblockMap): Promise<number> => {
  const { virtualPages, residentPages } = await map.residency();
  return residentPages / virtualPages;
};
const result = {
  pinned: await share(pinned),
  hot: await share(hot),
  cold: await share(cold),
  stats: reaper.stats(),
  sum,
};
process.stdout.write(`${JSON.stringify(result)}\n`);
// The parent reads the group's counters before anything is given back.
await once(process.stdin, 'data');
await pool.close();
process.exit(0);

async function touch(map: MblockMap, index: number): Promise<void> {
  const length = map.lengthBytes(index);
  for (let at = 0; at < length; at += 64 * PAGE) {
    const pages = Array.from(
      { length: Math.min(64, Math.ceil((length - at) / PAGE)) },
      (_, i) => at + i * PAGE,
    );
    if (way === 'pages') {
      for (const page of await map.getPages(index, pages)) sum += page[0]!;
    } else {
      const view = map.view(index);
      for (const page of pages) sum += view[page]!;
      // A thread that never lets go of its loop keeps its reaper from its rounds.
      await new Promise(setImmediate);
    }
  }
}
