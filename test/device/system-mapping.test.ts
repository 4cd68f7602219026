// Goal: what is seen through a mapping is what is on the device, it never outlives its end, and eviction evicts.
// Method: one suite of calls on each kind of medium, bytes and page counts compared; threads that race.
import assert from 'node:assert/strict';
import { readFileSync, renameSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { TestContext } from 'node:test';
import { Worker } from 'node:worker_threads';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { MIB } from '../../src/base/units.ts';
import type { DeviceMapping } from '../../src/device/device-mapping.ts';
import { readAsync, writeAsync } from '../../src/device/device.ts';
import type { Device } from '../../src/device/device.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { attachMapping } from '../../src/device/system-mapping.ts';
import { ENGINES, loopDevice, noLoopDevices, program, temporaryFolder } from './places.ts';

const SIZE_BYTES = 8 * MIB;
const PAGE = 4096;
const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);
const host = new SystemHost();
const ALL = new Float64Array([0, SIZE_BYTES]);
const CLOSED = { code: 'ERR_MPOOL_CLOSED' };

interface Medium {
  name: string;
  skip?: string | undefined;
  /** False where the page cache is the medium. */
  evicts: boolean;
  prepare(): string;
}

/** No two pages alike. */
function content(seed: number, lengthBytes = SIZE_BYTES): Uint8Array {
  const words = new Uint32Array(lengthBytes / 4);
  const prng = new SeededPrng(seed);
  for (let i = 0; i < words.length; i += PAGE / 16) words.fill(prng.u32(), i, i + PAGE / 16);
  return new Uint8Array(words.buffer);
}

function file(name: string, evicts: boolean, parent?: string): Medium {
  return {
    name,
    evicts,
    prepare() {
      const path = join(temporaryFolder({ after }, parent), 'device.img');
      writeFileSync(path, content(SEED), { flush: true });
      return path;
    },
  };
}

function loop(sectorBytes: number): Medium {
  return {
    name: `a loop device of ${sectorBytes}-byte sectors`,
    skip: noLoopDevices(),
    evicts: true,
    prepare() {
      const path = join(temporaryFolder({ after }), 'backing.img');
      writeFileSync(path, content(SEED), { flush: true });
      return loopDevice({ after }, path, sectorBytes);
    },
  };
}

function read(mapping: DeviceMapping, offset: number, buffer: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    mapping.read(offset, buffer, (error) => (error === null ? resolve() : reject(error)));
  });
}

function same(a: Uint8Array, b: Uint8Array, what = ''): void {
  assert.equal(a.length, b.length, what);
  assert.equal(Buffer.compare(a, b), 0, what);
}

/** Touches every page. */
function touch(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += PAGE) sum += bytes[i]!;
  return sum;
}

interface Mapped {
  device: Device;
  mapping: DeviceMapping;
}

for (const medium of [
  file('a file on disk', true),
  file('a file on tmpfs', false, '/dev/shm'),
  loop(512),
  loop(4096),
]) {
  describe(medium.name, { skip: medium.skip ?? false }, () => {
    if (medium.skip !== undefined) return;
    console.log(`SEED=${SEED}`);
    const path = medium.prepare();
    const prepare = async (t: TestContext): Promise<Mapped> => {
      const device = await host.openDevice(path, { access: 'write' });
      t.after(() => device.close());
      const original = content(SEED);
      await writeAsync(device, 0, original, 'durable');
      const mapping = await device.map();
      t.after(() => mapping.close());
      assert.equal(mapping.lengthBytes, SIZE_BYTES);
      await mapping.evict(ALL);
      return { device, mapping };
    };
    const suite = (name: string, run: (mapped: Mapped, t: TestContext) => Promise<void>): void => {
      test(name, async (t) => run(await prepare(t), t));
    };
    suite('views, reads and direct reads are the same bytes', sameBytes);
    suite('what is written directly is seen', neverStale);
    suite('so it is when other threads look meanwhile', racedReaders);
    suite('a region shows its parts, and zeros between', (mapped) => regions(mapped, medium));
    suite('counts, eviction and zapping', (mapped, t) =>
      inPeace(t, mapped, () => counts(mapped, medium)),
    );
    suite('read-ahead brings all that was asked for', readAhead);
  });
}

async function sameBytes({ device, mapping }: Mapped): Promise<void> {
  const prng = new SeededPrng(SEED);
  const whole = new Uint8Array(mapping.view(0, SIZE_BYTES));
  same(whole, content(SEED));
  for (let round = 0; round < 60; round++) {
    const offset = below(prng, SIZE_BYTES / PAGE) * PAGE;
    const length = Math.min(1 + below(prng, round % 3 === 0 ? MIB : 3 * PAGE), SIZE_BYTES - offset);
    if (round % 2 === 0) await mapping.evict(new Float64Array([offset, PAGE]));
    const view = mapping.view(offset, length);
    assert.equal(view.byteLength, length, 'exactly as long as was asked');
    same(new Uint8Array(view), whole.subarray(offset, offset + length));
    // Its own memory, any other, and not at a page's start.
    const shift = round % 3 === 0 ? below(prng, length) : 0;
    const target =
      round % 2 === 0 ? device.allocate(length - shift) : new Uint8Array(length - shift);
    await read(mapping, offset + shift, target);
    same(target, new Uint8Array(view, shift));
    if (round % 2 === 0) device.release(target);
    const direct = device.allocate(PAGE);
    await readAsync(device, offset, direct);
    same(direct, whole.subarray(offset, offset + PAGE));
    device.release(direct);
    mapping.detach(view);
  }
}

async function neverStale({ device, mapping }: Mapped): Promise<void> {
  const prng = new SeededPrng(SEED + 1);
  const bytes = new Uint8Array(mapping.view(0, SIZE_BYTES));
  const region = new Uint8Array(
    mapping.stitch(
      [{ mapping, offsetBytes: 0, lengthBytes: SIZE_BYTES, regionOffsetBytes: 0 }],
      SIZE_BYTES,
    ),
  );
  const model = content(SEED);
  for (let round = 0; round < 40; round++) {
    const pages = 1 + below(prng, 256);
    const offset = below(prng, SIZE_BYTES / PAGE - pages + 1) * PAGE;
    const range = new Float64Array([offset, pages * PAGE]);
    touch(bytes);
    touch(region);
    if (round % 3 === 1) await mapping.evict(range);
    if (round % 3 === 2) await mapping.zap(range);
    const fresh = content(SEED + round, pages * PAGE);
    await writeAsync(device, offset, fresh, round % 2 === 0 ? 'volatile' : 'durable');
    model.set(fresh, offset);
    same(bytes, model, 'the view');
    same(region, model, 'the region');
    const back = new Uint8Array(pages * PAGE);
    await read(mapping, offset, back);
    same(back, fresh, 'the read');
  }
}

async function racedReaders({ device, mapping }: Mapped, t: TestContext): Promise<void> {
  const flag = new Int32Array(new SharedArrayBuffer(4));
  t.after(() => Atomics.store(flag, 0, 1));
  const racers = [0, 1].map(() => {
    const task = { scene: 'racer', path: device.path, handle: mapping.handle, flag };
    return new Worker(program('mapping-child'), { workerData: task });
  });
  const exits = racers.map((racer) => new Promise((resolve) => racer.once('exit', resolve)));
  await Promise.all(
    racers.map(
      (racer) =>
        new Promise((resolve, reject) => {
          racer.once('message', resolve);
          racer.once('error', reject);
        }),
    ),
  );
  const bytes = new Uint8Array(mapping.view(0, SIZE_BYTES));
  let stale = 0;
  for (let round = 1; round <= 30; round++) {
    const fresh = device.allocate(SIZE_BYTES);
    fresh.fill(round);
    await writeAsync(device, 0, fresh, 'volatile');
    device.release(fresh);
    for (let i = 0; i < SIZE_BYTES; i += PAGE) if (bytes[i] !== round) stale++;
  }
  Atomics.store(flag, 0, 1);
  await Promise.all(exits);
  // A block device keeps what was read while it was written: eviction is what helps.
  if (device.kind === 'file') assert.equal(stale, 0, `${stale} pages were as before`);
  await mapping.evict(ALL);
  assert.ok(bytes.every((byte) => byte === 30));
}

async function regions({ mapping }: Mapped, medium: Medium): Promise<void> {
  const model = content(SEED);
  const part = (offset: number, length: number, at: number) => ({
    mapping,
    offsetBytes: offset * PAGE,
    lengthBytes: length,
    regionOffsetBytes: at * PAGE,
  });
  // Out of order, a short one, one twice, nothing, and room behind the last.
  const parts = [
    part(700, 3 * PAGE, 40),
    part(0, 8 * PAGE, 0),
    part(4, 5000, 16),
    part(4, 0, 30),
    part(2, 8 * PAGE, 24),
  ];
  const lengthBytes = 50 * PAGE + 100;
  const buffer = mapping.stitch(parts, lengthBytes);
  const region = new Uint8Array(buffer);
  assert.equal(region.length, lengthBytes);
  const expected = new Uint8Array(lengthBytes);
  for (const { offsetBytes, lengthBytes: length, regionOffsetBytes } of parts) {
    const whole = Math.ceil(length / PAGE) * PAGE;
    expected.set(model.subarray(offsetBytes, offsetBytes + whole), regionOffsetBytes);
  }
  same(region, expected);

  const range = new Float64Array([4 * PAGE, 2 * PAGE]);
  assert.deepEqual([...(await mapping.touched(range))], [2], 'touched in the region alone');
  await mapping.evict(range);
  assert.deepEqual([...(await mapping.touched(range))], [0]);
  if (medium.evicts) assert.deepEqual([...(await mapping.resident(range))], [0]);
  // Once where it is shown twice.
  touch(region);
  assert.deepEqual([...(await mapping.touched(range))], [2]);
  await mapping.zap(range);
  assert.deepEqual([...(await mapping.touched(range))], [0]);

  same(region, expected);
  mapping.detach(buffer);
  assert.equal(region.length, 0);
  await mapping.evict(range);
  assert.deepEqual([...(await mapping.touched(ALL))], [0]);
  const empty = mapping.stitch([], 0);
  assert.equal(empty.byteLength, 0);
  mapping.detach(empty);
  const zeros = mapping.stitch([], 3 * PAGE);
  same(new Uint8Array(zeros), new Uint8Array(3 * PAGE));
  mapping.detach(zeros);
}

/** Other processes of the machine may be reading a block device too, which brings pages. */
async function inPeace(
  t: TestContext,
  { device }: Mapped,
  run: () => Promise<void>,
): Promise<void> {
  for (let left = device.kind === 'block' ? 5 : 0; ; left--) {
    try {
      return await run();
    } catch (error) {
      if (left === 0 || !(error instanceof assert.AssertionError)) throw error;
      t.diagnostic(`again: ${error.stack}`);
    }
  }
}

async function counts({ mapping }: Mapped, medium: Medium): Promise<void> {
  const half = SIZE_BYTES / 2;
  const ranges = new Float64Array([0, half, half, half, 0, 0, 0, PAGE]);
  const pages = half / PAGE;
  const rest = (mapped: number) => (medium.evicts ? mapped : pages);
  await mapping.evict(ALL);
  assert.deepEqual([...(await mapping.touched(ranges))], [0, 0, 0, 0]);
  const low = new Uint8Array(mapping.view(0, half));
  touch(low);
  assert.deepEqual([...(await mapping.resident(ranges))], [pages, rest(0), 0, 1]);
  assert.deepEqual([...(await mapping.touched(ranges))], [pages, 0, 0, 1]);
  await mapping.zap(ranges.subarray(0, 2));
  assert.deepEqual([...(await mapping.touched(ranges))], [0, 0, 0, 0]);
  assert.deepEqual([...(await mapping.resident(ranges))], [pages, rest(0), 0, 1], 'still cached');
  const before = mapping.workMs;
  touch(low.subarray(0, 4 * PAGE));
  assert.ok((await mapping.touched(ranges))[0]! >= 4);
  assert.ok(mapping.workMs > before);
  // Of several ranges, in any order.
  touch(low);
  touch(new Uint8Array(mapping.view(half, half)));
  await mapping.evict(new Float64Array([half, half, PAGE, PAGE, 8 * PAGE, 2 * PAGE]));
  assert.deepEqual([...(await mapping.resident(ranges))], [rest(pages - 3), rest(0), 0, 1]);
  assert.deepEqual([...(await mapping.touched(ranges))], [pages - 3, 0, 0, 1]);
  await read(mapping, half, new Uint8Array(3 * PAGE));
  assert.deepEqual([...(await mapping.resident(ranges))], [rest(pages - 3), rest(3), 0, 1]);
  assert.deepEqual([...(await mapping.touched(ranges))], [pages - 3, 0, 0, 1], 'only cached');
  await mapping.evict(ALL);
  assert.deepEqual([...(await mapping.resident(ranges))], [rest(0), rest(0), 0, rest(0) && 1]);
  same(new Uint8Array(mapping.view(0, SIZE_BYTES)), content(SEED));
}

async function readAhead({ mapping }: Mapped): Promise<void> {
  const ranges = new Float64Array([PAGE, 5 * MIB, 6 * MIB, PAGE]);
  await mapping.readAhead(ranges);
  const found = [...(await mapping.resident(ranges))];
  assert.deepEqual(found, [(5 * MIB) / PAGE, 1]);
  await mapping.readAhead(new Float64Array(0));
}

async function onFile(
  t: TestContext,
  lengthBytes = SIZE_BYTES,
): Promise<Mapped & { path: string }> {
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
    writeFileSync(path, content(SEED));
    const device = await host.openDevice(path, { access: 'read', engine });
    t.after(() => device.close());
    const mapping = await device.map();
    const failed = { code: 'ERR_MPOOL_IO', errnoName: 'EIO' };
    for (const length of [PAGE, MIB]) {
      const buffer = new Uint8Array(length);
      await read(mapping, SIZE_BYTES - length, buffer);
      same(buffer, content(SEED).subarray(SIZE_BYTES - length));
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
