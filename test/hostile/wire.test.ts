// Goal: whatever a peer of the daemon sends, it is taken for what it says, or refused by a typed error, in bounded time
//   and memory: hellos, ids and errors as they stand in JSON, and frames of which parts were changed.
// Method: sound messages with values changed, moved and nested at random, and frames with bytes changed, cut and joined;
//   fed to the decoders in pieces of any size. What requests may hold is in test/daemon/server-requests.test.ts.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { below, chance, type Prng, SeededPrng } from '../../src/base/prng.ts';
import { readHello } from '../../src/daemon/hello.ts';
import { numberOfOperation } from '../../src/daemon/operations.ts';
import { PROTOCOL_VERSION } from '../../src/daemon/protocol.ts';
import { encodeFrame, FrameDecoder, HELLO_BYTES_MAX } from '../../src/daemon/wire.ts';
import { errorFromWire, errorToWire, idFromWire, idToWire } from '../../src/daemon/wire-values.ts';
import { seeds, withSeed } from './long.ts';

type Body = Record<string, unknown>;

const HELLO = { protocol: PROTOCOL_VERSION, client: 'test', pid: 1, access: 'write' };

function anyValue(prng: Prng, depth = 0): unknown {
  const word = (): string => String.fromCodePoint(...codesOf(prng));
  const values: (() => unknown)[] = [
    () => null,
    () => chance(prng, 0.5),
    () => [0, -0, -1, 1.5, 1e300, 2 ** 53, 2 ** 31, PROTOCOL_VERSION][below(prng, 8)],
    word,
    () => word().repeat(below(prng, 500)),
    () => ['read', 'write', '0x1201', '0x', `0x${'f'.repeat(17)}`, '__proto__'][below(prng, 6)],
    () => Array.from({ length: below(prng, 4) }, () => deeper()),
    () =>
      Object.fromEntries([[word(), deeper()], ...(chance(prng, 0.3) ? [['cause', deeper()]] : [])]),
  ];
  const deeper = (): unknown => (depth > 6 ? 1 : anyValue(prng, depth + 1));
  return values[below(prng, values.length)]!();
}

function codesOf(prng: Prng): number[] {
  return Array.from({ length: below(prng, 6) }, () =>
    below(prng, chance(prng, 0.7) ? 128 : 0x2fff),
  );
}

/** Some fields are other ones, or gone. */
function changed(body: Body, prng: Prng): Body {
  const copy: Body = { ...body };
  for (let n = below(prng, 3); n > 0; n--) {
    const names = [
      ...Object.keys(copy),
      'exclusive',
      'descriptorsFor',
      'cause',
      'code',
      '__proto__',
    ];
    const name = names[below(prng, names.length)]!;
    if (chance(prng, 0.2)) delete copy[name];
    else
      Object.defineProperty(copy, name, {
        value: anyValue(prng),
        enumerable: true,
        configurable: true,
      });
  }
  return JSON.parse(JSON.stringify(copy)) as Body;
}

function assertProtocolError(error: unknown): void {
  if (!isMpoolError(error, 'ERR_MPOOL_PROTOCOL')) throw error;
}

test('a hello is one, or a protocol error', async (t) => {
  let [taken, refused] = [0, 0];
  for (const seed of seeds(20)) {
    await withSeed(seed, () => {
      const prng = new SeededPrng(seed);
      for (let i = 0; i < 100; i++) {
        const body = changed(HELLO, prng);
        const kind = chance(prng, 0.9) ? numberOfOperation('hello') : below(prng, 70);
        const payload = chance(prng, 0.9) ? new Uint8Array() : new Uint8Array(1);
        try {
          const hello = readHello({ id: below(prng, 9), kind, body, payload, lengthBytes: 99 });
          assert.equal(hello.protocol, PROTOCOL_VERSION);
          assert.ok(hello.client.length < 256 && Number.isSafeInteger(hello.pid));
          assert.ok([undefined, 'read', 'write'].includes(hello.access));
          assert.equal(typeof (hello.exclusive ?? false), 'boolean');
          assert.equal(typeof (hello.descriptorsFor ?? ''), 'string');
          taken += 1;
        } catch (error) {
          assertProtocolError(error);
          refused += 1;
        }
      }
    });
  }
  t.diagnostic(`${taken} taken, ${refused} refused`);
  assert.ok(taken > 100 && refused > 100);
});

test('ids are those 64 bits that were written, or a protocol error', async () => {
  for (const seed of seeds(20)) {
    await withSeed(seed, () => {
      const prng = new SeededPrng(seed);
      for (let i = 0; i < 100; i++) {
        const id = (BigInt(prng.u32()) << BigInt(below(prng, 33))) | BigInt(prng.u32());
        assert.equal(idFromWire(idToWire(id), 'id'), id);
        try {
          const found = idFromWire(anyValue(prng), 'id');
          assert.ok(found >= 0n && found < 2n ** 64n);
        } catch (error) {
          assertProtocolError(error);
        }
      }
    });
  }
});

test('any error comes out as an error, of bounded size, and changes nothing else', async () => {
  const sound = errorToWire(new TypeError('x', { cause: new RangeError('y') })) as unknown as Body;
  for (const seed of seeds(20)) {
    await withSeed(seed, () => {
      const prng = new SeededPrng(seed);
      for (let i = 0; i < 100; i++) {
        const error = errorFromWire(changed(sound, prng));
        assert.ok(error instanceof Error);
        let depth = 0;
        for (let at: unknown = error; at instanceof Error; at = at.cause) depth += 1;
        assert.ok(depth <= 6, 'causes end');
        // It can be told on.
        assert.ok(JSON.stringify(errorToWire(error)).length < 2 ** 17);
      }
      assert.equal(({} as Body)['code'], undefined, 'no prototype was touched');
    });
  }
});

test('frames with changed bytes: whole ones, a wait, or a protocol error that holds', async (t) => {
  let [whole, refused, waiting] = [0, 0, 0];
  for (const seed of seeds(40)) {
    await withSeed(seed, () => {
      const prng = new SeededPrng(seed);
      const frames = Array.from({ length: 1 + below(prng, 5) }, (_, i) =>
        encodeFrame(i + 1, below(prng, 80), changed(HELLO, prng)),
      );
      const bytes = Buffer.concat(frames);
      for (let n = below(prng, 4); n > 0; n--)
        bytes[below(prng, bytes.length)]! ^= 1 << below(prng, 8);
      const decoder = new FrameDecoder(HELLO_BYTES_MAX);
      let left = bytes.subarray(0, chance(prng, 0.8) ? bytes.length : below(prng, bytes.length));
      let takenBytes = 0;
      try {
        while (left.length > 0) {
          const piece = left.subarray(0, 1 + below(prng, chance(prng, 0.5) ? 8 : 600));
          left = left.subarray(piece.length);
          decoder.push(Buffer.from(piece));
          for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
            takenBytes += frame.lengthBytes;
            whole += 1;
          }
        }
        assert.ok(takenBytes <= bytes.length, 'no more comes out than went in');
        waiting += 1;
      } catch (error) {
        assertProtocolError(error);
        refused += 1;
      }
    });
  }
  t.diagnostic(`${whole} frames, ${refused} refused, ${waiting} to the end`);
  assert.ok(whole > 20 && refused > 2 && waiting > 2);
});
