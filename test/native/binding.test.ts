// Goal: the addon and its TypeScript face agree, and a machine without it is told what to do.
// Method: compare names; load a copy of the loader from a package that has no addon.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { binding, RING_IO_URING } from '../../src/native/binding.ts';
import type { Binding } from '../../src/native/binding.ts';

const NAMES = {
  blockLimits: true,
  crc32c: true,
  crc32cPages: true,
  directLimits: true,
  duplicate: true,
  lock: true,
  mapAttach: true,
  mapBits: true,
  mapClose: true,
  mapInfo: true,
  mapOpen: true,
  mapStitch: true,
  mapView: true,
  mapWork: true,
  mapShared: true,
  memoryFile: true,
  offload: true,
  peerCredentials: true,
  peerGroups: true,
  receiveDescriptors: true,
  ringClose: true,
  ringEnter: true,
  ringMemory: true,
  ringOpen: true,
  sendDatagram: true,
  sendDescriptors: true,
  setDirect: true,
  shareAttach: true,
  shareClose: true,
  shareClosing: true,
  shareCount: true,
  shareDetach: true,
  shareOpen: true,
  slabMap: true,
  slabUnmap: true,
  windowDetach: true,
  unmapShared: true,
} satisfies Record<keyof Binding, true>;

const { EBADF, ECONNREFUSED, EINVAL, ENOENT } = constants.errno;

test('the addon exports exactly what the interface says', () => {
  assert.deepEqual(Object.keys(binding).toSorted(), Object.keys(NAMES).toSorted());
  for (const value of Object.values(binding)) assert.equal(typeof value, 'function');
});

test('wrong handles and arguments give a negative errno, never a crash', () => {
  assert.equal(binding.ringEnter(0xffff, 1), -EINVAL);
  assert.equal(binding.ringClose(-1), -EINVAL);
  assert.equal(binding.ringMemory(3, 0), -EINVAL);
  assert.equal(binding.slabUnmap(4096), -ENOENT);
  assert.equal(binding.slabMap(4096, new Float64Array(1)), -EINVAL);
  assert.equal(binding.slabMap(2 ** 21, new Float64Array(0)), -EINVAL);
  assert.equal(binding.lock(1_000_000, 0), -EBADF);
  assert.equal(binding.crc32cPages(new Uint8Array(8192), new Uint32Array(1)), -EINVAL);
  const bytes = Buffer.from('x');
  assert.equal(
    binding.sendDatagram(Buffer.alloc(109, 0x61), bytes),
    -EINVAL,
    'longer than sun_path',
  );
  assert.equal(
    binding.sendDatagram(Buffer.alloc(108, 0x61), bytes),
    -EINVAL,
    'no room for its zero',
  );
  assert.equal(binding.sendDatagram(Buffer.from('/a\0b'), bytes), -EINVAL);
  assert.equal(binding.sendDatagram(Buffer.from('/nobody/there'), bytes), -ENOENT);
  assert.equal(binding.sendDatagram(Buffer.alloc(108), bytes), -ECONNREFUSED, 'an abstract name');
  const short = new Uint32Array(2);
  assert.equal(
    binding.ringOpen(RING_IO_URING, 8, 16, short, () => {}),
    -EINVAL,
  );
  const nothing = binding as unknown as Record<string, () => unknown>;
  for (const name of Object.keys(NAMES)) {
    if (name === 'crc32c') assert.throws(() => nothing[name]!(), TypeError);
    // Takes nothing.
    else if (name === 'shareOpen') assert.equal(binding.shareClose(binding.shareOpen(), 1), 0);
    else assert.equal(nothing[name]!(), -EINVAL, name);
  }
});

test('a package without its addon says how to get it', (t) => {
  const root = mkdtempSync(join(tmpdir(), 'mpool-binding-'));
  t.after(() => rmSync(root, { recursive: true }));
  const built = dirname(dirname(fileURLToPath(import.meta.resolve('../../src/native/binding.js'))));
  for (const room of ['base', 'native']) {
    cpSync(join(built, room), join(root, 'src', room), { recursive: true });
  }
  writeFileSync(join(root, 'package.json'), '{ "name": "mpool", "type": "module" }');
  const run = (env: Record<string, string>, ...setup: string[]) =>
    spawnSync(process.execPath, [...setup, join(root, 'src/native/binding.js')], {
      encoding: 'utf8',
      env: { ...process.env, ...env },
    }).stderr;
  assert.match(run({ MPOOL_NATIVE: '' }), /native addon is missing .*npm run native/);
  const old = `data:text/javascript,Object.defineProperty(process.versions,'napi',{value:'8'})`;
  assert.match(run({ MPOOL_NATIVE: '' }, '--import', old), /needs Linux and Node-API 9/);
});
