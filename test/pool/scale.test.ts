// Goal: many objects cost little memory, and neither opening nor listing them keeps the event loop to itself.
// Method: a hundred thousand objects on a simulated disk; turns of the loop are counted, nothing is timed.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ObjectTable } from '../../src/pool/object-table.ts';
import { closeClean, freshPool, MIB, openHere } from './pool-host.ts';

const OBJECTS = 100_000;
/** Looked at or put in order without letting others run, at most. */
const SLICE_MAX = 20_000;

/** Counts turns of the event loop while `work` runs. */
async function turnsDuring<T>(work: () => Promise<T>): Promise<{ turns: number; result: T }> {
  let turns = 0;
  let ended = false;
  const tick = (): void => {
    turns++;
    if (!ended) setImmediate(tick);
  };
  setImmediate(tick);
  try {
    return { result: await work(), turns };
  } finally {
    ended = true;
  }
}

test('a hundred thousand objects: memory, opening, listing, deleting', async () => {
  let completions = 0;
  const setup = await freshPool({
    sizeBytes: (OBJECTS + 20_000) * MIB,
    host: {
      onOperation: ({ phase }) => {
        if (phase === 'complete') completions++;
      },
    },
  });
  const { host, pool } = setup;
  const batch = 5000;
  for (let made = 0; made < OBJECTS; made += batch) {
    const mblocks = await Promise.all(Array.from({ length: batch }, () => pool.mblocks.alloc()));
    await pool.mblocks.commit(mblocks);
  }
  const stats = pool.stats();
  assert.equal(stats.objectCount, OBJECTS + 2);
  assert.ok(
    stats.objectTableBytes / OBJECTS <= 60,
    `${stats.objectTableBytes / OBJECTS} bytes each`,
  );
  const { metadataBytes } = await pool.usage();
  assert.ok(metadataBytes / OBJECTS <= 400, `${metadataBytes / OBJECTS} bytes of metadata each`);
  await closeClean(setup);

  completions = 0;
  const opened = await turnsDuring(() => openHere(host));
  const again = opened.result;
  assert.equal(again.stats().objectCount, OBJECTS + 2);
  // Each completion of I/O has a turn of its own; these are further ones, to let others run.
  const further = opened.turns - completions;
  assert.ok(further >= Math.floor(OBJECTS / SLICE_MAX), `${further} further turns to open`);
  let count = 0;

  const listed = await turnsDuring(async () => {
    let last = 0n;
    for await (const { id } of again.mblocks.list()) {
      assert.ok(id > last);
      last = id;
      count++;
    }
  });
  assert.equal(count, OBJECTS);
  assert.ok(listed.turns >= OBJECTS / 4096, `${listed.turns} turns to list`);

  const ids = [];
  for await (const { id } of again.mblocks.list()) if (ids.length < 30_000) ids.push(id);
  await again.mblocks.delete(ids);
  assert.equal(again.stats().objectCount, OBJECTS + 2 - 30_000);
  await closeClean({ host, pool: again });
});

test('a million objects take at most 96 bytes of memory each', () => {
  const table = new ObjectTable();
  const fields = { mediaClass: 1, role: 0, pageCount: 256, lengthBytes: 4096, digest: 7 };
  for (let i = 1; i <= 1_000_000; i++) {
    table.insert(Math.floor(i / 2 ** 20), ((i % 2 ** 20) * 4096 + 0x101) >>> 0, {
      ...fields,
      pageAddress: i * 256,
    });
  }
  assert.equal(table.count, 1_000_000);
  assert.ok(table.bytes / 1_000_000 <= 96, `${table.bytes / 1_000_000} bytes each`);
});
