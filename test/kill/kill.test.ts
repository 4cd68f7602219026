// Goal: a process that dies at any moment loses nothing it acknowledged and leaves nothing half done.
// Method: a child works on a pool in a real file and tells what it begins and what was acknowledged; it is
// killed (SIGKILL) at a random moment, again and again; each time the pool is opened and compared.
// KILLS=n makes it longer, SEED=n repeats one.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { check, create, open, type Pool } from '../../src/index.ts';
import { tally } from '../tally.ts';
import { contentOf, type Event, Expectation } from './events.ts';

const kills = Number(process.env['KILLS'] ?? 12);
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);
const directory = join('build', `kill-${process.pid}`);
const poolFile = join(directory, 'kill.mpool');

test(`a killed owner loses nothing: ${kills} kills, SEED=${seed}`, async (t) => {
  const prng = new SeededPrng(seed);
  mkdirSync(directory, { recursive: true });
  t.after(() => rmSync(directory, { recursive: true }));
  const capacity = { path: poolFile, sizeBytes: 64 * 2 ** 20, mblockSizeBytes: 2 ** 20 };
  await (await create({ name: `kill-${process.pid}`, capacity })).close();
  const expected = new Expectation();
  for (let kill = 0; kill < kills; kill++) {
    for (const event of await runAndKill(seed + kill, 150 + below(prng, 500))) expected.take(event);
    await using pool = await open(poolFile);
    await compareObjects(pool, expected);
    await compareRecords(pool, expected);
  }
  const report = await check(poolFile, { data: true });
  assert.deepEqual(
    report.findings.filter(({ severity }) => severity !== 'note'),
    [],
  );
  assert.ok(expected.committed.size > kills, 'the child got something done');
  tally('kills of an owner', kills);
  t.diagnostic(`${expected.committed.size} objects and ${expected.syncedEnd} records acknowledged`);
});

async function runAndKill(childSeed: number, afterMs: number): Promise<Event[]> {
  const program = join(import.meta.dirname, 'child.js');
  const child = spawn(
    process.execPath,
    ['--enable-source-maps', program, poolFile, String(childSeed)],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const events: Event[] = [];
  const lines = createInterface({ input: child.stdout });
  const reading = (async () => {
    // A line cut short by the kill was not told.
    for await (const line of lines) if (line.endsWith('}')) events.push(JSON.parse(line) as Event);
  })();
  const gone = new Promise<NodeJS.Signals | null>((resolve) => {
    child.on('exit', (_code, signal) => resolve(signal));
  });
  await sleep(afterMs);
  child.kill('SIGKILL');
  assert.equal(await gone, 'SIGKILL', 'the child worked until it was killed');
  await reading;
  return events;
}

async function compareObjects(pool: Pool, expected: Expectation): Promise<void> {
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
    // What this kill left is what later ones must find.
    if (there > 0) for (const name of group) expected.committed.add(name);
  }
  for (const name of expected.deleting) {
    if (!found.has(name)) expected.deleted.add(name);
    else expected.deleting.delete(name);
  }
}

async function compareRecords(pool: Pool, expected: Expectation): Promise<void> {
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
  );
  expected.syncedEnd = end;
  expected.appendedEnd = end;
  expected.mayBeginAt = first;
  expected.mustBeginAt = first;
}
