/**
 * Works on a pool without end, telling on standard output what it is about to do and what was
 * acknowledged, until it is killed: node child.js POOL-FILE SEED
 */
import { writeSync } from 'node:fs';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { type MblockId, open } from '../../src/index.ts';
import { contentOf, type Event } from './events.ts';

const [, , poolFile, seedText] = process.argv;
const prng = new SeededPrng(Number(seedText));
const pool = await open(poolFile!);
const root = await pool.mdcs.root();
let next = 0;
for await (const record of root.records()) next = Math.max(next, Number(Buffer.from(record)) + 1);
let compacting = false;
const mine: MblockId[] = [];
for await (const { id } of pool.mblocks.list()) mine.push(id);

await Promise.all([1, 2, 3, 4].map(() => work()));

async function work(): Promise<never> {
  for (;;) {
    const choice = below(prng, 100);
    if (choice < 45) await store(1 + below(prng, 3));
    else if (choice < 65) await remove();
    else if (choice < 97) await append();
    else await compact();
  }
}

async function store(count: number): Promise<void> {
  if (mine.length > 40) return remove();
  const mblocks = await Promise.all(Array.from({ length: count }, () => pool.mblocks.alloc()));
  const ids = mblocks.map(({ id }) => String(id));
  const lengthBytes = below(prng, 300_000);
  await Promise.all(mblocks.map((mblock) => mblock.write(contentOf(mblock.id, lengthBytes))));
  tell({ what: 'commit', ids, lengthBytes });
  await pool.mblocks.commit(mblocks);
  tell({ what: 'committed', ids });
  mine.push(...mblocks.map(({ id }) => id));
}

async function remove(): Promise<void> {
  const [id] = mine.splice(below(prng, mine.length), 1);
  if (id === undefined) return;
  tell({ what: 'delete', id: String(id) });
  await pool.mblocks.delete([id]);
  tell({ what: 'deleted', id: String(id) });
}

async function append(): Promise<void> {
  if (compacting) return;
  const sync = below(prng, 2) === 0;
  const number = next++;
  tell({ what: 'append', number });
  await root.append(String(number), { sync });
  if (sync) tell({ what: 'synced', number });
}

/** Keeps the last ten records: what was before them is forgotten for good once it is acknowledged. */
async function compact(): Promise<void> {
  if (compacting) return;
  compacting = true;
  const keepFrom = Math.max(0, next - 10);
  await root.sync();
  tell({ what: 'compact', keepFrom, end: next });
  await root.compact(Array.from({ length: next - keepFrom }, (_, i) => String(keepFrom + i)));
  tell({ what: 'compacted', keepFrom, end: next });
  compacting = false;
}

/** Synchronous: what was told before the kill has been told. */
function tell(event: Event): void {
  writeSync(1, `${JSON.stringify(event)}\n`);
}
