// Goal: every rung of the ladder behaves the same on every medium.
// Method: one suite of calls run for each engine on a file on disk, a file on tmpfs, and loop devices
// of 512- and 4096-byte sectors.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { GIB, MIB } from '../../src/base/units.ts';
import { discardAsync, flushAsync, readAsync, writeAsync } from '../../src/device/device.ts';
import type { Device } from '../../src/device/device.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { ENGINES, loopDevice, noLoopDevices, temporaryFolder } from './places.ts';

const SIZE_BYTES = 16 * MIB;
const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);
const host = new SystemHost();

interface Medium {
  name: string;
  skip?: string | undefined;
  sectorBytes: number | undefined;
  prepare(): string;
}

function file(name: string, parent?: string): Medium {
  return {
    name,
    sectorBytes: undefined,
    prepare() {
      const path = join(temporaryFolder({ after }, parent), 'device.img');
      writeFileSync(path, new Uint8Array(SIZE_BYTES));
      return path;
    },
  };
}

function loop(sectorBytes: number): Medium {
  return {
    name: `a loop device of ${sectorBytes}-byte sectors`,
    skip: noLoopDevices(),
    sectorBytes,
    prepare() {
      const path = join(temporaryFolder({ after }), 'backing.img');
      writeFileSync(path, new Uint8Array(SIZE_BYTES));
      return loopDevice({ after }, path, sectorBytes);
    },
  };
}

for (const medium of [
  file('a file on disk'),
  file('a file on tmpfs', '/dev/shm'),
  loop(512),
  loop(4096),
]) {
  describe(medium.name, { skip: medium.skip ?? false }, () => {
    if (medium.skip !== undefined) return;
    const path = medium.prepare();
    for (const engine of ENGINES) {
      test(`on ${engine}`, async (t) => {
        const device = await host.openDevice(path, { access: 'write', engine });
        t.after(() => device.close());
        assert.equal(device.engine, engine);
        assert.equal(device.sizeBytes, SIZE_BYTES);
        if (medium.sectorBytes !== undefined) assert.equal(device.sectorBytes, medium.sectorBytes);
        assert.equal(device.kind, medium.name.startsWith('a loop') ? 'block' : 'file');
        await t.test('reads back what was written', () => readBack(device));
        await t.test('memory that is not its own', () => foreignMemory(device));
        await t.test('more requests than slots', () => manyAtOnce(device));
        await t.test('what is refused', () => refusals(device));
        await t.test('discard', () => discards(device));
        await t.test('close waits', () => closeWaits(device));
      });
    }
  });
}

async function readBack(device: Device): Promise<void> {
  console.log(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  const { sectorBytes } = device;
  const model = new Uint8Array(SIZE_BYTES);
  const all = device.allocate(SIZE_BYTES);
  await readAsync(device, 0, all);
  model.set(all);
  for (let round = 0; round < 40; round++) {
    const sectors = 1 + below(prng, (round % 4 === 0 ? 2 * MIB : 16384) / sectorBytes);
    const buffer = device.allocate(sectors * sectorBytes);
    assert.equal(buffer.length, sectors * sectorBytes);
    assert.ok(device.canUse(buffer));
    for (let i = 0; i < buffer.length; i += 61) buffer[i] = prng.u32();
    const offset = below(prng, SIZE_BYTES / sectorBytes - sectors + 1) * sectorBytes;
    await writeAsync(device, offset, buffer, round % 2 === 0 ? 'volatile' : 'durable');
    model.set(buffer, offset);
    if (round % 8 === 0) await flushAsync(device);
    device.release(buffer);
  }
  await readAsync(device, 0, all);
  assert.equal(digest(all), digest(model));
  device.release(all);
}

async function foreignMemory(device: Device): Promise<void> {
  const outside = new Uint8Array(3 * device.sectorBytes).map((_, i) => i * 7);
  assert.ok(!device.canUse(outside));
  await writeAsync(device, device.sectorBytes, outside, 'durable');
  const back = new Uint8Array(outside.length);
  await readAsync(device, device.sectorBytes, back);
  assert.deepEqual(back, outside);
  const inside = device.allocate(8192);
  const shifted = inside.subarray(8, 8 + device.sectorBytes);
  assert.ok(!device.canUse(shifted));
  await readAsync(device, device.sectorBytes, shifted);
  assert.deepEqual(Buffer.from(shifted), Buffer.from(outside.subarray(0, device.sectorBytes)));
  device.release(inside);
}

async function manyAtOnce(device: Device): Promise<void> {
  const COUNT = 1500;
  let synchronous = true;
  await Promise.all(
    Array.from({ length: COUNT }, (_, i) => {
      const buffer = device.allocate(4096);
      buffer.fill(i);
      return new Promise<void>((resolve, reject) => {
        device.write(pageAt(i), buffer, 'volatile', (error) => {
          assert.ok(!synchronous, 'never calls back before the call returned');
          device.release(buffer);
          if (error === null) resolve();
          else reject(error);
        });
        if (i === COUNT - 1) synchronous = false;
      });
    }),
  );
  const buffer = device.allocate(4096);
  for (const i of [0, 1, 600, COUNT - 1]) {
    await readAsync(device, pageAt(i), buffer);
    assert.equal(buffer[4095], i & 0xff);
  }
  device.release(buffer);
}

function pageAt(i: number): number {
  return (i % (SIZE_BYTES / 4096)) * 4096;
}

async function refusals(device: Device): Promise<void> {
  const buffer = device.allocate(8192);
  for (const offset of [1, device.sectorBytes / 2, -4096, 0.5, Number.NaN, 2 ** 53]) {
    assert.throws(() => device.read(offset, buffer, () => {}), /not multiples|INVALID/);
  }
  const odd = buffer.subarray(0, device.sectorBytes + 1);
  assert.throws(() => device.write(0, odd, 'volatile', () => {}), {
    code: 'ERR_MPOOL_INVALID_ARG',
  });
  for (const offset of [SIZE_BYTES, SIZE_BYTES - 4096, 2 ** 50]) {
    await assert.rejects(readAsync(device, offset, buffer), isIoError);
    await assert.rejects(writeAsync(device, offset, buffer, 'volatile'), isIoError);
  }
  await readAsync(device, SIZE_BYTES - 8192, buffer);
  await readAsync(device, 0, buffer.subarray(0, 0));
  device.release(buffer);
}

async function discards(device: Device): Promise<void> {
  const buffer = device.allocate(MIB);
  buffer.fill(0x5a);
  await writeAsync(device, 0, buffer, 'volatile');
  await flushAsync(device);
  // Not whole sectors: what lies beside must stay.
  await discardAsync(device, 100_000, 500_000);
  await discardAsync(device, 10, 20);
  await discardAsync(device, SIZE_BYTES - 4096, 2 ** 40);
  buffer.fill(0);
  await readAsync(device, 0, buffer);
  assert.ok(buffer.subarray(0, 100_000).every((byte) => byte === 0x5a));
  assert.ok(buffer.subarray(600_000).every((byte) => byte === 0x5a));
  // Files and loop devices give the space back, and then read as zeros.
  assert.ok(buffer.subarray(106_496, 589_824).every((byte) => byte === 0));
  assert.throws(() => device.discard(-1, 5, () => {}), { code: 'ERR_MPOOL_INVALID_ARG' });
  device.release(buffer);
}

async function closeWaits(device: Device): Promise<void> {
  const buffer = device.allocate(4 * MIB);
  let pending = 8;
  for (let i = 0; i < 8; i++) {
    device.read(0, buffer, (error) => {
      assert.equal(error, null);
      pending--;
    });
  }
  await Promise.all([device.close(), device.close()]);
  assert.equal(pending, 0);
  device.release(buffer);
  const page = device.allocate(4096);
  const closed = { code: 'ERR_MPOOL_CLOSED' };
  await assert.rejects(readAsync(device, 0, page), closed);
  await assert.rejects(writeAsync(device, 0, page, 'durable'), closed);
  await assert.rejects(flushAsync(device), closed);
  await assert.rejects(discardAsync(device, 0, 4096), closed);
  await assert.rejects(device.refreshSize(), closed);
  await device.close();
  device.release(page);
}

for (const engine of ENGINES) {
  test(`places beyond 4 GiB under ${engine}`, async (t) => {
    const path = join(temporaryFolder(t), 'long.img');
    writeFileSync(path, '');
    truncateSync(path, 9 * GIB);
    const device = await host.openDevice(path, { access: 'write', engine });
    t.after(() => device.close());
    const page = device.allocate(4096);
    // Those at one place if the upper half of an offset were lost.
    const places = [4096, 4 * GIB + 4096, 8 * GIB + 4096];
    for (const [i, place] of places.entries()) {
      page.fill(i + 1);
      await writeAsync(device, place, page, 'durable');
    }
    for (const [i, place] of places.entries()) {
      await readAsync(device, place, page);
      assert.ok(
        page.every((byte) => byte === i + 1),
        `at ${place}`,
      );
    }
    const raw = await openFile(path);
    t.after(() => raw.close());
    for (const [i, place] of places.entries()) {
      const { buffer } = await raw.read(Buffer.alloc(1), 0, 1, place);
      assert.equal(buffer[0], i + 1, `at ${place} of the file`);
    }
    device.release(page);
  });

  test(`a file that shrank or grew under ${engine}`, async (t) => {
    const path = join(temporaryFolder(t), 'device.img');
    writeFileSync(path, new Uint8Array(MIB).fill(1));
    const device = await host.openDevice(path, { access: 'write', engine });
    t.after(() => device.close());
    truncateSync(path, MIB / 2);
    const buffer = device.allocate(MIB);
    // A short read in the middle, then nothing: an error, never a short success.
    await assert.rejects(readAsync(device, 0, buffer), isIoError);
    await assert.rejects(readAsync(device, MIB / 2, buffer.subarray(0, 4096)), isIoError);
    truncateSync(path, 2 * MIB);
    assert.equal(await device.refreshSize(), 2 * MIB);
    await readAsync(device, MIB, buffer);
    assert.ok(buffer.every((byte) => byte === 0));
    device.release(buffer);
  });

  test(`an I/O error on ${engine} keeps its errno`, { skip: noLoopDevices() }, async (t) => {
    const backing = join(temporaryFolder(t), 'backing.img');
    writeFileSync(backing, new Uint8Array(MIB));
    const path = loopDevice(t, backing, 512);
    const device = await host.openDevice(path, { access: 'write', engine });
    t.after(() => device.close());
    truncateSync(backing, 4096);
    const buffer = device.allocate(4096);
    await assert.rejects(readAsync(device, MIB / 2, buffer), {
      code: 'ERR_MPOOL_IO',
      errno: -5,
      syscall: 'read',
      path,
    });
    device.release(buffer);
  });

  test(`read access on ${engine} never writes`, async (t) => {
    const path = join(temporaryFolder(t), 'device.img');
    writeFileSync(path, new Uint8Array(MIB));
    const device = await host.openDevice(path, { access: 'read', engine });
    t.after(() => device.close());
    assert.ok(device.readOnly);
    const buffer = device.allocate(4096);
    const refused = { code: 'ERR_MPOOL_READ_ONLY' };
    await assert.rejects(writeAsync(device, 0, buffer, 'volatile'), refused);
    await assert.rejects(discardAsync(device, 0, 4096), refused);
    await readAsync(device, 0, buffer);
    await flushAsync(device);
    device.release(buffer);
  });

  test(`a callback of ${engine} that throws loses no other`, async (t) => {
    const path = join(temporaryFolder(t), 'device.img');
    writeFileSync(path, new Uint8Array(MIB));
    const device = await host.openDevice(path, { access: 'write', engine });
    t.after(() => device.close());
    const thrown: unknown[] = [];
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    process.on('uncaughtException', (error) => thrown.push(error));
    t.after(() => {
      process.removeAllListeners('uncaughtException');
      for (const listener of listeners) process.on('uncaughtException', listener);
    });
    const buffer = device.allocate(4096);
    let done = 0;
    await new Promise<void>((resolve) => {
      for (let i = 0; i < 32; i++) {
        device.read(4096 * i, buffer, () => {
          done++;
          if (done === 32) resolve();
          if (i % 2 === 0) throw new Error(`thrown ${i}`);
        });
      }
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(thrown.length, 16);
    device.release(buffer);
  });
}

function isIoError(error: unknown): boolean {
  return isMpoolError(error, 'ERR_MPOOL_IO');
}

function digest(bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex');
}
