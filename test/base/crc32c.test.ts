// Goal: CRC32C as the world knows it, in whole, in parts and by pages.
// Method: published check values, a bit-by-bit twin, and the law crc(b, crc(a)) = crc(ab).
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c, crc32cPages, crc32cPlain } from '../../src/base/crc32c.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';

/** By the definition: one bit at a time. */
function slowly(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

test('published values', () => {
  // The check value of the catalogue of CRCs, and RFC 3720, B.4.
  assert.equal(crc32cPlain(Buffer.from('123456789'), 0), 0xe3069283);
  assert.equal(crc32cPlain(new Uint8Array(0), 0), 0);
  assert.equal(crc32cPlain(new Uint8Array(32), 0), 0x8a9136aa);
  assert.equal(crc32cPlain(new Uint8Array(32).fill(0xff), 0), 0x62a8ab43);
  assert.equal(
    crc32cPlain(
      Uint8Array.from({ length: 32 }, (_, i) => i),
      0,
    ),
    0x46dd794e,
  );
  assert.equal(
    crc32cPlain(
      Uint8Array.from({ length: 32 }, (_, i) => 31 - i),
      0,
    ),
    0x113fdb5c,
  );
});

test('any length, any alignment, in one piece or several', () => {
  const prng = new SeededPrng(6);
  const memory = Uint8Array.from({ length: 600 }, () => prng.u32());
  for (let i = 0; i < 500; i++) {
    const start = below(prng, 64);
    const bytes = memory.subarray(start, start + below(prng, 500));
    const whole = slowly(bytes);
    assert.equal(crc32cPlain(bytes, 0), whole);
    assert.equal(crc32c(bytes), whole);
    const cut = below(prng, bytes.length + 1);
    assert.equal(crc32cPlain(bytes.subarray(cut), crc32cPlain(bytes.subarray(0, cut), 0)), whole);
  }
});

test('one sum for each page', () => {
  const bytes = new Uint8Array(3 * 4096);
  bytes.fill(7, 4096, 8192);
  const sums = new Uint32Array(4).fill(99);
  crc32cPages(bytes, sums);
  const zero = slowly(new Uint8Array(4096));
  assert.deepEqual([...sums], [zero, slowly(new Uint8Array(4096).fill(7)), zero, 99]);
});
