// Goal: a commit under which the connection ends is one of which nobody knows how it ended, and one that was refused
//   changed nothing. Method: a handle above a session and a connection made up here, whose commit fails in either way.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import { makeObjectId } from '../../src/format/object-id.ts';
import type { Attachment } from '../../src/daemon/client/attachment.ts';
import { ClientMblock } from '../../src/daemon/client/client-mblock.ts';
import type { Session } from '../../src/daemon/client/session.ts';

function setup() {
  const held = new Set<unknown>();
  const session = { held, aheadBytes: 0, assertWritable: () => {}, requestOn: async () => ({}) };
  const attachment = { channel: { open: true } };
  const mblock = ClientMblock.allocated(
    session as unknown as Session,
    attachment as unknown as Attachment,
    makeObjectId(7, 1, 1),
    {
      mediaClass: 'capacity',
      capacityBytes: 2 ** 20,
      allocatedBytes: 2 ** 20,
      optimalBytes: 4096,
      writtenBytes: 0,
    },
  );
  return { mblock, held };
}

test('after the end of the connection nobody knows: it is neither open nor committed', async () => {
  const { mblock, held } = setup();
  await mblock.write(new Uint8Array(4096));
  void mblock.beginCommit();
  mblock.takeBackCommit(new MpoolError('ERR_MPOOL_CONNECTION_LOST', 'the daemon'));
  assert.deepEqual([mblock.unsettled, mblock.committed, held.has(mblock)], [true, false, false]);
  await assert.rejects(mblock.write(new Uint8Array(4096)), { code: 'ERR_MPOOL_CONNECTION_LOST' });
});

test('after a refusal it is as before the commit', async () => {
  const { mblock, held } = setup();
  await mblock.write(new Uint8Array(4096));
  void mblock.beginCommit();
  await assert.rejects(mblock.write(new Uint8Array(4096)), { code: 'ERR_MPOOL_COMMITTED' });
  mblock.takeBackCommit(new MpoolError('ERR_MPOOL_NO_SPACE', 'the metadata'));
  assert.deepEqual([mblock.unsettled, mblock.committed, held.has(mblock)], [false, false, true]);
  await mblock.write(new Uint8Array(4096));
  assert.equal(mblock.writtenBytes, 8192);
});
