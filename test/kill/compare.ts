/** A pool against what is expected of it. */
import assert from 'node:assert/strict';
import type { Pool } from '../../src/index.ts';
import { contentOf, type Expectation, type Found } from './events.ts';

/** All that was acknowledged, nothing by halves, nothing else, byte for byte. */
export async function compareOwned(pool: Pool, expected: Expectation): Promise<Found> {
  const mblocks = await compareObjects(pool, expected);
  return { mblocks, ...(await compareRecords(pool, expected)) };
}

async function compareObjects(pool: Pool, expected: Expectation): Promise<Set<string>> {
  const found = new Set<string>();
  for await (const { id, writtenBytes } of pool.mblocks.list()) {
    const name = String(id);
    found.add(name);
    assert.equal(
      writtenBytes,
      expected.begun.get(name),
      `object ${name} was begun, with that length`,
    );
    assert.ok(!expected.deleted.has(name), `object ${name} stays deleted`);
    const bytes = await pool.mblocks.read(id, 0, writtenBytes);
    assert.ok(Buffer.compare(bytes, contentOf(id, writtenBytes)) === 0, `bytes of object ${name}`);
  }
  for (const name of expected.committed) {
    if (!expected.deleting.has(name)) assert.ok(found.has(name), `object ${name} was acknowledged`);
  }
  for (const group of expected.groups) {
    if (group.some((name) => expected.deleting.has(name))) continue;
    const there = group.filter((name) => found.has(name)).length;
    assert.ok(there === 0 || there === group.length, `objects ${group.join(', ')} are all or none`);
  }
  return found;
}

async function compareRecords(
  pool: Pool,
  expected: Expectation,
): Promise<{ first: number; end: number }> {
  await using root = await pool.mdcs.root();
  const numbers: number[] = [];
  for await (const record of root.records()) numbers.push(Number(Buffer.from(record)));
  const [first = expected.syncedEnd] = numbers;
  numbers.forEach((number, i) =>
    assert.equal(number, first + i, 'records are in order, none missing'),
  );
  const end = first + numbers.length;
  assert.ok(end >= expected.syncedEnd, `records up to ${expected.syncedEnd} are there, not ${end}`);
  assert.ok(
    end <= expected.appendedEnd,
    `no record was made up: ${end} of ${expected.appendedEnd}`,
  );
  assert.ok(
    first >= expected.mustBeginAt && first <= Math.max(expected.mayBeginAt, expected.mustBeginAt),
    `records begin at ${first}: ${expected.mustBeginAt} … ${expected.mayBeginAt}`,
  );
  return { first, end };
}
