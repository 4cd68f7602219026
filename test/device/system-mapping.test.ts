// Goal: what a mapping refuses, shares and ends, whatever medium is behind it.
// Method: sparse files; wrong arguments, lost data, views held too long, and what /proc/self/maps says.
import assert from 'node:assert/strict';
import { readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { SeededPrng } from '../../src/base/prng.ts';
import { MIB } from '../../src/base/units.ts';
import type { DeviceMapping } from '../../src/device/device-mapping.ts';
import type { Device } from '../../src/device/device.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { attachMapping } from '../../src/device/system-mapping.ts';
import { ENGINES, temporaryFolder } from './places.ts';

const SIZE_BYTES = 8 * MIB;
const PAGE = 4096;
const host = new SystemHost();
const ALL = new Float64Array([0, SIZE_BYTES]);
const CLOSED = { code: 'ERR_MPOOL_CLOSED' };

interface Mapped {
  device: Device;
  mapping: DeviceMapping;
  path: string;
}

function read(mapping: DeviceMapping, offset: number, buffer: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    mapping.read(offset, buffer, (error) => (error === null ? resolve() : reject(error)));
  });
}

/** Touches every page. */
function touch(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += PAGE) sum += bytes[i]!;
  return sum;
}

async function onFile(t: TestContext, lengthBytes = SIZE_BYTES): Promise<Mapped> {
  const path = join(temporaryFolder(t), 'device.img');
  writeFileSync(path, new Uint8Array(0));
  truncateSync(path, lengthBytes);
  const device = await host.openDevice(path, { access: 'read' });
  t.after(() => device.close());
  const mapping = await device.map();
  t.after(() => mapping.close());
  return { device, mapping, path };
}

test('detaching ends every view of the memory; closing leaves what was not detached to the collector', async (t) => {
  const { mapping } = await onFile(t);
  const buffer = mapping.view(0, 4 * PAGE);
  const other = mapping.view(PAGE, PAGE);
  const views = [
    new Uint8Array(buffer),
    new Uint8Array(buffer).subarray(5, 10),
    new DataView(buffer, PAGE),
    new Float64Array(buffer, 8, 2),
    Buffer.from(buffer, 100),
  ];
  // Hot, so that compiled code has to see it.
  const sum = (bytes: Uint8Array): number => {
    let total = 0;
    for (let i = 0; i < 4 * PAGE; i++) total += bytes[i] ?? 1;
    return total;
  };
  for (let i = 0; i < 200; i++) assert.equal(sum(views[0] as Uint8Array), 0);
  mapping.detach(buffer);
  assert.equal(buffer.byteLength, 0);
  for (const view of views) {
    if (view instanceof DataView) assert.throws(() => view.getUint8(0), TypeError);
    else assert.equal(view.length, 0);
  }
  assert.equal(sum(views[0] as Uint8Array), 4 * PAGE);
  assert.equal(other.byteLength, PAGE, 'others stay');
  assert.throws(() => mapping.detach(buffer), RangeError);
  assert.throws(() => mapping.detach(new ArrayBuffer(8)), RangeError);
  const region = mapping.stitch([], PAGE);
  const { readyBits } = mapping;
  const empty = mapping.view(PAGE, 0);
  assert.equal(empty.byteLength, 0);
  await mapping.close();
  assert.equal(readyBits.length, 0);
  assert.equal(new Uint8Array(other)[0]! + new Uint8Array(region)[0]!, 0, 'still memory');
  mapping.detach(other);
  mapping.detach(region);
  assert.equal(other.byteLength + region.byteLength, 0);
});

test('wrong arguments are refused before anything is done', async (t) => {
  const { mapping } = await onFile(t);
  const buffer = new Uint8Array(PAGE);
  const wrong = { name: 'RangeError', code: 'ERR_MPOOL_INVALID_ARG' };
  assert.throws(() => mapping.view(1, PAGE), wrong);
  assert.throws(() => mapping.view(0, SIZE_BYTES + 1), wrong);
  assert.throws(() => mapping.view(-PAGE, PAGE), wrong);
  assert.throws(() => mapping.view(0, 0.5), wrong);
  const part = { mapping, offsetBytes: 0, lengthBytes: PAGE, regionOffsetBytes: 0 };
  assert.throws(() => mapping.stitch([part, part], PAGE), wrong);
  assert.throws(() => mapping.stitch([part], 0), wrong);
  assert.throws(() => mapping.read(-1, buffer, () => {}), wrong);
  for (const ranges of [[1, PAGE], [0, SIZE_BYTES + PAGE], [0], [0, 1]]) {
    await assert.rejects(mapping.evict(Float64Array.from(ranges)), wrong);
    await assert.rejects(mapping.resident(Float64Array.from(ranges)), wrong);
  }
});

test('ranges are copied before the call returns', async (t) => {
  const { mapping } = await onFile(t);
  const ranges = new Float64Array([0, SIZE_BYTES]);
  const bytes = new Uint8Array(mapping.view(0, SIZE_BYTES));
  touch(bytes);
  const counting = mapping.touched(ranges);
  ranges.fill(-1);
  assert.deepEqual([...(await counting)], [SIZE_BYTES / PAGE]);
});

for (const engine of ENGINES) {
  test(`what cannot be read is an error, on ${engine}`, async (t) => {
    const path = join(temporaryFolder(t), 'device.img');
    const content = new Uint8Array(SIZE_BYTES);
    const prng = new SeededPrng(1);
    for (let i = 0; i < SIZE_BYTES; i += 512) content[i] = prng.u32();
    writeFileSync(path, content);
    const device = await host.openDevice(path, { access: 'read', engine });
    t.after(() => device.close());
    const mapping = await device.map();
    const failed = { code: 'ERR_MPOOL_IO', errnoName: 'EIO' };
    for (const length of [PAGE, MIB]) {
      const buffer = new Uint8Array(length);
      await read(mapping, SIZE_BYTES - length, buffer);
      assert.deepEqual(buffer, content.slice(SIZE_BYTES - length));
      await assert.rejects(read(mapping, SIZE_BYTES - length + 1, buffer), failed);
      await read(mapping, SIZE_BYTES, new Uint8Array(0));
    }
    truncateSync(path, SIZE_BYTES - MIB);
    for (const length of [PAGE, 2 * MIB]) {
      await assert.rejects(read(mapping, SIZE_BYTES - length, new Uint8Array(length)), failed);
      const own = device.allocate(length);
      await assert.rejects(read(mapping, SIZE_BYTES - length, own), failed);
      device.release(own);
    }
    await mapping.close();
    await assert.rejects(read(mapping, 0, new Uint8Array(PAGE)), CLOSED);
  });
}

test('close waits for reads and work, and is for ever', async (t) => {
  const { device, mapping, path } = await onFile(t);
  let count = 0;
  for (let i = 0; i < 100; i++) {
    const length = i % 2 === 0 ? PAGE : MIB;
    mapping.read(0, i % 3 === 0 ? device.allocate(length) : new Uint8Array(length), (error) => {
      assert.equal(error, null);
      count++;
    });
    void mapping.evict(ALL).then(() => count++);
  }
  mapping.detach(mapping.view(0, PAGE));
  const first = mapping.close();
  assert.equal(mapping.close(), first);
  assert.throws(() => mapping.view(0, PAGE), CLOSED);
  assert.throws(() => mapping.stitch([], PAGE), CLOSED);
  await assert.rejects(mapping.evict(ALL), CLOSED);
  await first;
  assert.equal(count, 200);
  assert.ok(!readFileSync('/proc/self/maps', 'utf8').includes(path), 'unmapped by then');
  assert.throws(() => attachMapping(mapping.handle, path), CLOSED);
});

test('every open of a device shares one mapping and its ready bits', async (t) => {
  const { device, mapping, path } = await onFile(t);
  const second = await device.map();
  const third = attachMapping(mapping.handle, path);
  assert.equal(second.handle, mapping.handle);
  assert.equal(third.lengthBytes, SIZE_BYTES);
  assert.equal(mapping.readyBits.length, SIZE_BYTES / PAGE / 8);
  assert.ok(mapping.readyBits.every((byte) => byte === 0));
  Atomics.or(mapping.readyBits, 3, 0x10);
  assert.equal(second.readyBits[3], 0x10);
  assert.equal(Atomics.and(third.readyBits, 3, 0xef), 0x10);
  assert.equal(mapping.readyBits[3], 0);
  await mapping.close();
  const view = third.view(0, PAGE);
  assert.equal(new Uint8Array(view)[0], 0, 'as long as one is open');
  third.detach(view);
  await Promise.all([second.close(), third.close()]);
  await assert.rejects(async () => attachMapping(mapping.handle, path), CLOSED);
  const fourth = await device.map();
  assert.ok(fourth.readyBits.every((byte) => byte === 0));
  await fourth.close();
});

test('the device is mapped, not what its path has become', async (t) => {
  const path = join(temporaryFolder(t), 'device.img');
  writeFileSync(path, new Uint8Array(PAGE).fill(1));
  const device = await host.openDevice(path, { access: 'read' });
  t.after(() => device.close());
  renameSync(path, `${path}.old`);
  writeFileSync(path, new Uint8Array(PAGE).fill(2));
  const mapping = await device.map();
  const view = mapping.view(0, PAGE);
  assert.equal(new Uint8Array(view)[0], 1);
  mapping.detach(view);
  await mapping.close();
  await device.close();
  await assert.rejects(device.map(), CLOSED);
});

test('a device whose end is inside a page', async (t) => {
  const { mapping } = await onFile(t, 3 * PAGE + 512);
  const bytes = new Uint8Array(mapping.view(2 * PAGE, PAGE + 512));
  assert.equal(touch(bytes), 0);
  const last = new Float64Array([3 * PAGE, PAGE]);
  assert.deepEqual([...(await mapping.resident(last))], [1]);
  await mapping.evict(last);
  assert.deepEqual([...(await mapping.resident(last))], [0]);
  const part = { mapping, offsetBytes: 3 * PAGE, lengthBytes: 512, regionOffsetBytes: PAGE };
  assert.equal(touch(new Uint8Array(mapping.stitch([part], 2 * PAGE))), 0);
});

test('a region with more parts than a process may have VMAs is refused and leaves nothing', async (t) => {
  const limit = Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8'));
  if (limit > 100_000) return t.skip(`vm.max_map_count is ${limit}`);
  const lengthBytes = (limit + 10) * 2 * PAGE;
  const { mapping, path } = await onFile(t, lengthBytes);
  const parts = Array.from({ length: limit + 10 }, (_, i) => ({
    mapping,
    offsetBytes: 2 * i * PAGE,
    lengthBytes: PAGE,
    regionOffsetBytes: 2 * i * PAGE,
  }));
  const lines = (): number =>
    readFileSync('/proc/self/maps', 'utf8')
      .split('\n')
      .filter((line) => line.endsWith(path)).length;
  assert.throws(() => mapping.stitch(parts, lengthBytes), {
    code: 'ERR_MPOOL_IO',
    errnoName: 'ENOMEM',
  });
  assert.equal(lines(), 1);
  const fewer = mapping.stitch(parts.slice(0, 1000), lengthBytes);
  assert.equal(lines(), 1001);
  mapping.detach(fewer);
  await mapping.close();
  assert.equal(lines(), 0);
});

test('more than an ArrayBuffer can show is an error', async (t) => {
  const { mapping } = await onFile(t, 5 * 1024 * MIB);
  let buffer: ArrayBuffer | undefined;
  try {
    buffer = mapping.view(0, mapping.lengthBytes);
  } catch (error) {
    // Before Node 22, 4 GiB are the most.
    assert.equal((error as { code: string }).code, 'ERR_MPOOL_IO');
    return;
  }
  assert.equal(new Uint8Array(buffer).at(-1), 0);
});

test('a view is not transferred, and a copy is a copy', async (t) => {
  const { mapping } = await onFile(t);
  const view = mapping.view(0, PAGE);
  // Node 20 copies it instead, later ones refuse.
  try {
    const clone = structuredClone(view, { transfer: [view] });
    assert.equal(clone.byteLength, PAGE);
    new Uint8Array(clone)[0] = 1;
  } catch (error) {
    assert.equal((error as Error).name, 'DataCloneError');
  }
  assert.equal(view.byteLength, PAGE);
  const clone = structuredClone(view);
  await mapping.close();
  assert.equal(new Uint8Array(clone)[0], 0);
});
