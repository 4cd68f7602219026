// Goal: many clients at once each get their work done; one that floods the daemon or never reads its answers costs
//   it a bounded amount of memory, and the others their turn at no time.
// Method: sixteen processes with four connections each, which verify all that they read; two that ask without end and
//   as fast as it goes, beside one that asks one after the other: requests are counted by the daemon, never timed; one
//   that is deaf, while the daemon's memory is looked at.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { program } from '../device/places.ts';
import { contentOf } from '../kill/events.ts';
import { Remote } from './remote.ts';
import { MIB, POOL, Service, until } from './rig.ts';

const seed = Number(process.env['SEED'] ?? Date.now() % 1e6);
const PROCESSES = 16;
const CLIENTS = 4;
const ROUNDS = 4;
/** Of the protocol: while so much waits to be read nothing more is begun. */
const BACKLOG_BYTES = 2 * MIB;
/** Of an answer to `info`, at least. */
const INFO_BYTES_MIN = 800;
/** Of the daemon: a connection is ended at 16 MiB; the rest is the collector's leisure. */
const GROWTH_BYTES = 64 * MIB;

async function child(
  service: Service,
  name: string,
  args: readonly (string | number)[],
): Promise<ChildProcess> {
  const started = spawn(
    process.execPath,
    ['--enable-source-maps', program(`../e2e/${name}`), service.rundir, POOL, ...args.map(String)],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
  );
  service.after(() => started.kill('SIGKILL'));
  assert.equal((await once(started, 'message'))[0], 'open');
  return started;
}

function residentBytes({ child: { pid } }: Service): number {
  const kib = /^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  return Number(kib) * 1024;
}

test(`64 clients of 16 processes, all at work at once, SEED=${seed}`, async (t) => {
  const service = await Service.start(t);
  await service.create(POOL, { sizeBytes: 256 * MIB });
  const children = await Promise.all(
    Array.from({ length: PROCESSES }, (_, i) =>
      child(service, 'crowd-child', [seed + CLIENTS * i, CLIENTS, ROUNDS]),
    ),
  );
  const clients = await service.daemon.clients(POOL);
  assert.equal(clients.length, PROCESSES * CLIENTS);
  assert.equal(new Set(clients.map(({ pid }) => pid)).size, PROCESSES);
  const kept = await Promise.all(
    children.map(async (each) => {
      const answer = once(each, 'message') as Promise<[string[]]>;
      const ended = once(each, 'exit');
      each.send('begin');
      const [[lines], [status]] = await Promise.all([Promise.race([answer, ended]), ended]);
      assert.equal(status, 0);
      return lines as string[];
    }),
  );
  await service.isQuiet();
  const pool = await service.daemon.open(POOL);
  const listed: string[] = [];
  for await (const { id, writtenBytes } of pool.mblocks.list()) {
    listed.push(`${id} ${writtenBytes}`);
    const bytes = await pool.mblocks.read(id, 0, writtenBytes);
    assert.equal(Buffer.compare(bytes, contentOf(id, writtenBytes)), 0);
  }
  assert.deepEqual(listed.toSorted(), kept.flat().toSorted(), 'what they kept, and nothing else');
  await pool.close();
  await service.stop();
  await service.isSound();
});

test('a flood of requests takes its turns with others', async (t) => {
  const service = await Service.start(t);
  await service.create();
  const other = await Remote.start(service);
  await other.get('open', { pool: POOL });
  const floods = [1, 2].map(() => child(service, 'flood-child', ['ask']));
  const pids = (await Promise.all(floods)).map(({ pid }) => pid);
  const counts = async (): Promise<{ flood: number; other: number }> => {
    const sum = { flood: 0, other: 0 };
    for (const { pid, requestCount } of await service.daemon.clients(POOL)) {
      sum[pids.includes(pid) ? 'flood' : 'other'] += requestCount;
    }
    return sum;
  };
  await until('both are in full flood', async () => (await counts()).flood > 20_000);
  const before = await counts();
  await other.get('usage', { as: POOL, times: 300 });
  const ids = await other.get('put', { as: POOL, count: 10, lengthBytes: 20_000 });
  for (let i = 0; i < 10; i++) await other.get('appendRoot', { as: POOL, records: [`${i}`] });
  assert.ok(await other.get('isIntact', { as: POOL, ids, lengthBytes: 20_000 }));
  const after = await counts();
  const asked = after.other - before.other;
  const flooded = after.flood - before.flood;
  t.diagnostic(`${flooded} requests of two floods while another asked ${asked}`);
  assert.ok(asked >= 300);
  assert.ok(flooded > asked, 'it was a flood');
});

test('a client that never reads is held, then ended, and others do not notice', async (t) => {
  const service = await Service.start(t);
  await service.create();
  const other = await Remote.start(service);
  await other.get('open', { pool: POOL });
  await other.get('usage', { as: POOL, times: 2000 });
  const before = residentBytes(service);
  const deaf = await child(service, 'flood-child', ['deaf']);
  const ofDeaf = async () =>
    (await service.daemon.clients(POOL)).find(({ pid }) => pid === deaf.pid);
  const held = async (): Promise<number> => (await ofDeaf())?.requestCount ?? 0;
  // Nothing more of it is begun, however much it asks.
  let count = -1;
  await until('it is read no more', async () => {
    const last = count;
    count = await held();
    await other.get('usage', { as: POOL, times: 300 });
    assert.ok(deaf.exitCode === null, `it is held, and not ended: ${service.said}`);
    return count > 0 && count === last;
  });
  await other.get('usage', { as: POOL, times: 1000 });
  assert.equal(await held(), count);
  assert.ok(count * INFO_BYTES_MIN < 2 * BACKLOG_BYTES, `${count} requests begun`);
  const growth = residentBytes(service) - before;
  assert.ok(growth < GROWTH_BYTES, `${growth} bytes more for ${count} requests`);

  // What the daemon tells all clients unasked gathers too: more than a limit, and it is ended.
  const told = once(deaf, 'message');
  let most = 0;
  let notices = 0;
  for (; (await ofDeaf()) !== undefined; notices += 2000) {
    const ttl = (i: number) => ({ ttlMs: 1_000_000_000 + i, memoryPercent: 100 / 3 });
    const changes = Array.from({ length: 2000 }, (_, i) => service.daemon.reaper(ttl(i)));
    await Promise.all(changes);
    most = Math.max(most, residentBytes(service));
    assert.ok(notices < 1_000_000, 'at some time it is enough');
  }
  assert.deepEqual(await told, ['ended', undefined]);
  const grown = most - before;
  t.diagnostic(
    `${count} requests begun, ${notices} notices; ${growth}, at most ${grown} bytes more`,
  );
  assert.ok(grown < 2 * GROWTH_BYTES);
  await until('the journal says so', () => / warn a client went .*backlog/.test(service.said));
  await other.get('usage', { as: POOL, times: 100 });
  await other.kill();
  await service.isQuiet();
});
