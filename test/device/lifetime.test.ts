// Goal: no end of a thread or process crashes, hangs or leaks a claim, whatever is in flight.
// Method: children that end in each way, on each engine; their exit codes and words are looked at.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { ENGINES, program, temporaryFolder } from './places.ts';

const SUM = String(20 * MIB);
const ENDS: [scene: string, status: number, words: RegExp][] = [
  ['idle', 0, /^idle$/],
  ['slow', 0, /^$/],
  ['busy', 0, /^read$/],
  ['exit', 0, /^exit$/],
  ['uncaught', 1, /^$/],
  ['forget', 0, /^.*device\.img was collected without close\(\);released$/],
  ['terminate', 0, /^terminated$/],
  ['workers', 0, new RegExp(`^${SUM} ${SUM} ${SUM} ${SUM}$`)],
];

for (const engine of ENGINES) {
  test(`ends of threads and processes on ${engine}`, async (t) => {
    const path = join(temporaryFolder(t), 'device.img');
    writeFileSync(path, new Uint8Array(4 * MIB).fill(1));
    for (const [scene, status, words] of ENDS) {
      await t.test(scene, () => {
        const child = spawnSync(
          process.execPath,
          [program('lifetime-child'), scene, path, engine],
          {
            encoding: 'utf8',
            timeout: 60_000,
          },
        );
        assert.equal(child.signal, null, child.stderr);
        assert.equal(child.status, status, child.stderr);
        assert.match(child.stdout, words);
        if (scene === 'uncaught') assert.match(child.stderr, /on purpose/);
      });
    }
  });
}
