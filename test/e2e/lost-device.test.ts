// Goal: a device that is lost in the middle of work fails its pool, with errors that say what failed, and nothing
//   else: the daemon, its other pools and their clients go on; what was acknowledged is there when the device is.
// Method: a loop device whose file loses its content, and all room for another, and is given its content back; a
//   pool in a file beside it.
import assert from 'node:assert/strict';
import { copyFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { check } from '../../src/index.ts';
import { loopDevice, noLoopDevices } from '../device/places.ts';
import { texts } from '../pool/pool-host.ts';
import type { Outcome } from './client-child.ts';
import { Remote } from './remote.ts';
import { MIB, POOL, Service, until } from './rig.ts';
import { noTmpfs, SmallDisk } from './small-disk.ts';

const LENGTH = 200_000;
const SECTOR = 4096;
const COUNT = 5;

/** What works only with a device, in the words of the error. */
function isOfDevice({ code, message }: Outcome, path: string): void {
  assert.match(code, /^ERR_MPOOL_(IO|NO_SPACE)$/, message);
  assert.ok(message!.startsWith(`${path}: `), message);
}

test('a lost device', { skip: noLoopDevices() ?? noTmpfs() }, async (t) => {
  let disk!: SmallDisk;
  let path = '';
  let file = '';
  const service = await Service.start(t, {
    activateAll: false,
    prepare: (made) => {
      disk = new SmallDisk(made, 80 * MIB);
      file = join(disk.path, 'device');
      writeFileSync(file, '');
      truncateSync(file, 64 * MIB);
      path = loopDevice(made, file, SECTOR);
    },
  });
  await service.daemon.create({ name: POOL, capacity: { path, mblockSizeBytes: MIB } });
  await service.create('beside');
  const [client, second] = [await Remote.start(service), await Remote.start(service)];
  for (const pool of [POOL, 'beside']) await client.get('open', { pool });
  await second.get('open', { pool: POOL });
  const put = (as: string) => client.ask('put', { as, count: COUNT, lengthBytes: LENGTH });
  const ids = (await put(POOL)).value!;
  const kept = (await put('beside')).value!;
  const [id] = ids as [string];
  await client.get('appendRoot', { as: POOL, records: ['kept'] });
  await second.get('map', { as: POOL, ids });
  const worksBeside = async (): Promise<void> => {
    assert.ok(await client.get('isIntact', { as: 'beside', ids: kept, lengthBytes: LENGTH }));
    assert.equal((await put('beside')).code, 'done');
    await client.get('appendRoot', { as: 'beside', records: ['more'] });
  };

  copyFileSync(file, join(service.folder, 'saved'));
  truncateSync(file, 0);
  disk.fill();
  for (const each of [client, second]) {
    isOfDevice(await each.ask('isIntact', { as: POOL, ids, lengthBytes: LENGTH }), path);
    isOfDevice(await each.ask('put', { as: POOL, count: 1, lengthBytes: LENGTH }), path);
  }
  isOfDevice(await second.ask('isMapIntact', { id, lengthBytes: LENGTH }), path);
  await worksBeside();
  // What the pool itself cannot write is its end.
  const failed = await client.ask('put', { as: POOL, count: 1, lengthBytes: 0 });
  assert.equal(failed.code, 'ERR_MPOOL_FAILED', failed.message);
  assert.equal((await second.ask('info', { as: POOL })).value!.health, 'faulted');
  const append = { as: POOL, records: ['not durable'] };
  assert.equal(await second.codeOf('appendRoot', append), 'ERR_MPOOL_FAILED');
  assert.ok((await service.metricsOf()).fault!.includes(path), 'it says which device');
  await until('the journal says so', () => / error a pool is faulted pool=p1 /.test(service.said));
  assert.equal((await service.metricsOf('beside')).fault, undefined);
  await worksBeside();
  await service.daemon.status();

  // Without its device it is let go of, and not found any more.
  await second.kill();
  await client.ask('close', { as: POOL });
  await until('nobody has it', async () => (await service.daemon.clients(POOL)).length === 0);
  await service.daemon.deactivate(POOL);
  await assert.rejects(service.daemon.activate(path), { name: 'MpoolError' });
  await worksBeside();

  disk.empty();
  copyFileSync(join(service.folder, 'saved'), file);
  await service.daemon.activate(path);
  await client.get('open', { pool: POOL });
  assert.ok(await client.get('isIntact', { as: POOL, ids, lengthBytes: LENGTH }));
  assert.equal((await put(POOL)).code, 'done');
  const pool = await service.daemon.open(POOL);
  assert.deepEqual(await texts((await pool.mdcs.root()).records()), ['kept']);
  await pool.close({ force: true });
  await client.kill();
  await service.isQuiet();
  await service.stop();
  const { findings } = await check(path, { data: true });
  assert.deepEqual(
    findings.filter(({ severity }) => severity !== 'note'),
    [],
  );
});
