// Goal: what people type as sizes, modes, classes and accounts is read exactly or refused.
// Method: tables of text and value; sizes also there and back with random numbers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededPrng, below } from '../../src/base/prng.ts';
import { findAccountId, findAccountName } from '../../src/cli/accounts.ts';
import { formatPercent, formatSize, parseSize } from '../../src/cli/sizes.ts';
import {
  accountKind,
  classKind,
  deviceSizeKind,
  integerKind,
  logSizeKind,
  modeKind,
  offsetKind,
  uuidKind,
  zoneSizeKind,
} from '../../src/cli/values.ts';

test('sizes are read with suffixes of 1,024', () => {
  const table: [string, number | undefined][] = [
    ['0', 0],
    ['4096', 4096],
    ['4g', 4 * 1024 ** 3],
    ['4G', 4 * 1024 ** 3],
    ['4GiB', 4 * 1024 ** 3],
    ['4gb', 4 * 1024 ** 3],
    ['1.5m', 1.5 * 1024 ** 2],
    ['1p', 1024 ** 5],
    ['0x1000', 4096],
    ['0xb', 11],
    ['0x1e', 30],
    ['0x10k', undefined],
    ['', undefined],
    ['g', undefined],
    ['-1', undefined],
    ['1 g', undefined],
    ['1gg', undefined],
    ['1e3', undefined],
    ['.5g', undefined],
    ['9p', Number.NaN],
    ['99999999999999999999', Number.NaN],
  ];
  for (const [text, bytes] of table) assert.equal(parseSize(text), bytes, text);
  assert.equal(parseSize('32', 1024 ** 2), 32 * 1024 ** 2);
  assert.equal(parseSize('32k', 1024 ** 2), 32 * 1024);
});

test('sizes are shown with two decimals below ten and none above', () => {
  const table: [number, string][] = [
    [0, '0.00'],
    [5, '5.00'],
    [1023, '1023'],
    [1024, '1.00k'],
    [10 * 1024, '10k'],
    [9.996 * 1024, '10k'],
    [1024 ** 2 - 1, '1.00m'],
    [1.16 * 1024 ** 3, '1.16g'],
    [972 * 1024 ** 3, '972g'],
    [1024 ** 4, '1.00t'],
  ];
  for (const [bytes, text] of table) assert.equal(formatSize(bytes), text);
  assert.equal(formatPercent(1, 800), '0.13%');
  assert.equal(formatPercent(0, 0), '0.00%');
});

test('a size shown and read again is within half of its last digit', () => {
  const seed = Date.now() % 2 ** 32;
  console.log(`seed ${seed}`);
  const prng = new SeededPrng(seed);
  for (let i = 0; i < 2000; i++) {
    const bytes = below(prng, 2 ** 32) * 2 ** below(prng, 20);
    const again = parseSize(formatSize(bytes));
    assert.ok(again !== undefined && Math.abs(again - bytes) <= bytes * 0.051 + 1, String(bytes));
    assert.ok(formatSize(bytes).length <= 5, formatSize(bytes));
  }
});

test('each kind says whether a value is none of its kind or out of its range', () => {
  assert.equal(deviceSizeKind.read('0', 'size'), 'EINVAL');
  assert.equal(deviceSizeKind.read('9p', 'size'), 'ERANGE');
  assert.equal(deviceSizeKind.read('8p', 'size'), 'ERANGE');
  assert.equal(deviceSizeKind.read('1', 'size'), 'ERANGE');
  assert.equal(deviceSizeKind.read('1m', 'size'), 1024 ** 2);
  assert.match(deviceSizeKind.allowed!, /^1m to less than 8p: .*suffix k, m, g, t, p or e/);
  assert.equal(logSizeKind.read('1', 'size'), 1);
  assert.equal(logSizeKind.read('16t', 'size'), 2 ** 44);
  assert.equal(logSizeKind.read('17t', 'size'), 'ERANGE');
  assert.equal(offsetKind.read('0', 'off'), 0);
  assert.equal(zoneSizeKind.read('32', 'capsz'), 32 * 1024 ** 2);
  assert.equal(zoneSizeKind.read('8m', 'capsz'), 8 * 1024 ** 2);
  for (const wrong of ['0', '3', '128', '512k', '1.5', 'x', '9p']) {
    assert.throws(() => zoneSizeKind.read(wrong, 'capsz'), /capsz must be 1, 2, 4.*64 \(MiB\)$/);
  }
  assert.equal(modeKind.read('0660', 'mode'), 0o660);
  assert.equal(modeKind.read('0', 'mode'), 0);
  assert.equal(modeKind.read('999', 'mode'), 'EINVAL');
  assert.equal(modeKind.read('1777', 'mode'), 'ERANGE');
  assert.equal(integerKind(0, 32).read('0x20', 'ra'), 32);
  assert.equal(integerKind(0, 32).read('33', 'ra'), 'ERANGE');
  assert.equal(integerKind(0, 32).read('-1', 'ra'), 'EINVAL');
  assert.equal(classKind.read('stag', 'class'), 'staging');
  assert.equal(classKind.read('', 'class'), 'EINVAL');
  assert.equal(classKind.read('disk', 'class'), 'EINVAL');
  assert.equal(uuidKind.read('no', 'utype'), 'EINVAL');
  const uuid = '6E9C3C3E-7A0E-4D4B-9A3B-0D4D3C1F2A11';
  assert.equal(uuidKind.read(uuid, 'utype'), uuid.toLowerCase());
  assert.equal(accountKind('user').read('root', 'uid'), 0);
  assert.equal(accountKind('user').read('1000', 'uid'), 1000);
  assert.equal(accountKind('user').read('4294967295', 'uid'), 'ERANGE');
  assert.equal(accountKind('group').read('no such group', 'gid'), 'EINVAL');
});

test('accounts are found in text as in passwd(5)', () => {
  const text = 'root:x:0:0:root:/root:/bin/sh\nhse:x:990:985::/:/bin/false\n\nodd\nlast:x:7:7';
  assert.equal(findAccountId(text, 'hse'), 990);
  assert.equal(findAccountId(text, 'last'), 7);
  assert.equal(findAccountId(text, 'odd'), undefined);
  assert.equal(findAccountName(text, 990), 'hse');
  assert.equal(findAccountName(text, 0), 'root');
  assert.equal(findAccountName(text, 1), undefined);
});
