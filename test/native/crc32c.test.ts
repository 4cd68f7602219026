// Goal: every crc32c engine computes the same. Method: random bytes, lengths, offsets and seeds.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32c, crc32cPages, crc32cPlain } from '../../src/base/crc32c.ts';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { binding } from '../../src/native/binding.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);

test('known answers of RFC 3720', () => {
  const answers: [Uint8Array, number][] = [
    [new Uint8Array(32), 0x8a9136aa],
    [new Uint8Array(32).fill(0xff), 0x62a8ab43],
    [Uint8Array.from({ length: 32 }, (_, i) => i), 0x46dd794e],
    [Buffer.from('123456789'), 0xe3069283],
  ];
  for (const [bytes, sum] of answers) {
    assert.equal(binding.crc32c(bytes, 0, 0), sum);
    assert.equal(binding.crc32c(bytes, 0, 1), sum);
    assert.equal(crc32cPlain(bytes, 0), sum);
    assert.equal(crc32c(bytes), sum);
  }
});

test('native, portable and plain agree', () => {
  console.log(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  const pool = Uint8Array.from({ length: 40_000 }, () => prng.u32());
  for (let i = 0; i < 3000; i++) {
    const start = below(prng, 9000);
    const bytes = pool.subarray(start, start + below(prng, i % 3 === 0 ? 100 : 30_000));
    const seed = prng.u32();
    const sum = crc32cPlain(bytes, seed);
    assert.equal(binding.crc32c(bytes, seed, 0), sum, `length ${bytes.length} at ${start}`);
    assert.equal(binding.crc32c(bytes, seed, 1), sum);
    assert.equal(crc32c(bytes, seed), sum);
    const cut = below(prng, bytes.length + 1);
    const joined = crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut), seed));
    assert.equal(joined, sum, 'crc(b, crc(a)) = crc(ab)');
  }
});

test('one checksum a page, the last page short or not', () => {
  const prng = new SeededPrng(SEED);
  for (const length of [0, 1, 4095, 4096, 4097, 10 * 4096, 10 * 4096 + 17]) {
    const bytes = Uint8Array.from({ length }, () => prng.u32());
    const sums = new Uint32Array(Math.ceil(length / 4096));
    crc32cPages(bytes, sums);
    const expected = Array.from(sums, (_, page) =>
      crc32cPlain(bytes.subarray(page * 4096, (page + 1) * 4096), 0),
    );
    assert.deepEqual([...sums], expected);
  }
  assert.throws(() => crc32cPages(new Uint8Array(8192), new Uint32Array(1)), RangeError);
});
