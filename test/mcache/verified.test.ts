// Goal: a page is ready only while it is known to be what was verified; what was admitted to memory is given back.
// Method: the reader of pages and the rows of objects above a mapping made up here, whose pages are damaged, fail to be
//   read, or are taken by the kernel; a simulated pool for a read that a map is ended under.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32cPages } from '../../src/base/crc32c.ts';
import { MpoolError } from '../../src/base/errors.ts';
import type { DeviceMapping } from '../../src/device/device-mapping.ts';
import type { Done } from '../../src/device/device.ts';
import type { MappedObject } from '../../src/mcache/mapped-object.ts';
import { ObjectRows } from '../../src/mcache/object-rows.ts';
import type { MapCore } from '../../src/mcache/map-core.ts';
import { MapSharing, type ThreadShares } from '../../src/mcache/map-sharing.ts';
import { PageReader } from '../../src/mcache/page-reader.ts';
import { SimClock } from '../../src/testing/index.ts';
import { A, closeClean, freshPool, MIB, pattern, turns } from '../pool/pool-host.ts';

const PAGE = 4096;
const PAGES = 16;

class MadeUpMapping {
  readonly path = '/dev/made-up';
  readonly readyBits = new Uint8Array(64);
  readonly content = pattern(PAGES * PAGE, 3);
  readonly workMs = 0;
  residentPages = PAGES;
  fails = false;

  read(offsetBytes: number, buffer: Uint8Array, done: Done): void {
    setImmediate(() => {
      if (this.fails) return done(new MpoolError('ERR_MPOOL_IO', this.path));
      buffer.set(this.content.subarray(offsetBytes, offsetBytes + buffer.length));
      done(null);
    });
  }

  evict(): Promise<void> {
    return Promise.resolve();
  }

  resident(): Promise<Float64Array> {
    return Promise.resolve(Float64Array.of(this.residentPages));
  }
}

function setup() {
  const mapping = new MadeUpMapping();
  const rows = new ObjectRows(() => {});
  const add = (): MappedObject =>
    rows.add(
      {
        mapping: mapping as unknown as DeviceMapping,
        pageAddress: 0,
        lengthBytes: PAGES * PAGE,
        idLow: 1,
        idHigh: 0,
        digest: 0,
        tableIndex: 0,
      },
      0,
    );
  const sums = new Uint32Array(PAGES);
  crc32cPages(mapping.content, sums);
  const admitted = { now: 0, most: 0 };
  const reader = new PageReader(
    {
      sums: (_, done) => done(null, sums),
      mismatch: (_, page) => new MpoolError('ERR_MPOOL_CHECKSUM', `page ${page}`),
    },
    {
      admit(pageCount, proceed) {
        admitted.now += pageCount;
        admitted.most = Math.max(admitted.most, admitted.now);
        proceed();
      },
      arrived(pageCount) {
        admitted.now -= pageCount;
      },
    },
  );
  const makeReady = (object: MappedObject, pages: readonly number[]): Promise<void> =>
    new Promise((resolve, reject) => {
      reader.makeReady(object, pages, (error) => (error === null ? resolve() : reject(error)));
    });
  return { mapping, rows, add, admitted, makeReady };
}

test('what was admitted is given back, however the read went', async () => {
  const { mapping, add, admitted, makeReady } = setup();
  const object = add();
  await makeReady(object, [0, 1, 2, 7]);
  assert.deepEqual([object.readyCount(), admitted.now], [4, 0]);
  assert.equal(admitted.most, 4);
  mapping.content[9 * PAGE]! ^= 1;
  await assert.rejects(makeReady(object, [8, 9]), { code: 'ERR_MPOOL_CHECKSUM' });
  assert.deepEqual([object.isReady(9), admitted.now], [false, 0]);
  mapping.fails = true;
  await assert.rejects(makeReady(object, [12]), { code: 'ERR_MPOOL_IO' });
  assert.deepEqual([object.isReady(12), admitted.now], [false, 0]);
});

test('when the kernel took pages of an object, none of it is ready any more', async () => {
  const { mapping, rows, add, makeReady } = setup();
  const object = add();
  const all = Array.from({ length: PAGES }, (_, page) => page);
  await makeReady(object, all);
  await rows.count([object.row]);
  assert.equal(object.readyCount(), PAGES, 'all are still there');
  mapping.residentPages = PAGES - 1;
  await rows.count([object.row]);
  assert.equal(object.readyCount(), 0, 'one is gone, and nobody knows which');
  // Fewer than are ready, though no count before said more.
  await makeReady(object, all.slice(0, 8));
  mapping.residentPages = 7;
  await rows.count([object.row]);
  assert.equal(object.readyCount(), 0);
});

test('what comes to the place of an object that went is not ready', async () => {
  const { rows, add, makeReady } = setup();
  const first = add();
  await makeReady(first, [0, 5]);
  rows.remove(first.row);
  assert.equal(add().readyCount(), 0);
});

test('an object keeps its space until the last read of a map that was ended is done', async () => {
  const { host, pool } = await freshPool();
  const mblock = await pool.mblocks.alloc();
  await mblock.write(pattern(20_000));
  await mblock.commit();
  const map = await pool.map([mblock.id]);
  const { usedBytes } = await pool.usage('capacity');
  const held = host.addFault({ op: 'read', disk: A, effect: { kind: 'hold' } });
  const reading = map.read(0, 0, 20_000);
  while (held.hits === 0) await turns(5);
  let isOver = false;
  const unmapping = map.unmap().then(() => (isOver = true));
  await mblock.delete();
  await turns(20);
  assert.equal(isOver, false, 'unmap() waits for the read');
  assert.equal((await pool.usage('capacity')).usedBytes, usedBytes, 'the space is still its own');
  held.release();
  assert.ok(pattern(20_000).equals(await reading));
  await unmapping;
  assert.equal((await pool.usage('capacity')).usedBytes, usedBytes - MIB);
  await closeClean({ host, pool });
});

test('a map that is lent ends when the last thread let go of it, and not before', async () => {
  const clock = new SimClock();
  let attached = 2;
  let told = 0;
  let closed = 0;
  const shares: ThreadShares = {
    openShare: () => 1,
    markClosing: () => {},
    attachedCount: () => attached,
    closeShare: () => (closed += 1),
    announceRecall: () => (told += 1),
  };
  const core = { objects: [], temperature: 'cold', backing: { readAheadPages: 0 } };
  const lending = new MapSharing(shares, clock).lending();
  assert.equal(lending.recall(), undefined, 'nobody ever had it');
  lending.token(core as unknown as MapCore);
  let isOver = false;
  const recalled = lending.recall()?.then(() => (isOver = true));
  await clock.advance(50);
  attached = 1;
  await clock.advance(50);
  assert.deepEqual([isOver, closed], [false, 0], 'one still has it');
  assert.ok(told > 2, 'it is told again and again');
  attached = 0;
  await clock.advance(50);
  await recalled;
  assert.deepEqual([isOver, closed], [true, 1]);
});
