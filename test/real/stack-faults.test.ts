// Goal: what a real device does when it fails reaches the caller through the kernel and every engine as documented:
//   a failure is kept with its first cause, reads go on, all calls settle, and opening again recovers.
// Method: a pool in a FUSE file that fails, runs full, vanishes or answers late when it is told to; each time it is
//   opened again and everything acknowledged is compared, byte for byte.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { create, isMpoolError, type MblockId, open, type Pool } from '../../src/index.ts';
import { ENGINES } from '../device/places.ts';
import { MIB, until } from '../e2e/rig.ts';
import { contentOf } from '../kill/events.ts';
import { refuses, texts } from '../pool/pool-host.ts';
import { FuseFile, noFuse } from './fuse-file.ts';
import type { Fault } from './fuse-medium.ts';
import { isClean } from './image-check.ts';

const skip = noFuse() ?? false;
const LENGTH = 200_000;
const EVERYTHING = ['read', 'write', 'flush', 'discard'] as const;

/** A pool on a file that does what it is told, and what was acknowledged of it. */
class Rig {
  readonly file: FuseFile;
  readonly kept: MblockId[] = [];
  readonly records: string[] = [];
  pool!: Pool;

  static async start(t: TestContext, engine: (typeof ENGINES)[number] = 'io_uring'): Promise<Rig> {
    const folder = mkdtempSync(join(tmpdir(), 'mpool-faults-'));
    const file = await FuseFile.mount(folder, { sizeBytes: 64 * MIB });
    t.after(async () => {
      await file.kill();
      rmSync(folder, { recursive: true });
    });
    const rig = new Rig(file);
    const capacity = { path: file.path, mblockSizeBytes: MIB };
    rig.pool = await create({ name: 'faulty', capacity, engine });
    for (let i = 0; i < 3; i++) await rig.put();
    await rig.append('first');
    return rig;
  }

  private constructor(file: FuseFile) {
    this.file = file;
  }

  fault(...faults: Fault[]): Promise<null> {
    return this.file.tell('fault', faults);
  }

  async put(lengthBytes = LENGTH): Promise<void> {
    const mblock = await this.pool.mblocks.alloc();
    try {
      await mblock.write(contentOf(mblock.id, lengthBytes));
      await mblock.commit();
      if (lengthBytes === LENGTH) this.kept.push(mblock.id);
    } catch (error) {
      await mblock.abort().catch(() => {});
      throw error;
    }
  }

  async append(record: string): Promise<void> {
    await using root = await this.pool.mdcs.root();
    await root.append(record, { sync: true });
    this.records.push(record);
  }

  async isIntact(): Promise<void> {
    for (const id of this.kept) {
      const bytes = await this.pool.mblocks.read(id, 0, LENGTH);
      assert.equal(Buffer.compare(bytes, contentOf(id, LENGTH)), 0, `mblock ${id}`);
    }
  }

  /** It refuses changes and tells of the first cause; what is there can be read. */
  async isFaulted(errno: string): Promise<void> {
    const { health, fault } = await this.pool.info();
    assert.equal(health, 'faulted');
    assert.match(fault!, new RegExp(errno));
    for (const attempt of [() => this.put(0), () => this.pool.mblocks.delete([this.kept[0]!])]) {
      const error = await attempt().then(
        () => assert.fail('it takes no more changes'),
        (reason: unknown) => reason,
      );
      assert.ok(isMpoolError(error, 'ERR_MPOOL_FAILED'), String(error));
      assert.match((error.cause as Error).message, new RegExp(errno), 'the first cause');
    }
    await this.isIntact();
  }

  /** The device is well again: all that was acknowledged is there, and more can be done. */
  async recovers(): Promise<void> {
    await this.fault();
    await this.pool.close({ force: true }).catch((error: unknown) => {
      assert.ok(isMpoolError(error), String(error));
    });
    await isClean(this.file.path, true);
    this.pool = await open(this.file.path);
    assert.equal((await this.pool.info()).health, 'optimal');
    await this.isIntact();
    const root = await this.pool.mdcs.root();
    const found = await texts(root.records());
    await root.close();
    assert.deepEqual(found.slice(0, this.records.length), this.records);
    await this.put();
    await this.append('after');
    await this.pool.close();
    await isClean(this.file.path, true);
  }
}

/** Each call settles, with an error of ours. */
async function allRefused(calls: readonly Promise<unknown>[]): Promise<void> {
  for (const each of await Promise.allSettled(calls)) {
    assert.equal(each.status, 'rejected');
    assert.ok(isMpoolError(each.reason), String(each.reason));
  }
}

for (const engine of ENGINES) {
  test(
    `a flush that fails once, ${engine}: changes are refused from then on, reads go on`,
    { skip },
    async (t) => {
      const rig = await Rig.start(t, engine);
      await rig.fault({ on: ['flush'], times: 1, errno: 'EIO' });
      await refuses(() => rig.put(), 'ERR_MPOOL_IO', /EIO/);
      await rig.isFaulted('EIO');
      await rig.recovers();
    },
  );
}

test(
  'metadata that cannot be written fail the pool with what the device said',
  { skip },
  async (t) => {
    const rig = await Rig.start(t);
    // Nothing but the record is written for it.
    for (const errno of ['EIO', 'ENOSPC'] as const) {
      await rig.fault({ on: ['write'], errno });
      await refuses(() => rig.put(0), 'ERR_MPOOL_FAILED');
      await rig.isFaulted(errno);
      await rig.recovers();
      rig.pool = await open(rig.file.path);
    }
    await rig.pool.close();
  },
);

test('data that cannot be written fail their mblock and nothing else', { skip }, async (t) => {
  const rig = await Rig.start(t);
  for (const errno of ['EIO', 'ENOSPC'] as const) {
    await rig.fault({ on: ['write'], times: 1, errno });
    await refuses(() => rig.put(), errno === 'EIO' ? 'ERR_MPOOL_IO' : 'ERR_MPOOL_NO_SPACE');
    assert.equal((await rig.pool.info()).health, 'optimal');
    await rig.put();
  }
  await rig.isIntact();
  await rig.recovers();
});

test('a log that cannot be written fails alone', { skip }, async (t) => {
  const rig = await Rig.start(t);
  const mlog = await rig.pool.mlogs.alloc({ capacityBytes: MIB });
  await mlog.commit();
  const log = await rig.pool.mlogs.open(mlog.id);
  await log.append('kept', { sync: true });
  await rig.fault({ on: ['write'], times: 1, errno: 'EIO' });
  await refuses(() => log.append('lost', { sync: true }), 'ERR_MPOOL_FAILED');
  await refuses(() => log.append('refused', { sync: true }), 'ERR_MPOOL_FAILED');
  await rig.put();
  assert.equal((await rig.pool.info()).health, 'degraded');
  await log.close().catch((error: unknown) => assert.ok(isMpoolError(error, 'ERR_MPOOL_FAILED')));
  const again = await rig.pool.mlogs.open(mlog.id);
  assert.deepEqual(await texts(again.records()), ['kept']);
  await again.append('more', { sync: true });
  await again.close();
  await rig.recovers();
});

test(
  'a device that is gone: each call settles with an error, and all is there when it is back',
  { skip },
  async (t) => {
    const rig = await Rig.start(t);
    const map = await rig.pool.map(rig.kept);
    await rig.fault({ on: EVERYTHING, errno: 'ENODEV' });
    const calls = [
      ...Array.from({ length: 8 }, () => rig.put()),
      ...rig.kept.map((id) => rig.pool.mblocks.read(id, 0, LENGTH)),
      rig.append('nowhere'),
      rig.pool.mblocks.delete([rig.kept[0]!]),
      map.read(2, 0, LENGTH),
    ];
    await allRefused(calls);
    await map.unmap();
    // Of the deletion nobody knows; it was asked for.
    rig.kept.shift();
    await rig.recovers();
  },
);

test(
  'a device whose driver dies under it: each call settles, and so does close()',
  { skip },
  async (t) => {
    const rig = await Rig.start(t);
    await rig.fault({ on: EVERYTHING, holds: true });
    const calls = [
      ...Array.from({ length: 4 }, () => rig.put()),
      ...rig.kept.map((id) => rig.pool.mblocks.read(id, 0, LENGTH)),
      rig.append('nowhere'),
    ];
    const settled = allRefused(calls);
    await until('they wait', async () => (await rig.file.tell('counts', null)).held >= 4);
    await rig.file.kill();
    await settled;
    // close(2) itself tells of it, and what is thrown is an error of ours even so.
    await refuses(() => rig.pool.close({ force: true }), 'ERR_MPOOL_IO', /close: ENOTCONN/);
  },
);

test(
  'a read that is answered very late keeps nobody else, and close() waits for it',
  { skip },
  async (t) => {
    const rig = await Rig.start(t);
    const [late, ...others] = rig.kept as [MblockId, ...MblockId[]];
    await rig.fault({ on: ['read'], times: 1, holds: true });
    const order: string[] = [];
    const lateRead = rig.pool.mblocks.read(late, 0, LENGTH).then((bytes) => {
      order.push('read');
      return bytes;
    });
    await until('it is held', async () => (await rig.file.tell('counts', null)).held === 1);
    for (const id of others) await rig.pool.mblocks.read(id, 0, LENGTH);
    await rig.put();
    await rig.append('meanwhile');
    const closing = rig.pool.close().then(() => order.push('closed'));
    await rig.file.tell('counts', null);
    assert.deepEqual(order, [], "the buffer is still the kernel's");
    await rig.file.tell('release', null);
    assert.equal(Buffer.compare(await lateRead, contentOf(late, LENGTH)), 0);
    await closing;
    assert.deepEqual(order, ['read', 'closed']);
    rig.pool = await open(rig.file.path);
    await rig.recovers();
  },
);

for (const engine of ENGINES) {
  test(
    `a flush that is answered very late keeps the process from nothing, ${engine}`,
    { skip },
    async (t) => {
      const rig = await Rig.start(t, engine);
      await rig.fault({ on: ['flush'], times: 1, holds: true });
      const order: string[] = [];
      const late = rig.put().then(() => order.push('late'));
      await until('it is held', async () => (await rig.file.tell('counts', null)).held === 1);
      // The kernel lets no write pass a flush of the same FUSE file: whoever submits one is not to wait there.
      const behind = rig.put().then(() => order.push('behind'));
      for (let i = 0; i < 20; i++) await rig.isIntact();
      assert.equal((await rig.file.tell('counts', null)).held, 1, 'it is held still');
      assert.deepEqual(order, []);
      await rig.file.tell('release', null);
      await Promise.all([late, behind]);
      await rig.recovers();
    },
  );
}

test(
  'a write that is answered very late keeps readers and other writers from nothing',
  { skip },
  async (t) => {
    const rig = await Rig.start(t);
    await rig.fault({ on: ['write'], times: 1, holds: true });
    const order: string[] = [];
    const lateWrite = rig.put().then(() => order.push('written'));
    await until('it is held', async () => (await rig.file.tell('counts', null)).held === 1);
    await rig.isIntact();
    await rig.put();
    await rig.append('meanwhile');
    assert.deepEqual(order, []);
    await rig.file.tell('release', null);
    await lateWrite;
    await rig.recovers();
  },
);
