// Goal: the simulated page cache accounts exactly, keeps what it was given (faults included) as long as
// the kernel would, and tells on a store that uses space again while somebody looks at it. Method:
// scripts by name; a random history against a model of which pages are where.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { discardAsync } from '../../src/device/device.ts';
import type { Device } from '../../src/device/device.ts';
import type { DeviceMapping } from '../../src/device/device-mapping.ts';
import { SimHost } from '../../src/testing/index.ts';
import type { SimHostOptions } from '../../src/testing/index.ts';
import { DISK, DISK_BYTES, filled, hostWithDisk, openDisk, writeValue } from './disks.ts';

const PAGE = 4096;

interface Rig {
  host: SimHost;
  device: Device;
  mapping: DeviceMapping;
  violations: string[];
}

/** A disk whose page p is full of p + 1, mapped. */
async function mapped(options: SimHostOptions = {}): Promise<Rig> {
  const violations: string[] = [];
  const host = hostWithDisk({ onViolation: (message) => violations.push(message), ...options });
  for (let page = 0; page < 64; page++) {
    host.disk(DISK).poke(page * PAGE, { fill: page + 1, lengthBytes: PAGE });
  }
  const device = await openDisk(host);
  return { host, device, mapping: await device.map(), violations };
}

function code(expected: ErrorCode): (error: unknown) => boolean {
  return (error) => isMpoolError(error, expected);
}

function ranges(...pages: [first: number, count: number][]): Float64Array {
  return Float64Array.from(pages.flatMap(([first, count]) => [first * PAGE, count * PAGE]));
}

function readMapped(mapping: DeviceMapping, offset: number, length: number): Promise<Uint8Array> {
  const buffer = new Uint8Array(length);
  return new Promise((resolve, reject) => {
    mapping.read(offset, buffer, (error) => (error === null ? resolve(buffer) : reject(error)));
  });
}

/** First bytes of the pages that lie in it. */
function firsts(bytes: ArrayBuffer | Uint8Array): number[] {
  const view = new Uint8Array(bytes);
  return Array.from({ length: Math.ceil(view.length / PAGE) }, (_, i) => view[i * PAGE]!);
}

const ALL = ranges([0, DISK_BYTES / PAGE]);

async function counts({ mapping }: Rig): Promise<[resident: number, touched: number]> {
  return [(await mapping.resident(ALL))[0]!, (await mapping.touched(ALL))[0]!];
}

test('reads come through the cache: any place, once from the disk', async () => {
  const rig = await mapped();
  const { host, device, mapping } = rig;
  const before = host.trace.events.length;
  const across = await readMapped(mapping, 2 * PAGE - 3, 6);
  assert.deepEqual([...across], [2, 2, 2, 3, 3, 3]);
  assert.deepEqual(await counts(rig), [2, 0], 'a read makes pages resident, and maps none');
  assert.deepEqual(firsts(await readMapped(mapping, 0, 4 * PAGE)), [1, 2, 3, 4]);
  await readMapped(mapping, 0, 4 * PAGE);
  const submitted = host.trace.events.slice(before).filter(({ phase }) => phase === 'submit');
  assert.deepEqual(
    submitted.map(({ op, offsetBytes, lengthBytes }) => [op, offsetBytes, lengthBytes]),
    [
      ['read', PAGE, 2 * PAGE],
      ['cache', 0, DISK_BYTES],
      ['cache', 0, DISK_BYTES],
      ['read', 0, 4 * PAGE],
      ['cache', 0, 4 * PAGE],
    ],
  );
  const own = device.allocate(512);
  await new Promise<void>((resolve, reject) => {
    mapping.read(PAGE, own, (error) => (error === null ? resolve() : reject(error)));
    assert.throws(() => device.release(own), /no I\/O uses memory/);
  });
  assert.equal(own[0], 2);
  device.release(own);
  const end = readMapped(mapping, DISK_BYTES - 1, 2);
  await assert.rejects(end, code('ERR_MPOOL_IO'), 'never short');
});

test('a view shows the disk without reading it, until it is touched; or all is touched at once', async () => {
  const rig = await mapped();
  const { host, mapping } = rig;
  host.disk(DISK).failSectors(2 * PAGE, 512);
  const view = mapping.view(PAGE, 2 * PAGE + 100);
  assert.equal(view.byteLength, 2 * PAGE + 100);
  assert.deepEqual(firsts(view), [2, 0xbd, 4], 'what cannot be read is no data');
  assert.deepEqual(await counts(rig), [0, 0]);
  host.touch(DISK, PAGE, 1);
  host.touch(DISK, 3 * PAGE, 2 * PAGE);
  assert.throws(() => host.touch(DISK, 2 * PAGE, 1), code('ERR_MPOOL_IO'));
  assert.deepEqual(await counts(rig), [3, 3]);
  assert.equal(mapping.view(0, 0).byteLength, 0);

  const eager = await mapped({ viewsTouch: true });
  eager.mapping.view(PAGE, 2 * PAGE + 100);
  assert.deepEqual(await counts(eager), [3, 3]);
  eager.host.addFault({ op: 'read', effect: { kind: 'error' } });
  assert.throws(() => eager.mapping.view(0, PAGE), code('ERR_MPOOL_IO'));
  eager.host.cutPower();
  assert.throws(() => eager.mapping.view(0, PAGE), /power cut/);
});

test('evict, zap and read-ahead do what they say, to the pages they name', async () => {
  const rig = await mapped();
  const { host, mapping } = rig;
  await mapping.readAhead(ranges([0, 8], [16, 8]));
  await host.clock.advance(10);
  host.touch(DISK, 4 * PAGE, 16 * PAGE);
  assert.deepEqual(await counts(rig), [24, 16]);
  const list = ranges([0, 4], [4, 4], [8, 8], [16, 8]);
  assert.deepEqual([...(await mapping.resident(list))], [4, 4, 8, 8]);
  assert.deepEqual([...(await mapping.touched(list))], [0, 4, 8, 4]);
  await mapping.zap(ranges([4, 4]));
  assert.deepEqual(await counts(rig), [24, 12]);
  await mapping.evict(ranges([4, 8], [23, 1]));
  assert.deepEqual([...(await mapping.resident(list))], [4, 0, 4, 7]);
  assert.deepEqual([...(await mapping.touched(list))], [0, 0, 4, 4]);
  host.addFault({ op: 'read', effect: { kind: 'error' } });
  await mapping.readAhead(ranges([4, 4]));
  await host.clock.advance(10);
  assert.equal((await mapping.resident(list))[1], 0, 'read-ahead that fails tells nobody');
  host.addFault({ op: 'cache', effect: { kind: 'error', errno: 'ENOMEM' } });
  await assert.rejects(mapping.evict(ALL), code('ERR_MPOOL_IO'));
  for (const wrong of [[1, PAGE], [0, 1], [0], [-PAGE, PAGE]]) {
    await assert.rejects(mapping.evict(Float64Array.from(wrong)), code('ERR_MPOOL_IO'));
  }
  assert.throws(() => mapping.view(1, 10), code('ERR_MPOOL_IO'));
  assert.throws(() => mapping.view(DISK_BYTES - PAGE, PAGE + 1), code('ERR_MPOOL_IO'));
});

test('faults stay in the cache until the pages leave it, and views show them', async () => {
  const { host, mapping } = await mapped();
  const view = mapping.view(0, 2 * PAGE);
  host.addFault({ op: 'read', disk: DISK, effect: { kind: 'flip', bit: 8 * PAGE + 1 } });
  for (let i = 0; i < 2; i++) {
    assert.deepEqual(firsts(await readMapped(mapping, 0, 2 * PAGE)), [1, 2 ^ 2]);
  }
  assert.deepEqual(firsts(view), [1, 0]);
  await mapping.evict(ranges([1, 1]));
  assert.deepEqual(firsts(await readMapped(mapping, 0, 2 * PAGE)), [1, 2]);
  assert.deepEqual(firsts(view), [1, 2]);
  host.disk(DISK).poke(0, Uint8Array.of(99));
  assert.equal((await readMapped(mapping, 0, 1))[0], 1, 'nobody told the cache');
  await mapping.evict(ALL);
  assert.equal((await readMapped(mapping, 0, 1))[0], 99);
  const fault = host.addFault({ op: 'read', times: 2, effect: { kind: 'error' } });
  assert.equal((await readMapped(mapping, 0, 1))[0], 99, 'what is cached needs no disk');
  await assert.rejects(readMapped(mapping, 0, 8 * PAGE), code('ERR_MPOOL_IO'));
  assert.equal(fault.hits, 1);
  host.pullDisk(DISK);
  assert.equal((await readMapped(mapping, 0, 1))[0], 99);
  await assert.rejects(readMapped(mapping, 8 * PAGE, 1), code('ERR_MPOOL_IO'));
});

test('a direct write or discard drops what was cached, and what was read meanwhile', async () => {
  const rig = await mapped();
  const { host, device, mapping, violations } = rig;
  await readMapped(mapping, 0, 8 * PAGE);
  const write = writeValue(device, PAGE, 512, 200);
  assert.equal((await mapping.resident(ALL))[0], 7);
  await write;
  assert.equal((await readMapped(mapping, PAGE, 1))[0], 200);
  host.addFault({ op: 'write', effect: { kind: 'delay', delayMs: 50 } });
  const slow = writeValue(device, 2 * PAGE, PAGE, 201);
  host.touch(DISK, 2 * PAGE, 1);
  await slow;
  assert.equal((await readMapped(mapping, 2 * PAGE, 1))[0], 201, 'not what was there before');
  await discardAsync(device, 4 * PAGE, 2 * PAGE);
  assert.deepEqual([...(await mapping.resident(ranges([0, 4], [4, 2], [6, 2])))], [4, 0, 2]);
  host.disk(DISK).resize(3 * PAGE);
  await assert.rejects(readMapped(mapping, 2 * PAGE, 2 * PAGE), code('ERR_MPOOL_IO'));
  assert.equal((await mapping.resident(ALL))[0], 3);
  assert.deepEqual(violations, []);
});

test('to write or discard what is mapped or being read is a violation', async () => {
  const { device, mapping, violations } = await mapped();
  const view = mapping.view(4 * PAGE, PAGE + 1);
  const region = mapping.stitch(
    [{ mapping, offsetBytes: 8 * PAGE, lengthBytes: 10, regionOffsetBytes: 2 * PAGE }],
    4 * PAGE,
  );
  const places = [3, 6, 7, 9].map((page) => page * PAGE);
  for (const at of places) await writeValue(device, at, PAGE, 1);
  assert.deepEqual(violations, [], 'beside it anything may happen');
  await writeValue(device, 5 * PAGE + 512, 512, 1);
  assert.match(violations.pop()!, /write at 20992, 512 bytes: in use by a mapped view at 16384/);
  await discardAsync(device, 7 * PAGE, 2 * PAGE);
  assert.match(violations.pop()!, /discard .* in use by a mapped view at 32768, 4096/);
  const read = readMapped(mapping, 12 * PAGE, 10);
  const write = writeValue(device, 12 * PAGE, PAGE, 1);
  assert.match(violations.pop()!, /in use by a mapped read/);
  await Promise.all([read, write]);
  mapping.detach(view);
  mapping.detach(region);
  for (const page of [4, 5, 8, 12]) await writeValue(device, page * PAGE, PAGE, 1);
  assert.deepEqual(violations, []);
  mapping.detach(view);
  assert.match(violations.pop()!, /not there/);
  await device.close();
  assert.match(violations.pop()!, /before its mappings/);
});

test('a region has its parts where they belong, zeros between, and ends as a whole', async () => {
  const { host, mapping, device } = await mapped();
  host.addDisk('/dev/other', { sizeBytes: DISK_BYTES }).poke(0, { fill: 77, lengthBytes: PAGE });
  const other = await host.openDevice('/dev/other', { access: 'read' });
  const otherMapping = await other.map();
  const parts = [
    { mapping, offsetBytes: 5 * PAGE, lengthBytes: PAGE + 1, regionOffsetBytes: PAGE },
    { mapping: otherMapping, offsetBytes: 0, lengthBytes: 1, regionOffsetBytes: 4 * PAGE },
  ];
  const region = mapping.stitch(parts, 6 * PAGE);
  assert.deepEqual(firsts(region), [0, 6, 7, 0, 77, 0]);
  assert.equal(new Uint8Array(region)[3 * PAGE - 1], 7, 'the last page of a part is whole');
  const misplaced = { ...parts[0]!, regionOffsetBytes: 5 * PAGE };
  assert.throws(() => mapping.stitch([misplaced], 6 * PAGE), code('ERR_MPOOL_IO'));
  const sub = new Uint8Array(region, PAGE, 10);
  mapping.detach(region);
  assert.deepEqual([region.byteLength, sub.length], [0, 0]);
  await otherMapping.close();
  await mapping.close();
  await other.close();
  await device.close();
});

test('close waits, detaches what is left, and ends the mapping', async () => {
  const { host, device, mapping, violations } = await mapped();
  const view = mapping.view(0, PAGE);
  const held = host.addFault({ op: 'read', effect: { kind: 'hold' } });
  const read = readMapped(mapping, 0, PAGE);
  const work = Promise.all([mapping.readAhead(ranges([8, 8])), mapping.evict(ranges([2, 1]))]);
  let isClosed = false;
  const closed = mapping.close().then(() => (isClosed = true));
  await host.clock.advance(100);
  assert.deepEqual([isClosed, view.byteLength], [false, PAGE]);
  held.release();
  assert.deepEqual(firsts(await read), [1]);
  await Promise.all([work, closed]);
  assert.equal(view.byteLength, 0);
  assert.throws(() => mapping.view(0, PAGE), code('ERR_MPOOL_CLOSED'));
  await assert.rejects(readMapped(mapping, 0, 1), code('ERR_MPOOL_CLOSED'));
  await assert.rejects(mapping.resident(ALL), code('ERR_MPOOL_CLOSED'));
  await mapping.close();
  await device.close();
  assert.equal(host.inFlightCount, 0);
  assert.deepEqual(violations, []);
});

test('a device may refuse to be mapped; mappings of one length share their bits', async () => {
  const { host, device, mapping } = await mapped();
  host.addFault({ op: 'map', effect: { kind: 'error', errno: 'ENOMEM' } });
  await assert.rejects(device.map(), code('ERR_MPOOL_IO'));
  const again = await device.map();
  mapping.readyBits[3] = 5;
  assert.equal(again.readyBits[3], 5);
  assert.equal(again.readyBits.length, DISK_BYTES / PAGE / 8);
  host.disk(DISK).resize(2 * DISK_BYTES);
  await device.refreshSize();
  const longer = await device.map();
  assert.deepEqual([longer.lengthBytes, longer.readyBits[3]], [2 * DISK_BYTES, 0]);
  await Promise.all([mapping, again, longer].map((each) => each.close()));
  assert.equal((await device.map()).readyBits[3], 0, 'nobody had it any more');
  host.pullDisk(DISK);
  await assert.rejects(device.map(), code('ERR_MPOOL_IO'));
});

interface Model {
  resident: Set<number>;
  touched: Set<number>;
}

/** One random step, and the same in the model. */
async function step(rig: Rig, prng: SeededPrng, { resident, touched }: Model): Promise<void> {
  const { host, device, mapping } = rig;
  const first = below(prng, 60);
  const count = 1 + below(prng, 4);
  const pages = Array.from({ length: count }, (_, i) => first + i);
  const at = first * PAGE;
  switch (below(prng, 5)) {
    case 0: {
      const expected = pages.map((page) => host.disk(DISK).bytes(page * PAGE, 1)[0]);
      assert.deepEqual(firsts(await readMapped(mapping, at, count * PAGE)), expected);
      for (const page of pages) resident.add(page);
      return;
    }
    case 1:
      host.touch(DISK, at, count * PAGE);
      for (const page of pages) resident.add(page);
      for (const page of pages) touched.add(page);
      return;
    case 2:
      await mapping.zap(ranges([first, count]));
      for (const page of pages) touched.delete(page);
      return;
    case 3:
      await mapping.evict(ranges([first, count]));
      break;
    default:
      await writeValue(device, at, count * PAGE, below(prng, 256));
  }
  for (const page of pages) resident.delete(page);
  for (const page of pages) touched.delete(page);
}

async function randomRun(seed: number): Promise<number> {
  const rig = await mapped({ seed });
  const prng = new SeededPrng(seed);
  const model: Model = { resident: new Set(), touched: new Set() };
  for (let i = 0; i < 200; i++) {
    await step(rig, prng, model);
    assert.deepEqual(await counts(rig), [model.resident.size, model.touched.size], `step ${i}`);
  }
  assert.deepEqual(rig.violations, []);
  return rig.host.trace.hash;
}

test('a random history gives what the model says, and the same trace every time', async (t) => {
  for (let seed = 1; seed <= 8; seed++) {
    t.diagnostic(`seed ${seed}`);
    assert.equal(await randomRun(seed), await randomRun(seed));
  }
});

test('the gauge counts what is cached, and a machine without room takes the oldest pages', async () => {
  const rig = await mapped();
  const { host, mapping } = rig;
  const { memory } = host;
  memory.machine = { totalBytes: 100 * PAGE, otherBytes: 80 * PAGE, foreignCacheBytes: 4 * PAGE };
  const levels = async (): Promise<number[]> => {
    const { machine, reclaimedPages, refaultCount } = await memory.read();
    const bytes = [machine.freeBytes, machine.cacheBytes, machine.otherBytes];
    return [...bytes.map((each) => each / PAGE), reclaimedPages!, refaultCount!];
  };
  assert.deepEqual(await levels(), [16, 4, 80, 0, 0]);
  await readMapped(mapping, 0, 10 * PAGE);
  assert.deepEqual(await levels(), [6, 14, 80, 0, 0]);
  assert.equal((await memory.read()).group, undefined);
  memory.group = {
    totalBytes: 14 * PAGE,
    otherBytes: 2 * PAGE,
    foreignCacheBytes: 0,
    path: '/g',
    version: 2,
  };
  assert.equal((await memory.read()).group!.freeBytes, 2 * PAGE);
  await readMapped(mapping, 10 * PAGE, 6 * PAGE);
  assert.deepEqual([...(await mapping.resident(ranges([0, 4], [4, 12])))], [0, 12]);
  assert.deepEqual(await levels(), [4, 16, 80, 4, 0]);
  await readMapped(mapping, 3 * PAGE, PAGE);
  assert.deepEqual(await levels(), [4, 16, 80, 5, 1]);
  await mapping.evict(ALL);
  memory.leaveFree(7 * PAGE);
  assert.deepEqual(await levels(), [7, 4, 89, 5, 1]);
  const next = await host.crash().memory.read();
  assert.deepEqual(next.machine, (await memory.read()).machine, 'the same machine, rebooted');
});

test('memory that a mapped read borrows is filled only when it is done', async () => {
  const { device, mapping } = await mapped();
  const buffer = filled(device, PAGE, 9);
  const done = new Promise((resolve) => mapping.read(0, buffer, resolve));
  assert.equal(buffer[0], 9);
  assert.equal(await done, null);
  assert.equal(buffer[0], 1);
  device.release(buffer);
});
