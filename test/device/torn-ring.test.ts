// Goal: a ring that the system takes away while it carries I/O loses nothing: every operation is answered, none is
// carried out by guess, what comes later goes another way, and the device tells of it.
// Method: children that close or replace the descriptor of their ring, or have a seccomp filter refuse the call that
// enters it, with a thousand writes and reads under way; what they wrote is read back, by them and by us.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { promisify } from 'node:util';
import { MIB } from '../../src/base/units.ts';
import { program, temporaryFolder } from './places.ts';

const run = promisify(execFile);
const ADDON = join(process.cwd(), 'native/build/refuse-now.node');
const TIMEOUT_MS = 60_000;

interface Told {
  before: string;
  after: string;
  problem: string | undefined;
  failures: string[];
  wrong: number;
  sound: boolean;
  nextEngine: string;
}

/** What a device gets that is opened later: undefined where that depends on the runtime. */
const CASES: [engine: string, how: string, nextEngine: string | undefined][] = [
  // The event loop may still watch the number that the descriptor had.
  ['io_uring', 'close', undefined],
  ['io_uring', 'replace', 'io_uring'],
  ['io_uring', 'EPERM', 'threads'],
  // It means: later. That never comes.
  ['io_uring', 'EAGAIN', 'threads'],
  ['aio', 'EPERM', 'threads'],
];

async function tear(t: TestContext, engine: string, how: string, nextEngine: string | undefined) {
  const path = join(temporaryFolder(t, join(process.cwd(), 'build')), 'device.img');
  writeFileSync(path, new Uint8Array(16 * MIB));
  const args = [program('torn-ring-child'), path, engine, how];
  // The event loop of newer Nodes has a ring of its own, and ends the process when that is refused.
  const libuv = /^libuv: io_uring_enter/m;
  const { stdout, stderr } = await run(process.execPath, args, { timeout: TIMEOUT_MS }).catch(
    (error: { stdout: string; stderr: string }) => {
      if (libuv.test(error.stderr)) return error;
      throw error;
    },
  );
  if (libuv.test(stderr)) return t.skip('libuv ends a process whose own ring is refused');
  const told = JSON.parse(stdout) as Told;
  if (told.before !== engine) return t.skip(`${engine} is not to be had here`);
  assert.deepEqual(told.failures, [], 'every operation succeeds');
  assert.deepEqual([told.wrong, told.sound], [0, true]);
  assert.equal(told.after, 'threads');
  assert.match(told.problem!, new RegExp(`took ${engine} away \\(E[A-Z]+\\): I/O goes by threads`));
  if (nextEngine !== undefined) assert.equal(told.nextEngine, nextEngine);
  const bytes = readFileSync(path);
  for (let i = 0; i < 1500; i++) assert.equal(bytes[i * 4096 + 77], i % 251);
}

const skip = existsSync(ADDON) ? false : `${ADDON} is missing: run npm run native`;
test('a ring that is taken away in mid-life', { skip, concurrency: CASES.length }, async (t) => {
  await Promise.all(
    CASES.map(([engine, how, next]) =>
      t.test(`${engine}: ${how}`, (each) => tear(each, engine, how, next)),
    ),
  );
});
