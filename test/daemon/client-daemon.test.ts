// Goal: a daemon is managed from a client as its own types say: pools are made, found, opened, changed, renamed and
//   destroyed, by name, UUID or path; what is wrong is refused before anything is asked. Method: a real daemon.
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type CreateOptions, type PoolParameters } from '../../src/client.ts';
import { committed } from '../contract/contract.ts';
import { pattern, refuses } from '../pool/pool-host.ts';
import { clientRig, MIB, POOL } from './client-rig.ts';

test('pools are made, found, opened, changed, renamed and destroyed', async (t) => {
  const rig = await clientRig(t);
  const { daemon } = rig;
  const status = await daemon.status();
  assert.equal(status.rundir, rig.rundir);
  assert.deepEqual([status.poolCount, status.state], [1, 'running']);
  const path = `${rig.path}-2`;
  // Relative to this process, whatever the daemon's own directory is.
  const capacity = { path: relative('.', path), sizeBytes: 32 * MIB, mblockSizeBytes: MIB };
  await daemon.create({ name: 'second', capacity, label: 'mine' });
  assert.ok(existsSync(path));
  const [first, second] = (await daemon.pools()).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  assert.deepEqual([first?.name, second?.name], [POOL, 'second']);
  assert.equal(second!.parameters.label, 'mine');
  assert.equal(typeof second!.rootMdc.logA, 'bigint');
  assert.equal(second!.clientCount, 0);

  for (const target of ['second', second!.uuid, second!.uuid.toUpperCase(), path, capacity.path]) {
    const pool = await daemon.open(target, { readOnly: true });
    assert.equal(pool.uuid, second!.uuid);
    const [client] = await daemon.clients('second');
    assert.deepEqual([client!.pid, client!.access, client!.pool], [process.pid, 'read', 'second']);
    await refuses(() => daemon.deactivate('second'), 'ERR_MPOOL_BUSY');
    await refuses(() => daemon.rename('second', 'third'), 'ERR_MPOOL_BUSY');
    await refuses(() => daemon.destroy('second'), 'ERR_MPOOL_BUSY');
    await pool.close();
  }
  await daemon.set('second', { label: 'changed', mode: undefined as unknown as number });
  const pool = await daemon.open('second', { parameters: { utype: second!.uuid }, grow: true });
  const { label, utype } = await pool.parameters();
  assert.deepEqual([label, utype], ['changed', second!.uuid]);
  const mblock = await committed(pool, pattern(5000));
  await daemon.add('second', { path: relative('.', `${path}-s`), sizeBytes: 32 * MIB });
  const staged = await pool.mblocks.alloc({ mediaClass: 'staging' });
  await staged.write(pattern(9000));
  await staged.commit();
  assert.ok(pattern(9000).equals(await staged.read(0, 9000)));
  await pool.close();

  await daemon.rename('second', 'third');
  await refuses(() => daemon.open('second'), 'ERR_MPOOL_NOT_FOUND', /active/);
  await daemon.deactivate('third');
  await refuses(() => daemon.open('third'), 'ERR_MPOOL_NOT_FOUND');
  const activated = await daemon.activate(relative('.', path), { parameters: { label: 'again' } });
  assert.deepEqual(activated, { name: 'third', uuid: second!.uuid, already: false });
  assert.equal((await daemon.activate('third')).already, true);
  const third = await daemon.open('third');
  assert.equal((await third.parameters()).label, 'again');
  assert.ok(pattern(5000).equals(await third.mblocks.read(mblock.id, 0, 5000)));
  await third.close();
  await daemon.destroy('third');
  await refuses(() => daemon.activate(path), 'ERR_MPOOL_NOT_FOUND');
  assert.equal((await daemon.pools()).length, 1);
  assert.equal(typeof (await daemon.metrics()), 'object');
  await daemon.reload();
});

test('what is wrong is refused, before anything is asked', async (t) => {
  const rig = await clientRig(t);
  const { daemon } = rig;
  for (const call of [
    () => daemon.open(''),
    () => daemon.open('a b'),
    () => daemon.open('-x'),
    () => daemon.open('x'.repeat(32)),
    () => daemon.open(POOL, { parameters: { mode: -1 } }),
    () => daemon.open(POOL, { checksumCacheBytes: -1 }),
    () => daemon.open(POOL, { engine: 'steam' as 'auto' }),
    () => daemon.open(POOL, 5 as unknown as object),
    () => daemon.open(POOL, null as unknown as object),
    () => daemon.rename(POOL, 'a/b'),
    () => daemon.set(POOL, { unknown: 1 } as unknown as Partial<PoolParameters>),
    () => daemon.set(POOL, { mode: 0o1000 }),
    () => daemon.create({ name: 'a b', capacity: { path: 'x' } }),
    () => daemon.create({ name: 'x' } as CreateOptions),
    () => daemon.create(undefined as unknown as CreateOptions),
    () => daemon.add(POOL, {} as { path: string }),
  ]) {
    await refuses(call, 'ERR_MPOOL_INVALID_ARG');
  }
  await refuses(() => daemon.open('nothing'), 'ERR_MPOOL_NOT_FOUND', /nothing/);
  await refuses(() => daemon.open('/dev/null'), 'ERR_MPOOL_NOT_FOUND', /null/);
  await refuses(() => daemon.open(POOL, { signal: AbortSignal.abort() }), 'ERR_MPOOL_ABORTED');
  assert.deepEqual(await daemon.clients(), [], 'nothing is left of it');
});

test('where no daemon is, that is said; closed, it gives nothing any more', async (t) => {
  const empty = mkdtempSync(join(tmpdir(), 'mpoold-'));
  await refuses(() => connect({ rundir: empty }), 'ERR_MPOOL_NOT_FOUND', /no daemon/);
  await refuses(() => connect({ rundir: join(empty, 'none') }), 'ERR_MPOOL_NOT_FOUND');
  const rig = await clientRig(t);
  const client = await rig.client();
  const pool = await client.open(POOL);
  await client.close();
  await client.close();
  await refuses(() => client.status(), 'ERR_MPOOL_CLOSED');
  assert.equal((await pool.usage()).mblockCount, 0, 'pools that were opened stay open');
  await pool.close();
});

test('the daemon tells the reapers of its clients what to do, and hears how they are', async (t) => {
  const rig = await clientRig(t);
  const client = await rig.client({ hasty: true });
  const pool = await client.open(POOL);
  const { id } = await committed(pool, pattern(100_000));
  await using map = await pool.map([id]);
  assert.equal((await map.read(0, 0, 100_000)).length, 100_000);
  await rig.daemon.reaper({ ttlMs: 12_345, budgetBytes: 64 * MIB });
  for (let attempt = 0; ; attempt++) {
    const { settings, clients } = await rig.daemon.reaper();
    assert.deepEqual([settings.ttlMs, settings.budgetBytes], [12_345, 64 * MIB]);
    const [report] = clients;
    if (report !== undefined && report.stats.objectCount === 1 && report.stats.ttlMs <= 12_345)
      break;
    assert.ok(attempt < 500, JSON.stringify(clients));
    await sleep(10);
  }
  await map.unmap();
  await pool.close();
});
