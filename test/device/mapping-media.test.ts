// Goal: what is seen through a mapping is what is on the device, it never outlives its end, and eviction evicts.
// Method: one suite of calls on each kind of medium, bytes and page counts compared; threads that race.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
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
import { loopDevice, noLoopDevices, program, temporaryFolder } from './places.ts';

const SIZE_BYTES = 8 * MIB;
const PAGE = 4096;
const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);
const ROUNDS = 12;
const host = new SystemHost();
const ALL = new Float64Array([0, SIZE_BYTES]);

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
  for (let round = 1; round <= ROUNDS; round++) {
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
  assert.ok(bytes.every((byte) => byte === ROUNDS));
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
  // Away from both ends of the device, where tools look for signatures.
  const low = MIB;
  const high = 4 * MIB;
  const part = 3 * MIB;
  const ranges = new Float64Array([low, part, high, part, low, 0, low, PAGE]);
  const pages = part / PAGE;
  const cached = (count: number): number => (medium.evicts ? count : pages);
  const resident = async (): Promise<number[]> => [...(await mapping.resident(ranges))];
  const touched = async (): Promise<number[]> => [...(await mapping.touched(ranges))];
  await mapping.evict(ALL);
  assert.deepEqual(await touched(), [0, 0, 0, 0]);
  const view = mapping.view(low, part);
  const bytes = new Uint8Array(view);
  touch(bytes);
  assert.deepEqual(await resident(), [pages, cached(0), 0, 1]);
  assert.deepEqual(await touched(), [pages, 0, 0, 1]);
  await mapping.zap(ranges.subarray(0, 2));
  assert.deepEqual(await touched(), [0, 0, 0, 0]);
  assert.deepEqual(await resident(), [pages, cached(0), 0, 1], 'still cached');
  const before = mapping.workMs;
  touch(bytes.subarray(0, 4 * PAGE));
  assert.ok((await touched())[0]! >= 4);
  assert.ok(mapping.workMs > before);
  // Of several ranges, in any order.
  touch(bytes);
  const other = mapping.view(high, part);
  touch(new Uint8Array(other));
  await mapping.evict(new Float64Array([high, part, low + PAGE, PAGE, low + 8 * PAGE, 2 * PAGE]));
  assert.deepEqual(await resident(), [cached(pages - 3), cached(0), 0, 1]);
  assert.deepEqual(await touched(), [pages - 3, 0, 0, 1]);
  await read(mapping, high, new Uint8Array(3 * PAGE));
  assert.deepEqual(await resident(), [cached(pages - 3), cached(3), 0, 1]);
  assert.deepEqual(await touched(), [pages - 3, 0, 0, 1], 'only cached');
  await mapping.evict(ALL);
  assert.deepEqual(await resident(), [cached(0), cached(0), 0, medium.evicts ? 0 : 1]);
  same(bytes, content(SEED).subarray(low, low + part));
  mapping.detach(view);
  mapping.detach(other);
  await onePageEach(mapping, medium);
}

/** Nothing brings a page that was not asked for. */
async function onePageEach(mapping: DeviceMapping, medium: Medium): Promise<void> {
  const range = new Float64Array([MIB, 6 * MIB]);
  const isOnly = async (pages: number, what: string): Promise<void> => {
    const expected = medium.evicts ? pages : (6 * MIB) / PAGE;
    assert.deepEqual([...(await mapping.resident(range))], [expected], what);
  };
  await mapping.evict(ALL);
  const part = { mapping, offsetBytes: 0, lengthBytes: SIZE_BYTES, regionOffsetBytes: 0 };
  const region = new Uint8Array(mapping.stitch([part], SIZE_BYTES));
  const view = new Uint8Array(mapping.view(0, SIZE_BYTES));
  for (let i = 0; i < 5; i++) {
    touch(view.subarray((400 + i) * PAGE, (401 + i) * PAGE));
    await isOnly(3 * i + 1, 'a view');
    touch(region.subarray((600 + i) * PAGE, (601 + i) * PAGE));
    await isOnly(3 * i + 2, 'a region');
    await read(mapping, (800 + i) * PAGE, new Uint8Array(PAGE));
    await isOnly(3 * i + 3, 'a read');
  }
  mapping.detach(region.buffer);
  mapping.detach(view.buffer);
}

async function readAhead({ mapping }: Mapped): Promise<void> {
  const ranges = new Float64Array([PAGE, 5 * MIB, 6 * MIB, PAGE]);
  await mapping.readAhead(ranges);
  const found = [...(await mapping.resident(ranges))];
  assert.deepEqual(found, [(5 * MIB) / PAGE, 1]);
  await mapping.readAhead(new Float64Array(0));
}
