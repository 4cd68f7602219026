// Goal: files are made whole or not at all, and paths tell the truth. Method: real files and folders,
// a small tmpfs for want of space.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { MIB } from '../../src/base/units.ts';
import { flushAsync, writeAsync } from '../../src/device/device.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { ENGINES, isRoot, loopDevice, noLoopDevices, temporaryFolder } from './places.ts';

const host = new SystemHost();

test('createFile makes a sparse file that only its owner reads', async (t) => {
  const path = join(temporaryFolder(t), 'new.img');
  await host.createFile(path, 64 * MIB);
  const stats = statSync(path);
  assert.equal(stats.size, 64 * MIB);
  assert.ok(stats.blocks * 512 < MIB, 'sparse');
  assert.equal(stats.mode & 0o777, 0o600);
  await assert.rejects(host.createFile(path, MIB), { code: 'ERR_MPOOL_EXISTS', path });
  assert.equal(statSync(path).size, 64 * MIB, 'and leaves what is there alone');
});

test('createFile that fails leaves nothing', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'new.img');
  // More than any file system here takes: ftruncate gives EFBIG after the file was made.
  await assert.rejects(host.createFile(path, 2 ** 62), (error) => isMpoolError(error));
  assert.ok(!existsSync(path));
  await assert.rejects(host.createFile(join(folder, 'none', 'new.img'), MIB), {
    code: 'ERR_MPOOL_NOT_FOUND',
  });
});

test('growFile lengthens and never shortens; removeFile removes', async (t) => {
  const path = join(temporaryFolder(t), 'grow.img');
  await host.createFile(path, MIB);
  await host.growFile(path, 3 * MIB);
  await host.growFile(path, 2 * MIB);
  assert.equal(statSync(path).size, 3 * MIB);
  await host.removeFile(path);
  assert.equal(await host.stat(path), undefined);
  await assert.rejects(host.removeFile(path), { code: 'ERR_MPOOL_NOT_FOUND' });
  await assert.rejects(host.growFile(path, MIB), { code: 'ERR_MPOOL_NOT_FOUND' });
});

test('stat and peek follow links', async (t) => {
  const folder = temporaryFolder(t);
  const path = join(folder, 'file');
  const link = join(folder, 'link');
  writeFileSync(path, 'hello world');
  symlinkSync(path, link);
  assert.deepEqual(await host.stat(link), { path, kind: 'file', sizeBytes: 11 });
  assert.equal((await host.stat(folder))?.kind, 'other');
  assert.equal(await host.stat(join(path, 'below')), undefined);
  assert.equal(Buffer.from(await host.peek(link, 6, 100)).toString(), 'world');
  assert.equal((await host.peek(link, 100, 10)).length, 0);
  await assert.rejects(host.peek(join(folder, 'none'), 0, 1), { code: 'ERR_MPOOL_NOT_FOUND' });
});

test('what cannot be a device is refused', async (t) => {
  const folder = temporaryFolder(t);
  const none = join(folder, 'none');
  await assert.rejects(host.openDevice(none, { access: 'read' }), {
    code: 'ERR_MPOOL_NOT_FOUND',
    path: none,
  });
  for (const path of [folder, '/dev/null']) {
    await assert.rejects(host.openDevice(path, { access: 'read' }), {
      code: 'ERR_MPOOL_INVALID_ARG',
      message: /neither a block device nor a regular file/,
    });
  }
});

test('candidates: files at and directly in places, and block devices', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'sub'));
  const [a, b, empty, below] = ['a.img', 'b.img', 'empty', 'sub/below.img'].map((name) =>
    join(folder, name),
  ) as [string, string, string, string];
  for (const path of [a, b, below]) writeFileSync(path, 'x');
  writeFileSync(empty, '');
  symlinkSync('/dev/null', join(folder, 'link'));
  assert.deepEqual(await host.candidates([folder, a, below, '/nowhere'], false), [a, b, below]);
  const devices = await host.candidates([], true);
  for (const path of devices) assert.match(path, /^\/dev\//);
  if (noLoopDevices() === undefined) {
    const path = loopDevice(t, resized(a), 512);
    assert.ok((await host.candidates([], true)).includes(path), 'a loop device with a file');
    assert.ok(
      devices.every((device) => device !== path),
      'and not without',
    );
  }
});

function resized(path: string): string {
  writeFileSync(path, new Uint8Array(MIB));
  return path;
}

for (const engine of ENGINES) {
  const skip = isRoot ? false : 'needs root to mount a small tmpfs';
  test(`a full file system on ${engine} is ERR_MPOOL_NO_SPACE`, { skip }, async (t) => {
    const folder = join(temporaryFolder(t), 'small');
    mkdirSync(folder);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'mpool-test', folder]);
    try {
      const path = join(folder, 'device.img');
      await host.createFile(path, 4 * MIB);
      const device = await host.openDevice(path, { access: 'write', engine });
      const buffer = device.allocate(2 * MIB);
      await assert.rejects(writeAsync(device, 0, buffer, 'volatile'), {
        code: 'ERR_MPOOL_NO_SPACE',
        errno: -28,
      });
      await flushAsync(device);
      device.release(buffer);
      await device.close();
    } finally {
      execFileSync('umount', [folder]);
    }
  });
}
