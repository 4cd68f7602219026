// Goal: an active pool is scrubbed by its daemon for a client that may manage it: with progress, at a rate, one at a
//   time, ended by the client, its going, or the end of the pool, and gone on with from the cursor.
// Method: a real daemon on a file with bits turned in it.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MblockId, ScrubProgress } from '../../src/client.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import { pattern, refuses } from '../pool/pool-host.ts';
import { type ClientRig, clientRig, damage, MIB, PAGE, POOL } from './client-rig.ts';

const BYTES = 900 * 1024;
const COUNT = 12;

async function filled(rig: ClientRig): Promise<MblockId[]> {
  const pool = await rig.daemon.open(POOL);
  const ids: MblockId[] = [];
  for (let i = 0; i < COUNT; i++) {
    const mblock = await pool.mblocks.alloc();
    await mblock.write(pattern(BYTES, i + 1));
    await mblock.commit();
    ids.push(mblock.id);
  }
  await pool.close();
  return ids;
}

test('a scrub finds what is wrong, tells how far it is, and is as one of the pool itself', async (t) => {
  const rig = await clientRig(t);
  const ids = await filled(rig);
  const progress: ScrubProgress[] = [];
  const bytesPerSecond = Infinity;
  const whole = await rig.daemon.scrub(POOL, {
    bytesPerSecond,
    onProgress: (p) => progress.push(p),
  });
  assert.deepEqual([whole.complete, whole.clean, whole.cursor], [true, true, undefined]);
  assert.equal(whole.counts.pages, (COUNT * BYTES) / PAGE);
  const { doneBytes, totalBytes } = progress.at(-1)!;
  assert.ok(doneBytes === totalBytes && totalBytes >= COUNT * BYTES);

  const at = await damage(rig.path, pattern(BYTES, 4).subarray(7 * PAGE, 7 * PAGE + 64), 99);
  for (const target of [POOL, rig.path]) {
    const { findings, clean, complete } = await rig.daemon.scrub(target, { bytesPerSecond });
    assert.deepEqual([clean, complete], [false, true]);
    const found = findings.map(({ severity, structure, objectId, location }) => {
      return [severity, structure, objectId, location.offsetBytes];
    });
    const page = at - (at % PAGE);
    assert.deepEqual(found, [['error', 'page', `0x${ids[3]!.toString(16)}`, page]]);
  }
});

test('a scrub ends when it is told to, and goes on from where it was', async (t) => {
  const rig = await clientRig(t);
  await filled(rig);
  const controller = new AbortController();
  const first = await rig.daemon.scrub(POOL, {
    bytesPerSecond: 4 * MIB,
    signal: controller.signal,
    onProgress: ({ doneBytes }) => {
      if (doneBytes > MIB) controller.abort();
    },
  });
  assert.equal(first.complete, false);
  assert.match(first.cursor!, /^0x[0-9a-f]+(\+\d+)?$/);
  assert.ok(first.counts.pages > 0 && first.counts.pages < (COUNT * BYTES) / PAGE);
  const rest = await rig.daemon.scrub(POOL, { bytesPerSecond: Infinity, from: first.cursor });
  assert.equal(rest.complete, true);
  assert.ok(first.counts.pages + rest.counts.pages >= (COUNT * BYTES) / PAGE);
  assert.ok(rest.counts.pages < (COUNT * BYTES) / PAGE, 'what was read is not read again');
  const already = await rig.daemon.scrub(POOL, { signal: AbortSignal.abort() });
  assert.equal(already.complete, false);
  await refuses(() => rig.daemon.scrub(POOL, { from: 'here' }), 'ERR_MPOOL_INVALID_ARG');
  await refuses(() => rig.daemon.scrub(POOL, { bytesPerSecond: 0 }), 'ERR_MPOOL_INVALID_ARG');
  await refuses(() => rig.daemon.scrub('missing'), 'ERR_MPOOL_NOT_FOUND');
});

test('there is one at a time, which ends with its client, and with the pool', async (t) => {
  const rig = await clientRig(t);
  await filled(rig);
  const other = await rig.client();
  let began = (): void => {};
  const first = new Promise<void>((resolve) => (began = resolve));
  const slow = other.scrub(POOL, { bytesPerSecond: MIB, onProgress: () => began() });
  const outcome = slow.catch((error: unknown) => error);
  await first;
  await refuses(() => rig.daemon.scrub(POOL), 'ERR_MPOOL_BUSY', /being scrubbed/);
  await other.close();
  assert.ok(isMpoolError(await outcome), 'who is gone is told of no end');
  for (;;) {
    const next = await rig.daemon
      .scrub(POOL, { bytesPerSecond: Infinity })
      .catch((e: unknown) => e);
    if (!isMpoolError(next, 'ERR_MPOOL_BUSY')) {
      assert.equal((next as { complete: boolean }).complete, true);
      break;
    }
    await sleep(10);
  }
  let on = (): void => {};
  const going = new Promise<void>((resolve) => (on = resolve));
  const last = rig.daemon.scrub(POOL, { bytesPerSecond: MIB, onProgress: () => on() });
  await going;
  await rig.daemon.deactivate(POOL);
  const ended = await last;
  assert.equal(ended.complete, false);
  assert.match(ended.cursor!, /^0x/);
});
