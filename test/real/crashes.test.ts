// Goal: real processes on a real file, through the kernel, leave nothing on media at any moment from which not all
//   that was acknowledged comes back, whatever a power cut leaves of the rest; also when they are killed meanwhile.
// Method: a FUSE file that logs all writes and flushes, and what the workers told, in one order; images of a sample
//   of flush boundaries and moments between are made from the log and opened. `npm run test:real` makes all of
//   them, for as long as is asked; SEED=n repeats the choices. A rig that sees nothing would prove nothing: with a
//   flush that lies it must find what is missing.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { temporaryFolder } from '../device/places.ts';
import { replay } from './crash-episode.ts';
import { daemonEpisode } from './daemon-episode.ts';
import { noFuse } from './fuse-file.ts';
import { ownerEpisode } from './owner-episode.ts';

const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
const skip = noFuse() ?? false;
const IMAGES = 12;

test(`power cuts under an owner that is killed, SEED=${seed}`, { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const episode = await ownerEpisode(folder, { seed, ms: 1200, kills: 2 });
  const counts = await replay(episode, { seed, images: IMAGES });
  t.diagnostic(JSON.stringify(counts));
  assert.ok(
    counts.boundaries > 20 && counts.bare > 2 && counts.torn > 2,
    'there was something to see',
  );
});

test(`power cuts under a daemon that is killed, SEED=${seed}`, { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const episode = await daemonEpisode(folder, { seed, ms: 1500, kills: 2 });
  const counts = await replay(episode, { seed, images: IMAGES });
  t.diagnostic(JSON.stringify(counts));
  assert.ok(
    counts.boundaries > 20 && counts.bare > 2 && counts.torn > 2,
    'there was something to see',
  );
});

test(
  `a flush that fails under an owner, and what it should have covered is gone, SEED=${seed}`,
  { skip },
  async (t) => {
    const folder = temporaryFolder(t);
    const fault = { on: ['flush'], times: 1, errno: 'EIO' } as const;
    const episode = await ownerEpisode(folder, { seed, ms: 1000, kills: 2, fault });
    const counts = await replay(episode, { seed, images: IMAGES });
    t.diagnostic(JSON.stringify(counts));
    assert.ok(counts.failedFlushes > 0, 'a flush failed');
  },
);

test(`a flush that lies is found out, SEED=${seed}`, { skip }, async (t) => {
  const folder = temporaryFolder(t);
  const fault = { on: ['flush'], lies: true } as const;
  const episode = await ownerEpisode(folder, { seed, ms: 400, kills: 1, fault });
  await assert.rejects(
    replay(episode, { seed, images: 20, keep: false }),
    /SEED=.* record \d+ of /,
  );
  assert.ok(readdirSync(folder).includes(`owner-${seed}.log`), 'what failed can be looked at');
});
