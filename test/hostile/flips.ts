// Wrong bits, one at a time: a pool with one is refused, or holds all that it held, each right or with an error.
import assert from 'node:assert/strict';
import type { SimHost } from '../../src/testing/index.ts';
import { addSight, inspect, look, Memory, noSight, type Sight } from './memory.ts';
import { tally } from '../tally.ts';
import { livePool, type Region } from './pools.ts';

const SECTOR_BYTES = 512;
const INSPECTED_EVERY = 8;

/** A pool that was closed, with all its structures, and what is in it: nothing older may stand in. */
export interface Subject {
  closed: SimHost;
  regions: readonly Region[];
  memory: Memory;
  /** How many objects it has. */
  whole: number;
}

export async function flipSubject(sectorBytes: 512 | 4096): Promise<Subject> {
  const life = await livePool(5, sectorBytes, new Memory());
  const closed = life.moments[2]!;
  const memory = new Memory();
  const whole = await memory.rememberOf(closed.clone());
  return { closed, regions: life.regions, memory, whole };
}

/** The sector in which a structure's last byte that is not zero lies, and the one behind it, count. */
export function usedBytes({ closed }: Subject, { path, offsetBytes, lengthBytes }: Region): number {
  const bytes = closed.disk(path).bytes(offsetBytes, lengthBytes);
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length -= 1;
  return Math.min(lengthBytes, (Math.ceil(length / SECTOR_BYTES) + 1) * SECTOR_BYTES);
}

export interface Flip {
  region: Region;
  /** Of the byte in the region. */
  at: number;
  bit: number;
}

/** All of a pool, each byte's first bit before any byte's second; which one is first differs. */
export function* flipsOf(subject: Subject, bits: number): Generator<Flip> {
  for (let turn = 0; turn < bits; turn++) {
    for (const region of subject.regions) {
      const used = usedBytes(subject, region);
      for (let at = 0; at < used; at++) yield { region, at, bit: (at + turn) % 8 };
    }
  }
}

/** @param number of the flip: the tools that look at any image do so at every eighth */
export async function judgeFlip(
  { closed, memory, whole }: Subject,
  { region, at, bit }: Flip,
  number: number,
): Promise<Sight> {
  const { path, offsetBytes, name } = region;
  const image = closed.clone();
  image.disk(path).flipBit(offsetBytes + at, bit);
  tally('wrong bits');
  const total = noSight();
  try {
    for (const readOnly of [true, false]) {
      const sight = await look(image, memory, { readOnly });
      const seen = sight.right + sight.errors;
      if (sight.opened === 1 && sight.refused === 0) {
        assert.equal(seen, whole, 'objects are missing');
      }
      addSight(total, sight);
    }
    if (number % INSPECTED_EVERY === 0) await inspect(image);
  } catch (error) {
    const place = `${name}, byte ${at} at ${offsetBytes} of ${path}, bit ${bit}`;
    throw new Error(`${place}: ${String(error)}`, { cause: error });
  }
  return total;
}
