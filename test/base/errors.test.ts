// Goal: an error says by code, errno and words what happened, whichever copy of the package made it.
// Method: the table against the system's own errnos and against docs/errors.md.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { assert as invariant, InvariantError } from '../../src/base/assert.ts';
import {
  errnoName,
  errorTable,
  invalidArgument,
  isMpoolError,
  MpoolError,
  type ErrorCode,
} from '../../src/base/errors.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');

test('the table is sorted, complete and made of errnos that exist', () => {
  const table = errorTable();
  const codes = table.map(([code]) => code);
  assert.deepEqual(codes, codes.toSorted());
  assert.equal(new Set(codes).size, codes.length);
  for (const [code, name, meaning] of table) {
    assert.match(code, /^ERR_MPOOL_[A-Z_]+$/);
    assert.ok(name in constants.errno, name);
    assert.ok(meaning.length > 3 && !meaning.endsWith('.'));
    const error = new MpoolError(code);
    assert.equal(error.message, meaning);
    assert.equal(error.errno, -constants.errno[name as keyof typeof constants.errno]);
    assert.equal(error.code, code);
    assert.ok(isMpoolError(error, code) && isMpoolError(error));
    assert.ok(!isMpoolError(error, codes[(codes.indexOf(code) + 1) % codes.length]));
  }
  const [first] = table;
  first![2] = 'changed';
  assert.notEqual(errorTable()[0]![2], 'changed', 'a copy');
});

test("details: words before the meaning, the cause, the call, the path, the kernel's errno", () => {
  const cause = new Error('below');
  const error = new MpoolError('ERR_MPOOL_IO', '/dev/x', {
    cause,
    syscall: 'write',
    path: '/dev/x',
    errno: -28,
  });
  assert.equal(error.message, '/dev/x: the device failed');
  assert.equal(error.cause, cause);
  assert.deepEqual(
    [error.syscall, error.path, error.errno, error.errnoName],
    ['write', '/dev/x', -28, 'ENOSPC'],
  );
  assert.equal(error.name, 'MpoolError');
  const plain = new MpoolError('ERR_MPOOL_BUSY');
  assert.ok(
    !('cause' in plain) && !('syscall' in plain && plain.syscall) && plain.errnoName === 'EBUSY',
  );
});

test('isMpoolError knows errors of another copy of the package, and nothing else', () => {
  const foreign = Object.assign(new Error('x'), {
    code: 'ERR_MPOOL_IO',
    [Symbol.for('mpool.error')]: true,
  });
  assert.ok(isMpoolError(foreign, 'ERR_MPOOL_IO'));
  for (const other of [
    null,
    undefined,
    5,
    'ERR_MPOOL_IO',
    {},
    new Error('x'),
    { code: 'ERR_MPOOL_IO' },
  ]) {
    assert.equal(isMpoolError(other), false);
  }
});

test('errno names, known and unknown, of either sign', () => {
  assert.equal(errnoName(-28), 'ENOSPC');
  assert.equal(errnoName(2), 'ENOENT');
  assert.equal(errnoName(-99_999), 'E99999');
});

test('a bad argument is a RangeError or a TypeError with a code', () => {
  for (const [kind, type] of [
    ['range', RangeError],
    ['type', TypeError],
  ] as const) {
    const error = invalidArgument('five', kind) as Error & { code: string; errno: number };
    assert.ok(error instanceof type && error.message === 'five');
    assert.deepEqual([error.code, error.errno], ['ERR_MPOOL_INVALID_ARG', -constants.errno.EINVAL]);
  }
  assert.ok(invalidArgument('x') instanceof RangeError);
});

test('a broken invariant is no operating error', () => {
  invariant(1, 'holds');
  assert.throws(
    () => invariant(0, 'does not'),
    (error) => error instanceof InvariantError && !isMpoolError(error),
  );
});

test('docs/errors.md is made of the table', () => {
  const path = join(ROOT, 'docs', 'errors.md');
  const script = join(ROOT, 'scripts', 'errors-doc.mjs');
  const module = join(import.meta.dirname, '..', '..', 'src', 'base', 'errors.js');
  const made = execFileSync(process.execPath, [script, '--print', module], { encoding: 'utf8' });
  assert.equal(readFileSync(path, 'utf8'), made, 'run: node scripts/errors-doc.mjs');
  for (const [code] of errorTable())
    assert.ok(made.includes(`\`${code satisfies ErrorCode}\``), code);
});
