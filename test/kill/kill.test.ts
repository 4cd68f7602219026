// Goal: a process that dies at any moment loses nothing it acknowledged and leaves nothing half done.
// Method: a child works on a pool in a real file, or on a loop device, and tells what it begins and what was acknowledged; it is
// killed (SIGKILL) at a random moment, again and again; each time the pool is opened and compared.
// KILLS=n makes it longer, SEED=n repeats one; `npm run storm` kills for as long as is asked.
import assert from 'node:assert/strict';
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { check, create } from '../../src/index.ts';
import { loopDevice, noLoopDevices, temporaryFolder } from '../device/places.ts';
import { Expectation } from './events.ts';
import { killOwner } from './owner.ts';

const kills = Number(process.env['KILLS'] ?? 12);
const seed = Number(process.env['SEED'] ?? Date.now() % 2 ** 31);

/** Where the kernel keeps what a dead owner had, until its I/O is over: a file by its lock, a device by itself. */
const MEDIA = ['file', 'loop device'] as const;

for (const medium of MEDIA) {
  const most = medium === 'file' ? kills : Math.ceil(kills / 3);
  const skip = medium === 'file' ? false : noLoopDevices();
  test(
    `a killed owner loses nothing, on a ${medium}: ${most} kills, SEED=${seed}`,
    { skip },
    async (t) => {
      const prng = new SeededPrng(seed);
      const folder = temporaryFolder(t);
      const file = join(folder, 'kill.mpool');
      writeFileSync(file, '');
      truncateSync(file, 64 * 2 ** 20);
      const path = medium === 'file' ? file : loopDevice(t, file, 4096);
      const capacity = { path, mblockSizeBytes: 2 ** 20 };
      await (await create({ name: `kill-${process.pid}`, capacity })).close();
      const expected = new Expectation();
      for (let kill = 0; kill < most; kill++) {
        await killOwner(path, { seed: seed + kill, afterMs: 150 + below(prng, 500) }, expected);
      }
      const report = await check(path, { data: true });
      assert.deepEqual(
        report.findings.filter(({ severity }) => severity !== 'note'),
        [],
      );
      assert.ok(expected.committed.size > 0, 'the child got something done');
      t.diagnostic(
        `${expected.committed.size} objects and ${expected.syncedEnd} records acknowledged`,
      );
    },
  );
}
