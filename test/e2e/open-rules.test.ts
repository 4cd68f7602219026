// Goal: whoever opens a pool exclusively is alone, from the moment it is open until it is closed or he is dead, and a
//   pool that is open at all is neither deactivated nor renamed nor destroyed.
// Method: processes in each role; then a crowd that opens and closes at random, each with a marker in a folder
//   while it has the pool open, and never one of an exclusive holder beside another. SEED=n repeats a run.
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { isMpoolError } from '../../src/client.ts';
import { program } from '../device/places.ts';
import { Remote } from './remote.ts';
import { POOL, Service, until } from './rig.ts';

const run = promisify(execFile);
const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
const BUSY = 'ERR_MPOOL_BUSY';
const WAYS = [
  {},
  { readOnly: true },
  { exclusive: true },
  { exclusive: true, readOnly: true },
] as const;

test('exclusive is alone, whoever came first, and a pool that is open stays as it is', async (t) => {
  const service = await Service.start(t);
  await service.create();
  const { daemon } = service;
  const [holder, comer] = [await Remote.start(service), await Remote.start(service)];
  const comes = async (): Promise<string[]> => {
    const codes: string[] = [];
    for (const way of WAYS) {
      const code = await comer.codeOf('open', { pool: POOL, ...way });
      if (code === 'done') await comer.get('close', { as: POOL });
      codes.push(code);
    }
    return codes;
  };
  for (const way of WAYS) {
    const alone = 'exclusive' in way;
    const expected = alone ? [BUSY, BUSY, BUSY, BUSY] : ['done', 'done', BUSY, BUSY];
    await holder.get('open', { pool: POOL, ...way });
    assert.deepEqual(await comes(), expected, JSON.stringify(way));
    for (const call of [
      () => daemon.deactivate(POOL),
      () => daemon.destroy(POOL, { force: true }),
      () => daemon.rename(POOL, 'other'),
    ]) {
      await assert.rejects(call, (error: Error) => {
        assert.ok(isMpoolError(error, BUSY), String(error));
        assert.match(error.message, new RegExp(`pid ${holder.child.pid}\\b`), 'who has it');
        return true;
      });
    }
    assert.equal(await holder.codeOf('usage', { as: POOL }), 'done', 'as if nobody had tried');
    await holder.get('close', { as: POOL });
    assert.deepEqual(await comes(), ['done', 'done', 'done', 'done']);
  }

  // Not only he who closes it: he who is dead has it no more.
  await holder.get('open', { pool: POOL, exclusive: true });
  await holder.get('put', { as: POOL, count: 3, lengthBytes: 5000 });
  await holder.get('hold', { as: POOL, count: 3, lengthBytes: 5000 });
  await holder.kill();
  await until('the pool is free', async () => (await comes())[2] === 'done');
  assert.deepEqual(await comes(), ['done', 'done', 'done', 'done']);
  await service.isQuiet();
  await daemon.rename(POOL, 'other');
  assert.equal(await comer.codeOf('open', { pool: 'other', exclusive: true }), 'done');
});

test(`a crowd of shared and exclusive openers, SEED=${seed}`, async (t) => {
  const service = await Service.start(t);
  await service.create();
  const markers = join(service.folder, 'markers');
  mkdirSync(markers);
  const children = Array.from({ length: 6 }, (_, i) => {
    const args = [service.rundir, POOL, markers, String(seed + 100 * i), '4'];
    return run(process.execPath, [program('../e2e/open-rules-child'), ...args]);
  });
  const total = { alone: 0, beside: 0, busy: 0 };
  for (const { stdout } of await Promise.all(children)) {
    const found = JSON.parse(stdout) as typeof total & { violations: string[] };
    assert.deepEqual(found.violations, []);
    for (const key of Object.keys(total) as (keyof typeof total)[]) total[key] += found[key];
  }
  t.diagnostic(JSON.stringify(total));
  assert.ok(total.busy > 0, 'they were in each other’s way');
  await service.isQuiet();
});
