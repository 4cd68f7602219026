// Goal: a file becomes mblocks in one commit, with few writes in flight, or leaves nothing.
// Method: a pool that keeps what it is told in memory, answers late, and fails at each step.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededPrng, below } from '../../src/base/prng.ts';
import { storeFile } from '../../src/cli/commands/store-file.ts';
import { streamInput } from '../../src/cli/system.ts';
import type { Mblock, Pool } from '../../src/pool/api.ts';

const MIB = 2 ** 20;

class SlowPool {
  readonly capacityBytes: number;
  /** Steps left before everything fails. */
  stepsLeft: number;
  stored: Buffer[][] = [];
  commits = 0;
  inFlightMax = 0;
  held = new Set<object>();
  #inFlight = 0;

  constructor(capacityBytes: number, stepsLeft = Number.POSITIVE_INFINITY) {
    this.capacityBytes = capacityBytes;
    this.stepsLeft = stepsLeft;
  }

  #step(): void {
    if (this.stepsLeft-- <= 0) throw new Error('enough');
  }

  #allocate(): object {
    this.#step();
    const pieces: Buffer[] = [];
    const write = async (data: Uint8Array): Promise<void> => {
      this.inFlightMax = Math.max(this.inFlightMax, ++this.#inFlight);
      // As the store does: a piece that is no whole number of pages must be the last.
      assert.ok(pieces.every((piece) => piece.length % 4096 === 0));
      const at = pieces.push(Buffer.alloc(0)) - 1;
      await new Promise((resolve) => setTimeout(resolve, 1));
      // Read late: the buffer is borrowed until now.
      pieces[at] = Buffer.from(data);
      this.#inFlight--;
      this.#step();
    };
    const mblock = { capacityBytes: this.capacityBytes, committed: false, write, pieces };
    this.held.add(mblock);
    return mblock;
  }

  get pool(): Pool {
    const mblocks = {
      alloc: async () => this.#allocate(),
      commit: async (all: (Mblock & { pieces: Buffer[] })[]) => {
        this.#step();
        assert.equal(this.#inFlight, 0);
        this.commits++;
        this.stored = all.map(({ pieces }) => pieces);
        for (const each of all) this.held.delete(each);
      },
      abort: async (all: Mblock[]) => {
        assert.equal(this.#inFlight, 0);
        for (const each of all) this.held.delete(each);
      },
    };
    return { mblocks } as unknown as Pool;
  }
}

async function* chunksOf(bytes: Buffer, prng: SeededPrng): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length;) {
    const length = 1 + below(prng, 200_000);
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

const seed = Date.now() % 2 ** 32;
console.log(`seed ${seed}`);
const prng = new SeededPrng(seed);
const options = { mediaClass: undefined, spare: false, dryRun: false };
const watch = { signal: new AbortController().signal, onProgress: () => undefined };

function makeBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i += 997) bytes[i] = prng.u32();
  return bytes;
}

const CAPACITY = 2 * MIB - 3 * 4096;
for (const length of [0, 1, 4096, MIB, CAPACITY, CAPACITY + 1, 2 * CAPACITY, 9 * MIB + 5]) {
  test(`${length} bytes are stored as they are, in one commit`, async () => {
    const slow = new SlowPool(CAPACITY);
    const bytes = makeBytes(length);
    const input = streamInput('-', chunksOf(bytes, prng));
    const stored = await storeFile(slow.pool, input, options, watch);
    assert.equal(stored.lengthBytes, length);
    assert.equal(stored.mblocks.length, Math.ceil(length / CAPACITY));
    assert.ok(Buffer.concat(slow.stored.flat()).equals(bytes));
    assert.ok(slow.inFlightMax <= 4);
    assert.equal(slow.held.size, 0);
    assert.equal(slow.commits, length === 0 ? 0 : 1);
  });
}

test('a dry run takes the space and reads the input, and writes nothing', async () => {
  for (const length of [0, 1, CAPACITY, CAPACITY + 1, 9 * MIB + 5]) {
    const slow = new SlowPool(CAPACITY);
    const input = streamInput('-', chunksOf(makeBytes(length), prng));
    const stored = await storeFile(slow.pool, input, { ...options, dryRun: true }, watch);
    assert.equal(stored.lengthBytes, length);
    assert.equal(stored.mblocks.length, Math.ceil(length / CAPACITY));
    // They stay held: the next file must find its own room.
    assert.equal(slow.held.size, stored.mblocks.length);
    assert.deepEqual([slow.commits, slow.inFlightMax], [0, 0]);
  }
});

test('mblocks smaller than a piece are filled, too', async () => {
  const slow = new SlowPool(MIB - 8192);
  const bytes = makeBytes(3 * MIB);
  const input = streamInput('-', chunksOf(bytes, prng));
  const { mblocks } = await storeFile(slow.pool, input, options, watch);
  assert.equal(mblocks.length, 4);
  assert.ok(slow.stored.every((pieces) => Buffer.concat(pieces).length <= MIB - 8192));
  assert.ok(Buffer.concat(slow.stored.flat()).equals(bytes));
});

test('whatever step fails, nothing is held and nothing committed', async () => {
  const bytes = makeBytes(5 * MIB);
  let failures = 0;
  for (let steps = 0; ; steps++) {
    const slow = new SlowPool(CAPACITY, steps);
    const input = streamInput('-', chunksOf(bytes, prng));
    const done = await storeFile(slow.pool, input, options, watch).then(
      () => true,
      (error: Error) => error.message !== 'enough',
    );
    assert.equal(slow.held.size, 0, `after ${steps} steps`);
    assert.equal(slow.commits, done ? 1 : 0);
    if (done) break;
    failures++;
  }
  // Three mblocks, six pieces and one commit.
  assert.equal(failures, 3 + 6 + 1);
});

test('an abort in the middle gives everything back', async () => {
  const controller = new AbortController();
  const slow = new SlowPool(CAPACITY);
  const input = streamInput('-', chunksOf(makeBytes(5 * MIB), prng));
  await assert.rejects(
    storeFile(slow.pool, input, options, {
      signal: controller.signal,
      onProgress: (done) => done > 3 * MIB && controller.abort(),
    }),
    { name: 'AbortError' },
  );
  assert.equal(slow.held.size, 0);
  assert.equal(slow.commits, 0);
});
