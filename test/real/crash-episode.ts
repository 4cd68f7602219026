/**
 * A piece of real work on a FUSE file, and then every image that a power cut in it can have left: the one way to
 * see both is that what the workers told is in the write log, between the writes.
 */
import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { Pool } from '../../src/index.ts';
import {
  allSurvive,
  noneSurvive,
  prefixSurvives,
  randomSurvive,
  type SurvivorPolicy,
} from '../../src/testing/survivors.ts';
import { ImageCheck } from './image-check.ts';
import { Replay } from './replay.ts';
import { readWriteLog } from './write-log.ts';
import { tally } from '../tally.ts';

/** What is known of the work up to a place in the log, and so what must be in an image of that place. */
export interface Witness {
  take(source: number, line: string): void;
  compare(pool: Pool): Promise<unknown>;
}

export interface Episode {
  logPath: string;
  witness: Witness;
}

export interface ReplayOptions {
  seed: number;
  /** About so many images, spread over the whole log; by default each flush boundary and as many moments between. */
  images?: number | undefined;
  /** No image is begun after it: a time of performance.now(). */
  untilMs?: number | undefined;
  /** Whether an image that fails is kept; by default it is. */
  keep?: boolean | undefined;
}

export interface Replayed {
  boundaries: number;
  /** Images at flush boundaries, with nothing that no flush covers; and with some of it, there and between. */
  bare: number;
  torn: number;
  writes: number;
  discards: number;
  flushes: number;
  failedFlushes: number;
  events: number;
}

/** Checks the images of an episode. Its log is removed, unless one of them fails. */
export async function replay(episode: Episode, options: ReplayOptions): Promise<Replayed> {
  const { logPath, witness } = episode;
  const { seed, images, untilMs = Infinity } = options;
  const counts = count(logPath);
  const prng = new SeededPrng(seed);
  const each = (images ?? 2 * counts.boundaries) / 2;
  const isBareTurn = everySoOften(counts.boundaries / each, prng);
  const isTornTurn = everySoOften(counts.records / each, prng);
  const state = new Replay();
  const checks = new ImageCheck(options.keep ?? true);
  let [place, boundary, events] = [0, 0, 0];
  const look = async (policy: SurvivorPolicy): Promise<void> => {
    const name = `SEED=${seed}: record ${place} of ${logPath}, survivors: ${policy.name}`;
    await checks.run(state.image(policy), (pool) => witness.compare(pool), name);
  };
  try {
    for (const record of readWriteLog(logPath)) {
      place += 1;
      if (record.kind === 'event') {
        events += 1;
        witness.take(record.operation, Buffer.from(record.payload).toString());
      }
      const isBoundary = state.take(record);
      if (isBoundary) boundary += 1;
      // The first thing told says that there is a pool.
      if (events === 0 || performance.now() > untilMs) continue;
      if (isBoundary && isBareTurn()) {
        counts.bare += 1;
        await look(noneSurvive);
      }
      if (isTornTurn()) {
        counts.torn += 1;
        await look(somePolicy(state, prng));
      }
    }
  } finally {
    checks.close();
  }
  assert.equal(boundary, counts.boundaries);
  rmSync(logPath);
  tally('crash images of real files', counts.bare + counts.torn);
  const { records: _, ...replayed } = counts;
  return replayed;
}

/** True once in about `interval` times: never far from it, and not in step with anything. */
function everySoOften(interval: number, prng: SeededPrng): () => boolean {
  if (interval <= 1) return () => true;
  let left = interval / 2;
  return () => {
    left -= 1;
    if (left > 0) return false;
    left += interval * (0.5 + below(prng, 1001) / 1000);
    return true;
  };
}

function somePolicy(state: Replay, prng: SeededPrng): SurvivorPolicy {
  const { volatile } = state;
  const which = below(prng, 8);
  if (which === 0) return allSurvive;
  if (which < 3 && volatile.length > 0) {
    const whole = below(prng, volatile.length);
    return prefixSurvives(whole, below(prng, volatile[whole]!.pieceCount + 1));
  }
  return randomSurvive(prng.u32());
}

function count(logPath: string): Replayed & { records: number } {
  const counts = { records: 0, boundaries: 0, bare: 0, torn: 0 };
  const kinds = { writes: 0, discards: 0, flushes: 0, failedFlushes: 0, events: 0 };
  const state = new Replay();
  for (const record of readWriteLog(logPath)) {
    counts.records += 1;
    if (state.take(record)) counts.boundaries += 1;
    if (record.kind === 'write') kinds.writes += 1;
    else if (record.kind === 'discard') kinds.discards += 1;
    else if (record.kind === 'flush') kinds.flushes += 1;
    else if (record.kind === 'flushFailed') kinds.failedFlushes += 1;
    else if (record.kind === 'event') kinds.events += 1;
  }
  return { ...counts, ...kinds };
}
