// Goal: a user who may read a pool and not open its device reads and maps it through the daemon, and can change
//   nothing; one who may do neither gets nothing. Method: a child process of another user, on a device that only root
//   can open.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync } from 'node:fs';
import { test } from 'node:test';
import { committed } from '../contract/contract.ts';
import { isRoot, program } from '../device/places.ts';
import { pattern } from '../pool/pool-host.ts';
import { type ClientRig, clientRig, POOL } from './client-rig.ts';

/** Nobody, on every Linux system. */
const USER = 65_534;
const LENGTH = 123_456;

function asUser(rig: ClientRig, id: bigint): Record<string, unknown> {
  const args = [
    program('../daemon/client-access-child'),
    rig.rundir,
    POOL,
    rig.path,
    `0x${id.toString(16)}`,
    '9',
    String(LENGTH),
  ];
  const { stdout, stderr, status, signal } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    uid: USER,
    gid: USER,
    timeout: 30_000,
    env: { PATH: process.env['PATH'] },
  });
  assert.notEqual(stdout, '', `${status} ${signal}: ${stderr}`);
  return JSON.parse(stdout) as Record<string, unknown>;
}

test('who may read a pool reads and maps it, whatever its device is', async (t) => {
  if (!isRoot) return t.skip('needs root, to be another user');
  const rig = await clientRig(t, { parameters: { uid: 0, gid: 0, mode: 0o604 } });
  chmodSync(rig.rundir, 0o755);
  const pool = await (await rig.client()).open(POOL);
  const { id } = await committed(pool, pattern(LENGTH, 9));
  assert.deepEqual(asUser(rig, id), {
    canOpen: false,
    status: 'done',
    write: 'ERR_MPOOL_ACCESS',
    read: true,
    mapped: true,
    mappedAgain: true,
    alloc: 'ERR_MPOOL_READ_ONLY',
    delete: 'ERR_MPOOL_READ_ONLY',
    readOnly: 'done',
  });
  await pool.setParameters({ mode: 0o600 });
  assert.deepEqual(asUser(rig, id), {
    canOpen: false,
    status: 'done',
    write: 'ERR_MPOOL_ACCESS',
    readOnly: 'ERR_MPOOL_ACCESS',
  });
  await pool.setParameters({ uid: USER, mode: 0o600 });
  const owner = asUser(rig, id);
  assert.deepEqual([owner['write'], owner['readOnly'], owner['mapped']], ['done', 'done', true]);
  await pool.close();
});
