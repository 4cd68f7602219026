// Goal: every fault of the rule language does what it says, to the operations it is meant for, and to
// no other. Method: one script for each effect, on one small disk.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { discardAsync, flushAsync, readAsync, writeAsync } from '../../src/device/device.ts';
import type { Device } from '../../src/device/device.ts';
import { allSurvive } from '../../src/testing/index.ts';
import { DISK, filled, hostWithDisk, openDisk, sectors, writeValue } from './disks.ts';

function failsWith(errnoName: string): (error: unknown) => boolean {
  return (error) => isMpoolError(error) && error.errnoName === errnoName;
}

async function readByte(device: Device, offsetBytes: number): Promise<number> {
  const buffer = device.allocate(512);
  try {
    await readAsync(device, offsetBytes, buffer);
    return buffer[0]!;
  } finally {
    device.release(buffer);
  }
}

test('error: the n-th matching operation, so many times, and no other', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  const fault = host.addFault({
    op: 'write',
    disk: DISK,
    range: { offsetBytes: 4096, lengthBytes: 4096 },
    nth: 2,
    times: 2,
    effect: { kind: 'error' },
  });
  await writeValue(device, 0, 512, 1);
  await writeValue(device, 4096, 512, 1);
  await assert.rejects(writeValue(device, 7680, 512, 2), failsWith('EIO'));
  await writeValue(device, 8192, 512, 3);
  await assert.rejects(writeValue(device, 0, 8192, 4), failsWith('EIO'));
  await writeValue(device, 4096, 512, 5);
  assert.equal(fault.hits, 2);
  assert.deepEqual(sectors(host, 0, 1), [1], 'nothing of a failed write has landed');
});

test('error: for ever, until it is removed; of chosen durability; ENOSPC', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  const fault = host.addFault({
    op: ['write', 'discard'],
    durability: 'durable',
    times: Infinity,
    effect: { kind: 'error', errno: 'ENOSPC' },
  });
  await writeValue(device, 0, 512, 1);
  await discardAsync(device, 0, 512);
  for (let i = 0; i < 3; i++) {
    await assert.rejects(writeValue(device, 0, 512, 2, 'durable'), (error) =>
      isMpoolError(error, 'ERR_MPOOL_NO_SPACE'),
    );
  }
  fault.remove();
  await writeValue(device, 0, 512, 2, 'durable');
  host.addFault({ op: 'discard', effect: { kind: 'error', errno: 'EOPNOTSUPP' } });
  await assert.rejects(discardAsync(device, 0, 512), failsWith('ENOTSUP'));
});

test('a failed write may have landed in part or whole', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'write', effect: { kind: 'error', lands: 'all' } });
  await assert.rejects(writeValue(device, 0, 4096, 1), failsWith('EIO'));
  assert.deepEqual(sectors(host, 0, 8), Array(8).fill(1));
  host.addFault({ op: 'write', effect: { kind: 'error', lands: 'some' } });
  await assert.rejects(writeValue(device, 0, 65_536, 2, 'durable'), failsWith('EIO'));
  assert.deepEqual(new Set(sectors(host, 0, 128)), new Set([2, 1, 0]));
  assert.deepEqual(new Set(sectors(host.crash(), 0, 128)), new Set([0]), 'none of it is durable');
});

test('torn: some sectors only, and it fails or is acknowledged', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'write', effect: { kind: 'torn' } });
  await assert.rejects(writeValue(device, 0, 65_536, 1), failsWith('EIO'));
  host.addFault({ op: 'write', effect: { kind: 'torn', acknowledged: true } });
  await writeValue(device, 65_536, 65_536, 1);
  for (const at of [0, 65_536]) assert.deepEqual(new Set(sectors(host, at, 128)), new Set([0, 1]));
});

test('lost: a write that never was, a flush that lies', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'write', effect: { kind: 'lost' } });
  await writeValue(device, 0, 512, 1, 'durable');
  assert.equal(await readByte(device, 0), 0);
  host.addFault({ op: 'flush', effect: { kind: 'lost' } });
  await writeValue(device, 0, 512, 2);
  await flushAsync(device);
  assert.deepEqual(sectors(host.clone().crash(), 0, 1), [0]);
  await flushAsync(device);
  assert.deepEqual(sectors(host.crash(), 0, 1), [2], 'an honest flush later still helps');
});

test('a failed flush leaves what it stood for volatile for ever', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'flush', effect: { kind: 'error' } });
  await writeValue(device, 0, 512, 1);
  await assert.rejects(flushAsync(device), failsWith('EIO'));
  await writeValue(device, 512, 512, 2);
  await flushAsync(device);
  assert.equal(await readByte(device, 0), 1);
  assert.deepEqual(sectors(host.clone().crash(), 0, 2), [0, 2]);
  assert.deepEqual(sectors(host.crash({ survivors: allSurvive }), 0, 2), [1, 2]);
});

test('misdirected: another place, given or random', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'write', effect: { kind: 'misdirected', toOffsetBytes: 8192 } });
  await writeValue(device, 0, 512, 1);
  assert.deepEqual([sectors(host, 0, 1)[0], sectors(host, 8192, 1)[0]], [0, 1]);
  host.addFault({ op: 'read', effect: { kind: 'misdirected', toOffsetBytes: 8192 } });
  assert.equal(await readByte(device, 0), 1);
  assert.equal(await readByte(device, 0), 0);
  host.addFault({ op: 'write', effect: { kind: 'misdirected' } });
  await writeValue(device, 0, 512, 3);
  const all = sectors(host, 0, 2048);
  assert.equal(all[0], 0);
  assert.equal(all.filter((value) => value === 3).length, 1);
});

test('stale: what was there before the last write', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  await writeValue(device, 0, 4096, 1);
  await writeValue(device, 0, 4096, 2);
  host.addFault({ op: 'read', effect: { kind: 'stale' } });
  assert.equal(await readByte(device, 0), 1);
  assert.equal(await readByte(device, 0), 2);
});

test('flip: one bit, on the way in, on the way out, or on the medium', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'write', effect: { kind: 'flip', bit: 1 } });
  await writeValue(device, 0, 512, 0);
  assert.equal(await readByte(device, 0), 2);
  host.addFault({ op: 'read', effect: { kind: 'flip', bit: 0 } });
  assert.equal(await readByte(device, 0), 3);
  assert.equal(await readByte(device, 0), 2);
  host.disk(DISK).flipBit(0, 7);
  assert.equal(await readByte(device, 0), 130);
  await writeValue(device, 4096, 4096, 0);
  host.addFault({ op: 'read', effect: { kind: 'flip' } });
  const page = device.allocate(4096);
  await readAsync(device, 4096, page);
  const ones = [...page].reduce(
    (sum, byte) => sum + byte.toString(2).replaceAll('0', '').length,
    0,
  );
  assert.equal(ones, 1);
});

test('bad sectors fail reads until they are written, across a crash too', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.disk(DISK).failSectors(1024, 512);
  const page = device.allocate(4096);
  await assert.rejects(readAsync(device, 0, page), failsWith('EIO'));
  await assert.rejects(host.peek(DISK, 0, 4096), failsWith('EIO'));
  assert.equal(await readByte(device, 512), 0);
  const image = host.clone().crash();
  const after = await openDisk(image);
  await assert.rejects(readByte(after, 1024), failsWith('EIO'));
  await writeValue(device, 0, 4096, 1);
  await readAsync(device, 0, page);
});

test('hold: the very late completion, overtaken by all others', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  const fault = host.addFault({ op: 'write', effect: { kind: 'hold' } });
  let late = false;
  const held = writeValue(device, 0, 512, 1).then(() => (late = true));
  for (let i = 1; i < 20; i++) await writeValue(device, i * 512, 512, 2);
  await flushAsync(device);
  assert.equal(late, false);
  assert.deepEqual(sectors(host, 0, 2), [0, 2]);
  fault.release();
  await held;
  assert.deepEqual(sectors(host, 0, 2), [1, 2]);
  assert.deepEqual(sectors(host.crash(), 0, 2), [0, 2], 'the flush did not cover it');
});

test('a held operation is let go by clearFaults(), and failed by a power cut', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'write', times: 2, effect: { kind: 'hold' } });
  const first = writeValue(device, 0, 512, 1);
  host.clearFaults();
  await first;
  host.addFault({ op: 'flush', effect: { kind: 'hold' } });
  const flushed = flushAsync(device);
  host.cutPower();
  await assert.rejects(flushed, /power cut/);
});

test('delay: others overtake it, but it comes by itself', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  host.addFault({ op: 'write', effect: { kind: 'delay', delayMs: 5000 } });
  const order: number[] = [];
  const slow = filled(device, 512, 1);
  const first = writeAsync(device, 0, slow, 'volatile').then(() => order.push(1));
  const second = writeValue(device, 512, 512, 2).then(() => order.push(2));
  await Promise.all([first, second]);
  assert.deepEqual(order, [2, 1]);
  assert.ok(host.clock.monotonicMs() > 5000);
});
