// Goal: a daemon that has no descriptor left goes on serving those who are there, refuses others clearly, takes them
//   when some have left, and neither ends nor spins. Method: the real daemon with few open files; clients come until
//   it is full, and beyond, as processes and as connections that say nothing.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { program } from '../device/places.ts';
import { Remote } from './remote.ts';
import { POOL, Service, until } from './rig.ts';

/** Some 30 are the daemon's own; a client that writes takes two, and five more for a moment. */
const DESCRIPTORS = 64;
const LENGTH = 20_000;
const IDLE_MS = 500;

test('no descriptors: who is there goes on, who comes is told, who comes later is served', async (t) => {
  const service = await Service.start(t, { descriptorLimit: DESCRIPTORS });
  await service.create();
  const count = (): number => readdirSync(`/proc/${service.child.pid}/fd`).length;
  const alone = count();
  const there = await Remote.start(service);
  await there.get('open', { pool: POOL });
  const ids = await there.get('put', { as: POOL, count: 3, lengthBytes: LENGTH });
  const works = async (): Promise<void> => {
    assert.ok(await there.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }));
    const more = await there.get('put', { as: POOL, count: 2, lengthBytes: LENGTH });
    await there.get('delete', { as: POOL, ids: more });
    await there.get('appendRoot', { as: POOL, records: ['more'] });
  };

  const comers = await Remote.start(service);
  const first = count();
  const refusals = new Set<string>();
  const opened: string[] = [];
  for (let i = 0; i < 3 * DESCRIPTORS; i++) {
    const as = `pool ${i}`;
    const { code, message } = await comers.ask('open', { pool: POOL, as });
    if (code === 'done') opened.push(as);
    else refusals.add(`${code}: ${message}`);
    if (code !== 'done' && i > opened.length + 10) break;
  }
  t.diagnostic(`${first} descriptors, ${opened.length} clients more; ${[...refusals].join('; ')}`);
  assert.ok(opened.length >= 5, 'some came in');
  assert.ok(refusals.size > 0, 'not all did');
  for (const refusal of refusals) assert.match(refusal, /^ERR_MPOOL_(LIMIT|CONNECTION_LOST)/);
  await works();
  for (const as of opened) assert.equal(await comers.codeOf('usage', { as }), 'done');

  // Connections that say nothing take the very last ones.
  const silent: Socket[] = [];
  service.after(() => silent.forEach((socket) => socket.destroy()));
  for (let i = 0; i < 2 * DESCRIPTORS; i++) {
    const socket = createConnection(join(service.rundir, POOL)).on('error', () => {});
    silent.push(socket);
  }
  await until('none is left', () => count() >= DESCRIPTORS - 1);
  await works();
  const { code } = await comers.ask('open', { pool: POOL, as: 'one more' });
  assert.match(code, /^ERR_MPOOL_(LIMIT|CONNECTION_LOST)$/);
  const before = await service.cpuSeconds();
  await sleep(IDLE_MS);
  const used = (await service.cpuSeconds()) - before;
  assert.ok(used < IDLE_MS / 1000 / 2, `${used} s of work with nothing to do`);

  for (const socket of silent) socket.destroy();
  for (const as of opened) await comers.get('close', { as });
  await until('they are gone', () => count() <= first);
  await works();
  await comers.get('open', { pool: POOL, as: 'later' });
  assert.ok(await comers.get('isIntact', { as: 'later', ids, lengthBytes: LENGTH }));
  for (const each of [there, comers]) await each.kill();
  await service.isQuiet();
  assert.equal(count(), alone, 'every descriptor came back');
  await service.stop();
  await service.isSound();
});

test('who cannot be looked at for want of a descriptor is not taken for dead', () => {
  const look = (pid: number): unknown => {
    const script = `ulimit -n ${DESCRIPTORS}; exec "$@"`;
    const child = [process.execPath, program('../e2e/few-descriptors-child'), String(pid)];
    return JSON.parse(
      execFileSync('/bin/sh', ['-c', script, 'sh', ...child], { encoding: 'utf8' }),
    );
  };
  const { alive, taken } = look(process.pid) as { alive: boolean; taken: number };
  assert.ok(taken > 0);
  assert.ok(alive, 'it would lose what it reads');
});
