// Goal: what `mpool top` says happened in an interval is what happened: of counts, of latencies, of pools, clients
//   and daemons that come, go and come again; what is not known is never shown as a number.
// Method: pairs of answers of a daemon, made by hand, with the rates worked out by hand.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { daemonFigures } from '../../src/cli/top/figures.ts';
import { kindRates } from '../../src/cli/top/kinds.ts';
import { quantile, ratesBetween, type DaemonRates } from '../../src/cli/top/rates.ts';
import { topDocument } from '../../src/cli/top/document.ts';
import {
  BOUNDS,
  fakeClient,
  fakeMetrics,
  fakePool,
  laterMetrics,
  MIB,
  snapshot,
} from './top-fixture.ts';

const later = (): ReturnType<typeof snapshot> =>
  snapshot(3000, laterMetrics(), [fakeClient({ requestCount: 900, writtenBytes: 34 * MIB })]);

function kind(rates: DaemonRates, name: string): object {
  const found = kindRates(rates.operations, rates.metrics.latencyBoundsSeconds);
  return found.find((each) => each.name === name)!;
}

test('counts become rates over the time between the answers', () => {
  const rates = ratesBetween(snapshot(1000), later());
  assert.equal(rates.intervalSeconds, 2);
  assert.equal(rates.cpuPercent, 50);
  const [pool] = rates.pools;
  assert.deepEqual(pool!.perSecond, {
    writtenBytes: 12 * MIB,
    commits: 300,
    deletes: 5,
    flushes: 20,
    metadataFrames: 30,
    metadataSteps: 25,
    metadataOperations: 300,
    syncSteps: 10,
    syncOperations: 25,
    evictedPages: undefined,
    refaultedObjects: undefined,
  });
  assert.deepEqual([pool!.operationsPerStep, pool!.syncsPerStep], [12, 2.5]);
  const [client] = rates.clients;
  assert.deepEqual([client!.requestsPerSecond, client!.writtenBytesPerSecond], [400, 12 * MIB]);
});

test('latencies are of the interval alone: the daemon was slower before, or faster', () => {
  const rates = ratesBetween(snapshot(1000), later());
  // Of 2,400: 2,300 within 1 ms, 90 within 10 ms, 10 within 100 ms; 99 of 100 are 2,376.
  assert.deepEqual(kind(rates, 'write'), {
    name: 'write',
    priority: 9,
    requestsPerSecond: 1200,
    errorsPerSecond: 0,
    p50Seconds: 0.001,
    p99Seconds: 0.01,
  });
  // Of 100: 98 within 10 ms, 2 beyond all bounds.
  const commit = { requestsPerSecond: 50, errorsPerSecond: 0.5, p50Seconds: 0.01 };
  assert.deepEqual(kind(rates, 'commit'), {
    name: 'commit',
    priority: 8,
    ...commit,
    p99Seconds: Infinity,
  });
  // It was met for the first time: it began at 0.
  assert.equal((kind(rates, 'append') as { requestsPerSecond: number }).requestsPerSecond, 4);
  // It was never met.
  const alloc = { requestsPerSecond: 0, errorsPerSecond: 0, p50Seconds: undefined };
  assert.deepEqual(kind(rates, 'alloc'), {
    name: 'alloc',
    priority: 3,
    ...alloc,
    p99Seconds: undefined,
  });
});

test('the bounds of quantiles, at the edges of the buckets', () => {
  const bound = (buckets: number[], q: number): unknown => quantile(buckets, BOUNDS, q);
  assert.equal(bound([], 0.5), undefined);
  assert.equal(bound([0, 0, 0, 0], 0.99), undefined);
  assert.equal(bound([1, 1, 0, 0], 0.5), 0.001, 'one of two took no longer');
  assert.equal(bound([99, 0, 1, 0], 0.99), 0.001);
  assert.equal(bound([98, 0, 2, 0], 0.99), 0.1);
  assert.equal(bound([0, 0, 0, 1], 0.5), Infinity);
});

test('without an answer before nothing is known but what is so now', () => {
  const rates = ratesBetween(undefined, later());
  assert.equal(rates.intervalSeconds, undefined);
  assert.equal(rates.cpuPercent, undefined);
  for (const value of Object.values(rates.pools[0]!.perSecond)) assert.equal(value, undefined);
  assert.equal(rates.pools[0]!.operationsPerStep, undefined);
  assert.equal(rates.clients[0]!.requestsPerSecond, undefined);
  const write = kind(rates, 'write') as Record<string, unknown>;
  assert.deepEqual([write['requestsPerSecond'], write['p50Seconds']], [undefined, undefined]);
  assert.equal(rates.pools[0]!.figures.objectCount, 1234);
  // Two answers at the same moment are no interval either.
  assert.equal(ratesBetween(snapshot(1000), snapshot(1000)).pools[0]!.perSecond.commits, undefined);
});

test('a daemon that began anew counts from 0, and no longer than it runs', () => {
  const fresh = laterMetrics({
    uptimeSeconds: 4,
    cpuSeconds: 2,
    operations: { 'log.append': { count: 40, buckets: [40, 0, 0, 0], errors: {} } },
    pools: [fakePool({ writtenBytes: 8 * MIB }, { commits: 4 })],
  });
  const client = fakeClient({ requestCount: 20, writtenBytes: 4 * MIB });
  for (const status of [{ pid: 72 }, { startedMs: 9000 }]) {
    const rates = ratesBetween(snapshot(1000), snapshot(61_000, fresh, [client], status));
    assert.equal(rates.intervalSeconds, 4);
    assert.equal(rates.cpuPercent, 50);
    assert.equal(rates.pools[0]!.perSecond.writtenBytes, 2 * MIB);
    assert.equal(rates.pools[0]!.perSecond.commits, 1);
    // Its session has a number of the old daemon's by chance.
    assert.equal(rates.clients[0]!.requestsPerSecond, 5);
    assert.equal(rates.operations[0]!.requestsPerSecond, 10);
  }
});

test('pools appear, vanish, and are activated anew', () => {
  const other = fakePool({ name: 'mp2', uuid: 'u2', writtenBytes: 6 * MIB }, { commits: 8 });
  const both = laterMetrics({ pools: [fakePool(), other] });
  const appeared = ratesBetween(snapshot(1000), snapshot(3000, both));
  assert.deepEqual(
    appeared.pools.map(({ figures, perSecond }) => [figures.name, perSecond.commits]),
    [
      ['mp1', 0],
      ['mp2', 4],
    ],
  );
  const vanished = ratesBetween(
    snapshot(1000, both),
    snapshot(3000, laterMetrics({ pools: [other] })),
  );
  assert.deepEqual(
    vanished.pools.map(({ figures, perSecond }) => [figures.name, perSecond.commits]),
    [['mp2', 0]],
  );
  // It has committed more than before already, but written less: so it is another activation.
  const again = fakePool({ writtenBytes: MIB }, { commits: 1002 });
  const anew = ratesBetween(snapshot(1000), snapshot(3000, fakeMetrics({ pools: [again] })));
  assert.equal(anew.pools[0]!.perSecond.writtenBytes, MIB / 2);
  assert.equal(anew.pools[0]!.perSecond.commits, 501);
  // Renamed it is the same pool.
  const renamed = laterMetrics({ pools: [fakePool({ name: 'oak' }, { commits: 1010 })] });
  assert.equal(
    ratesBetween(snapshot(1000), snapshot(3000, renamed)).pools[0]!.perSecond.commits,
    5,
  );
});

test('a client with maps that leaves takes its evictions along: no other count is taken for new', () => {
  const reaper = (evictedPages: number): object => ({ clients: 1, pressure: 0, evictedPages });
  const before = fakeMetrics({ pools: [fakePool({ reaper: reaper(500) })] });
  const after = fakeMetrics({ pools: [fakePool({ reaper: reaper(20) }, { commits: 1006 })] });
  const { perSecond } = ratesBetween(snapshot(1000, before), snapshot(3000, after)).pools[0]!;
  assert.deepEqual([perSecond.commits, perSecond.evictedPages], [3, 0]);
});

test('clients that came since are counted whole; those that went are gone', () => {
  const stays = fakeClient({ session: 1, requestCount: 110 });
  const comes = fakeClient({ session: 3, requestCount: 30, writtenBytes: 0 });
  const old = [fakeClient({ session: 1 }), fakeClient({ session: 2 })];
  const rates = ratesBetween(
    snapshot(1000, fakeMetrics(), old),
    snapshot(3000, laterMetrics(), [stays, comes]),
  );
  const told = rates.clients.map(({ info, requestsPerSecond }) => [
    info.session,
    requestsPerSecond,
  ]);
  assert.deepEqual(told, [
    [1, 5],
    [3, 15],
  ]);
});

test('a daemon of another version is read as far as it goes', () => {
  const strange = {
    uptimeSeconds: 'long',
    operations: {
      'log.append': { count: 4 },
      odd: null,
      'mblock.fuse': { count: 2, buckets: 'x' },
    },
    pools: [{ name: 'old', stats: { commits: 12 } }, 7, { name: 5, reaper: [], classes: [1] }],
  };
  const before = snapshot(1000, { ...strange, operations: {} });
  const rates = ratesBetween(before, snapshot(3000, strange));
  const [old] = rates.pools;
  assert.deepEqual([old!.perSecond.commits, old!.perSecond.flushes], [0, undefined]);
  assert.equal(old!.operationsPerStep, undefined);
  assert.equal(rates.pools.length, 3);
  const other = kind(rates, 'other') as { requestsPerSecond: number };
  assert.equal(other.requestsPerSecond, 1, 'requests of a later protocol are of another kind');
  for (const answer of [undefined, null, 5, 'x', [], [{}], { pools: {}, operations: [] }]) {
    assert.deepEqual([...daemonFigures(answer).operations], []);
    assert.deepEqual(daemonFigures(answer).pools.length, 0);
  }
  // What is not known is null in JSON, never absent and never 0.
  const view = { rundir: '/r', problem: undefined, rates };
  const { daemons } = JSON.parse(JSON.stringify(topDocument([view])));
  assert.equal(daemons[0].uptimeSeconds, null);
  assert.equal(daemons[0].pools[0].flushesPerSecond, null);
  assert.equal(daemons[0].pools[0].commitsPerSecond, 0);
});
