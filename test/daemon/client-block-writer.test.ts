// Goal: a write that resolved before it was answered cannot fail in silence: the next write and the commit say so, and
//   nothing more is sent. Method: the writer of one mblock above a session made up here, whose answers the test gives.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import type { Attachment } from '../../src/daemon/client/attachment.ts';
import { BlockWriter } from '../../src/daemon/client/block-writer.ts';
import type { Session } from '../../src/daemon/client/session.ts';

const PAGE = 4096;

function setup() {
  const answers: ((error?: Error) => void)[] = [];
  const session = {
    aheadBytes: 0,
    requestOn: () =>
      new Promise<void>((resolve, reject) => {
        answers.push((error) => (error === undefined ? resolve() : reject(error)));
      }),
  };
  const writer = new BlockWriter(
    session as unknown as Session,
    {} as unknown as Attachment,
    0x1101n,
    100 * PAGE,
  );
  return { answers, session, writer };
}

test('small writes resolve on their way, and count when nothing else is known of them', async () => {
  const { answers, session, writer } = setup();
  await writer.write(Buffer.alloc(PAGE));
  await writer.write(Buffer.alloc(PAGE));
  assert.deepEqual([answers.length, writer.writtenBytes], [2, 2 * PAGE]);
  for (const answer of answers) answer();
  await writer.idle();
  assert.deepEqual([writer.writtenBytes, session.aheadBytes], [2 * PAGE, 0]);
  assert.equal(writer.seal(), null);
});

test('one of them that fails is the failure of the next write and of the commit', async () => {
  const { answers, session, writer } = setup();
  for (let i = 0; i < 3; i++) await writer.write(Buffer.alloc(PAGE));
  answers[0]!();
  answers[1]!(new MpoolError('ERR_MPOOL_IO', 'the device'));
  answers[2]!();
  await writer.idle();
  assert.equal(writer.writtenBytes, PAGE, 'what lies before it is written');
  assert.throws(() => writer.write(Buffer.alloc(PAGE)), { code: 'ERR_MPOOL_FAILED' });
  assert.throws(() => writer.seal(), { code: 'ERR_MPOOL_FAILED' });
  assert.equal(answers.length, 3, 'nothing more is sent');
  assert.equal(session.aheadBytes, 0);
});
