// Goal: a scrub of an active pool is of who asked for it: nobody else can follow or end it, it ends with him and with
//   the pool, and wrong requests are refused. Method: bare requests to a daemon on a real file.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { join } from 'node:path';
import { refuses } from '../pool/pool-host.ts';
import { POOL, startRig } from './server-rig.ts';

test('it ends with whoever asked for it, and with the pool; a ticket is of use to nobody else', async (t) => {
  const rig = await startRig(t);
  const first = await rig.control();
  const second = await rig.control();
  const asked = { target: POOL, bytesPerSecond: 1 };
  const { ticket } = await first.ask('scrub', asked);
  await refuses(() => second.ask('scrub', asked), 'ERR_MPOOL_BUSY');
  await refuses(() => second.ask('scrub.wait', { ticket, stop: true }), 'ERR_MPOOL_NOT_FOUND');
  const { report } = await first.ask('scrub.wait', { ticket });
  assert.equal(report, undefined, 'it goes on');
  await first.close();
  let again: { ticket: number } | undefined;
  while (again === undefined) {
    // The first one's end is still to be noticed.
    again = await second.ask('scrub', asked).catch((error: { code: string }) => {
      assert.equal(error.code, 'ERR_MPOOL_BUSY');
      return undefined;
    });
  }
  await second.ask('deactivate', { target: POOL });
  const last = await second.ask('scrub.wait', { ticket: again.ticket });
  assert.equal(last.report?.complete, false);
  await refuses(() => second.ask('scrub.wait', { ticket: again.ticket }), 'ERR_MPOOL_NOT_FOUND');
  assert.ok(rig.events.some((event) => event.includes('a pool was scrubbed')));
  for (const body of [
    { ...asked, bytesPerSecond: 0 },
    { ...asked, from: 'x'.repeat(5000) },
  ]) {
    await second.ask('activate', { target: join(rig.folder, 'files/p1') });
    await refuses(() => second.ask('scrub', body), 'ERR_MPOOL_INVALID_ARG');
  }
});
