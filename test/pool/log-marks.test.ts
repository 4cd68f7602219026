// Goal: what is said of a log's end never passes what a flush acknowledged, and is kept as long as the log is there.
// Method: flushes of a simulated disk are held while a log goes on; marks are read back after compactions, closing,
//   deletion and reopening.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { generationsAhead, laterWitness, NO_WITNESS } from '../../src/format/log-frame.ts';
import { lossAgainst } from '../../src/pool/log-evidence.ts';
import { halvesOfId, type MlogId } from '../../src/format/object-id.ts';
import { allSurvive, type VolatileOperation } from '../../src/testing/index.ts';
import { DISK, logHost, newLog, openRig, reboot, reopenLog } from '../crash/log-rig.ts';
import { PoolModel } from '../crash/model.ts';
import { CAPACITY, Rig } from '../crash/rig.ts';
import { newPool } from '../crash/sweep.ts';
import { closeClean } from '../crash/verify.ts';

test('a mark is at the end of what the flush covered, not of what was sealed meanwhile', async () => {
  const host = logHost({ seed: 1, sectorBytes: 512 });
  const log = await newLog(await openRig(host), 300);
  assert.equal(log.mark.durableBytes, PAGE_BYTES);
  assert.deepEqual([log.mark.sequence, log.mark.crc], [0, 0]);
  const flush = host.addFault({ op: 'flush', disk: DISK, effect: { kind: 'hold' } });
  // More than a frame: not all of it goes with one durable write.
  await log.append(new Uint8Array(300_000));
  const synced = log.sync();
  await log.settle();
  const covered = log.tailBytes;
  await host.clock.advance(1000);
  assert.equal(flush.hits, 1);
  await log.append(new Uint8Array(300_000));
  await log.settle();
  assert.equal(log.mark.durableBytes, PAGE_BYTES, 'nothing is acknowledged yet');
  flush.release();
  await synced;
  assert.equal(log.mark.durableBytes, covered);
  assert.ok(covered < log.tailBytes && log.mark.sequence > 0 && log.mark.crc !== 0);
  await log.sync();
  assert.equal(log.mark.durableBytes, log.tailBytes);
  await log.erase(0, host.prng);
  assert.deepEqual([log.mark.generation, log.mark.durableBytes, log.mark.sequence], [2, 4096, 0]);
  await log.close();
});

test('after opening, a closing frame is not spoken of before a frame follows it', async () => {
  const host = logHost({ seed: 2, sectorBytes: 512 });
  const rig = await openRig(host);
  const log = await newLog(rig, 30);
  await log.append(new Uint8Array(10));
  await log.sync();
  const before = log.mark;
  await log.close();
  assert.equal(log.mark.durableBytes, before.durableBytes + 512, 'the flush of close() is one');
  const again = await reopenLog(await reboot(rig), 30);
  assert.deepEqual(again.log.mark, before);
  await again.log.append(new Uint8Array(10));
  await again.log.sync();
  assert.equal(again.log.mark.durableBytes, before.durableBytes + 1024);
  await again.log.close();
});

test('marks go along with commits, outlive compactions and closing, and go with their logs', async () => {
  const { host, model } = await newPool({ devices: 'both' }, 512);
  let rig = await Rig.open(host, model);
  const ids = [await rig.newMlog(), await rig.newMlog(), await rig.newMlog()];
  for (const id of ids) await rig.append(id, 'a record', true);
  const marks = (): (number | undefined)[] =>
    ids.map((id) => rig.store.catalog.marks!.of(halvesOfId(id))?.durableBytes);
  assert.deepEqual(marks(), [undefined, undefined, undefined], 'nothing is written for them');
  const frames = rig.store.catalog.log.frameCount;
  await rig.mblocks([100]);
  assert.equal(rig.store.catalog.log.frameCount, frames + 1, 'they go along');
  rig.store.catalog.marks!.settle();
  const first = marks();
  assert.ok(first.every((bytes) => bytes! > PAGE_BYTES));
  await rig.append(ids[1]!, 'another', true);
  await rig.store.catalog.log.compact();
  const image = host.clone().crash({ survivors: allSurvive });
  await closeClean(rig);
  rig = await Rig.open(image, new PoolModel());
  const [a, b, c] = marks();
  assert.deepEqual([a, c], [first[0], first[2]], 'after a compaction');
  assert.ok(b! > first[1]!, 'of a log that had moved since, the newest');
  await closeClean(rig);

  rig = await Rig.open(host, model);
  const closed = marks();
  assert.ok(
    closed.every((bytes, i) => bytes! > first[i]!),
    'with the closing frames',
  );
  await rig.deleteMlog(ids[0]!);
  assert.deepEqual(marks(), [undefined, closed[1], closed[2]]);
  await closeClean(rig);
  rig = await Rig.open(host, model);
  assert.deepEqual(marks(), [undefined, closed[1], closed[2]]);
  await closeClean(rig);
});

test('nothing is said of a compaction of MDC 1 before it is decided', async () => {
  const { host, model } = await newPool({}, 512);
  const rig = await Rig.open(host, model);
  const id = await rig.newMlog();
  await rig.append(id, 'a record', true);
  const { pair } = rig.store.catalog.log;
  const target = pair.places.find((place) => place !== pair.active.place)!;
  const range = { offsetBytes: target.extent.pageAddress * PAGE_BYTES, lengthBytes: 512 };
  const fault = host.addFault({ op: 'write', disk: CAPACITY, range, effect: { kind: 'hold' } });
  const compacting = rig.store.catalog.log.compact().catch(() => {});
  for (let i = 0; i < 1000 && fault.hits === 0; i++) await host.clock.advance(1);
  assert.equal(fault.hits, 1, 'the deciding write is under way');
  await rig.append(id, 'beside it', true);
  const survivors = {
    name: 'what is done',
    survives: ({ inFlight }: VolatileOperation) => !inFlight,
  };
  const again = await Rig.open(host.crash({ survivors }), new PoolModel());
  assert.equal(again.store.catalog.log.pair.active.generation, 1, 'it never came to be');
  const log = await again.pool.mlogs.open(id as MlogId);
  assert.equal(log.recordCount, 2);
  await log.close();
  assert.deepEqual(again.store.health.problems, []);
  await closeClean(again);
  fault.release();
  await compacting;
  await rig.closeAfterCut();
});

test('generations are compared in 32 bits, around their end too', () => {
  assert.equal(generationsAhead(5, 3), 2);
  assert.equal(generationsAhead(0, 2 ** 32 - 1), 1);
  assert.equal(generationsAhead(2 ** 32 + 7, 7), 0);
  assert.equal(generationsAhead(3, 2 ** 32 + 5), -2);
  const older = { generation: 2 ** 32 - 1, endBytes: 9216 };
  const newer = { generation: 0, endBytes: 4096 };
  assert.equal(laterWitness(older, newer), newer);
  assert.equal(laterWitness(newer, older), newer);
  assert.equal(laterWitness(NO_WITNESS, older), older);
  assert.equal(laterWitness(older, NO_WITNESS), older);
  const found = { generation: 2 ** 40 + 1, endBytes: 8192 };
  assert.equal(lossAgainst(found, { generation: 1, endBytes: 8192 }), undefined);
  assert.equal(lossAgainst(found, { generation: 0, endBytes: 1 << 20 }), undefined);
  const short = lossAgainst(found, { generation: 1, endBytes: 8704 });
  assert.deepEqual([short?.fromBytes, short?.toBytes], [8192, 8704]);
  assert.equal(lossAgainst(found, { generation: 4, endBytes: 4608 })?.generation, 2 ** 40 + 4);
});
