// Goal: the store does on real devices what it does on simulated ones, on every engine.
// Method: one short life of a pool (create, objects, logs, reopen, check) on a file on disk, a file on tmpfs,
// and, as root, loop devices of 512- and 4096-byte sectors; libblkid, mkfs and a second process look on.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statfsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { check, create, destroy, isMpoolError, open, type Pool } from '../../src/index.ts';

const MIB = 2 ** 20;
const directory = join('build', `real-${process.pid}`);
mkdirSync(directory, { recursive: true });
after(() => rmSync(directory, { recursive: true }));

const isRoot = process.getuid?.() === 0;
const loopReason = isRoot
  ? run('losetup', '-f').status === 0
    ? undefined
    : 'there are no loop devices here'
  : 'loop devices need root';

for (const engine of ['io_uring', 'aio', 'threads'] as const) {
  test(`a pool's life on a file, engine ${engine}`, async () => {
    await life(join(directory, `${engine}.mpool`), { engine, sizeBytes: 64 * MIB });
  });
}

test('a pool on tmpfs, where O_DIRECT may be refused', async (t) => {
  const TMPFS = 0x01021994;
  if (!existsSync('/dev/shm') || statfsSync('/dev/shm').type !== TMPFS) return t.skip('no tmpfs');
  const path = `/dev/shm/mpool-real-${process.pid}`;
  t.after(() => rmSync(path, { force: true }));
  await life(path, { sizeBytes: 64 * MIB });
});

for (const sectorBytes of [512, 4096]) {
  test(`a pool on a block device with sectors of ${sectorBytes} bytes`, async (t) => {
    if (loopReason !== undefined) return t.skip(loopReason);
    const device = loopDevice(`loop-${sectorBytes}`, 64 * MIB, sectorBytes);
    t.after(() => run('losetup', '-d', device));
    await life(device, {});
    if (run('blkid', '-V').error === undefined) {
      const { stdout } = run('blkid', '-p', '-o', 'export', device);
      assert.match(stdout, /^TYPE=mpool$/m);
    }
    const pool = await open(device);
    assert.equal((await pool.devices())[0]!.sectorBytes, sectorBytes);
    await pool.close();
    await destroy(device);
    await assert.rejects(open(device), (error) => isMpoolError(error, 'ERR_MPOOL_NOT_FOUND'));
  });
}

test('a loop device and its file are one: whoever has the one keeps the other from others', async (t) => {
  if (loopReason !== undefined) return t.skip(loopReason);
  const device = loopDevice('loop-file', 64 * MIB, 512);
  t.after(() => run('losetup', '-d', device));
  const pool = await create({ name: `loop-${process.pid}`, capacity: { path: device } });
  const file = join(directory, 'loop-file');
  const busy = (error: unknown): boolean => isMpoolError(error, 'ERR_MPOOL_BUSY');
  await assert.rejects(open(file), busy);
  await pool.close();
  const other = await open(file);
  await assert.rejects(open(device), busy);
  await other.close();
  await (await open(device)).close();
});

test('a filesystem is not overwritten, unless forced', async (t) => {
  const path = join(directory, 'filesystem');
  writeFileSync(path, '');
  truncateSync(path, 64 * MIB);
  const made = run('mkfs.ext4', '-q', '-F', path);
  if (made.error !== undefined) return t.skip('there is no mkfs.ext4');
  const capacity = { path, mblockSizeBytes: MIB };
  await assert.rejects(create({ name: 'over', capacity }), (error) => {
    assert.ok(isMpoolError(error, 'ERR_MPOOL_NOT_BLANK'));
    assert.match(error.message, /ext4/);
    return true;
  });
  assert.equal(run('fsck.ext4', '-n', '-f', path).status, 0, 'nothing of it was touched');
  await (await create({ name: 'over', capacity, force: true })).close();
  await assert.rejects(create({ name: 'again', capacity }), (error) => {
    assert.ok(isMpoolError(error, 'ERR_MPOOL_NOT_BLANK'));
    assert.match(error.message, /over/);
    return true;
  });
});

test('a second process is refused, and told who has the pool', async () => {
  const path = join(directory, 'held.mpool');
  const pool = await create({ name: 'held', capacity: { path, sizeBytes: 64 * MIB } });
  const program =
    `import { open } from ${JSON.stringify(join(import.meta.dirname, '../../src/index.js'))};` +
    `for (const readOnly of [false, true])` +
    ` await open(${JSON.stringify(path)}, { readOnly }).catch((e) => console.log(e.code, e.message));`;
  const { stdout } = run(process.execPath, '--input-type=module', '-e', program);
  const refusals = stdout.match(/ERR_MPOOL_BUSY/g) ?? [];
  assert.equal(refusals.length, 2, stdout);
  assert.ok(stdout.includes(String(process.pid)), stdout);
  await pool.close();
});

interface LifeOptions {
  engine?: 'io_uring' | 'aio' | 'threads';
  sizeBytes?: number;
}

async function life(path: string, { engine, sizeBytes }: LifeOptions): Promise<void> {
  const name = `life-${process.pid}`;
  const capacity = { path, sizeBytes, mblockSizeBytes: MIB };
  let pool = await create({ name, capacity, engine });
  const bytes = Buffer.alloc(700_001, 'real bytes ');
  const mblocks = await Promise.all(Array.from({ length: 8 }, () => pool.mblocks.alloc()));
  await Promise.all(mblocks.map((mblock) => mblock.write(bytes)));
  await pool.mblocks.commit(mblocks);
  await mblocks[0]!.delete();
  await useRoot(pool);
  if (engine !== undefined) await assertEngine(pool, engine);
  await pool.close();
  pool = await open(path, { engine });
  const found = await pool.mblocks.find(mblocks[1]!.id);
  assert.deepEqual(await found.read(0, bytes.length), bytes);
  assert.deepEqual(await found.read(4095, 2), bytes.subarray(4095, 4097));
  await using root = await pool.mdcs.root();
  const texts: string[] = [];
  for await (const record of root.records()) texts.push(Buffer.from(record).toString());
  assert.deepEqual(texts, ['kept', 'after']);
  await root.close();
  await pool.close();
  const report = await check(path, { data: true });
  assert.deepEqual(report.findings, []);
}

async function useRoot(pool: Pool): Promise<void> {
  await using root = await pool.mdcs.root();
  await Promise.all(Array.from({ length: 50 }, (_, i) => root.append(`${i}`, { sync: true })));
  await root.compact(['kept']);
  await root.append('after', { sync: true });
}

/** A refused engine falls to the next rung: then another one answers, and says so. */
async function assertEngine(pool: Pool, wanted: string): Promise<void> {
  const used = (await pool.devices())[0]!.engine;
  const rungs = ['io_uring', 'aio', 'threads'];
  assert.ok(rungs.indexOf(used) >= rungs.indexOf(wanted), `${used} is at or below ${wanted}`);
}

function loopDevice(name: string, sizeBytes: number, sectorBytes: number): string {
  const backing = join(directory, name);
  writeFileSync(backing, '');
  truncateSync(backing, sizeBytes);
  const made = run('losetup', '-f', '--show', '-b', String(sectorBytes), backing);
  assert.equal(made.status, 0, made.stderr);
  return made.stdout.trim();
}

function run(
  command: string,
  ...args: string[]
): { status: number | null; stdout: string; stderr: string; error?: Error | undefined } {
  return spawnSync(command, args, { encoding: 'utf8' });
}
