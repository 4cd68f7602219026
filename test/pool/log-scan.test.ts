// Goal: a scan gives exactly the records before the end, finds the end, and tells a torn tail that
// was never acknowledged from damage to what was.
// Method: logs made frame by frame by test/pool/log-image.ts, damaged one place at a time and at
// random.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, chance, SeededPrng } from '../../src/base/prng.ts';
import { ChunkKind, NO_WITNESS } from '../../src/format/log-frame.ts';
import { FrameCursor } from '../../src/pool/frame-cursor.ts';
import { readLogHeader, scanLog, type LogEnd, type ScanOptions } from '../../src/pool/log-scan.ts';
import { chunk, LogImage } from './log-image.ts';

const SEED = 20_250_102;

interface Scanned {
  end: LogEnd;
  records: string[];
}

async function scan(image: LogImage, options: ScanOptions = {}): Promise<Scanned> {
  const { host, place } = await image.place();
  const read = await readLogHeader(place);
  assert.ok(read.ok);
  const records: string[] = [];
  const end = await scanLog(
    place,
    read.header,
    (bytes, start, stop, view) => {
      assert.ok(view.byteOffset === bytes.byteOffset && view.buffer === bytes.buffer);
      records.push(Buffer.from(bytes.subarray(start, stop)).toString('latin1'));
    },
    options,
  );
  const unvisited = await scanLog(place, read.header, undefined, options);
  assert.deepEqual(unvisited, end, 'a scan without a visitor ends the same');
  assert.equal(end.recordCount, records.length);
  await place.device.close();
  assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
  return { end, records };
}

function text(value: string): Uint8Array {
  return Buffer.from(value, 'latin1');
}

function randomRecord(prng: SeededPrng, lengthBytes: number): Uint8Array {
  return Uint8Array.from({ length: lengthBytes }, () => prng.u32());
}

/** Three frames, each durable before the next was made; the last is not known to be. */
function threeFrames(pageCount = 16): LogImage {
  const image = new LogImage({ pageCount, seed: SEED });
  for (const name of ['a', 'b', 'c']) {
    image.flushed();
    image.records(text(`${name}1`), text(`${name}2`));
  }
  return image;
}

test('an empty log ends where it begins', async () => {
  const { end, records } = await scan(new LogImage({ pageCount: 2, seed: SEED }));
  assert.deepEqual(records, []);
  assert.equal(end.verdict, 'clean');
  assert.deepEqual(
    [end.endBytes, end.lastSequence, end.lastCrc, end.sequenceSeenMax],
    [4096, 0, 0, 0],
  );
});

test('records of any size come back in order, for both sector sizes', async () => {
  for (const sectorBytes of [512, 4096] as const) {
    const image = new LogImage({ pageCount: 2048, sectorBytes, seed: SEED });
    const prng = new SeededPrng(SEED + sectorBytes);
    const wanted: string[] = [];
    const put = (record: Uint8Array): string => Buffer.from(record).toString('latin1');
    while (image.offsetBytes < 6 * 2 ** 20) {
      if (chance(prng, 0.2)) {
        const record = randomRecord(prng, 1 + below(prng, 700_000));
        image.pieces(record);
        wanted.push(put(record));
      } else {
        const records = Array.from({ length: 1 + below(prng, 20) }, () =>
          randomRecord(prng, below(prng, 12_000)),
        );
        image.records(...records);
        wanted.push(...records.map(put));
      }
      if (chance(prng, 0.3)) image.flushed();
    }
    image.flushed();
    image.records(text('end'));
    wanted.push('end');
    const { end, records } = await scan(image);
    assert.equal(records.length, wanted.length);
    assert.ok(
      records.every((record, i) => record === wanted[i]),
      `seed ${SEED}`,
    );
    assert.equal(end.verdict, 'clean');
    assert.equal(end.endBytes, image.offsetBytes);
    assert.equal(end.frameCount, image.frames.length);
    assert.deepEqual([end.lastSequence, end.lastCrc], [image.sequence, image.previousCrc]);
    assert.equal(end.durableBytes, image.durableBytes);
  }
});

test('a log may be full to its last sector', async () => {
  const image = new LogImage({ pageCount: 3, seed: SEED });
  image.records(new Uint8Array(4096 - 64 - 4));
  image.flushed();
  image.records(new Uint8Array(4096 - 64 - 4));
  const { end } = await scan(image);
  assert.deepEqual([end.endBytes, end.recordCount, end.verdict], [3 * 4096, 2, 'clean']);
});

test('a frame that was not acknowledged may be torn anywhere: it does not exist', async () => {
  for (const at of [0, 4, 8, 30, 63, 64, 200, 511]) {
    const image = threeFrames();
    const last = image.frames[2]!;
    image.bytes[last + at]! ^= 0x10;
    const { end, records } = await scan(image);
    assert.deepEqual(records, ['a1', 'a2', 'b1', 'b2'], `byte ${at}`);
    assert.equal(end.endBytes, last);
    assert.notEqual(end.verdict, 'damaged');
    const headerIsWhole = at >= 64;
    assert.equal(end.verdict, headerIsWhole ? 'torn' : 'clean');
    assert.equal(end.sequenceSeenMax, headerIsWhole ? 3 : 2);
  }
});

test('damage to a frame that a later one knew durable is damage', async () => {
  for (const index of [0, 1]) {
    for (const at of [0, 5, 20, 64, 300]) {
      const image = threeFrames();
      const start = image.frames[index]!;
      image.bytes[start + at]! ^= 0x01;
      const { end, records } = await scan(image);
      assert.equal(end.verdict, 'damaged', `frame ${index} byte ${at}`);
      assert.equal(end.damagedAtBytes, start);
      assert.equal(records.length, index * 2);
      assert.match(end.detail!, /durable/);
    }
  }
});

test('damage to frames that the header knew durable is damage', async () => {
  const image = threeFrames();
  image.header.committedBytes = image.offsetBytes;
  image.bytes.fill(0, image.frames[2]);
  const { end } = await scan(image);
  assert.deepEqual([end.verdict, end.damagedAtBytes], ['damaged', image.frames[2]]);
});

test('a frame whose payload is gone still tells what was durable before it', async () => {
  const image = threeFrames();
  image.bytes[image.frames[1]!] = 0;
  image.bytes[image.frames[2]! + 64]! ^= 1;
  const { end } = await scan(image);
  assert.deepEqual([end.verdict, end.damagedAtBytes], ['damaged', image.frames[1]]);
});

test('evidence is looked for 2 MiB far, across buffers, and not beyond the extent', async () => {
  for (const [gapBytes, verdict] of [
    [2 ** 20, 'damaged'],
    [2 * 2 ** 20 - 512, 'damaged'],
    [2 * 2 ** 20, 'clean'],
  ] as const) {
    const image = new LogImage({ pageCount: 1024, seed: SEED });
    image.records(text('first'));
    const end = image.offsetBytes;
    image.offsetBytes = end + gapBytes;
    image.flushed();
    image.records(text('later'));
    const scanned = await scan(image);
    assert.equal(scanned.end.verdict, verdict, `gap of ${gapBytes}`);
    assert.equal(scanned.end.endBytes, end);
  }
});

test('frames of an older generation, another salt or another log are nothing', async () => {
  const old = new LogImage({ pageCount: 16, generation: 2, salt: 9, seed: SEED });
  for (let i = 0; i < 9; i++) {
    old.flushed();
    old.records(text(`old ${i}`));
  }
  const image = new LogImage({ pageCount: 16, generation: 3, salt: 10, seed: SEED });
  image.bytes.set(old.bytes);
  image.records(text('new'));
  const { end, records } = await scan(image);
  assert.deepEqual(records, ['new']);
  assert.deepEqual([end.verdict, end.sequenceSeenMax], ['clean', 1]);
});

test('a frame that does not follow from the last one is no next frame', async () => {
  for (const changes of [{ previousCrc: 5 }, { sequence: 1 }, { sequence: 0x100 }]) {
    const image = threeFrames();
    image.frame(chunk(ChunkKind.whole, text('x')), changes);
    const { records } = await scan(image);
    assert.equal(records.length, 'sequence' in changes && changes.sequence === 0x100 ? 7 : 6);
  }
});

test('appending goes on after a torn tail, and the leftovers never come back', async () => {
  const image = threeFrames();
  const torn = image.frames[2]!;
  image.bytes[torn + 64]! ^= 1;
  const { end } = await scan(image);
  // A second frame of the torn tail stays whole on media, behind the place of the next frame.
  image.records(text('left over'));
  image.offsetBytes = end.endBytes;
  image.sequence = end.sequenceSeenMax + 1;
  image.previousCrc = end.lastCrc;
  image.recordCount = end.recordCount;
  image.durableBytes = end.endBytes;
  image.records(text('d'));
  const again = await scan(image);
  assert.deepEqual(again.records, ['a1', 'a2', 'b1', 'b2', 'd']);
  assert.equal(again.end.verdict, 'clean', 'what is older than the last frame is nothing');
});

test('pieces whose last never came are no record', async () => {
  const image = new LogImage({ pageCount: 16, seed: SEED });
  image.frame(chunk(ChunkKind.first, text('lost 1')));
  image.frame(chunk(ChunkKind.middle, text('lost 2')));
  image.records(text('whole'));
  image.frame(chunk(ChunkKind.first, text('lost 3')));
  image.pieces(text('in three pieces'), 5);
  image.frame(chunk(ChunkKind.first, text('lost 4')));
  const { end, records } = await scan(image);
  assert.deepEqual(records, ['whole', 'in three pieces']);
  assert.equal(end.verdict, 'clean');
});

test('markers and the closing flag are reported', async () => {
  const image = new LogImage({ pageCount: 16, seed: SEED });
  image.records(text('a'));
  image.frame(chunk(ChunkKind.compactionStart, text('')));
  assert.equal((await scan(image)).end.compacting, true);
  image.frame(chunk(ChunkKind.compactionEnd, text('')));
  image.flushed();
  image.frame(text(''), { flags: 1 });
  const { end } = await scan(image);
  assert.deepEqual([end.compactionStarts, end.compactionEnds, end.compacting], [1, 1, false]);
  assert.equal(end.closed, true);
  image.records(text('b'));
  assert.equal((await scan(image)).end.closed, false);
});

test('a whole frame with a payload that is no row of chunks is damage', async () => {
  const payloads: [string, Uint8Array][] = [
    ['a chunk past the end', Uint8Array.of(200, 0, 0, 0, 1)],
    ['no room for a chunk header', Uint8Array.of(1, 0, 0, 0, 7, 1, 2)],
    ['kind 6', chunk(6, text('x'))],
    ['kind 7, endless', Uint8Array.of(255, 255, 255, 255)],
    ['a marker with a length', chunk(ChunkKind.compactionEnd, text('x'))],
    ['a middle without a first', chunk(ChunkKind.middle, text('x'))],
    ['a last without a first', chunk(ChunkKind.last, text('x'))],
  ];
  for (const [name, payload] of payloads) {
    const image = threeFrames();
    const at = image.frame(payload);
    image.records(text('after'));
    const { end } = await scan(image);
    assert.deepEqual([end.verdict, end.damagedAtBytes], ['damaged', at], name);
    assert.equal(end.endBytes, at);
  }
  const image = threeFrames();
  const at = image.frames[2]!;
  const frame = image.bytes.subarray(at, at + 512);
  frame[511] = 1;
  const witness = NO_WITNESS;
  const fields = { generation: 3, sequence: 3, payloadBytes: 12, payloadCrc: 0, flags: 0, witness };
  const previousCrc = Buffer.from(image.bytes).readUInt32LE(image.frames[1]! + 4);
  image.seal(frame, at, { ...fields, previousCrc, durableBytes: at, recordsBefore: 4 });
  const { end } = await scan(image);
  assert.deepEqual([end.verdict, end.damagedAtBytes], ['damaged', at], 'padding');
});

test('a record longer than the reader is ready for is damage, whole or in pieces', async () => {
  for (const inPieces of [true, false]) {
    const image = threeFrames(64);
    if (inPieces) image.pieces(new Uint8Array(5000), 1000);
    else image.records(new Uint8Array(5000));
    assert.equal((await scan(image)).end.verdict, 'clean');
    assert.equal((await scan(image, { recordBytesMax: 4999 })).end.verdict, 'damaged');
  }
});

test('a read error is an error, wherever it is, and never the end of the log', async () => {
  const image = new LogImage({ pageCount: 1024, seed: SEED });
  for (let i = 0; i < 10; i++) image.records(new Uint8Array(200_000));
  for (const offsetBytes of [0, 4096, 300_000, 1_500_000, 3_000_000]) {
    const { host, place, header } = await image.place();
    host.disk('/dev/sim').failSectors(64 * 4096 + offsetBytes, 512);
    if (offsetBytes === 0) await assert.rejects(readLogHeader(place), { code: 'ERR_MPOOL_IO' });
    else await assert.rejects(scanLog(place, header), { code: 'ERR_MPOOL_IO' });
    await place.device.close();
    assert.equal(host.liveBufferCount, 0);
  }
  const { host, place, header } = await image.place();
  host.disk('/dev/sim').failSectors(64 * 4096 + image.offsetBytes + 3 * 2 ** 20, 4096);
  assert.equal((await scanLog(place, header)).verdict, 'clean', 'beyond the window');
});

test('a cursor goes on from any boundary and stops at a given end', async () => {
  const image = new LogImage({ pageCount: 1024, seed: SEED });
  for (let i = 0; i < 40; i++) image.records(new Uint8Array(90_000).fill(i));
  const { place, header } = await image.place();
  const first = new FrameCursor(place, header);
  for (let i = 0; i < 25; i++) await first.next();
  const { position } = first;
  await first.close();
  assert.equal(position.offsetBytes, image.frames[25]);
  const second = new FrameCursor(place, header, { from: position, endBytes: image.frames[38]! });
  for (let i = 25; i < 38; i++) {
    const frame = await second.next();
    assert.ok(frame !== undefined);
    assert.equal(frame.offsetBytes, image.frames[i]);
    assert.equal(frame.bytes[frame.payloadStart + 4], i);
    assert.equal(frame.payloadEnd - frame.payloadStart, 90_004);
  }
  assert.equal(await second.next(), undefined);
  assert.equal(await second.next(), undefined);
  assert.equal(second.stop, 'end');
  await second.close();
});

test('a scan can be aborted, and a visitor’s error comes through', async () => {
  const { host, place, header } = await threeFrames().place();
  const options = { signal: AbortSignal.abort() };
  await assert.rejects(scanLog(place, header, undefined, options), { code: 'ERR_MPOOL_ABORTED' });
  const thrown = new Error('mine');
  const visit = () => {
    throw thrown;
  };
  await assert.rejects(scanLog(place, header, visit), (error) => error === thrown);
  await place.device.close();
  assert.equal(host.liveBufferCount, 0);
});

/**
 * A writer's history: frames in groups, each group flushed and acknowledged before frames are made
 * that say so; then a crash with up to four frames after the last acknowledged one, each whole,
 * torn or lost.
 */
function crashedLog(prng: SeededPrng): { image: LogImage; acknowledgedFrames: number } {
  const image = new LogImage({ pageCount: 1024, seed: SEED });
  const frame = (): void => {
    const lengthBytes = chance(prng, 0.3) ? below(prng, 250_000) : below(prng, 3000);
    image.records(randomRecord(prng, Math.min(lengthBytes, 5000)), new Uint8Array(lengthBytes));
  };
  const groups = below(prng, 6);
  for (let group = 0; group < groups; group++) {
    for (let i = 1 + below(prng, 3); i > 0; i--) frame();
    image.flushed();
  }
  const acknowledgedFrames = image.frames.length;
  for (let i = below(prng, 5); i > 0; i--) {
    const start = image.offsetBytes;
    frame();
    const sectors = (image.offsetBytes - start) / 512;
    const fate = below(prng, 3);
    for (let sector = 0; sector < sectors; sector++) {
      const lost = fate === 0 || (fate === 1 && chance(prng, 0.5));
      if (lost) image.bytes.fill(0, start + sector * 512, start + (sector + 1) * 512);
    }
  }
  return { image, acknowledgedFrames };
}

test('after any crash all that was acknowledged is there, as a prefix', async () => {
  for (let run = 0; run < 80; run++) {
    const prng = new SeededPrng(SEED + run);
    const { image, acknowledgedFrames } = crashedLog(prng);
    const { end } = await scan(image);
    const where = `seed ${SEED + run}`;
    assert.notEqual(end.verdict, 'damaged', where);
    assert.ok(end.frameCount >= acknowledgedFrames, where);
    assert.equal(end.recordCount, end.frameCount * 2, where);
    const next = image.frames[end.frameCount] ?? image.offsetBytes;
    assert.equal(end.endBytes, next, where);
  }
});

test('one wrong bit in acknowledged frames is damage, once a later frame is whole', async () => {
  let found = 0;
  for (let run = 0; run < 60; run++) {
    const prng = new SeededPrng(SEED + 1000 + run);
    const { image, acknowledgedFrames } = crashedLog(prng);
    if (acknowledgedFrames === 0) continue;
    image.flushed();
    image.offsetBytes = image.frames[acknowledgedFrames] ?? image.offsetBytes;
    image.durableBytes = image.offsetBytes;
    image.sequence += 10;
    image.frame(text(''), { flags: 1 });
    const from = image.frames[0]!;
    const at = from + below(prng, image.durableBytes - from);
    const hit = image.frames.findLastIndex((start) => start <= at && start < image.durableBytes);
    const within = image.durableBytes - image.frames[hit]! < 2 * 2 ** 20;
    image.bytes[at]! ^= 1 << below(prng, 8);
    const { end } = await scan(image);
    if (!within) continue;
    found += 1;
    assert.equal(end.verdict, 'damaged', `seed ${SEED + 1000 + run}`);
    assert.equal(end.damagedAtBytes, image.frames[hit]);
  }
  assert.ok(found > 20, `${found} runs`);
});

test('random bytes after the header never throw and hold no records', async () => {
  for (let run = 0; run < 20; run++) {
    const image = new LogImage({ pageCount: 16, seed: SEED });
    const prng = new SeededPrng(SEED + run);
    for (let i = 4096; i < image.bytes.length; i++) image.bytes[i] = prng.u32();
    const magic = Uint8Array.of(0x6d, 0x70, 0x4c, 0x46);
    for (let i = 4096; i < image.bytes.length; i += 512) image.bytes.set(magic, i);
    const { end } = await scan(image);
    assert.equal(end.recordCount, 0);
  }
});
