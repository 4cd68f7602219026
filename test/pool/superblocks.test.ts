// Goal: an update, a growth and an erasure of superblocks survive a power cut at every operation.
// Method: crash sweeps on a simulated disk; then single faults, old programs and foreign content.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAsync, writeAsync, type Device } from '../../src/device/device.ts';
import { viewOf } from '../../src/base/bytes.ts';
import { crc32c } from '../../src/base/crc32c.ts';
import { encodeSuperblock, type Superblock } from '../../src/format/superblock.ts';
import {
  eraseSuperblocks,
  peekSuperblock,
  readSuperblocks,
  repairSuperblocks,
  writeSuperblocks,
  type SuperblocksFound,
} from '../../src/pool/superblocks.ts';
import { SimHost, survivorPolicies, sweepCrashes } from '../../src/testing/index.ts';
import type { CrashSweep, CrashSweepResult, VolatileOperation } from '../../src/testing/index.ts';
import { descriptor, superblock } from '../format/samples.ts';
import { tallySweep } from '../tally.ts';

const PATH = '/dev/sim';
const MIB = 2 ** 20;
const SIZE = 64 * MIB;
const SEED = 20_250_101;

async function sweep<T>(options: CrashSweep<T>): Promise<CrashSweepResult> {
  const result = await sweepCrashes(options);
  tallySweep(result);
  return result;
}

/** Many: that four copies are torn at once has to happen, were it possible. */
function policies(operations: readonly VolatileOperation[], seed: number) {
  return survivorPolicies(operations, { limit: 60, seed });
}

async function withDevice<T>(
  host: SimHost,
  work: (device: Device) => Promise<T>,
  access: 'read' | 'write' = 'write',
): Promise<T> {
  const device = await host.openDevice(PATH, { access });
  try {
    return await work(device);
  } finally {
    await device.close();
    if (!host.powerIsCut) assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
  }
}

async function hostWith(
  first: Superblock,
  sizeBytes = SIZE,
  sectorBytes: 512 | 4096 = 512,
): Promise<SimHost> {
  const host = new SimHost({ seed: SEED });
  host.addDisk(PATH, { sizeBytes, sectorBytes, kind: 'block' });
  await withDevice(host, (device) => writeSuperblocks(device, first, { first: true }));
  return host;
}

function generationOf(found: SuperblocksFound): number {
  return found.newest?.generation ?? 0;
}

/** Differs from other generations in many sectors, so that a torn page is neither. */
function nth(generation: number, sizeBytes = SIZE): Superblock {
  const capacityPath = `/dev/${String(generation).repeat(1000)}`;
  const stagingPath = `/${String(generation).repeat(1000)}`;
  return superblock({ generation, capacityPath, stagingPath, capacity: descriptor({ sizeBytes }) });
}

/**
 * After the crash: which generation counts; afterwards all copies agree and nothing needs repair.
 */
async function recover(image: SimHost): Promise<number> {
  return withDevice(image, async (device) => {
    const found = await readSuperblocks(device);
    assert.equal(found.problem, undefined, found.detail);
    await repairSuperblocks(device, found.newest!);
    const after = await readSuperblocks(device);
    assert.deepEqual(
      after.copies.map((copy) => copy.status),
      Array(4).fill('valid'),
    );
    for (const copy of after.copies) assert.deepEqual(copy.superblock, found.newest);
    const operations = image.operationCount;
    assert.deepEqual(await repairSuperblocks(device, found.newest!), []);
    assert.equal(image.operationCount, operations, 'nothing is written when all is right');
    return generationOf(found);
  });
}

test('an update is old or new after a power cut, and new once it resolved', async () => {
  for (const sectorBytes of [512, 4096] as const) {
    const seen = new Set<number>();
    const result = await sweep({
      seed: SEED,
      policies,
      prepare: () => hostWith(nth(1), SIZE, sectorBytes),
      context: () => ({ acknowledged: 1 }),
      scenario: async (host, context) => {
        await withDevice(host, async (device) => {
          for (const generation of [2, 3]) {
            await writeSuperblocks(device, nth(generation));
            context.acknowledged = generation;
          }
        });
      },
      verify: async (image, { acknowledged }) => {
        const generation = await recover(image);
        assert.ok(generation === acknowledged || generation === acknowledged + 1);
        seen.add(generation);
      },
    });
    assert.ok(result.cuts > 8, `${result.cuts} cuts`);
    assert.deepEqual(
      [...seen].toSorted((a, b) => a - b),
      [1, 2, 3],
    );
  }
});

test('a repair can be cut too: what was chosen stays chosen', async () => {
  await sweep({
    seed: SEED,
    policies: (operations, seed) => survivorPolicies(operations, { limit: 250, seed }),
    prepare: async () => {
      const host = await hostWith(nth(1));
      // A process died after copies 1 and 3 of an update reached the device's cache, not its media.
      await withDevice(host, async (device) => {
        await writePage(device, nth(2), 1);
        await writePage(device, nth(2), 3);
      });
      return host;
    },
    context: () => ({ repaired: false }),
    scenario: async (host, context) => {
      await withDevice(host, async (device) => {
        const { newest } = await readSuperblocks(device);
        assert.equal(newest?.generation, 2);
        await repairSuperblocks(device, newest);
        context.repaired = true;
      });
    },
    verify: async (image, { repaired }) => {
      const generation = await recover(image);
      assert.ok(generation === 2 || (!repaired && generation === 1));
    },
  });
});

test('growth moves copies 2 and 3, and survives a power cut at any operation', async () => {
  const sizes = new Set<number>();
  await sweep({
    seed: SEED,
    policies,
    prepare: () => hostWith(nth(1), 2 * SIZE),
    context: () => ({ done: false }),
    scenario: async (host, context) => {
      await withDevice(host, (device) => writeSuperblocks(device, nth(2, 2 * SIZE)));
      context.done = true;
    },
    verify: async (image, { done }) => {
      const generation = await recover(image);
      assert.ok(generation === 2 || !done);
      const found = await withDevice(image, readSuperblocks);
      sizes.add(found.newest!.capacity.sizeBytes);
    },
  });
  assert.deepEqual(sizes, new Set([SIZE, 2 * SIZE]));
});

test('an erasure leaves a pool whose copy 0 is whole, or none at all', async () => {
  const seen = new Set<string>();
  await sweep({
    seed: SEED,
    policies,
    prepare: () => hostWith(nth(1)),
    context: () => ({ done: false }),
    scenario: async (host, context) => {
      await withDevice(host, eraseSuperblocks);
      context.done = true;
    },
    verify: async (image, { done }) => {
      const found = await withDevice(image, readSuperblocks);
      seen.add(found.problem ?? 'whole');
      if (done) assert.equal(found.problem, 'blank');
      if (found.newest !== undefined) {
        assert.equal(found.copies[0]?.status, 'valid');
        await recover(image);
      } else {
        assert.ok(found.problem === 'none' || found.problem === 'blank', found.problem);
      }
    },
  });
  assert.deepEqual([...seen].toSorted(), ['blank', 'none', 'whole']);
});

test('erasing an interrupted growth erases the copies of both sizes', async () => {
  const host = await hostWith(nth(1), 2 * SIZE);
  await withDevice(host, async (device) => {
    await writePage(device, nth(2, 2 * SIZE), 1);
    await writePage(device, nth(2, 2 * SIZE), 3);
    assert.equal((await readSuperblocks(device)).copies.length, 6);
    await eraseSuperblocks(device);
    for (const offset of [0, 65536, SIZE - 65536, SIZE - 4096, 2 * SIZE - 4096]) {
      assert.ok(
        (await pageAt(device, offset)).every((byte) => byte === 0),
        `offset ${offset}`,
      );
    }
  });
});

test('what lies beyond the pool on the device is neither looked at nor erased', async () => {
  const host = await hostWith(nth(1), 2 * SIZE);
  await withDevice(host, async (device) => {
    await fill(device, 2 * SIZE - 4096, 0x77);
    await eraseSuperblocks(device);
    assert.equal((await pageAt(device, 2 * SIZE - 4096))[0], 0x77);
  });
});

test('any three copies may be lost, by rot or unreadable sectors, and are repaired', async () => {
  for (let kept = 0; kept < 4; kept++) {
    const host = await hostWith(superblock({ generation: 5 }));
    const offsets = [0, 65536, SIZE - 65536, SIZE - 4096];
    await withDevice(host, async (device) => {
      for (let copy = 0; copy < 4; copy++)
        if (copy !== kept) await fill(device, offsets[copy]!, 0xee);
    });
    const unreadable = host.addFault({
      op: 'read',
      range: { offsetBytes: offsets[(kept + 1) % 4]!, lengthBytes: 4096 },
      times: 2,
      effect: { kind: 'error' },
    });
    assert.equal(await recover(host), 5);
    assert.ok(unreadable.hits > 0);
  }
});

test('a copy of a newer format is never passed over for an older one', async () => {
  const newer = (generation: number): Uint8Array => {
    const page = encodeSuperblock(superblock({ generation }), 1);
    viewOf(page).setUint16(56, 3, true);
    viewOf(page).setUint32(62, crc32c(page.subarray(0, 62)), true);
    return page;
  };
  for (const [generation, problem] of [
    [6, 'version'],
    [5, 'version'],
    [4, undefined],
  ] as const) {
    const host = await hostWith(superblock({ generation: 5 }));
    await withDevice(host, async (device) => {
      await put(device, 65536, newer(generation));
      const found = await readSuperblocks(device);
      assert.equal(found.problem, problem, `generation ${generation}`);
      assert.equal(found.newest === undefined, problem !== undefined);
    });
  }
});

test('a blank, a foreign, a damaged and a shrunk device are told apart', async () => {
  const host = new SimHost({ seed: SEED });
  host.addDisk(PATH, { sizeBytes: SIZE, sectorBytes: 512, kind: 'block' });
  const problem = () => withDevice(host, async (device) => (await readSuperblocks(device)).problem);
  assert.equal(await problem(), 'blank');
  await withDevice(host, (device) => fill(device, 0, 0x41));
  assert.equal(await problem(), 'none');
  await withDevice(host, async (device) => {
    const page = encodeSuperblock(superblock(), 0);
    page[100]! ^= 1;
    await put(device, 0, page);
  });
  assert.equal(await problem(), 'damaged');
  const small = new SimHost({ seed: SEED });
  small.addDisk(PATH, { sizeBytes: SIZE / 2, sectorBytes: 512, kind: 'block' });
  await withDevice(small, (device) => put(device, 0, encodeSuperblock(superblock(), 0)));
  const found = await withDevice(small, readSuperblocks);
  assert.deepEqual([found.problem, found.newest?.name], ['size', 'pool-1']);
});

test('peeking needs no claim and finds the same; nothing is nowhere', async () => {
  const host = await hostWith(superblock({ generation: 5 }));
  await withDevice(host, async (device) => {
    const [peeked, read] = [await peekSuperblock(host, PATH), await readSuperblocks(device)];
    assert.deepEqual(peeked, read);
  });
  assert.equal(await peekSuperblock(host, '/dev/nothing'), undefined);
});

test('a device is read without a write', async () => {
  const host = await hostWith(superblock({ generation: 5 }));
  const before = host.operationCount;
  await withDevice(host, readSuperblocks, 'read');
  assert.equal(host.operationCount, before);
});

test('failed writes and flushes of an update are reported', async () => {
  for (const op of ['write', 'flush'] as const) {
    const host = await hostWith(nth(1));
    host.addFault({ op, nth: 2, effect: { kind: 'error' } });
    await withDevice(host, async (device) => {
      const update = writeSuperblocks(device, nth(2));
      await assert.rejects(update, { code: 'ERR_MPOOL_IO' });
    });
  }
});

async function put(device: Device, offsetBytes: number, bytes: Uint8Array): Promise<void> {
  const buffer = device.allocate(bytes.length);
  buffer.set(bytes);
  await writeAsync(device, offsetBytes, buffer, 'volatile');
  device.release(buffer);
}

function fill(device: Device, offsetBytes: number, byte: number): Promise<void> {
  return put(device, offsetBytes, new Uint8Array(4096).fill(byte));
}

function writePage(device: Device, value: Superblock, copy: number): Promise<void> {
  const page = encodeSuperblock(value, copy);
  return put(device, Number(viewOf(page).getBigUint64(72, true)), page);
}

async function pageAt(device: Device, offsetBytes: number): Promise<Uint8Array> {
  const buffer = device.allocate(4096);
  await readAsync(device, offsetBytes, buffer);
  const page = buffer.slice();
  device.release(buffer);
  return page;
}
