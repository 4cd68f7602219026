// Goal: what JSON has not comes through it: ids, and errors as what they were when they went in.
// Method: there and back through JSON, compared field by field; hostile bodies give an error too.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorTable, invalidArgument, isMpoolError, MpoolError } from '../../src/base/errors.ts';
import {
  errorFromWire,
  errorToWire,
  idFromWire,
  idsFromWire,
  idsToWire,
  idToWire,
} from '../../src/daemon/wire-values.ts';

function through(error: unknown): Error {
  return errorFromWire(JSON.parse(JSON.stringify(errorToWire(error))) as Record<string, unknown>);
}

function factsOf(error: MpoolError): unknown[] {
  return [error.code, error.message, error.errno, error.syscall, error.path];
}

test('an MpoolError of every code is the same on the other side', () => {
  for (const [code] of errorTable()) {
    for (const detail of [undefined, 'pool p1: it is so']) {
      const details = { errno: -5, syscall: 'fsync', path: '/dev/x', cause: new TypeError('deep') };
      for (const error of [new MpoolError(code, detail), new MpoolError(code, detail, details)]) {
        const copy = through(error);
        assert.ok(isMpoolError(copy, code));
        assert.deepEqual(factsOf(copy), factsOf(error));
        assert.equal(copy.cause === undefined, error.cause === undefined);
      }
    }
  }
});

test('argument errors keep their class and code, causes their order', () => {
  const range = through(invalidArgument('17 is too large'));
  assert.ok(range instanceof RangeError);
  assert.deepEqual(
    [range.message, (range as NodeJS.ErrnoException).code, (range as NodeJS.ErrnoException).errno],
    ['17 is too large', 'ERR_MPOOL_INVALID_ARG', -22],
  );
  assert.ok(through(invalidArgument('no string', 'type')) instanceof TypeError);

  const root = new MpoolError('ERR_MPOOL_IO', '/dev/x', { errno: -5 });
  const failed = through(new MpoolError('ERR_MPOOL_FAILED', 'p1', { cause: root }));
  assert.ok(isMpoolError(failed.cause, 'ERR_MPOOL_IO'));
  assert.equal(failed.cause.message, root.message);

  class Odd extends Error {
    override readonly name = 'InvariantError';
  }
  const odd = through(new Odd('a bug'));
  assert.deepEqual(
    [odd.name, odd.message, odd instanceof MpoolError],
    ['InvariantError', 'a bug', false],
  );
  assert.equal(through('just text').message, 'just text');
});

test('what is no error, or of a later version, is an error nevertheless', () => {
  const later = errorFromWire({ name: 'MpoolError', code: 'ERR_MPOOL_LATER', message: 'new' });
  assert.ok(isMpoolError(later, 'ERR_MPOOL_PROTOCOL'));
  assert.match(later.message, /ERR_MPOOL_LATER: new/);
  const bodies: Record<string, unknown>[] = [
    {},
    { name: 5, code: [], message: null },
    { name: 'MpoolError', code: 'ERR_MPOOL_IO', errno: 'x', cause: 'y', syscall: {} },
    { name: 'constructor', code: '__proto__', message: 'z' },
  ];
  for (const body of bodies) assert.ok(errorFromWire(body) instanceof Error);
});

test('causes that go round, and endless texts, end', () => {
  const error: Error & { cause?: unknown } = new Error('x'.repeat(10_000_000));
  error.cause = error;
  assert.ok(JSON.stringify(errorToWire(error)).length < 50_000);
});

test('ids are 0x and hexadecimal digits, and nothing else is one', () => {
  for (const id of [0n, 0x1201n, 2n ** 63n, 2n ** 64n - 1n]) {
    assert.equal(idFromWire(idToWire(id), 'id'), id);
  }
  for (const wrong of [
    '',
    '0x',
    '1',
    '0X1',
    '0xg',
    '-0x1',
    '0x1 ',
    `0x${'1'.repeat(17)}`,
    7,
    null,
  ]) {
    assert.throws(() => idFromWire(wrong, 'id'), { code: 'ERR_MPOOL_PROTOCOL' });
  }
  const value = { id: 0x1201n, generation: undefined, name: 'x' } as {
    id: bigint;
    generation?: bigint | undefined;
    name: string;
  };
  const wire = idsToWire(value, 'id', 'generation');
  assert.deepEqual(wire, { id: '0x1201', generation: undefined, name: 'x' });
  assert.deepEqual(idsFromWire<typeof value>(wire, 'id', 'generation'), value);
  assert.throws(() => idsFromWire<typeof value>({ ...wire, id: '12' }, 'id'), /id is no id/);
});
