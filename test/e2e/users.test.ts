// Goal: who may do what with a pool is decided by its owner, group and mode, as with files: at each open, for those
//   who are connected at the moment of a change, and for good; and whoever is passed a device can only read it.
// Method: processes of three users of two groups against the real daemon; it deactivates, is killed and started again.
import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isRoot } from '../device/places.ts';
import { Remote } from './remote.ts';
import { MIB, POOL, Service, until } from './rig.ts';

const skip = isRoot ? false : 'needs root, to be other users';
const GROUP = 61_001;
const OWNER = { uid: 61_002, gid: 61_002 };
const MEMBER = { uid: 61_003, gid: GROUP };
const OTHER = { uid: 61_004, gid: 61_004 };
const DENIED = 'ERR_MPOOL_ACCESS';
const LENGTH = 50_000;

/** What each user's open for writing and for reading comes to, each in turn. */
async function opens(users: readonly Remote[]): Promise<string[]> {
  const found: string[] = [];
  for (const user of users) {
    for (const readOnly of [false, true]) {
      const code = await user.codeOf('open', { pool: POOL, readOnly });
      if (code === 'done') await user.get('close', { as: POOL });
      found.push(code);
    }
  }
  return found;
}

async function fourUsers(service: Service) {
  const users = [{}, OWNER, MEMBER, OTHER].map((user) => Remote.start(service, user));
  return Promise.all(users) as Promise<[Remote, Remote, Remote, Remote]>;
}

test(
  'a mode is in force at once, and after everything that a pool goes through',
  { skip },
  async (t) => {
    const service = await Service.start(t);
    await service.create(POOL, { uid: OWNER.uid, gid: GROUP, mode: 0 });
    const users = await fourUsers(service);
    const nobody = ['done', 'done', DENIED, DENIED, DENIED, DENIED, DENIED, DENIED];
    const group = ['done', 'done', 'done', 'done', DENIED, 'done', DENIED, DENIED];
    const socketMode = (): number => statSync(join(service.rundir, POOL)).mode & 0o777;
    const isInForce = async (mode: number, expected: readonly string[]): Promise<void> => {
      const [pool] = await service.daemon.pools();
      assert.equal(pool?.parameters.mode, mode);
      assert.deepEqual(await opens(users), expected, mode.toString(8));
    };
    await isInForce(0, nobody);
    assert.equal(socketMode(), 0, 'the kernel refuses them already');

    await service.daemon.deactivate(POOL);
    assert.deepEqual(await opens(users), Array(8).fill('ERR_MPOOL_NOT_FOUND'));
    await service.daemon.activate(POOL);
    await isInForce(0, nobody);
    await service.kill();
    await service.start();
    await isInForce(0, nobody);
    await service.stop();
    await service.start();
    await isInForce(0, nobody);

    await service.daemon.deactivate(POOL);
    await service.daemon.activate(POOL, { parameters: { mode: 0o640 } });
    await isInForce(0o640, group);
    assert.equal(socketMode(), 0o660);
    await service.kill();
    await service.start();
    await isInForce(0o640, group);

    // Given to activate once more while it is active: at once too.
    await service.daemon.activate(POOL, { parameters: { mode: 0o006, gid: OTHER.gid } });
    await isInForce(0o006, ['done', 'done', DENIED, DENIED, 'done', 'done', DENIED, DENIED]);
    await service.daemon.activate(POOL, { parameters: { mode: 0, gid: GROUP } });
    await service.kill();
    await service.start();
    await isInForce(0, nobody);
  },
);

test(
  'whoever may no longer is sent away at once and told so; whoever may stays',
  { skip },
  async (t) => {
    const service = await Service.start(t);
    await service.create(POOL, { uid: OWNER.uid, gid: GROUP, mode: 0o664 });
    const [root, owner, member, other] = await fourUsers(service);
    for (const writer of [root, owner, member]) await writer.get('open', { pool: POOL });
    await other.get('open', { pool: POOL, readOnly: true });
    const ids = await member.get('put', { as: POOL, count: 3, lengthBytes: LENGTH });
    await member.get('hold', { as: POOL, count: 2, lengthBytes: LENGTH });
    for (const each of [owner, member, other]) await each.get('map', { as: POOL, ids });
    const users = async (): Promise<number[]> =>
      (await service.daemon.clients(POOL)).map(({ uid }) => uid).toSorted((a, b) => a - b);
    assert.deepEqual(await users(), [0, OWNER.uid, MEMBER.uid, OTHER.uid]);

    // The member wrote, and may only read from here on; others may nothing.
    await owner.get('set', { as: POOL, changes: { mode: 0o640 } });
    await until('two are sent away', async () => (await users()).length === 2);
    assert.deepEqual(await users(), [0, OWNER.uid]);
    assert.equal((await service.metricsOf()).uncommittedObjects, 0, 'what they held is released');
    for (const [denied, use] of [
      [member, { as: POOL, count: 1, lengthBytes: 1 }],
      [other, undefined],
    ] as const) {
      const outcome =
        use === undefined ? await denied.ask('usage', { as: POOL }) : await denied.ask('put', use);
      assert.equal(outcome.code, DENIED, outcome.message);
      assert.equal(await denied.get('mappedBytes', {}), 0, 'nothing of it can be seen any more');
    }
    assert.equal(await owner.get('mappedBytes', {}), LENGTH);
    assert.ok(await owner.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }));
    await member.get('open', { pool: POOL, as: 'reading', readOnly: true });
    assert.ok(await member.get('isIntact', { as: 'reading', ids, lengthBytes: LENGTH }));

    // What is under way when the permission goes is told that nobody knows, and why.
    const under = Array.from({ length: 20 }, () =>
      member.ask('usage', { as: 'reading', times: 10_000 }),
    );
    await until('he is at work', async () => {
      const clients = await service.daemon.clients(POOL);
      return clients.some(({ uid, requestCount }) => uid === MEMBER.uid && requestCount > 100);
    });
    await service.daemon.set(POOL, { uid: OTHER.uid });
    await until('the former owner is gone', async () => !(await users()).includes(OWNER.uid));
    assert.equal(await owner.codeOf('usage', { as: POOL }), DENIED);
    assert.ok((await users()).includes(MEMBER.uid), 'the group has its rights still');
    await service.daemon.set(POOL, { gid: OTHER.gid });
    for (const { code, cause } of await Promise.all(under)) {
      assert.ok(
        code === DENIED || (code === 'ERR_MPOOL_CONNECTION_LOST' && cause === DENIED),
        code,
      );
    }
    await until('he is gone', async () => (await users()).length === 1);
    assert.equal(await root.codeOf('usage', { as: POOL }), 'done');
    await other.get('open', { pool: POOL, as: 'own' });
    assert.ok(await other.get('isIntact', { as: 'own', ids, lengthBytes: LENGTH }));
    await other.get('delete', { as: 'own', ids });
    for (const each of [root, owner, member, other]) await each.kill();
    await service.isQuiet();
  },
);

test(
  'the owner of a pool gets its device to read, and no way to write to it',
  { skip },
  async (t) => {
    const service = await Service.start(t);
    const path = await service.create(POOL, { uid: OWNER.uid, mode: 0o600 });
    const owner = await Remote.start(service, OWNER);
    await owner.get('open', { pool: POOL });
    const ids = await owner.get('put', { as: POOL, count: 4, lengthBytes: LENGTH });
    await owner.get('map', { as: POOL, ids });
    assert.ok(await owner.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }));
    const outcomes = await owner.get('meddle', { path });
    const { 'open its path: EACCES': byPath, ...rest } = outcomes;
    assert.equal(byPath, 1);
    const count = outcomes['write: EBADF'] ?? 0;
    assert.ok(
      count >= 2,
      `descriptors: direct, buffered, and what maps of them: ${JSON.stringify(outcomes)}`,
    );
    assert.deepEqual(rest, {
      'open again r+: EACCES': count,
      'open again w: EACCES': count,
      'open again a: EACCES': count,
      'write: EBADF': count,
      'truncate: EINVAL': count,
    });
    assert.equal(statSync(path).size, 64 * MIB);
    await owner.get('close', { as: POOL });
    await service.stop();
    await service.isSound();
  },
);
