// Goal: the sweep finds every crash point, passes a store that is right and finds the bug in each that
// is not, and says how to replay it. Method: a register that alternates between two checksummed copies,
// and the same with one mistake.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c } from '../../src/base/crc32c.ts';
import { flushAsync, readAsync, writeAsync } from '../../src/device/device.ts';
import type { Device } from '../../src/device/device.ts';
import { noneSurvive, SimHost, sweepCrashes } from '../../src/testing/index.ts';
import type { CrashSweep } from '../../src/testing/index.ts';
import { DISK, hostWithDisk } from './disks.ts';

/** Which mistake the register makes. */
type Mistake = 'none' | 'no flush' | 'one copy' | 'no checksum' | 'early answer';

const COPY_BYTES = 2048;
const WORDS = COPY_BYTES / 4;

/** A durable number. Copy g % 2 holds generation g: words 0 crc, 1 generation, then the value often. */
class Register {
  readonly #device: Device;
  readonly #mistake: Mistake;
  generation = 0;
  value = 0;

  constructor(device: Device, mistake: Mistake) {
    this.#device = device;
    this.#mistake = mistake;
  }

  async load(): Promise<void> {
    for (const copy of [0, 1]) {
      const bytes = this.#device.allocate(COPY_BYTES);
      await readAsync(this.#device, copy * COPY_BYTES, bytes);
      const words = new Uint32Array(bytes.buffer, 0, WORDS);
      const valid = words[0] === crc32c(bytes.subarray(4)) || this.#mistake === 'no checksum';
      if (valid && words[1]! > this.generation) {
        [this.generation, this.value] = [words[1]!, words[WORDS - 1]!];
      }
      this.#device.release(bytes);
    }
  }

  async store(value: number, acknowledge: () => void): Promise<void> {
    const generation = this.generation + 1;
    const bytes = this.#device.allocate(COPY_BYTES);
    const words = new Uint32Array(bytes.buffer, 0, WORDS).fill(value);
    words[1] = generation;
    words[0] = crc32c(bytes.subarray(4));
    const copy = this.#mistake === 'one copy' ? 0 : generation % 2;
    await writeAsync(this.#device, copy * COPY_BYTES, bytes, 'volatile');
    if (this.#mistake === 'early answer') acknowledge();
    if (this.#mistake !== 'no flush') await flushAsync(this.#device);
    [this.generation, this.value] = [generation, value];
    this.#device.release(bytes);
    acknowledge();
  }
}

interface Progress {
  acknowledged: number;
  started: number;
}

function sweepOf(mistake: Mistake, seed = 11): CrashSweep<Progress> {
  return {
    seed,
    prepare: async () => hostWithDisk({ seed }),
    context: () => ({ acknowledged: 0, started: 0 }),
    async scenario(host, progress) {
      const device = await host.openDevice(DISK, { access: 'write' });
      const register = new Register(device, mistake);
      for (let value = 101; value <= 106; value++) {
        progress.started = value;
        await register.store(value, () => (progress.acknowledged = value));
      }
      await device.close();
    },
    async verify(image, progress) {
      const device = await image.openDevice(DISK, { access: 'read' });
      const register = new Register(device, mistake);
      await register.load();
      await device.close();
      const { value } = register;
      const { acknowledged, started } = progress;
      assert.ok(value === acknowledged || value === started, `${value}, not ${acknowledged}`);
    },
  };
}

test('a register that is right passes, at every crash point', async () => {
  const result = await sweepCrashes(sweepOf('none'));
  assert.equal(result.operations, 12);
  assert.equal(result.cuts, 13);
  // 12 cuts with a write volatile (8 images each); after the end nothing is.
  assert.equal(result.images, 12 * 8 + 1);
});

for (const mistake of ['no flush', 'one copy', 'no checksum', 'early answer'] as const) {
  test(`the mistake '${mistake}' is found, and its message replays it`, async () => {
    const found = await sweepCrashes(sweepOf(mistake)).then(
      () => assert.fail('not found'),
      (error: Error) => error,
    );
    const place = /seed 11, only: \{ cut: (\w+), policy: '([^']+)' \}/.exec(found.message);
    assert.ok(place, found.message);
    const only = { cut: Number(place[1]), policy: place[2]! };
    const again = await sweepCrashes({ ...sweepOf(mistake), only }).then(
      () => assert.fail('not replayed'),
      (error: Error) => error,
    );
    assert.equal(again.message, found.message);
    const right = await sweepCrashes({ ...sweepOf('none'), only: { cut: only.cut } });
    assert.equal(right.cuts, 1);
  });
}

test('maxCuts takes some of the cuts, and always the last', async () => {
  const cuts = new Set<number>();
  const sweep = sweepOf('none');
  const result = await sweepCrashes({
    ...sweep,
    maxCuts: 4,
    policies: () => [noneSurvive],
    verify: async (image, progress, point) => {
      cuts.add(point.cut);
      await sweep.verify(image, progress, point);
    },
  });
  assert.equal(result.images, 4);
  assert.equal(cuts.size, 4);
  assert.ok(cuts.has(Infinity));
});

async function broken(): Promise<void> {
  throw new Error('broken');
}

test('a scenario that fails by itself is no crash', async () => {
  const sweep = sweepCrashes({ ...sweepOf('none'), scenario: broken });
  await assert.rejects(sweep, /the scenario fails \(seed 11, only: \{ cut: Infinity.*broken/);
});

test('a scenario that never settles after the cut is a failure', async () => {
  const sweep = sweepOf('none');
  const scenario = async (host: SimHost, progress: Progress): Promise<void> => {
    await sweep.scenario(host, progress).catch(() => new Promise(() => {}));
  };
  await assert.rejects(
    sweepCrashes({ ...sweep, scenario, hangMs: 50 }),
    /cut: 1, .* no end after 50 ms/,
  );
});

test('a scenario that is not the same each time is a failure', async () => {
  let runs = 0;
  const sweep = sweepOf('none');
  const scenario = async (host: SimHost, progress: Progress): Promise<void> => {
    if (++runs < 3) await sweep.scenario(host, progress);
  };
  await assert.rejects(sweepCrashes({ ...sweep, scenario }), /must do the same each time/);
});
