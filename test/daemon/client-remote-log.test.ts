// Goal: what was appended and not synced is never lost in silence with the daemon: close() tells, and so does whatever
//   would be appended behind the gap. Method: a session made up here, whose daemon counts records and goes away.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Attachment } from '../../src/daemon/client/attachment.ts';
import { RemoteLog } from '../../src/daemon/client/remote-log.ts';
import type { Session } from '../../src/daemon/client/session.ts';

async function setup() {
  let recordCount = 0;
  let current: { channel: { open: boolean } } | null = { channel: { open: true } };
  const state = () => ({ generation: '0x1', capacityBytes: 2 ** 20, usedBytes: 512, recordCount });
  const session = {
    held: new Set(),
    get attachment() {
      return current;
    },
    attached: async () => (current ??= { channel: { open: true } }),
    during: <T>(work: Promise<T>) => work,
    requestOn: async (_: Attachment, operation: string, body: { lengths?: number[] }) => {
      if (operation === 'log.append') recordCount += body.lengths!.length;
      return { body: { ...state(), refused: [] } };
    },
  };
  let activations = 0;
  const log = await RemoteLog.open(session as unknown as Session, {
    name: 'mlog 0x1',
    open: async () => {
      const { generation } = state();
      const recovered = { activation: String((activations += 1)), generation, recordCount };
      return { log: 1, recovered, ...state() };
    },
    forget: () => {},
  });
  /** The daemon goes, and with it so many records. */
  const lose = (lostCount: number): void => {
    if (current !== null) current.channel.open = false;
    current = null;
    recordCount -= lostCount;
  };
  return { log, lose };
}

test('close() tells of records that were not synced when the connection ended', async () => {
  const { log, lose } = await setup();
  await log.append(Buffer.from('one'), true);
  await log.append(Buffer.from('two'), false);
  lose(0);
  await assert.rejects(log.release(), { code: 'ERR_MPOOL_CONNECTION_LOST' });
});

test('when all was synced the end of the connection takes nothing, and close() is quiet', async () => {
  for (const how of ['by the append', 'by sync()'] as const) {
    const { log, lose } = await setup();
    await log.append(Buffer.from('one'), how === 'by the append');
    if (how === 'by sync()') await log.sync();
    lose(0);
    await log.release();
  }
});

test('nothing is appended behind records that went with the daemon', async () => {
  const { log, lose } = await setup();
  await log.append(Buffer.from('one'), true);
  await log.append(Buffer.from('two'), false);
  lose(1);
  // Opened again for it, the log shows what is gone.
  await assert.rejects(log.ask('log.sync', {}), { code: 'ERR_MPOOL_FAILED' });
  assert.throws(() => log.append(Buffer.from('three'), false), { code: 'ERR_MPOOL_FAILED' });
  await assert.rejects(log.sync(), { code: 'ERR_MPOOL_FAILED' });
});
