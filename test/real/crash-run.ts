// Real work on a FUSE file, and every image that a power cut can have left of it, for as long as is asked:
//   REAL_SECONDS=600 SEED=1 npm run test:real
//   REAL_IMAGES=100 …    only about so many of each episode: more episodes
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { type Replayed, replay } from './crash-episode.ts';
import { daemonEpisode } from './daemon-episode.ts';
import { noFuse } from './fuse-file.ts';
import type { Fault } from './fuse-medium.ts';
import { type EpisodeOptions, ownerEpisode } from './owner-episode.ts';

const FAILURES_MAX = 3;
const images =
  process.env['REAL_IMAGES'] === undefined ? undefined : Number(process.env['REAL_IMAGES']);
const seconds = Number(process.env['REAL_SECONDS'] ?? 60);
const first = Number(process.env['SEED'] ?? Date.now() % 1e6);

/** Each second episode goes without. */
function drawFault(prng: SeededPrng): Fault | undefined {
  const after = below(prng, 30);
  switch (below(prng, 6)) {
    case 0:
      return { on: ['flush'], after, times: 1, errno: 'EIO' };
    case 1:
      return { on: ['write'], after, times: 1 + below(prng, 3), errno: 'EIO' };
    case 2:
      return { on: ['write', 'flush', 'discard'], after, errno: 'ENOSPC' };
    default:
      return undefined;
  }
}

async function runOne(seed: number, folder: string, untilMs: number): Promise<Replayed> {
  const prng = new SeededPrng(seed);
  const isDaemon = below(prng, 2) === 0;
  const fault = drawFault(prng);
  const options: EpisodeOptions = { seed, ms: 300 + below(prng, 1500), kills: 1 + below(prng, 3) };
  if (fault !== undefined) options.kills += 1;
  const episode = await (isDaemon ? daemonEpisode : ownerEpisode)(folder, { ...options, fault });
  const counts = await replay(episode, { seed, images, untilMs });
  const how = `${isDaemon ? 'daemon' : 'owner'} ${options.kills} kills ${JSON.stringify(fault) ?? ''}`;
  console.log(`SEED=${seed} ${how} ${JSON.stringify(counts)}`);
  return counts;
}

async function main(): Promise<number> {
  const reason = noFuse();
  assert.equal(reason, undefined, reason);
  const endMs = performance.now() + seconds * 1000;
  const total: Partial<Replayed> = {};
  let [episodes, failed] = [0, 0];
  console.log(`seeds from ${first}, for ${seconds} s`);
  for (let seed = first; failed < FAILURES_MAX; seed += 1) {
    const folder = mkdtempSync(join(tmpdir(), 'mpool-real-'));
    let isKept = false;
    try {
      const counts = await runOne(seed, folder, endMs);
      for (const name of Object.keys(counts) as (keyof Replayed)[]) {
        total[name] = (total[name] ?? 0) + counts[name];
      }
    } catch (error) {
      failed += 1;
      isKept = existsSync(folder);
      console.error(`SEED=${seed}: ${(error as Error).stack}`);
      console.error((error as Error).cause ?? '');
      console.error(`what it worked on is kept in ${folder}`);
    }
    if (!isKept) rmSync(folder, { recursive: true, force: true });
    episodes += 1;
    if (performance.now() > endMs) break;
  }
  const seen = (total.bare ?? 0) + (total.torn ?? 0);
  console.log(`${episodes} episodes, ${seen} images, ${failed} failed: ${JSON.stringify(total)}`);
  return failed;
}

process.exitCode = (await main()) > 0 ? 1 : 0;
