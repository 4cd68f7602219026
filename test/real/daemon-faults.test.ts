// Goal: a device that fails, vanishes or answers late under a daemon harms the pool on it and nothing else: each call
//   of its clients settles, other pools go on, and the next daemon has all that was acknowledged.
// Method: mpoold with one pool in a FUSE file that does what it is told, and one in a plain file beside it.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { Remote } from '../e2e/remote.ts';
import { MIB, POOL, Service, until } from '../e2e/rig.ts';
import { FuseFile, noFuse } from './fuse-file.ts';

const skip = noFuse() ?? false;
const LENGTH = 150_000;
const BESIDE = 'beside';

interface Setup {
  service: Service;
  file: FuseFile;
  client: Remote;
  other: Remote;
  ids: string[];
}

async function start(t: TestContext): Promise<Setup> {
  let file!: FuseFile;
  const service = await Service.start(t, {
    prepare: async (made) => {
      file = await FuseFile.mount(join(made.folder, 'files'), { sizeBytes: 64 * MIB, name: POOL });
      made.after(() => file.kill());
    },
  });
  const capacity = { path: file.path, mblockSizeBytes: MIB };
  await service.daemon.create({ name: POOL, capacity });
  await service.create(BESIDE);
  const [client, other] = [await Remote.start(service), await Remote.start(service)];
  for (const each of [client, other]) {
    for (const pool of [POOL, BESIDE]) await each.get('open', { pool });
  }
  const ids = await client.get('put', { as: POOL, count: 5, lengthBytes: LENGTH });
  return { service, file, client, other, ids };
}

function put(client: Remote, as: string): Promise<string> {
  return client.codeOf('put', { as, count: 1, lengthBytes: LENGTH });
}

/** All that was acknowledged is there, in the pool that a daemon begins with. */
async function endsWell({ service, file, ids }: Setup): Promise<void> {
  await file.tell('fault', []);
  if (!service.running) await service.start();
  const client = await Remote.start(service);
  await client.get('open', { pool: POOL });
  assert.ok(await client.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }));
  assert.equal(await put(client, POOL), 'done');
  await client.kill();
  await service.isQuiet();
  await service.stop();
  await service.isSound();
  await service.isSound(BESIDE);
}

test('a flush that fails under a daemon', { skip }, async (t) => {
  const setup = await start(t);
  const { service, file, client, other, ids } = setup;
  await file.tell('fault', [{ on: ['flush'], times: 1, errno: 'EIO' }]);
  assert.match(await put(client, POOL), /^ERR_MPOOL_(IO|FAILED)$/);
  for (const each of [client, other]) {
    assert.equal(await put(each, POOL), 'ERR_MPOOL_FAILED');
    assert.equal((await each.get('info', { as: POOL })).health, 'faulted');
    assert.match((await each.get('info', { as: POOL })).fault!, /EIO/);
    assert.ok(await each.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }), 'reads go on');
    assert.equal(await put(each, BESIDE), 'done');
  }
  await service.kill();
  for (const each of [client, other]) await each.kill();
  await endsWell(setup);
});

test('a device that vanishes under a daemon, and comes back', { skip }, async (t) => {
  const setup = await start(t);
  const { service, file, client, other, ids } = setup;
  const on = ['read', 'write', 'flush', 'discard'] as const;
  await file.tell('fault', [{ on, errno: 'ENODEV' }]);
  const calls = [client, other].flatMap((each) => [
    put(each, POOL),
    put(each, POOL),
    each.codeOf('appendRoot', { as: POOL, records: ['nowhere'] }),
  ]);
  for (const code of await Promise.all(calls)) assert.match(code, /^ERR_MPOOL_(IO|FAILED)$/);
  const read = { as: POOL, ids, lengthBytes: LENGTH };
  assert.equal(await other.codeOf('isIntact', read), 'ERR_MPOOL_IO');
  assert.equal(await put(other, BESIDE), 'done');
  await file.tell('fault', []);
  assert.ok(await other.get('isIntact', read), 'reads go on when they can');
  assert.equal(
    await put(other, POOL),
    'ERR_MPOOL_FAILED',
    'and changes only when it is opened again',
  );
  for (const each of [client, other]) await each.kill();
  await until('nobody has it', async () => (await service.daemon.clients(POOL)).length === 0);
  await service.daemon.deactivate(POOL);
  await service.daemon.activate(file.path);
  await endsWell(setup);
});

test(
  'I/O that is answered very late keeps no other pool, no reader and no status',
  { skip },
  async (t) => {
    const setup = await start(t);
    const { service, file, client, other, ids } = setup;
    await file.tell('fault', [{ on: ['write', 'flush'], holds: true }]);
    const late = [put(client, POOL), put(other, POOL)];
    await until('it is held', async () => (await file.tell('counts', null)).held > 0);
    for (let i = 0; i < 5; i++) {
      assert.ok(await other.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }));
      assert.equal(await put(client, BESIDE), 'done');
      await service.daemon.status();
    }
    assert.ok((await file.tell('counts', null)).held > 0, 'all the while');
    await file.tell('fault', []);
    await file.tell('release', null);
    assert.deepEqual(await Promise.all(late), ['done', 'done']);
    for (const each of [client, other]) await each.kill();
    await endsWell(setup);
  },
);

test(
  'a daemon that is killed while its device does not answer: the next one has it when it does',
  { skip },
  async (t) => {
    const setup = await start(t);
    const { service, file, client, other } = setup;
    await file.tell('fault', [{ on: ['write', 'flush'], holds: true }]);
    const late = put(client, POOL);
    await until('it is held', async () => (await file.tell('counts', null)).held > 0);
    const killed = service.kill();
    // A process does not end before what it has under way does.
    await file.tell('fault', []);
    await file.tell('release', null);
    await killed;
    await service.start();
    assert.equal(await late, 'ERR_MPOOL_CONNECTION_LOST');
    await until('it is connected again', async () => (await put(other, POOL)) === 'done');
    for (const each of [client, other]) await each.kill();
    await endsWell(setup);
  },
);
