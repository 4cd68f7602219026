// Goal: which log of a pair counts is decided by one write, and an old one never stands in for a newer.
// Method: pairs on a simulated disk; damaged headers, failed and late writes, appends at the wrong moment.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../src/base/units.ts';
import type { LogPair } from '../../src/pool/log-pair.ts';
import { allSurvive, sweepCrashes } from '../../src/testing/index.ts';
import {
  DISK,
  FIRST_PAGE,
  logHost,
  newPair,
  openRig,
  reopenPair,
  type LogRig,
} from '../crash/log-rig.ts';
import { tallySweep } from '../tally.ts';

const PAGES = 8;
const HEADER_A = FIRST_PAGE * PAGE_BYTES;
const HEADER_B = (FIRST_PAGE + PAGES) * PAGE_BYTES;

async function append(pair: LogPair, text: string): Promise<void> {
  void pair.active.append(Buffer.from(text));
  await pair.active.sync();
}

async function compact(pair: LogPair, texts: string[]): Promise<void> {
  const target = pair.begin();
  for (const text of texts) void target.append(Buffer.from(text));
  await pair.commit(target);
}

async function compacted(): Promise<LogRig> {
  const rig = await openRig(logHost());
  const pair = await newPair(rig, PAGES);
  await append(pair, 'old');
  await compact(pair, ['new 0', 'new 1']);
  await append(pair, 'newer');
  await rig.device.close();
  return rig;
}

test('a compaction replaces the content; the other log is the next target', async () => {
  const { host } = await compacted();
  const rig = await openRig(host);
  const { pair, texts } = await reopenPair(rig, PAGES);
  assert.deepEqual(texts, ['new 0', 'new 1', 'newer']);
  assert.equal(pair.active.generation, 2);
  await compact(pair, []);
  await append(pair, 'third');
  await rig.device.close();
  const again = await reopenPair(await openRig(host), PAGES, true);
  assert.deepEqual(again.texts, ['third']);
  assert.equal(again.pair.active.generation, 3);
});

test('a damaged current header is corruption: the superseded log does not stand in', async () => {
  const { host } = await compacted();
  for (const readOnly of [false, true]) {
    for (let offset = 0; offset < 512; offset += 13) {
      const rotten = host.clone();
      rotten.disk(DISK).flipBit(HEADER_B + offset);
      const before = rotten.operationCount;
      const opening = openRig(rotten).then((rig) => reopenPair(rig, PAGES, readOnly));
      await assert.rejects(opening, { code: 'ERR_MPOOL_CORRUPT' });
      assert.equal(rotten.operationCount, before, 'nothing is written');
    }
  }
  const other = host.clone();
  other.disk(DISK).flipBit(HEADER_A + 9);
  const { texts } = await reopenPair(await openRig(other), PAGES);
  assert.deepEqual(texts, ['new 0', 'new 1', 'newer'], 'the superseded header does not matter');
});

test('damage to what was compacted is damage, before anything was appended to it', async () => {
  const rig = await openRig(logHost());
  const pair = await newPair(rig, PAGES);
  await compact(pair, ['new 0', 'new 1']);
  await rig.device.close();
  for (let offset = 0; offset < 512; offset += 13) {
    const rotten = rig.host.clone();
    rotten.disk(DISK).flipBit(HEADER_B + PAGE_BYTES + offset, offset % 8);
    const opening = openRig(rotten).then((next) => reopenPair(next, PAGES));
    await assert.rejects(opening, { code: 'ERR_MPOOL_CORRUPT' }, `byte ${offset}`);
  }
});

test('frames whose flush failed are written once more before others are built upon them', async () => {
  const rig = await openRig(logHost());
  const pair = await newPair(rig, PAGES);
  void pair.active.append(Buffer.from('in a cache'));
  await pair.active.settle();
  rig.host.addFault({ op: 'flush', effect: { kind: 'error' } });
  await assert.rejects(pair.active.sync(), { code: 'ERR_MPOOL_FAILED' });
  await rig.device.close();
  const again = await openRig(rig.host);
  const { pair: found, texts } = await reopenPair(again, PAGES);
  assert.deepEqual(texts, ['in a cache'], 'the cache still has it');
  await append(found, 'built upon it');
  const after = await reopenPair(await openRig(rig.host.crash()), PAGES);
  assert.deepEqual(after.texts, ['in a cache', 'built upon it']);
});

test('crashes at every operation of a compaction: old or new, then superseded before any append', async () => {
  const result = await sweepCrashes<{ acknowledged: string[] }>({
    seed: 5,
    async prepare() {
      const rig = await openRig(logHost());
      await append(await newPair(rig, PAGES), 'old');
      await rig.device.close();
      return rig.host;
    },
    context: () => ({ acknowledged: ['old'] }),
    async scenario(host, context) {
      const rig = await openRig(host);
      const { pair } = await reopenPair(rig, PAGES);
      await compact(pair, ['new']);
      context.acknowledged = ['new'];
      await append(pair, 'appended');
      context.acknowledged = ['new', 'appended'];
      await rig.device.close();
    },
    async verify(image, { acknowledged }) {
      const possible = [['old'], ['new'], ['new', 'appended']].slice(
        acknowledged[0] === 'old' ? 0 : 1,
      );
      const readOnly = await openRig(image);
      const seen = (await reopenPair(readOnly, PAGES, true)).texts;
      await readOnly.device.close();
      assert.ok(
        possible.some((each) => each.join() === seen.join()),
        `found ${seen.join()}`,
      );
      const rig = await openRig(image);
      const { pair, texts } = await reopenPair(rig, PAGES);
      assert.deepEqual(texts, seen);
      await append(pair, 'after');
      await rig.device.close();
      // What was appended after recovery survives the loss of either header, or its loss is known.
      for (const header of [HEADER_A, HEADER_B]) {
        const rotten = image.clone();
        rotten.disk(DISK).poke(header, { fill: 0, lengthBytes: 512 });
        const next = await openRig(rotten);
        const found = await reopenPair(next, PAGES, true).then(
          (opened) => opened.texts,
          (error: { code: string }) => error.code,
        );
        if (found !== 'ERR_MPOOL_CORRUPT') assert.deepEqual(found, [...seen, 'after']);
      }
    },
  });
  tallySweep(result);
  assert.ok(result.images > 8);
});

test('appends to the target wait out its commit: BUSY, and the header never says too much', async () => {
  const rig = await openRig(logHost());
  const pair = await newPair(rig, 1000);
  const target = pair.begin();
  for (let i = 0; i < 6; i++) void target.append(Buffer.alloc(260_000, i));
  const committing = pair.commit(target);
  await rig.host.clock.advance(0.4);
  assert.throws(() => target.append(Buffer.from('late')), { code: 'ERR_MPOOL_BUSY' });
  await committing;
  await append(pair, 'after');
  const { texts } = await reopenPair(await openRig(rig.host.crash()), 1000);
  assert.equal(texts.length, 7);
});

test('a deciding write that fails: both logs take nothing more, and the owner is told', async () => {
  for (const nth of [2, 3]) {
    const rig = await openRig(logHost());
    const pair = await newPair(rig, PAGES);
    await append(pair, 'old');
    let told = 0;
    pair.onFailure = () => (told += 1);
    const old = pair.active;
    const target = pair.begin();
    void target.append(Buffer.from('new'));
    rig.host.addFault({
      op: 'write',
      durability: 'durable',
      nth,
      effect: { kind: 'error', lands: 'all' },
    });
    await assert.rejects(pair.commit(target), { code: 'ERR_MPOOL_FAILED' });
    for (const log of [old, target]) {
      assert.throws(() => log.append(Buffer.from('x')), { code: 'ERR_MPOOL_FAILED' });
    }
    assert.throws(() => pair.begin(), { code: 'ERR_MPOOL_FAILED' });
    assert.equal(told, 1);
    const image = rig.host.crash({ survivors: allSurvive });
    const { texts } = await reopenPair(await openRig(image), PAGES);
    assert.deepEqual(texts, ['new'], 'media decided');
  }
});

test('a dropped target leaves everything as it was', async () => {
  const rig = await openRig(logHost());
  const pair = await newPair(rig, PAGES);
  await append(pair, 'old');
  const target = pair.begin();
  void target.append(Buffer.from('never'));
  await target.sync();
  await target.drop();
  assert.throws(() => target.append(Buffer.from('x')), { code: 'ERR_MPOOL_FAILED' });
  await append(pair, 'more');
  await compact(pair, ['new']);
  assert.equal(rig.host.liveBufferCount, 0);
  const { texts } = await reopenPair(await openRig(rig.host.crash()), PAGES);
  assert.deepEqual(texts, ['new']);
});

test('a compaction that was given up never adds to the next one, which begins the same', async () => {
  const rig = await openRig(logHost());
  const pair = await newPair(rig, PAGES);
  const givenUp = pair.begin();
  for (const text of ['same', 'given up']) {
    void givenUp.append(Buffer.from(text));
    await givenUp.sync();
  }
  await givenUp.drop();
  await compact(pair, ['same']);
  assert.equal(givenUp.generation, pair.active.generation, 'the generation is the same');
  const { texts } = await reopenPair(await openRig(rig.host.crash()), PAGES);
  assert.deepEqual(texts, ['same']);
});
