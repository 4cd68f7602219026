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
import { tally } from '../tally.ts';
import { check, create, open } from '../../src/index.ts';
import { compareOwned } from './compare.ts';
import { type Event, Expectation } from './events.ts';

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
    expected.adopt(await compareOwned(pool, expected));
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
