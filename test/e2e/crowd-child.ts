/**
 * Several clients in one process, each with a connection of its own, each with so much to do: node crowd-child
 * RUNDIR POOL SEED CLIENTS ROUNDS. Waits for a message before it begins; says what it has done as JSON.
 */
import { once } from 'node:events';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { connect, type MblockId, type Pool } from '../../src/client.ts';
import { contentOf } from '../kill/events.ts';

const [rundir, name, ...numbers] = process.argv.slice(2) as [string, string, ...string[]];
const [seed, clientCount, roundCount] = numbers.map(Number) as [number, number, number];
const KEPT = 1;

async function work(pool: Pool, prng: SeededPrng): Promise<string[]> {
  const mine: { id: MblockId; lengthBytes: number }[] = [];
  const allocation = await pool.mlogs.alloc({ capacityBytes: 65_536 });
  await allocation.commit();
  const log = await pool.mlogs.open(allocation.id);
  for (let round = 0; round < roundCount; round++) {
    const lengthBytes = 1 + below(prng, 60_000);
    const mblock = await pool.mblocks.alloc();
    await mblock.write(contentOf(mblock.id, lengthBytes));
    await mblock.commit();
    mine.push({ id: mblock.id, lengthBytes });
    const [first] = mine as [(typeof mine)[number]];
    expectEqual(await mblock.read(0, lengthBytes), contentOf(mblock.id, lengthBytes));
    await using map = await pool.map(mine.map(({ id }) => id));
    await map.read(0, 0, 1);
    expectEqual(map.view(0), contentOf(first.id, first.lengthBytes));
    await map.unmap();
    await log.append(`${round} ${mblock.id}`, { sync: round % 2 === 0 });
    if (mine.length > KEPT) await pool.mblocks.delete([mine.shift()!.id]);
  }
  await log.close();
  const again = await pool.mlogs.open(allocation.id);
  let round = 0;
  for await (const record of again.records()) {
    if (!Buffer.from(record).toString().startsWith(`${round} `)) throw new Error('another record');
    round += 1;
  }
  if (round !== roundCount) throw new Error(`${round} records instead of ${roundCount}`);
  await again.close();
  return mine.map(({ id, lengthBytes }) => `${id} ${lengthBytes}`);
}

function expectEqual(found: Uint8Array, wanted: Uint8Array): void {
  if (Buffer.compare(found, wanted) !== 0) throw new Error('other bytes than were written');
}

const pools: Pool[] = [];
for (let i = 0; i < clientCount; i++) {
  pools.push(await (await connect({ rundir, client: 'crowd' })).open(name));
}
process.send!('open');
await once(process, 'message');
const kept = await Promise.all(pools.map((pool, i) => work(pool, new SeededPrng(seed + i))));
for (const pool of pools) await pool.close();
process.send!(kept.flat(), () => process.exit(0));
