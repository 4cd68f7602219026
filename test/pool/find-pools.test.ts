// Goal: a pool is found by name, UUID, path and staging path; what is ambiguous or gone is said.
// Method: machines with several pools, copies, files and devices under other paths.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPool } from '../../src/pool/create.ts';
import { findPools, locatePool } from '../../src/pool/find-pools.ts';
import { SimHost } from '../../src/testing/index.ts';
import { closeClean, HERE, MIB, openHere, refuses } from './pool-host.ts';

const SIZE = 64 * MIB;

async function machine(): Promise<SimHost> {
  const host = new SimHost({ seed: 9, keepTrace: false });
  for (const path of ['/dev/a', '/dev/b', '/dev/blank']) host.addDisk(path, { sizeBytes: SIZE });
  const { environment } = host;
  await createPool(environment, {
    name: 'two',
    capacity: { path: '/dev/b' },
    staging: { path: '/dev/a' },
  });
  await createPool(environment, { name: 'one', capacity: { path: '/files/one', sizeBytes: SIZE } });
  host.addDisk('/files/text', { kind: 'file', sizeBytes: 100 }).poke(0, Buffer.from('hello'));
  host.addDisk('/files/empty', { kind: 'file', sizeBytes: 0 });
  return host;
}

async function pathOf(host: SimHost, target: string): Promise<string> {
  return (await locatePool(host, target, HERE)).capacityPath;
}

test('scan lists pools by name, with their devices, and changes nothing', async () => {
  const host = await machine();
  const before = host.operationCount;
  const found = await findPools(host, HERE);
  assert.deepEqual(
    found.map(({ name, formatVersion, complete, devices }) => ({
      name,
      formatVersion,
      complete,
      devices,
    })),
    [
      {
        name: 'one',
        formatVersion: 2,
        complete: true,
        devices: [{ path: '/files/one', mediaClass: 'capacity', sizeBytes: SIZE }],
      },
      {
        name: 'two',
        formatVersion: 2,
        complete: true,
        devices: [
          { path: '/dev/a', mediaClass: 'staging', sizeBytes: SIZE },
          { path: '/dev/b', mediaClass: 'capacity', sizeBytes: SIZE },
        ],
      },
    ],
  );
  assert.deepEqual(
    (await findPools(host, { places: [], blockDevices: true })).map(({ name }) => name),
    ['two'],
  );
  assert.deepEqual(
    (await findPools(host, { places: ['/files/one'], blockDevices: false })).map(
      ({ name }) => name,
    ),
    ['one'],
  );
  assert.deepEqual(await findPools(host, { places: ['/none'], blockDevices: false }), []);
  const pool = await openHere(host, 'two');
  assert.equal((await findPools(host, HERE)).length, 2, 'active ones too');
  await closeClean({ host, pool });
  host.pullDisk('/dev/a');
  assert.equal((await findPools(host, HERE))[1]!.complete, false);
  assert.ok(host.operationCount >= before);
});

test('by name, UUID in any case, path, and path of the staging device', async () => {
  const host = await machine();
  const [one, two] = await findPools(host, HERE);
  for (const target of ['two', two!.uuid, two!.uuid.toUpperCase(), '/dev/b', '/dev/a']) {
    assert.equal(await pathOf(host, target), '/dev/b', target);
  }
  assert.equal(await pathOf(host, one!.uuid), '/files/one');
  const paths = await locatePool(host, 'two', HERE);
  assert.deepEqual(paths.stagingPaths, ['/dev/a']);
  await refuses(
    () => locatePool(host, 'three', HERE),
    'ERR_MPOOL_NOT_FOUND',
    /\/files, block devices/,
  );
  await refuses(() => locatePool(host, '/dev/none', HERE), 'ERR_MPOOL_NOT_FOUND');
  await refuses(
    () => locatePool(host, '00000000-0000-0000-0000-000000000000', HERE),
    'ERR_MPOOL_NOT_FOUND',
  );
  await refuses(() => openHere(host, '/dev/blank'), 'ERR_MPOOL_NOT_FOUND', /no pool/);
  await refuses(() => openHere(host, '/files/text'), 'ERR_MPOOL_NOT_FOUND');
});

test('a staging device whose capacity device has moved or is gone', async () => {
  const host = await machine();
  host.moveDisk('/dev/b', '/dev/moved');
  assert.equal(await pathOf(host, '/dev/a'), '/dev/moved');
  assert.equal(await pathOf(host, 'two'), '/dev/moved');
  host.pullDisk('/dev/moved');
  await refuses(() => locatePool(host, '/dev/a', HERE), 'ERR_MPOOL_NO_DEVICE', /was at \/dev\/b/);
  await refuses(() => locatePool(host, 'two', HERE), 'ERR_MPOOL_NO_DEVICE');
});

test('copies and namesakes are ambiguous, and only a path says which', async () => {
  const host = await machine();
  host.copyDisk('/files/one', '/files/copy');
  const [one] = await findPools(host, HERE);
  for (const target of ['one', one!.uuid]) {
    await refuses(
      () => locatePool(host, target, HERE),
      'ERR_MPOOL_INVALID_ARG',
      /\/files\/copy, \/files\/one/,
    );
  }
  const [original, copy] = [
    await openHere(host, '/files/one'),
    await openHere(host, '/files/copy'),
  ];
  assert.equal(original.uuid, copy.uuid);
  const mblock = await original.mblocks.alloc();
  await mblock.commit();
  await refuses(() => copy.mblocks.find(mblock.id), 'ERR_MPOOL_NOT_FOUND');
  await refuses(() => copy.mblocks.commit([mblock]), 'ERR_MPOOL_INVALID_ARG');
  await copy.close();
  await closeClean({ host, pool: original });
  host.addDisk('/dev/c', { sizeBytes: SIZE });
  await createPool(host.environment, { name: 'two', capacity: { path: '/dev/c' } });
  await refuses(() => locatePool(host, 'two', HERE), 'ERR_MPOOL_INVALID_ARG', /say which by path/);
  const twos = (await findPools(host, HERE)).filter(({ name }) => name === 'two');
  assert.equal(new Set(twos.map(({ uuid }) => uuid)).size, 2);
  assert.equal(
    await pathOf(host, twos[0]!.uuid),
    twos[0]!.devices.find(({ mediaClass }) => mediaClass === 'capacity')!.path,
  );
});

test('disks that cannot be read do not keep others from being found', async () => {
  const host = await machine();
  host.addFault({ op: 'peek', disk: '/dev/blank', times: Infinity, effect: { kind: 'error' } });
  host.addFault({ op: 'peek', disk: '/files/text', times: Infinity, effect: { kind: 'error' } });
  assert.equal((await findPools(host, HERE)).length, 2);
});
