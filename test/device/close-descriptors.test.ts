// Goal: a close that fails is told of as an error of ours, and keeps no other descriptor from being closed.
// Method: descriptors of a file, and between them one that nobody has. (A close that fails on a real file:
//   test/real/stack-faults.test.ts.)
import assert from 'node:assert/strict';
import { fstatSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { closeDescriptors } from '../../src/device/close-descriptors.ts';
import { refuses } from '../pool/pool-host.ts';

/** Above what the system gives to anybody. */
const NOBODYS = 2 ** 30;

test('all are closed, and the first failure is told', async () => {
  const [first, second] = [openSync('/dev/null', 'r'), openSync('/dev/null', 'r')];
  const close = (): Promise<void> => closeDescriptors([first, NOBODYS, undefined, second], 'a/b');
  await refuses(close, 'ERR_MPOOL_IO', /^a\/b: close: EBADF/);
  for (const fd of [first, second]) assert.throws(() => fstatSync(fd), { code: 'EBADF' });
  const third = openSync('/dev/null', 'r');
  await closeDescriptors([third, undefined], 'a/b');
  assert.throws(() => fstatSync(third), { code: 'EBADF' });
});
