/** Owners of a pool that are killed at work: see child.ts. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from '../../src/index.ts';
import { program } from '../device/places.ts';
import { compareOwned } from './compare.ts';
import type { Event, Expectation } from './events.ts';
import { tally } from '../tally.ts';

/** One owner works for so long and is killed; then the pool is opened, and compared with all that was ever told. */
export async function killOwner(
  path: string,
  options: { seed: number; afterMs: number },
  expected: Expectation,
): Promise<void> {
  for (const event of await runAndKill(path, options)) expected.take(event);
  await using pool = await open(path);
  expected.adopt(await compareOwned(pool, expected));
  tally('owners killed');
}

async function runAndKill(
  path: string,
  { seed, afterMs }: { seed: number; afterMs: number },
): Promise<Event[]> {
  const args = ['--enable-source-maps', program('../kill/child'), path, String(seed)];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const events: Event[] = [];
  const lines = createInterface({ input: child.stdout });
  const reading = (async () => {
    // A line cut short by the kill was not told.
    for await (const line of lines) if (line.endsWith('}')) events.push(JSON.parse(line) as Event);
  })();
  const exited = once(child, 'exit');
  await sleep(afterMs);
  child.kill('SIGKILL');
  const [, signal] = (await exited) as unknown[];
  assert.equal(signal, 'SIGKILL', 'the child worked until it was killed');
  await reading;
  return events;
}
