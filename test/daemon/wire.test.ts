// Goal: whatever bytes come, in whatever pieces, the decoder gives exactly the frames that are in them or
//   refuses with ERR_MPOOL_PROTOCOL, and holds no more than was received.
// Method: seeded streams of frames, damaged or not, cut at random places, against a decoder that is as simple
//   as it can be and sees all bytes at once.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, chance, SeededPrng } from '../../src/base/prng.ts';
import { FrameWriter } from '../../src/daemon/frame-writer.ts';
import {
  encodeFrame,
  FRAME_BYTES_MAX,
  FrameDecoder,
  HELLO_BYTES_MAX,
} from '../../src/daemon/wire.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);
const REFUSED = 'refused';

interface Seen {
  id: number;
  kind: number;
  body: string;
  payload: string;
}

/** docs/daemon.md, read naively. */
function referenceFrames(bytes: Buffer, lengthMax: number): (Seen | typeof REFUSED)[] {
  const frames: (Seen | typeof REFUSED)[] = [];
  for (let at = 0; at + 4 <= bytes.length;) {
    const length = bytes.readUInt32LE(at);
    if (length < 12 || length > lengthMax) return [...frames, REFUSED];
    if (at + 4 + length > bytes.length) return frames;
    const rest = bytes.subarray(at + 4, at + 4 + length);
    const jsonBytes = rest.readUInt32LE(8);
    if (rest.readUInt16LE(6) !== 0 || jsonBytes > length - 12) return [...frames, REFUSED];
    let body: unknown = {};
    try {
      const json = rest.subarray(12, 12 + jsonBytes);
      if (jsonBytes > 0) body = JSON.parse(new TextDecoder('utf8', FATAL).decode(json));
      assert.ok(typeof body === 'object' && body !== null && !Array.isArray(body));
    } catch {
      return [...frames, REFUSED];
    }
    frames.push({
      id: rest.readUInt32LE(0),
      kind: rest.readUInt16LE(4),
      body: JSON.stringify(body),
      payload: rest.subarray(12 + jsonBytes).toString('latin1'),
    });
    at += 4 + length;
  }
  return frames;
}

const FATAL = { fatal: true, ignoreBOM: true };

function decodeInPieces(
  bytes: Buffer,
  prng: SeededPrng,
  lengthMax: number,
): (Seen | typeof REFUSED)[] {
  const decoder = new FrameDecoder(lengthMax);
  const frames: (Seen | typeof REFUSED)[] = [];
  const least = bytes.length > 50_000 ? 1 : 0;
  const most = [1, 300, 5, 17, 70_000][least + below(prng, 5 - least)]!;
  const lazy = chance(prng, 0.3);
  const take = (limit: number): void => {
    for (let count = 0; count < limit; count++) {
      const frame = decoder.next();
      if (frame === undefined) return;
      const { id, kind, body, payload } = frame;
      const text = Buffer.from(payload).toString('latin1');
      frames.push({ id, kind, body: JSON.stringify(body), payload: text });
    }
  };
  try {
    for (let at = 0; at < bytes.length;) {
      const end = Math.min(bytes.length, at + 1 + below(prng, most));
      decoder.push(Buffer.from(bytes.subarray(at, end)));
      at = end;
      if (!lazy || chance(prng, 0.1)) take(lazy ? below(prng, 4) : Infinity);
    }
    take(Infinity);
  } catch (error) {
    assert.ok(isMpoolError(error, 'ERR_MPOOL_PROTOCOL'), String(error));
    frames.push(REFUSED);
  }
  return frames;
}

const BODIES = [
  {},
  { id: '0x1201' },
  { text: 'größer als 世界 \u{1f30d} \ufffd' },
  { nested: { list: [1, null, 'x', { deep: [[]] }] } },
  { ['__proto__']: { owned: true } },
];

const noisePrng = new SeededPrng(SEED);
const NOISE = Buffer.from(Uint8Array.from({ length: 400_000 }, () => noisePrng.u32()));

function noiseOf(bytes: number, prng: SeededPrng): Uint8Array {
  const start = below(prng, NOISE.length - bytes);
  return NOISE.subarray(start, start + bytes);
}

/** A stream as a FrameWriter sends it. */
function makeStream(prng: SeededPrng): Buffer {
  const sent: Uint8Array[] = [];
  const socket = {
    writableLength: 0,
    write: (piece: Uint8Array) => sent.push(Buffer.from(piece)),
    cork: () => {},
    uncork: () => {},
  };
  const writer = new FrameWriter(socket as never, () => {});
  for (let count = below(prng, 40); count > 0; count--) {
    // Some do not fit in the first memory of a frame in pieces.
    const most = chance(prng, 0.01) ? 200_000 : 60;
    const pieces = Array.from({ length: below(prng, 4) }, () => noiseOf(below(prng, most), prng));
    const payload = pieces.length === 1 ? pieces[0] : pieces;
    const body = BODIES[below(prng, BODIES.length)]!;
    writer.frame(prng.u32(), below(prng, 65536), body, payload);
  }
  writer.flush();
  return Buffer.concat(sent);
}

function damage(bytes: Buffer, prng: SeededPrng): Buffer {
  const copy = Buffer.from(bytes);
  switch (below(prng, 6)) {
    case 0:
      return copy.subarray(0, below(prng, copy.length + 1));
    case 1: {
      for (let i = 0; i <= below(prng, 8); i++) {
        if (copy.length > 0) copy[below(prng, copy.length)]! ^= 1 << below(prng, 8);
      }
      return copy;
    }
    case 2: {
      const at = below(prng, copy.length + 1);
      const noise = Buffer.from(Uint8Array.from({ length: below(prng, 50) }, () => prng.u32()));
      return Buffer.concat([copy.subarray(0, at), noise, copy.subarray(at)]);
    }
    case 3: {
      const at = below(prng, copy.length + 1);
      return Buffer.concat([copy.subarray(0, at), copy.subarray(at + below(prng, 40))]);
    }
    case 4: {
      if (copy.length >= 4) copy.writeUInt32LE(prng.u32(), below(prng, copy.length - 3));
      return copy;
    }
    default:
      return copy;
  }
}

test('damaged or whole, in pieces or at once: the same frames, and the same end', () => {
  console.log(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  let refused = 0;
  let whole = 0;
  for (let round = 0; round < 1000; round++) {
    const bytes = damage(makeStream(prng), prng);
    const lengthMax = chance(prng, 0.2) ? HELLO_BYTES_MAX : FRAME_BYTES_MAX;
    const expected = referenceFrames(bytes, lengthMax);
    const got = decodeInPieces(bytes, prng, lengthMax);
    assert.deepEqual(got, expected, `SEED=${SEED}, round ${round}`);
    refused += Number(expected.at(-1) === REFUSED);
    whole += expected.length;
  }
  assert.ok(refused > 100 && whole > 5000, `${refused} refused, ${whole} frames`);
});

test('noise is refused or waited for, never a crash', () => {
  const prng = new SeededPrng(SEED + 1);
  for (let round = 0; round < 3000; round++) {
    const bytes = Buffer.from(Uint8Array.from({ length: below(prng, 400) }, () => prng.u32()));
    // Lengths that pass, so that the rest is looked at too.
    if (chance(prng, 0.7) && bytes.length >= 4) bytes.writeUInt32LE(below(prng, 500));
    if (chance(prng, 0.7) && bytes.length >= 16) bytes.writeUInt16LE(0, 10);
    if (chance(prng, 0.7) && bytes.length >= 16) bytes.writeUInt32LE(below(prng, 80), 12);
    const expected = referenceFrames(bytes, FRAME_BYTES_MAX);
    assert.deepEqual(decodeInPieces(bytes, prng, FRAME_BYTES_MAX), expected);
  }
});

test('every kind of malformed frame says what is wrong with it', () => {
  const header = (length: number, zero: number, json: number): Buffer => {
    const bytes = Buffer.alloc(16);
    bytes.writeUInt32LE(length, 0);
    bytes.writeUInt32LE(7, 4);
    bytes.writeUInt16LE(zero, 10);
    bytes.writeUInt32LE(json, 12);
    return bytes;
  };
  const withJson = (json: string | Buffer): Buffer => {
    const text = Buffer.from(json as string);
    return Buffer.concat([header(12 + text.length, 0, text.length), text]);
  };
  const cases: [Buffer, RegExp][] = [
    [header(11, 0, 0), /a frame of 11 bytes/],
    [header(0xffffffff, 0, 0), /a frame of 4294967295 bytes/],
    [header(FRAME_BYTES_MAX + 1, 0, 0), /a frame of 1114113 bytes/],
    [header(12, 1, 0), /bytes 10 and 11 are not zero/],
    [header(12, 0, 1), /the JSON is longer than its frame/],
    [header(12, 0, 0xffffffff), /the JSON is longer than its frame/],
    [withJson('{"a":'), /the JSON cannot be read/],
    [withJson('[1]'), /the JSON is not an object/],
    [withJson('null'), /the JSON is not an object/],
    [withJson('"x"'), /the JSON is not an object/],
    [withJson(Buffer.from([0x7b, 0x22, 0xc3, 0x22, 0x3a, 0x31, 0x7d])), /the JSON is not UTF-8/],
  ];
  for (const [bytes, message] of cases) {
    const decoder = new FrameDecoder();
    decoder.push(bytes);
    assert.throws(() => decoder.next(), { code: 'ERR_MPOOL_PROTOCOL', message });
  }
});

test('a length alone buys no memory', () => {
  const before = process.memoryUsage().arrayBuffers;
  const decoders = Array.from({ length: 500 }, () => {
    const decoder = new FrameDecoder();
    const bytes = Buffer.alloc(1000);
    bytes.writeUInt32LE(FRAME_BYTES_MAX);
    decoder.push(bytes);
    assert.equal(decoder.next(), undefined);
    return decoder;
  });
  const grownBytes = process.memoryUsage().arrayBuffers - before;
  const each = grownBytes / decoders.length;
  assert.ok(each <= 2 ** 16 + 2000, `${Math.round(each)} bytes each, for 1,000 received`);
});

test('a frame of the largest size passes, one byte more is refused before anything is sent', () => {
  const sent: Uint8Array[] = [];
  const socket = { writableLength: 0, write: (piece: Uint8Array) => sent.push(piece) };
  const corked = { ...socket, cork: () => {}, uncork: () => {} };
  const writer = new FrameWriter(corked as never, () => {});
  const room = FRAME_BYTES_MAX - 12;
  assert.throws(() => writer.frame(1, 2, {}, new Uint8Array(room + 1)), RangeError);
  assert.throws(() => writer.frame(1, 2, { text: 'ß'.repeat(room / 2) }), RangeError);
  assert.throws(() => encodeFrame(1, 2, { text: 'x'.repeat(room) }), RangeError);
  assert.equal(writer.backlogBytes, 0);
  writer.frame(1, 2, {}, [new Uint8Array(room - 5), Uint8Array.of(1, 2, 3, 4, 5)]);
  writer.flush();
  const decoder = new FrameDecoder();
  for (const piece of sent) decoder.push(Buffer.from(piece));
  const frame = decoder.next()!;
  assert.equal(frame.payload.length, room);
  assert.deepEqual([...frame.payload.subarray(-5)], [1, 2, 3, 4, 5]);
});
