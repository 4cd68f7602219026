// Goal: what is wrong with a pool of the daemon is seen by whoever looks: in its journal once, in its metrics,
// over HTTP, by a client; and what a client finds wrong, by that client.
// Method: problems noted in an active pool and taken back; bytes of a pool's file changed under a client.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { printObjectId } from '../../src/format/object-id.ts';
import { HealthJournal } from '../../src/daemon/server/health-journal.ts';
import { Journal } from '../../src/daemon/server/journal.ts';
import { Health } from '../../src/pool/health.ts';
import { SimClock } from '../../src/testing/index.ts';
import { clientRig } from './client-rig.ts';
import { pattern, startRig } from './server-rig.ts';

test('each problem is said once when it comes and once when it is over', () => {
  const lines: string[] = [];
  const journal = new Journal({
    level: 'info',
    format: 'line',
    write: (line) => void lines.push(line.replace(/^\S+ /, '').trimEnd()),
    wallMs: () => 0,
  });
  const said = (): string[] => lines.splice(0);
  const health = new Health(new SimClock());
  const store = {
    health,
    get problems() {
      return health.problems;
    },
    get fault() {
      return health.fault;
    },
  };
  const look = new HealthJournal(journal);
  const pools = [{ name: 'p1', store }];
  look.look(pools);
  assert.deepEqual(said(), []);
  health.note('damaged', 'page 3', '0x1101');
  look.look(pools);
  assert.deepEqual(said(), [
    'warn a problem pool=p1 kind=damaged message="page 3" object=0x1101',
    'warn a pool is degraded pool=p1 problems=1',
  ]);
  health.note('damaged', 'page 3', '0x1101');
  look.look(pools);
  assert.deepEqual(said(), [], 'it is known');
  health.note('failed', 'a write failed');
  look.look(pools);
  assert.deepEqual(said(), [
    'warn a problem pool=p1 kind=failed message="a write failed"',
    'error a pool is faulted pool=p1 fault="a write failed"',
  ]);
  health.clear('failed');
  health.clear('damaged', '0x1101');
  look.look(pools);
  assert.deepEqual(said(), [
    'info a problem is over pool=p1 kind=failed',
    'info a problem is over pool=p1 kind=damaged object=0x1101',
    'info a pool is well pool=p1',
  ]);
  for (let i = 0; i < 90; i++) health.note('damaged', 'rot', `0x${i}`);
  look.look(pools);
  const all = said();
  assert.deepEqual([all.length, all[10]], [12, 'warn more problems pool=p1 count=80']);
  look.look([]);
  assert.deepEqual(said(), [], 'an inactive pool is not well, it is gone');
});

test('metrics, HTTP and clients tell of a pool that is degraded, and it stays in service', async (t) => {
  const rig = await startRig(t, { config: { metrics: '0' } });
  const at = `http://127.0.0.1:${rig.daemon.metricsPort}`;
  const { health } = rig.service.store;
  for (let i = 0; i < 30; i++) health.note('damaged', `page ${i}`, `0x${i}`);
  health.note('slow-device', 'no answer', '/dev/x');
  const text = await (await fetch(`${at}/metrics`)).text();
  for (const line of [
    'mpool_healthy{pool="p1"} 0',
    'mpool_health{pool="p1",state="optimal"} 0',
    'mpool_health{pool="p1",state="degraded"} 1',
    'mpool_health{pool="p1",state="faulted"} 0',
    'mpool_problems_noticed_total{pool="p1",kind="damaged"} 30',
    'mpool_problems_noticed_total{pool="p1",kind="slow-device"} 1',
    'mpool_problems_noticed_total{pool="p1",kind="failed"} 0',
    'mpool_problems{pool="p1",kind="slow-device"} 1',
    'mpool_problems{pool="p1",kind="damaged"} 30',
  ]) {
    assert.ok(text.includes(`\n${line}\n`), line);
  }
  const response = await fetch(`${at}/healthz`, { headers: { accept: 'application/json' } });
  assert.equal(response.status, 200, 'it serves');
  const { faults, problems } = (await response.json()) as { faults: object[]; problems: object[] };
  assert.deepEqual([faults.length, problems.length], [0, 20]);
  const client = await rig.client();
  const info = await client.ask('info', {});
  assert.deepEqual([info.health, info.fault, info.problems.length], ['degraded', undefined, 31]);
  const { pools } = await (await rig.control()).ask('pools', {});
  assert.deepEqual([pools[0]!.health, pools[0]!.problems.length], ['degraded', 20]);
  await client.mblock(pattern(4096));
});

test('a client tells of what it finds itself, until the object is gone', async (t) => {
  const rig = await clientRig(t);
  const daemon = await rig.client();
  const pool = await daemon.open('p1');
  const content = pattern(8192);
  const mblock = await pool.mblocks.alloc();
  await mblock.write(content);
  await mblock.commit();
  assert.equal((await pool.info()).health, 'optimal');
  const bytes = readFileSync(rig.path);
  const where = bytes.indexOf(content);
  assert.ok(where > 0);
  bytes[where + 5000]! ^= 1;
  writeFileSync(rig.path, bytes);
  await mblock.read(0, 4096);
  await assert.rejects(mblock.read(4096, 4096), { code: 'ERR_MPOOL_CHECKSUM' });
  const { health, problems } = await pool.info();
  const [problem] = problems;
  assert.deepEqual([health, problem!.kind], ['degraded', 'damaged']);
  assert.equal(problem!.object, printObjectId(mblock.id));
  await pool.mblocks.delete([mblock.id]);
  const now = await pool.info();
  assert.deepEqual([now.health, now.problems], ['optimal', []]);
  await pool.close();
});
