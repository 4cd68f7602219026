// Goal: small writes of a client resolve before they are done, and nothing is lost by it: what fails of them is told
//   by the next write and by commit(), only so much is on its way, and abort() waits for it.
// Method: a writer, and a handle, in front of a daemon that answers when the test says so, and as it says.
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'node:test';
import { isMpoolError, MpoolError } from '../../src/base/errors.ts';
import { BlockWriter } from '../../src/daemon/client/block-writer.ts';
import { ClientMblock } from '../../src/daemon/client/client-mblock.ts';
import type { MblockId } from '../../src/format/object-id.ts';

const PAGE = 4096;
const MIB = 2 ** 20;
const ID = 0x1201n as MblockId;
const LOST = new MpoolError('ERR_MPOOL_IO', 'the device');

interface Asked {
  operation: string;
  answer: (error?: Error) => void;
}

/** Of what a writer uses, no more. */
function daemon() {
  const asked: Asked[] = [];
  const lengths: number[] = [];
  const attachment = {
    channel: { open: true, flush: () => {} },
    leases: { isLive: () => true, table: { lengthBytes: () => lengths[0] } },
  };
  const requestOn = (_: unknown, operation: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const answer = (error?: Error): void => (error === undefined ? resolve({}) : reject(error));
      asked.push({ operation, answer });
    });
  const session = {
    aheadBytes: 0,
    attachment,
    held: new Set(),
    deleted: { has: () => false },
    assertWritable: () => {},
    during: (work: Promise<unknown>) => work,
    requestOn,
    commits: {
      add: (commit: { lengths: readonly number[] }) => {
        lengths.push(...commit.lengths);
        return requestOn(attachment, 'mblock.commit').then(() => [0]);
      },
    },
  };
  return {
    asked,
    session: session as never,
    attachment: attachment as never,
    ahead: () => session.aheadBytes,
    lengths,
  };
}

async function isDone(work: Promise<unknown>): Promise<boolean> {
  await turn();
  return Promise.race([work.then(() => true), turn(false)]);
}

test('a small write resolves on its way; its failure is that of the next write and of the commit', async () => {
  const { asked, session, attachment } = daemon();
  const writer = new BlockWriter(session, attachment, ID, MIB);
  await writer.write(Buffer.alloc(PAGE));
  await writer.write(Buffer.alloc(PAGE));
  assert.equal(writer.writtenBytes, 2 * PAGE);
  asked[0]!.answer();
  await turn();
  assert.equal(writer.writtenBytes, 2 * PAGE);
  asked[1]!.answer(LOST);
  await turn();
  assert.equal(writer.writtenBytes, PAGE);
  const isTold = (error: unknown): boolean =>
    isMpoolError(error, 'ERR_MPOOL_FAILED') && error.cause === LOST;
  assert.throws(() => writer.write(Buffer.alloc(PAGE)), isTold);
  assert.throws(() => writer.seal(), isTold);
  assert.equal(asked.length, 2);
});

test('only so much is on its way without anyone waiting', async () => {
  const { asked, session, attachment, ahead } = daemon();
  const writers = Array.from({ length: 80 }, () => new BlockWriter(session, attachment, ID, MIB));
  const first = writers[0]!;
  for (let i = 0; i < 16; i++) assert.ok(await isDone(first.write(Buffer.alloc(PAGE))));
  const waiting = first.write(Buffer.alloc(PAGE));
  assert.ok(!(await isDone(waiting)));
  assert.equal(first.writtenBytes, 16 * PAGE);
  asked[16]!.answer();
  await waiting;
  asked[0]!.answer();
  await turn();
  assert.ok(await isDone(first.write(Buffer.alloc(PAGE))));
  // All of a pool together.
  const pending = writers.slice(1).map(async (writer) => {
    for (let i = 0; i < 16; i++) await writer.write(Buffer.alloc(PAGE));
  });
  await turn();
  assert.ok(ahead() <= 4 * MIB && ahead() > 3 * MIB, `${ahead()} bytes`);
  while (!(await isDone(Promise.all(pending)))) for (const { answer } of asked) answer();
  for (const { answer } of asked) answer();
  await Promise.all(writers.map((writer) => writer.idle()));
  assert.equal(ahead(), 0);
});

function allocated(parts: ReturnType<typeof daemon>): ClientMblock {
  return ClientMblock.allocated(parts.session, parts.attachment, ID, {
    mediaClass: 'capacity',
    capacityBytes: MIB,
    allocatedBytes: MIB,
    optimalBytes: PAGE,
    writtenBytes: 0,
  });
}

test('a commit follows its writes at once, and says how much there must be', async () => {
  const parts = daemon();
  const { asked } = parts;
  const mblock = allocated(parts);
  await mblock.write(Buffer.alloc(PAGE));
  await mblock.write(Buffer.alloc(PAGE));
  const committing = mblock.commit();
  await turn();
  assert.deepEqual(
    asked.map(({ operation }) => operation),
    ['mblock.write', 'mblock.write', 'mblock.commit'],
  );
  assert.deepEqual(parts.lengths, [2 * PAGE]);
  for (const { answer } of asked) answer();
  await committing;
  assert.equal(mblock.writtenBytes, 2 * PAGE);
});

test('an abort waits for the writes on their way, however they end', async () => {
  const parts = daemon();
  const { asked } = parts;
  const mblock = allocated(parts);
  await mblock.write(Buffer.alloc(PAGE));
  const aborting = mblock.abort();
  await turn();
  assert.equal(asked.length, 1);
  asked[0]!.answer(LOST);
  await turn();
  assert.equal(asked[1]!.operation, 'mblock.abort');
  asked[1]!.answer();
  await aborting;
});
