// Goal: the simulated device keeps the Device contract, keeps and loses just what a real one may, and
// is strict where a real one would break. Method: scripts by name; then a random history of writes and
// flushes, cut anywhere, against the set of values each sector may have.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import type { MpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { discardAsync, flushAsync, readAsync, writeAsync } from '../../src/device/device.ts';
import { allSurvive, noneSurvive, randomSurvive, SimHost } from '../../src/testing/index.ts';
import { DISK, DISK_BYTES, filled, hostWithDisk, openDisk, sectors, writeValue } from './disks.ts';

const closed = (error: unknown): boolean => isMpoolError(error, 'ERR_MPOOL_CLOSED');
const inval = (error: unknown): boolean =>
  isMpoolError(error, 'ERR_MPOOL_IO') && error.errnoName === 'EINVAL';

test('what is written is read; what is not is zero', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  await writeValue(device, 4096 + 512, 1024, 7);
  const buffer = device.allocate(4096);
  await readAsync(device, 4096, buffer);
  assert.deepEqual(
    [buffer[0], buffer[511], buffer[512], buffer[1535], buffer[1536]],
    [0, 0, 7, 7, 0],
  );
  await device.close();
});

test('a flush covers what was done before it began, and nothing else', async () => {
  const host = hostWithDisk({ inOrder: true });
  const device = await openDisk(host);
  await writeValue(device, 0, 512, 1);
  const late = writeValue(device, 512, 512, 2);
  const flushed = flushAsync(device);
  await Promise.all([late, flushed]);
  assert.deepEqual(sectors(host.crash({ survivors: noneSurvive }), 0, 2), [1, 0]);
  assert.deepEqual(sectors(host.crash({ survivors: allSurvive }), 0, 2), [1, 2]);
});

test('a durable write makes itself durable, not those before it, and no older one covers it', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  await writeValue(device, 0, 1024, 1);
  await writeValue(device, 512, 512, 2, 'durable');
  assert.deepEqual(sectors(host.clone().crash(), 0, 2), [0, 2]);
  assert.deepEqual(sectors(host.clone().crash({ survivors: allSurvive }), 0, 2), [1, 2]);
  await flushAsync(device);
  assert.deepEqual(sectors(host.crash(), 0, 2), [1, 2]);
});

test('a durable write in flight may be torn by the power cut', async () => {
  const seen = new Set<string>();
  for (let seed = 0; seed < 64; seed++) {
    const host = hostWithDisk();
    const device = await openDisk(host);
    host.cutPowerAfter(1);
    await assert.rejects(writeValue(device, 0, 2048, 1, 'durable'), /power cut/);
    seen.add(sectors(host.crash({ survivors: randomSurvive(seed) }), 0, 4).join(''));
  }
  assert.ok(seen.has('0000') && seen.has('1111') && seen.size > 8, [...seen].join(' '));
});

test('after a power cut everything pending and later fails, once each', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  const outcomes: (MpoolError | null)[] = [];
  const buffer = filled(device, 512, 1);
  for (let i = 0; i < 4; i++) {
    device.write(i * 512, buffer, 'volatile', (error) => outcomes.push(error));
  }
  device.read(0, device.allocate(512), (error) => outcomes.push(error));
  host.cutPower();
  device.flush((error) => outcomes.push(error));
  assert.equal(outcomes.length, 0, 'no callback before the call returned');
  await device.close();
  assert.equal(outcomes.length, 6);
  for (const error of outcomes) assert.match(String(error), /power cut/);
  assert.equal(host.inFlightCount, 0);
  assert.deepEqual(sectors(host.crash(), 0, 4), [0, 0, 0, 0]);
  await assert.rejects(host.openDevice(DISK, { access: 'read' }), /power cut/);
});

test('a discard leaves anything in its range, and all around it alone', async () => {
  const kinds = new Set<number>();
  for (let seed = 1; seed <= 20; seed++) {
    const host = hostWithDisk({ seed });
    const device = await openDisk(host);
    await writeValue(device, 0, 4096, 9);
    await discardAsync(device, 1024, 2048);
    const found = sectors(host, 0, 8);
    assert.deepEqual([found[0], found[1], found[6], found[7]], [9, 9, 9, 9]);
    kinds.add(found[2]!);
  }
  assert.deepEqual(
    [...kinds].toSorted((a, b) => a - b),
    [0, 9, 0xdd],
  );
  const host = hostWithDisk({ discardLeaves: 'zeros' });
  const device = await openDisk(host);
  await writeValue(device, 0, 4096, 9);
  await flushAsync(device);
  await discardAsync(device, 0, DISK_BYTES);
  assert.deepEqual(sectors(host, 0, 2), [0, 0]);
  assert.deepEqual(sectors(host.crash(), 0, 2), [9, 9], 'it is volatile like a write');
});

test('misaligned ranges, foreign memory and what is past the end are refused', async () => {
  const host = new SimHost();
  host.addDisk(DISK, { sizeBytes: 64 * 1024, sectorBytes: 4096 });
  const device = await openDisk(host);
  assert.equal(device.sectorBytes, 4096);
  const page = device.allocate(4096);
  await assert.rejects(writeAsync(device, 512, page, 'volatile'), inval);
  await assert.rejects(writeAsync(device, 0, device.allocate(512), 'volatile'), inval);
  await assert.rejects(readAsync(device, 0, new Uint8Array(4096)), inval);
  const large = device.allocate(8192);
  await assert.rejects(readAsync(device, 0, large.subarray(512, 512 + 4096)), inval);
  await readAsync(device, 0, large.subarray(4096));
  await assert.rejects(readAsync(device, 60 * 1024, large), /past the end/);
  await assert.rejects(writeAsync(device, 64 * 1024, page, 'volatile'), /past the end/);
  assert.equal(host.operationCount, 1, 'what is refused is no operation; past the end is one');
});

test('memory: fresh is not zero, released is poisoned and refused, twice is a bug', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  const buffer = device.allocate(600);
  assert.equal(buffer.length, 600);
  assert.ok(buffer.every((byte) => byte === 0xa5));
  assert.ok(device.canUse(buffer));
  assert.equal(host.liveBufferCount, 1);
  const pending = filled(device, 512, 1);
  const done = writeAsync(device, 0, pending, 'volatile');
  assert.throws(() => device.release(pending), InvariantError, 'it is in flight');
  await done;
  device.release(pending);
  device.release(buffer);
  assert.ok(buffer.every((byte) => byte === 0xdb));
  assert.equal(device.canUse(buffer), false);
  await assert.rejects(writeAsync(device, 0, buffer.subarray(0, 512), 'volatile'), inval);
  assert.throws(() => device.release(buffer), InvariantError);
  assert.throws(() => device.release(new Uint8Array(8)), InvariantError);
  assert.equal(host.liveBufferCount, 0);
});

test('a buffer that changes in flight, and writes that overlap, are violations', async () => {
  const violations: string[] = [];
  const host = hostWithDisk({ onViolation: (message) => violations.push(message) });
  const device = await openDisk(host);
  const buffer = filled(device, 1024, 1);
  const first = writeAsync(device, 0, buffer, 'volatile');
  buffer[5] = 2;
  await first;
  assert.match(violations[0]!, /buffer changed/);
  assert.equal(host.disk(DISK).bytes(5, 1)[0], 1);
  const second = writeAsync(device, 0, buffer, 'volatile');
  const third = writeAsync(device, 512, filled(device, 512, 3), 'volatile');
  await Promise.all([second, third]);
  assert.match(violations[1]!, /overlaps/);
  assert.equal(violations.length, 2);
  const strict = await openDisk(hostWithDisk());
  void writeAsync(strict, 0, filled(strict, 512, 1), 'volatile');
  await assert.rejects(writeAsync(strict, 0, filled(strict, 512, 1), 'volatile'), InvariantError);
});

test('a device opened to read writes nothing; a closed one does nothing', async () => {
  const host = hostWithDisk();
  const device = await host.openDevice(DISK, { access: 'read' });
  assert.equal(device.readOnly, true);
  await assert.rejects(writeValue(device, 0, 512, 1), /opened to read/);
  await assert.rejects(flushAsync(device), /opened to read/);
  await readAsync(device, 0, device.allocate(512));
  await device.close();
  await device.close();
  await assert.rejects(readAsync(device, 0, device.allocate(512)), closed);
  await assert.rejects(device.refreshSize(), closed);
  assert.equal(host.operationCount, 0);
});

test('close waits for what is in flight', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  const order: string[] = [];
  device.write(0, filled(device, 512, 1), 'volatile', () => order.push('written'));
  await device.close();
  order.push('closed');
  assert.deepEqual(order, ['written', 'closed']);
});

test('after a cut each sector has one of the values it may have, and none is lost that was flushed', async (t) => {
  const seeds = Array.from({ length: 150 }, (_, i) => 7000 + i);
  t.diagnostic(`seeds ${seeds[0]} … ${seeds.at(-1)}`);
  for (const seed of seeds) await randomHistory(seed);
});

const AREA_SECTORS = 24;

/** Writes to a few sectors at random, several in flight, then a cut and a look at what is left. */
async function randomHistory(seed: number): Promise<void> {
  const prng = new SeededPrng(seed);
  const host = hostWithDisk({ seed });
  const device = await openDisk(host);
  // Values that each sector may have after a cut now, the oldest first.
  const possible: number[][] = Array.from({ length: AREA_SECTORS }, () => [0]);
  const busy = new Set<number>();
  const pending: Promise<void>[] = [];
  host.cutPowerAfter(1 + below(prng, 40));
  for (let value = 1; value < 60; value++) {
    if (below(prng, 5) === 0) {
      const before = possible.map((values) => values.filter((v) => v < 1000).at(-1)!);
      const flushed = flushAsync(device).then(() => {
        before.forEach((floor, i) => possible[i]!.splice(0, possible[i]!.indexOf(floor)));
      });
      pending.push(flushed);
    } else {
      pending.push(randomWrite(value));
    }
    if (below(prng, 3) === 0) await Promise.allSettled(pending.splice(0));
  }
  await Promise.allSettled(pending);
  const image = host.crash({ survivors: randomSurvive(seed) });
  sectors(image, 0, AREA_SECTORS).forEach((value, i) => {
    const allowed = possible[i]!.map((v) => v % 1000);
    assert.ok(
      allowed.includes(value),
      `seed ${seed}: sector ${i} is ${value}, of ${allowed.join()}`,
    );
  });

  async function randomWrite(value: number): Promise<void> {
    const first = below(prng, AREA_SECTORS);
    const end = Math.min(AREA_SECTORS, first + 1 + below(prng, 6));
    const range = Array.from({ length: end - first }, (_, i) => first + i);
    if (range.some((sector) => busy.has(sector))) return;
    const durable = below(prng, 4) === 0;
    // In flight it is 1000 and more: a flush that starts now does not cover it.
    for (const sector of range) {
      busy.add(sector);
      possible[sector]!.push(1000 + value);
    }
    await writeValue(
      device,
      first * 512,
      range.length * 512,
      value,
      durable ? 'durable' : 'volatile',
    );
    for (const sector of range) {
      busy.delete(sector);
      const values = possible[sector]!;
      values[values.indexOf(1000 + value)] = value;
      if (durable) values.splice(0, values.indexOf(value));
    }
  }
}
