// Goal: on an overlay a program sees exactly what it would see had it written, and nothing is written.
// Method: random reads, writes, files made, grown and removed, beside a model of plain bytes; then the
// whole library through creation, objects and destruction, while the machine below counts its writes.
import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SeededPrng } from '../../src/base/prng.ts';
import { readAsync, writeAsync, flushAsync, discardAsync } from '../../src/device/device.ts';
import { OverlayHost } from '../../src/device/overlay-host.ts';
import { refuseCreate } from '../../src/device/refuse-create.ts';
import { libraryOn } from '../../src/pool/library.ts';
import { SimHost, simulatedLibrary } from '../../src/testing/index.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const seed = Number(process.env['SEED'] ?? Date.now() % 1e9);
const prng = new SeededPrng(seed);
const below = (limit: number): number => prng.u32() % limit;

function bytesOf(length: number): Uint8Array {
  return Uint8Array.from({ length }, () => prng.u32() & 0xff);
}

const anywhere = async (): Promise<void> => {};

test(`reads, peeks and sizes are as if everything had been written (seed ${seed})`, async () => {
  for (const sectorBytes of [512, 4096] as const) {
    const host = new SimHost({ seed, fileSectorBytes: sectorBytes });
    const sizeBytes = 256 * KIB;
    host.addDisk('/dev/a', { sizeBytes, sectorBytes });
    const content = bytesOf(sizeBytes);
    const raw = await host.openDevice('/dev/a', { access: 'write' });
    const whole = raw.allocate(sizeBytes);
    whole.set(content);
    await writeAsync(raw, 0, whole, 'durable');
    raw.release(whole);
    await raw.close();
    await host.createFile('/f/old', 8 * KIB);
    const before = host.operationCount;

    const overlay = new OverlayHost(host, anywhere);
    await overlay.createFile('/f/new', 64 * KIB);
    await assert.rejects(overlay.createFile('/f/new', 1), { code: 'ERR_MPOOL_EXISTS' });
    await assert.rejects(overlay.createFile('/f/old', 1), { code: 'ERR_MPOOL_EXISTS' });
    await overlay.growFile('/f/old', 32 * KIB);
    const models = new Map<string, Uint8Array>([
      ['/dev/a', Uint8Array.from(content)],
      ['/f/new', new Uint8Array(64 * KIB)],
      ['/f/old', new Uint8Array(32 * KIB)],
    ]);
    for (const [path, model] of models) {
      for (let step = 0; step < 60; step++) {
        const device = await overlay.openDevice(path, { access: 'write' });
        assert.equal(device.sizeBytes, model.length);
        const sectors = model.length / device.sectorBytes;
        const first = below(sectors);
        const length = (1 + below(Math.min(16, sectors - first))) * device.sectorBytes;
        const at = first * device.sectorBytes;
        const buffer = device.allocate(length);
        if (below(2) === 0) {
          buffer.set(bytesOf(length));
          model.set(buffer, at);
          await writeAsync(device, at, buffer, 'volatile');
          buffer.fill(0xee);
          await flushAsync(device);
        } else {
          await readAsync(device, at, buffer);
          assert.deepEqual(Buffer.from(buffer), Buffer.from(model.subarray(at, at + length)));
        }
        device.release(buffer);
        await device.close();
        const from = below(model.length);
        const wanted = below(9000);
        assert.deepEqual(
          Buffer.from(await overlay.peek(path, from, wanted)),
          Buffer.from(model.subarray(from, from + wanted)),
        );
      }
    }
    await overlay.removeFile('/f/new');
    await overlay.removeFile('/f/old');
    assert.equal(await overlay.stat('/f/new'), undefined);
    assert.equal(await overlay.stat('/f/old'), undefined);
    await assert.rejects(overlay.openDevice('/f/old', { access: 'read' }), {
      code: 'ERR_MPOOL_NOT_FOUND',
    });
    assert.deepEqual(await overlay.candidates(['/f'], true), ['/dev/a']);
    await overlay.createFile('/f/old', KIB);
    assert.equal((await overlay.stat('/f/old'))?.sizeBytes, KIB);

    assert.equal(host.operationCount, before);
    assert.deepEqual(Buffer.from(host.disk('/dev/a').bytes(0, sizeBytes)), Buffer.from(content));
    assert.equal(host.disk('/f/old').sizeBytes, 8 * KIB);
    assert.equal(host.liveBufferCount, 0);
  }
});

test('a device of an overlay keeps the contract: claims, ends, read-only, closed', async () => {
  const host = new SimHost({ seed });
  host.addDisk('/dev/a', { sizeBytes: 64 * KIB });
  const overlay = new OverlayHost(host, anywhere);
  const device = await overlay.openDevice('/dev/a', { access: 'write' });
  const other = host.openDevice('/dev/a', { access: 'read' });
  await assert.rejects(other, { code: 'ERR_MPOOL_BUSY' });
  const sector = device.allocate(512);
  await assert.rejects(readAsync(device, 64 * KIB, sector), { code: 'ERR_MPOOL_IO' });
  await assert.rejects(writeAsync(device, 64 * KIB, sector, 'durable'), { code: 'ERR_MPOOL_IO' });
  await discardAsync(device, 0, 64 * KIB);
  device.release(sector);
  // The page cache would show what is below, not what was written.
  await assert.rejects(device.map(), { code: 'ERR_MPOOL_PERMISSION' });
  assert.equal(overlay.memory, host.memory);
  await device.close();
  await assert.rejects(flushAsync(device), { code: 'ERR_MPOOL_CLOSED' });
  const reader = await overlay.openDevice('/dev/a', { access: 'read' });
  const buffer = reader.allocate(512);
  await assert.rejects(writeAsync(reader, 0, buffer, 'volatile'), { code: 'ERR_MPOOL_READ_ONLY' });
  await readAsync(reader, 0, buffer);
  reader.release(buffer);
  await reader.close();
  assert.equal(host.operationCount, 0);
});

test('the whole library runs on an overlay, and leaves no trace of it', async () => {
  const host = new SimHost({ seed });
  host.addDisk('/dev/a', { sizeBytes: 16 * MIB });
  const real = simulatedLibrary(host);
  const pool = await real.create({
    name: 'oak',
    capacity: { path: '/dev/a', mblockSizeBytes: MIB },
  });
  const kept = await pool.mblocks.alloc();
  await kept.write(Buffer.from('kept'));
  await kept.commit();
  await pool.close();
  const before = host.operationCount;
  const image = Buffer.from(host.disk('/dev/a').bytes(0, 16 * MIB));

  const environment = { ...host.environment, host: new OverlayHost(host, anywhere) };
  const dry = libraryOn(environment, () => [...host.paths, '/f']);
  const oak = await dry.open('oak');
  await oak.mblocks.delete([kept.id]);
  await oak.addMediaClass('staging', { path: '/f/staging', sizeBytes: 8 * MIB });
  const mblock = await oak.mblocks.alloc({ mediaClass: 'staging' });
  await mblock.write(Buffer.from('in memory'));
  await mblock.commit();
  await oak.setParameters({ label: 'dry' });
  await oak.close();
  await dry.rename('oak', 'elm');
  const elm = await dry.open('elm');
  assert.equal(Buffer.from(await elm.mblocks.read(mblock.id, 0, 9)).toString(), 'in memory');
  await assert.rejects(elm.mblocks.find(kept.id), { code: 'ERR_MPOOL_NOT_FOUND' });
  assert.equal((await elm.parameters()).label, 'dry');
  await elm.close();
  assert.equal((await dry.check('elm', { data: true })).clean, true);
  assert.deepEqual(
    (await dry.scan()).map(({ name, devices }) => [name, devices.length]),
    [['elm', 2]],
  );
  await dry.destroy('elm');
  assert.deepEqual(await dry.scan(), []);
  const ash = await dry.create({ name: 'ash', capacity: { path: '/dev/a' } });
  await ash.close();

  assert.equal(host.operationCount, before);
  assert.ok(image.equals(host.disk('/dev/a').bytes(0, 16 * MIB)));
  assert.deepEqual(host.paths, ['/dev/a']);
  const again = await real.open('oak');
  assert.equal(Buffer.from(await again.mblocks.read(kept.id, 0, 4)).toString(), 'kept');
  await again.close();
});

test('a file is refused where none can be made', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'mpool-refuse-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  await writeFile(join(folder, 'file'), '');
  await symlink('nowhere', join(folder, 'link'));
  await refuseCreate(join(folder, 'new'));
  for (const [name, code] of [
    ['file', 'ERR_MPOOL_EXISTS'],
    ['link', 'ERR_MPOOL_EXISTS'],
    ['missing/new', 'ERR_MPOOL_NOT_FOUND'],
    ['file/new', 'ERR_MPOOL_NOT_FOUND'],
    ['new/', 'ERR_MPOOL_IO'],
    ['n'.repeat(300), 'ERR_MPOOL_IO'],
  ] as const) {
    await assert.rejects(refuseCreate(join(folder, name)), { code }, name);
    // As the real thing: only without what it would leave behind.
    const real = await writeFile(join(folder, name), '', { flag: 'wx' }).catch((e: unknown) => e);
    assert.ok(real instanceof Error, name);
  }
  await mkdir(join(folder, 'closed'));
  await chmod(join(folder, 'closed'), 0o500);
  const closed = refuseCreate(join(folder, 'closed/new'));
  if (process.geteuid?.() === 0) await closed;
  else await assert.rejects(closed, { code: 'ERR_MPOOL_ACCESS' });
});
