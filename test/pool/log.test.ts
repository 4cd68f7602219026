// Goal: the invariants of src/pool/log.ts: records come back in order and whole, nothing durable is written
// again, acknowledged means durable, a torn tail is silent and damage is not, failures are for ever.
// Method: single logs on a simulated disk; random records from printed seeds; crashes and flipped bits.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { noneSurvive, type SimHost } from '../../src/testing/index.ts';
import {
  CHUNK_HEADER_BYTES,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
} from '../../src/format/log-frame.ts';
import { LogReader } from '../../src/pool/log-reader.ts';
import type { Log } from '../../src/pool/log.ts';
import { DISK, FIRST_PAGE, logHost, newLog, openRig, reboot, reopenLog } from '../crash/log-rig.ts';

const texts = (records: Uint8Array[]): string[] => records.map((r) => Buffer.from(r).toString());

async function readAll(log: Log): Promise<string[]> {
  const records: Uint8Array[] = [];
  for await (const record of new LogReader(() => log).all()) records.push(record);
  return texts(records);
}

test('random records fill a log to its end, and come back; what is refused leaves no trace', async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const prng = new SeededPrng(seed);
    const pageCount = 2 + below(prng, seed % 4 === 0 ? 300 : 30);
    const host = logHost({ seed, sectorBytes: seed % 2 === 0 ? 512 : 4096 });
    const kind = seed % 3 === 0 ? 'file' : 'block';
    let rig = await openRig(host, kind);
    let log = await newLog(rig, pageCount);
    const wanted: Buffer[] = [];
    let refusals = 0;
    while (refusals < 12) {
      const most = below(prng, 5) === 0 ? 400_000 : below(prng, 3) === 0 ? 6000 : 300;
      const length = refusals > 6 ? below(prng, 40) : below(prng, most);
      const record = Buffer.alloc(length, wanted.length);
      const fits = log.fits(length);
      const usedBytes = log.usedBytes;
      try {
        await log.append(record);
        assert.ok(fits, `seed ${seed}: fits() said no`);
        wanted.push(record);
      } catch (error) {
        assert.ok(isMpoolError(error, 'ERR_MPOOL_LOG_FULL'), String(error));
        assert.ok(!fits, `seed ${seed}: fits() said yes`);
        assert.equal(log.usedBytes, usedBytes, 'nothing changed');
        refusals += 1;
      }
      if (below(prng, 6) === 0) await log.sync();
      if (below(prng, 9) === 0) await log.settle();
      if (below(prng, 30) === 0) {
        await log.close();
        rig = await reboot(rig);
        ({ log } = await reopenLog(rig, pageCount));
      }
    }
    assert.ok(log.usedBytes <= log.capacityBytes);
    await log.close();
    assert.equal(host.liveBufferCount, 0, `seed ${seed}: every buffer is given back`);
    const { records } = await reopenLog(await reboot(rig), pageCount);
    assert.deepEqual(
      records.map((r) => Buffer.from(r)),
      wanted,
      `seed ${seed}`,
    );
  }
});

test('at most four frames are in flight, and appending waits when more are queued', async () => {
  const host = logHost();
  const rig = await openRig(host);
  const log = await newLog(rig, 2000);
  let inFlightMax = 0;
  const waits: Promise<void>[] = [];
  for (let i = 0; i < 40; i++) {
    const wait = log.append(Buffer.alloc(100_000, i));
    inFlightMax = Math.max(inFlightMax, host.inFlightCount);
    if (wait !== undefined) waits.push(wait);
  }
  await log.sync();
  await Promise.all(waits);
  assert.equal(inFlightMax, 4);
  assert.ok(waits.length > 10, 'the caller was asked to wait');
});

test('many synced appends in flight share frames and flushes', async () => {
  const rig = await openRig(logHost());
  const log = await newLog(rig, 64);
  const before = rig.host.operationCount;
  for (let round = 0; round < 4; round++) {
    await Promise.all(
      Array.from({ length: 32 }, (_, i) => {
        void log.append(Buffer.from(`${round} ${i}`));
        return log.sync();
      }),
    );
  }
  assert.ok(rig.host.operationCount - before <= 8, '128 acknowledged in at most 8 operations');
});

/** A log of six synced records, each in a frame of its own. @returns where frames begin on the disk */
async function sixFrames(closed: boolean): Promise<{ host: SimHost; at: number[] }> {
  const host = logHost();
  const rig = await openRig(host);
  const log = await newLog(rig, 16);
  const at: number[] = [];
  for (let i = 0; i < 6; i++) {
    at.push(FIRST_PAGE * PAGE_BYTES + log.tailBytes);
    void log.append(Buffer.alloc(700, `record ${i} `));
    await log.sync();
  }
  if (closed) await log.close();
  await rig.device.close();
  return { host, at };
}

test('damage in acknowledged frames is refused, not cut off: a bit anywhere in any of them', async () => {
  for (const closed of [false, true]) {
    const { host, at } = await sixFrames(closed);
    for (const [frame, start] of at.entries()) {
      for (let offset = 0; offset < 1024; offset += 41) {
        const rotten = host.clone();
        rotten.disk(DISK).flipBit(start + offset, offset % 8);
        const opening = openRig(rotten).then((rig) => reopenLog(rig, 16));
        const name = `frame ${frame}, byte ${offset}, ${closed ? 'closed' : 'not closed'}`;
        if (frame < 5 || closed) {
          await assert.rejects(opening, { code: 'ERR_MPOOL_CORRUPT' }, name);
        } else {
          // Nobody can tell the very last frame of a log that was not closed from a torn one.
          assert.equal((await opening).records.length, 5, name);
        }
      }
    }
  }
});

test('a lost write in the middle is refused; a torn tail is silent, in whatever order it tore', async () => {
  for (let lost = 1; lost <= 5; lost++) {
    const host = logHost();
    const rig = await openRig(host);
    const log = await newLog(rig, 16);
    host.addFault({ op: 'write', nth: lost, effect: { kind: 'lost' } });
    for (let i = 0; i < 6; i++) {
      void log.append(Buffer.from(`record ${i}`));
      await log.sync();
    }
    await rig.device.close();
    await assert.rejects(
      openRig(host).then((next) => reopenLog(next, 16)),
      {
        code: 'ERR_MPOOL_CORRUPT',
      },
    );
  }
  for (let mask = 0; mask < 8; mask++) {
    const host = logHost();
    const rig = await openRig(host);
    const log = await newLog(rig, 16);
    void log.append(Buffer.from('durable'));
    await log.sync();
    for (const text of ['a', 'b', 'c']) {
      void log.append(Buffer.from(text));
      await log.settle();
    }
    const survivors = {
      name: `mask ${mask}`,
      survives: ({ index }: { index: number }) => ((mask >> index) & 1) === 1,
    };
    const { records } = await reopenLog(await openRig(host.crash({ survivors })), 16);
    const prefix = [0, 1, 0, 2, 0, 1, 0, 3][mask]!;
    assert.deepEqual(texts(records), ['durable', 'a', 'b', 'c'].slice(0, 1 + prefix));
  }
});

test('a log that was closed in good order says so, and is not closed twice', async () => {
  const { host } = await sixFrames(true);
  const rig = await openRig(host);
  const { log, records } = await reopenLog(rig, 16);
  assert.equal(records.length, 6);
  const before = host.operationCount;
  await log.close();
  assert.equal(host.operationCount, before, 'nothing is written');
});

test('what was written while a flush was under way is not called durable after it', async () => {
  const host = logHost();
  const rig = await openRig(host);
  const log = await newLog(rig, 600);
  host.addFault({ op: 'flush', effect: { kind: 'delay', delayMs: 100 } });
  void log.append(Buffer.alloc(300_000, 'before the flush'));
  const synced = log.sync();
  await log.settle();
  void log.append(Buffer.alloc(600_000, 'during the flush'));
  await log.settle();
  await synced;
  const last = FIRST_PAGE * PAGE_BYTES + log.tailBytes;
  void log.append(Buffer.from('after the flush'));
  await log.settle();
  const survivors = {
    name: 'what was written last',
    survives: ({ offsetBytes }: { offsetBytes: number }) => offsetBytes >= last,
  };
  const { records } = await reopenLog(await openRig(host.crash({ survivors })), 600);
  assert.deepEqual(
    records.map(({ length }) => length),
    [300_000],
    'the rest was never acknowledged: it is torn, not damaged',
  );
});

test('what a power cut took never follows from what is appended again, however far behind', async () => {
  const host = logHost();
  const rig = await openRig(host);
  const pageCount = 2500;
  const log = await newLog(rig, pageCount);
  // Each fills a frame, so that a replay writes the same frames.
  const record = (i: number): Buffer =>
    Buffer.alloc(
      FRAME_BYTES_MAX - FRAME_HEADER_BYTES - CHUNK_HEADER_BYTES,
      `the same each time ${i} `,
    );
  for (let i = 0; i < 30; i++) await log.append(record(i));
  await log.settle();
  // All that a reader looks at is lost, and what lies beyond survived.
  const lost = 12;
  const limit = FIRST_PAGE * PAGE_BYTES + PAGE_BYTES + lost * FRAME_BYTES_MAX;
  const survivors = {
    name: 'the far end',
    survives: ({ offsetBytes }: { offsetBytes: number }) => offsetBytes >= limit,
  };
  const next = host.crash({ survivors });
  const again = await openRig(next);
  const opened = await reopenLog(again, pageCount);
  assert.equal(opened.records.length, 0);
  for (let i = 0; i < lost; i++) await opened.log.append(record(i));
  await opened.log.sync();
  await again.device.close();
  const { records } = await reopenLog(await openRig(next), pageCount);
  assert.equal(records.length, lost, 'just what was appended');
});

test('a failed write or flush is for ever: nothing more is written, the first cause is kept', async () => {
  for (const op of ['write', 'flush'] as const) {
    const host = logHost();
    const rig = await openRig(host);
    const log = await newLog(rig, 64);
    let told = 0;
    log.onFailure = () => (told += 1);
    void log.append(Buffer.from('kept'));
    await log.sync();
    void log.append(Buffer.from('volatile'));
    await log.settle();
    host.addFault({ op, effect: { kind: 'error' } });
    void log.append(Buffer.from('more'));
    const first = await log.sync().catch((error: unknown) => error);
    assert.ok(isMpoolError(first, 'ERR_MPOOL_FAILED'));
    host.clearFaults();
    const before = host.operationCount;
    await assert.rejects(log.sync(), { code: 'ERR_MPOOL_FAILED' });
    assert.throws(() => log.append(Buffer.from('no')), { code: 'ERR_MPOOL_FAILED' });
    await assert.rejects(log.erase(0, host.prng), { code: 'ERR_MPOOL_FAILED' });
    await assert.rejects(log.close(), { code: 'ERR_MPOOL_FAILED' });
    assert.equal(host.operationCount, before, 'nothing is written after it');
    assert.equal(told, 1, 'the owner is told once');
    assert.equal((first.cause as Error).message, log.failure!.message);
    if (op === 'write') {
      await assert.rejects(
        readAll(log),
        { code: 'ERR_MPOOL_FAILED' },
        'its reader says that it ends early',
      );
    }
    assert.equal(host.liveBufferCount, 0);
    const { records } = await reopenLog(await openRig(host.crash()), 64);
    assert.deepEqual(texts(records), ['kept']);
  }
});

test('after a failure close() waits for the writes still under way', async () => {
  const host = logHost();
  const rig = await openRig(host);
  const log = await newLog(rig, 1000);
  const late = host.addFault({ op: 'write', nth: 2, times: 3, effect: { kind: 'hold' } });
  host.addFault({ op: 'write', effect: { kind: 'error' } });
  for (let i = 0; i < 8; i++) void log.append(Buffer.alloc(260_000, i));
  await log.sync().catch(() => {});
  await host.clock.advance(10);
  assert.ok(log.failure !== null && late.hits > 0, 'it failed, and others are under way');
  let closed = false;
  const closing = assert
    .rejects(log.close(), { code: 'ERR_MPOOL_FAILED' })
    .then(() => (closed = true));
  await host.clock.advance(10);
  assert.equal(closed, false);
  late.release();
  await closing;
  assert.equal(host.inFlightCount, 0);
  assert.equal(host.liveBufferCount, 0);
});

test('erase: one write, a higher generation, and BUSY for appends meanwhile', async () => {
  const host = logHost();
  const rig = await openRig(host);
  const log = await newLog(rig, 16);
  for (let i = 0; i < 5; i++) {
    void log.append(Buffer.from(`old ${i}`));
    await log.sync();
  }
  const before = host.operationCount;
  const erasing = log.erase(7, host.prng);
  assert.throws(() => log.append(Buffer.from('no')), { code: 'ERR_MPOOL_BUSY' });
  await erasing;
  assert.equal(host.operationCount, before + 1);
  assert.equal(log.generation, 7);
  assert.equal(log.recordCount, 0);
  void log.append(Buffer.from('new'));
  await log.sync();
  assert.deepEqual(await readAll(log), ['new']);
  const next = await openRig(host.crash({ survivors: noneSurvive }));
  const { records, log: opened } = await reopenLog(next, 16);
  assert.deepEqual(texts(records), ['new']);
  await opened.erase(0, next.host.prng);
  assert.equal(opened.generation, 8);
});

test('on a file zeros go ahead of small frames, and no frame is written beside them', async () => {
  for (let step = 0; step < 6; step++) {
    const host = logHost();
    const rig = await openRig(host, 'file');
    const log = await newLog(rig, 800);
    const wanted: string[] = [];
    const append = (record: Buffer): void => {
      wanted.push(record.toString());
      void log.append(record);
    };
    for (let round = 0; round < 4; round++) {
      append(Buffer.from(`small ${round}`));
      const synced = log.sync();
      // While its frame and the zeros behind it are on their way, frames fill up behind them.
      for (let tick = 0; tick < step; tick++) await Promise.resolve();
      append(Buffer.alloc(60_000 + 70_000 * step, `large ${round} `));
      if (step % 2 === 0) await log.settle();
      await synced;
    }
    await log.sync();
    const zeros = host.trace.events.some(({ op, lengthBytes }) => {
      return op === 'write' && lengthBytes > 512 && lengthBytes < 60_000;
    });
    assert.ok(zeros, 'zeros were written');
    const { records } = await reopenLog(await openRig(host.crash()), 800);
    assert.deepEqual(texts(records), wanted);
  }
});
