// Goal: an id keeps its three parts through halves, bigint and text.
// Method: one vector and round trips over the whole range.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  halvesOfId,
  idFromHalves,
  isMblockId,
  isMlogId,
  makeObjectId,
  parseObjectId,
  printIdHalves,
  printObjectId,
  slotOfId,
  slotOfLow,
  typeOfId,
  typeOfLow,
  uniquifierOfHalves,
  uniquifierOfId,
} from '../../src/format/object-id.ts';

test('an id is uniquifier, type and slot', () => {
  assert.equal(makeObjectId(0xabcde12345, 1, 7), 0xabcde12345107n);
  assert.equal(makeObjectId(2 ** 52 - 1, 2, 255), 0xfffffffffffff2ffn);
});

test('all parts survive halves, bigint and text', () => {
  const uniquifiers = fc.integer({ min: 1, max: 2 ** 52 - 1 });
  const types = fc.constantFrom(1 as const, 2 as const);
  fc.assert(
    fc.property(uniquifiers, types, fc.integer({ min: 1, max: 255 }), (uniquifier, type, slot) => {
      const id = makeObjectId(uniquifier, type, slot);
      const { low, high } = halvesOfId(id);
      assert.equal(idFromHalves(low, high), id);
      assert.deepEqual([uniquifierOfId(id), typeOfId(id), slotOfId(id)], [uniquifier, type, slot]);
      const parts = [uniquifierOfHalves(low, high), typeOfLow(low), slotOfLow(low)];
      assert.deepEqual(parts, [uniquifier, type, slot]);
      assert.equal(parseObjectId(printObjectId(id)), id);
      assert.equal(printIdHalves(low, high), printObjectId(id));
      assert.deepEqual([isMblockId(id), isMlogId(id)], [type === 1, type === 2]);
    }),
  );
});

test('what is no id of a user is refused', () => {
  const texts = [
    '',
    '0x',
    '1107',
    '0x1',
    '0x1300',
    '0x107',
    '0x200',
    '0x1100',
    '0x1ffffffffffffffff',
  ];
  for (const text of texts) assert.equal(parseObjectId(text), undefined, text);
  for (const value of [-1n, 1n << 64n, 0x1107, '0x1107', undefined]) {
    assert.equal(isMblockId(value), false);
  }
  assert.equal(isMlogId(0x1200n), false, 'the log of an MDC');
});
