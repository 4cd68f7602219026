// Goal: an active pool is verified while clients use it: what is wrong is told with object and place, one pass at a
//   time, which ends when whoever asked for it says so, goes, or the pool does; where it ended, another goes on.
// Method: a daemon on a real file, in which a byte is changed behind its back.
import assert from 'node:assert/strict';
import { open } from 'node:fs/promises';
import { test } from 'node:test';
import { join } from 'node:path';
import { committed } from '../contract/contract.ts';
import { pattern, refuses } from '../pool/pool-host.ts';
import { clientRig, MIB, POOL } from './client-rig.ts';
import { startRig } from './server-rig.ts';

const PAGE = 4096;

test('damage is found in a pool that is in use, and nothing else', async (t) => {
  const rig = await clientRig(t);
  const { daemon } = rig;
  const pool = await daemon.open(POOL);
  const log = await pool.mlogs.alloc({ capacityBytes: MIB });
  await log.commit();
  const opened = await pool.mlogs.open(log.id);
  await opened.append('one', { sync: true });
  const whole = await committed(pool, pattern(40 * PAGE));
  const clean = await daemon.scrub(POOL, { bytesPerSecond: Infinity });
  assert.ok(clean.clean && clean.complete, JSON.stringify(clean.findings));
  assert.ok(clean.counts.pages >= 40 && clean.counts.frames >= 1);

  const marked = Buffer.concat([pattern(2 * PAGE), Buffer.alloc(PAGE, 'find me')]);
  const damaged = await committed(pool, marked);
  const placeBytes = await placeOf(rig.path, Buffer.alloc(PAGE, 'find me'));
  const file = await open(rig.path, 'r+');
  await file.write(Buffer.from([0]), 0, 1, placeBytes + 100);
  await file.sync();
  await file.close();
  const seen: number[] = [];
  const report = await daemon.scrub(POOL, { onProgress: ({ doneBytes }) => seen.push(doneBytes) });
  const [finding] = report.findings;
  assert.equal(report.findings.length, 1);
  assert.equal(finding!.structure, 'page');
  assert.equal(BigInt(finding!.objectId!), damaged.id);
  assert.deepEqual(finding!.location, { device: rig.path, offsetBytes: placeBytes });
  assert.ok(report.complete && !report.clean);
  // Others are none the worse.
  assert.ok(pattern(PAGE).equals(Buffer.from(await pool.mblocks.read(whole.id, 0, PAGE))));
  await opened.close();
  await pool.close();
});

test('one pass at a time; it ends with a cursor when it is told to, and another goes on from there', async (t) => {
  const rig = await clientRig(t);
  const { daemon } = rig;
  const pool = await daemon.open(POOL);
  for (let i = 0; i < 3; i++) await committed(pool, pattern(64 * PAGE));
  const stopping = new AbortController();
  const slow = daemon.scrub(POOL, { bytesPerSecond: 1, signal: stopping.signal });
  // Asked later on the same connection, and answered in that order.
  await refuses(() => daemon.scrub(POOL), 'ERR_MPOOL_BUSY', /already/);
  stopping.abort();
  const ended = await slow;
  assert.equal(ended.complete, false);
  assert.match(ended.cursor!, /^0x/);
  const rest = await daemon.scrub(POOL, { bytesPerSecond: Infinity, from: ended.cursor });
  assert.ok(rest.complete && rest.clean);
  assert.ok(ended.counts.pages + rest.counts.pages >= 192);
  for (const options of [{ bytesPerSecond: 0 }, { from: 'there' }]) {
    await assert.rejects(daemon.scrub(POOL, options), { code: 'ERR_MPOOL_INVALID_ARG' });
  }
  await refuses(() => daemon.scrub('nobody'), 'ERR_MPOOL_NOT_FOUND');
  await pool.close();
});

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

/** Where in the file a page of that content is. */
async function placeOf(path: string, page: Buffer): Promise<number> {
  const file = await open(path);
  try {
    const buffer = Buffer.alloc(PAGE);
    for (let at = 0; ; at += PAGE) {
      const { bytesRead } = await file.read(buffer, 0, PAGE, at);
      assert.ok(bytesRead === PAGE, 'the page is there');
      if (buffer.equals(page)) return at;
    }
  } finally {
    await file.close();
  }
}
