// Goal: a daemon says of its pools which are active and who has them open, and activates at its start all it finds,
//   whatever one of them is like. Method: the real daemon over four pools, one of which is damaged in between.
import assert from 'node:assert/strict';
import { openSync, writeSync, closeSync } from 'node:fs';
import { test } from 'node:test';
import { isRoot } from '../device/places.ts';
import { Remote } from './remote.ts';
import { Service, until } from './rig.ts';

const NAMES = ['a', 'b', 'c', 'd'];
const USER = 61_002;

function overwrite(path: string): void {
  const fd = openSync(path, 'r+');
  for (let page = 0; page < 2048; page++)
    writeSync(fd, Buffer.alloc(4096, page), 0, 4096, page * 4096);
  closeSync(fd);
}

test('active pools are counted, with who has them open', async (t) => {
  const service = await Service.start(t);
  const { daemon } = service;
  const active = async (): Promise<string[]> => {
    const pools = await daemon.pools();
    assert.equal((await daemon.status()).poolCount, pools.length);
    return pools.map(({ name, clientCount }) => `${name} ${clientCount}`).toSorted();
  };
  assert.deepEqual(await active(), []);
  for (const name of NAMES) await service.create(name, { label: `pool-${name}` });
  assert.deepEqual(await active(), ['a 0', 'b 0', 'c 0', 'd 0']);
  const clients = [await Remote.start(service), await Remote.start(service)];
  for (const each of clients) {
    await each.get('open', { pool: 'a' });
    await each.get('open', { pool: 'b', readOnly: true });
  }
  await clients[0]!.get('open', { pool: 'a', as: 'again' });
  assert.deepEqual(await active(), ['a 3', 'b 2', 'c 0', 'd 0']);
  assert.equal((await daemon.status()).clientCount, 5);
  const one = await daemon.pools();
  assert.equal(one.find(({ name }) => name === 'c')!.parameters.label, 'pool-c');

  await daemon.deactivate('c');
  await daemon.deactivate('d');
  await clients[0]!.kill();
  await until('he is gone', async () => (await daemon.status()).clientCount === 2);
  assert.deepEqual(await active(), ['a 1', 'b 1']);
  const found = (await daemon.scan()).map(({ name }) => name).toSorted();
  assert.deepEqual(found, NAMES, 'active or not');

  await service.stop();
  overwrite(service.pathOf('b'));
  await service.start();
  assert.deepEqual(await active(), ['a 0', 'c 0', 'd 0'], 'all that are whole');
  assert.equal(await clients[1]!.codeOf('usage', { as: 'a' }), 'done', 'he found the new daemon');
  assert.deepEqual(await active(), ['a 1', 'c 0', 'd 0']);
});

test('who may look at the daemon sees the pools that he may open', async (t) => {
  if (!isRoot) return t.skip('needs root, to be another user');
  const service = await Service.start(t, { config: ['ctlMode = 0664'] });
  await service.create('a', { mode: 0o604 });
  await service.create('b', { mode: 0o600 });
  await service.create('c', { uid: USER, mode: 0o400 });
  const user = await Remote.start(service, { uid: USER, gid: USER });
  const seen = async (): Promise<string[]> =>
    (await user.get('pools', {})).map(({ name }) => name).toSorted();
  assert.deepEqual(await seen(), ['a', 'c']);
  await service.daemon.set('b', { mode: 0o004 });
  await service.daemon.set('a', { mode: 0 });
  assert.deepEqual(await seen(), ['b', 'c']);
});
