// Goal: the salt of a log comes back from any of its frame headers. Method: headers of random fields.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import { saltOfFrame } from '../../src/format/frame-salt.ts';
import { encodeFrameHeader, frameSeed } from '../../src/format/log-frame.ts';

const SEED = 20_250_801;

test('the salt of a frame header, whatever else is in it', () => {
  const prng = new SeededPrng(SEED);
  for (let round = 0; round < 200; round++) {
    const identity = Uint8Array.from({ length: 24 }, () => prng.u32());
    const salt = prng.u32();
    const offsetBytes = 4096 + 512 * below(prng, 2 ** 30);
    const header = new Uint8Array(64);
    const fields = {
      generation: 1 + below(prng, 1000),
      sequence: 1 + prng.u32(),
      payloadBytes: below(prng, 1000),
      payloadCrc: prng.u32(),
      previousCrc: prng.u32(),
      flags: 0,
      durableBytes: 4096,
      recordsBefore: prng.u32(),
      witness: { generation: prng.u32(), endBytes: 512 * prng.u32() },
    };
    encodeFrameHeader(header, fields, frameSeed(identity, salt), offsetBytes);
    assert.equal(saltOfFrame(identity, header, offsetBytes), salt, `round ${round}, seed ${SEED}`);
  }
});
