// Goal: what `mpool top` draws is right, and fits: at every size of a terminal no line is wrapped and none is too
//   many; nothing that a program calls itself reaches the terminal as an order.
// Method: fixed pairs of answers and the whole text they are drawn as, at three widths; then every size there is
//   with names of all kinds, hundreds of pools and clients; bytes of a painted line looked at one by one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawFrame, helpLines, type FrameOptions } from '../../src/cli/top/frame.ts';
import { keysOf } from '../../src/cli/top/keys.ts';
import {
  fitText,
  lineWidth,
  paintLine,
  plainText,
  safeText,
  span,
  widthOf,
} from '../../src/cli/top/line.ts';
import { formatAge, formatCount, formatLatency } from '../../src/cli/top/numbers.ts';
import { ratesBetween } from '../../src/cli/top/rates.ts';
import type { DaemonView } from '../../src/cli/top/daemon-lines.ts';
import type { ClientInfo } from '../../src/client.ts';
import {
  fakeClient,
  fakeMetrics,
  fakePool,
  GIB,
  laterMetrics,
  MIB,
  snapshot,
} from './top-fixture.ts';

const OPTIONS: FrameOptions = {
  columns: 80,
  rows: 24,
  time: '14:02:33',
  intervalText: 'every 2 s',
  sort: 0,
  offset: 0,
  isPaused: false,
  userName: (uid) => (uid === 0 ? 'root' : String(uid)),
};

const CLIENTS = [
  fakeClient({ session: 1, pid: 4711, requestCount: 900, writtenBytes: 34 * MIB }),
  fakeClient({ session: 2, pid: 99, uid: 1000, client: 'kvs', access: 'read', leaseCount: 25_000 }),
];

/** A pool that is well, whose client has maps; one that is not. */
function views(clients: readonly ClientInfo[] = CLIENTS): DaemonView[] {
  const reaper = {
    clients: 1,
    pressure: 0.25,
    residentPages: { cold: 100, warm: 2560, hot: 262_144, pinned: 0, unmapped: 7 },
    evictedPages: 1000,
    refaultedObjects: 6,
  };
  const { pools } = laterMetrics() as { pools: object[] };
  const bad = {
    name: 'attic',
    uuid: 'u2',
    fault: 'the staging device is missing',
    reaper: { clients: 0 },
    classes: {
      capacity: { usedBytes: 99 * GIB, usableBytes: 100 * GIB, mblockCount: 7, mlogCount: 2 },
    },
  };
  const idle = fakePool(bad, { checksumErrors: 3 });
  const before = { pools: [fakePool({ reaper: { ...reaper, evictedPages: 488 } }), idle] };
  const after = { pools: [{ ...pools[0]!, reaper }, idle] };
  const rates = ratesBetween(
    snapshot(1000, { ...laterMetrics(), ...beforeOperations(), ...before, cpuSeconds: 98.1 }, [
      fakeClient({ session: 1, pid: 4711 }),
      fakeClient({ session: 2, pid: 99, requestCount: 99 }),
    ]),
    snapshot(3000, laterMetrics({ ...after, cpuSeconds: 100 }), clients),
  );
  return [{ rundir: '/run/mpool', problem: undefined, rates }];
}

function beforeOperations(): object {
  const { operations } = laterMetrics() as { operations: Record<string, object> };
  const zero = { count: 0, buckets: [0, 0, 0, 0], errors: {} };
  return { operations: Object.fromEntries(Object.keys(operations).map((name) => [name, zero])) };
}

function draw(options: Partial<FrameOptions> = {}, of: readonly DaemonView[] = views()): string[] {
  return drawFrame(of, { ...OPTIONS, ...options }).lines.map(plainText);
}

/** Of a picture as it is in this file, without the indentation. */
function picture(text: string): string[] {
  return text
    .replace(/^\n/, '')
    .replace(/\n *$/, '')
    .split('\n')
    .map((line) => line.replace(/^ {4}/, ''));
}

test('a picture of 80 columns', () => {
  const expected = `
    mpool top  14:02:33  every 2 s  2 pools  1 faulted  2 clients  by requests
    mpoold /run/mpool  pid 71  up 1h00m  cpu 95%  mem 64m  requests 1.8k/s
    REQUESTS    WRITE  COMMIT  APPEND   SYNC  LEASE  LOGREAD  ALLOC  DELETE  OTHER
    per second   1.7k      75       4      0      0        0      0       0      0
    p50 within    1ms    10ms     1ms      -      -        -      -       -      -
    p99 within   10ms  >100ms     1ms      -      -        -      -       -      -
    errors/s        0     1.5       0      0      0        0      0       0      0

    MPOOL     HEALTH   WRITTEN/S  COMMITS/S  OPS/STEP  META/S  FLUSHES/S  SYNCS/S
    mp1       optimal        12m        300        12      30         20       25
      capacity  [####            ]   25%  25g of 100g  1.2k mblocks  34 mlogs
      reaper    pressure 25%  warm 10m  hot 1.00g  evicted 1.00m/s  refaults 0/s
    attic     faulted          0          0         -       0          0        0
      the staging device is missing
      3 pages with a wrong checksum
      capacity  [################]   99%  99g of 100g  7 mblocks  2 mlogs

        PID  USER    PROGRAM   MPOOL  REQ/S  WRITTEN/S  FLIGHT  LEASES  UNCOMM
       4711  root    tables    mp1      400        12m       3      12       2
         99  1000    kvs       mp1      0.5          0       3     25k       2
  `;
  assert.deepEqual(draw(), picture(expected));
});

test('a picture of 120 columns: more of the same', () => {
  const expected = `
    mpool top  14:02:33  every 2 s  2 pools  1 faulted  2 clients  by requests
    mpoold /run/mpool  pid 71  up 1h00m  cpu 95%  mem 64m  requests 1.8k/s  version 0.1.0
    REQUESTS    WRITE  COMMIT  APPEND   SYNC  LEASE  LOGREAD  ALLOC  DELETE  OTHER    CTL
    per second   1.7k      75       4      0      0        0      0       0      0      6
    p50 within    1ms    10ms     1ms      -      -        -      -       -      -    1ms
    p99 within   10ms  >100ms     1ms      -      -        -      -       -      -    1ms
    errors/s        0     1.5       0      0      0        0      0       0      0      0

    MPOOL     HEALTH   CLIENTS  WRITTEN/S  COMMITS/S  OPS/STEP  META/S  FLUSHES/S  SYNCS/S  SYNCS/STEP  DELETES/S  LEASES
    mp1       optimal        2        12m        300        12      30         20       25         2.5          5      12
      capacity  [########                        ]   25%  25g of 100g  1.2k mblocks  34 mlogs
      reaper    pressure 25%  cold 400k  warm 10m  hot 1.00g  pinned 0  unmapped 28k  evicted 1.00m/s  refaults 0/s
    attic     faulted        2          0          0         -       0          0        0           -          0      12
      the staging device is missing
      3 pages with a wrong checksum
      capacity  [################################]   99%  99g of 100g  7 mblocks  2 mlogs

        PID  USER    PROGRAM   MPOOL  ACCESS  REQ/S  WRITTEN/S  FLIGHT  LEASES  MAPPED  UNCOMM  LOGS
       4711  root    tables    mp1    write     400        12m       3      12       4       2     1
         99  1000    kvs       mp1    read      0.5          0       3     25k       4       2     1
  `;
  assert.deepEqual(draw({ columns: 120 }), picture(expected));
});

test('a picture of 40 columns, of a clock that stands still: what matters most', () => {
  const expected = `
    mpool top  14:02:33  1 faulted  PAUSED
    mpoold /run/mpool  cpu 95%  mem 64m
    REQUESTS    WRITE  COMMIT  APPEND   SYNC
    per second   1.7k      75       4      0
    p50 within    1ms    10ms     1ms      -
    p99 within   10ms  >100ms     1ms      -
    errors/s        0     1.5       0      0

    MPOOL     HEALTH   WRITTEN/S  COMMITS/S
    mp1       optimal        12m        300
      capacity   25%  25g of 100g
      reaper    pressure 25%
    attic     faulted          0          0
      the staging device is missing
      3 pages with a wrong checksum
      capacity   99%  99g of 100g  7 mblocks

        PID  PROGRAM   REQ/S  WRITTEN/S
       4711  tables      400        12m
         99  kvs         0.5          0
  `;
  assert.deepEqual(draw({ columns: 40, isPaused: true }), picture(expected));
});

test('daemons that tell nothing say why; the others are drawn', () => {
  const gone = { rundir: '/tmp/own', problem: 'daemon gone for 5 s, waiting', rates: undefined };
  const asking = { rundir: '/tmp/new', problem: undefined, rates: undefined };
  const lines = draw({ columns: 120 }, [gone, asking, ...views()]);
  assert.match(lines[0]!, /  3 daemons  /);
  assert.deepEqual(lines.slice(1, 5), [
    'mpoold /tmp/own  daemon gone for 5 s, waiting',
    '',
    'mpoold /tmp/new  asking',
    '',
  ]);
  assert.ok(lines.some((line) => line.startsWith('mp1 ')));
  const alone = draw({}, [gone]);
  assert.deepEqual(alone.slice(3), ['no pool is active', '', 'no client has a pool open']);
  const stopping = { ...views()[0]! };
  const status = { ...stopping.rates!.status, state: 'stopping', mayManage: false } as const;
  // Who may only look is told of no requests, and maybe of nothing else.
  const rates = { ...stopping.rates!, status, operations: [], clients: [], pools: [] };
  assert.deepEqual(draw({}, [{ ...stopping, rates }]).slice(1), [
    'mpoold /run/mpool  pid 71  up 1h00m  cpu 95%  mem 64m  stopping',
    '',
    'no pool that you may open is active',
    '',
    'no client of yours has a pool open',
  ]);
});

test('where there is no room: pools in brief, the faulted ones first, clients to scroll', () => {
  const pools = Array.from({ length: 40 }, (_, i) =>
    fakePool({ name: `p${i}`, uuid: `u${i}`, ...(i === 37 && { fault: 'torn' }) }),
  );
  const clients = Array.from({ length: 30 }, (_, i) =>
    fakeClient({ session: i + 1, pid: 100 + i }),
  );
  const at = (takenMs: number): ReturnType<typeof snapshot> =>
    snapshot(takenMs, laterMetrics({ pools }), clients);
  const many = [{ rundir: '/r', problem: undefined, rates: ratesBetween(at(0), at(1000)) }];
  const frame = drawFrame(many, OPTIONS);
  const lines = frame.lines.map(plainText);
  assert.equal(lines.length, 24);
  assert.match(lines[0]!, /1 faulted  30 clients, 1 to 4 shown/);
  assert.match(lines[8]!, /^MPOOL /);
  assert.match(lines[9]!, /^p37 +faulted/);
  assert.match(lines[10]!, /^p0 +optimal/);
  assert.equal(lines[17], '… 32 more pools');
  assert.deepEqual(
    lines.slice(20).map((line) => line.trim().split(' ')[0]),
    ['100', '101', '102', '103'],
  );
  assert.deepEqual([frame.offsetMax, frame.clientRows], [26, 4]);
  const end = draw({ offset: 1000 }, many);
  assert.match(end[0]!, /27 to 30 shown/);
  assert.match(end.at(-1)!, /^ +129 /);
  // All of it where there is no end of room.
  const whole = draw({ rows: Infinity, columns: Infinity }, many);
  assert.equal(whole.length, 1 + 6 + 1 + (1 + 40 * 2 + 1) + 1 + (1 + 30));
  assert.doesNotMatch(whole[0]!, /shown/);
});

test('s sorts by another column; equal clients keep their places', () => {
  const pidsBy = (sort: number): number[] => {
    const clients = [
      fakeClient({ session: 1, pid: 1, requestCount: 700, requestsInFlight: 0, connectedMs: 1 }),
      fakeClient({ session: 2, pid: 2, writtenBytes: GIB, uncommittedCount: 9, connectedMs: 2 }),
      fakeClient({ session: 3, pid: 3, requestsInFlight: 7, leaseCount: 99, connectedMs: 9 }),
      fakeClient({ session: 4, pid: 4, connectedMs: 4 }),
    ];
    const lines = draw({ sort, rows: 60 }, views(clients));
    return lines.slice(-4).map((line) => Number.parseInt(line, 10));
  };
  // The last two are new, so all of their 100 requests count; the earlier one comes first.
  assert.deepEqual(pidsBy(0), [1, 4, 3, 2]);
  assert.deepEqual(pidsBy(1).at(0), 2);
  assert.deepEqual(pidsBy(2).at(0), 3);
  assert.deepEqual(pidsBy(3).at(0), 3);
  assert.deepEqual(pidsBy(4).at(0), 2);
  assert.deepEqual(pidsBy(5), [3, 4, 2, 1]);
  assert.deepEqual(pidsBy(6), pidsBy(0));
});

/** What a hostile program might call itself. */
const NAMES = [
  '\u001b[2J\u001b]0;owned\u0007\u001bP+q\u001b\\',
  '\u009b31m\u009d0;x\u009c',
  'a\r\nb\tc\u0000\u007f\u0085d',
  '\u202egnp.exe\u2066\u200b\u2028\u2029\ufeff\u{e0041}',
  `e${'\u0301'.repeat(5000)}`,
  '漢字の名前のプログラムであるとしてもとても長いのである',
  '👩‍👩‍👧‍👦👍🏽🇩🇪❤️ a b',
  '\ud800lone\udc00',
  'x'.repeat(10_000),
  '',
];

test('whatever programs call themselves, a painted line holds nothing but text and its own colours', () => {
  const clients = NAMES.map((client, i) => fakeClient({ session: i, pool: client, client }));
  const { pools } = laterMetrics({ pools: NAMES.map((name) => fakePool({ name, fault: name })) });
  const hostile = snapshot(3000, laterMetrics({ pools }), clients, { version: NAMES[0]! });
  const view = { rundir: NAMES[0]!, problem: undefined, rates: ratesBetween(undefined, hostile) };
  const troubled = { rundir: NAMES[1]!, problem: NAMES[0]!, rates: undefined };
  const frame = drawFrame([view, troubled], { ...OPTIONS, rows: 200, userName: () => NAMES[2]! });
  for (const line of frame.lines) {
    const painted = paintLine(line, 80, true);
    // eslint-disable-next-line no-control-regex
    const rest = painted.replaceAll(/\u001b\[(?:0|1|31|33)m|\u001b\[K$/g, '');
    assert.doesNotMatch(rest, /[\p{C}\p{Zl}\p{Zp}]/u);
    // Without colours there is nothing but the end of the line to be cleared.
    // eslint-disable-next-line no-control-regex
    assert.doesNotMatch(paintLine(line, 80, false).replace(/\u001b\[K$/, ''), /\u001b/);
  }
  assert.ok(frame.lines.map(plainText).join('').includes('?[2J?]0;owned??P+q?\\'.slice(0, 8)));
});

test('at every size no line is too wide and none is too many', () => {
  const clients = NAMES.map((client, i) => fakeClient({ session: i, client, pid: 4_194_304 - i }));
  const gone = {
    rundir: '/run/user/1000/mpool',
    problem: 'daemon gone, waiting',
    rates: undefined,
  };
  const all = [...views(clients), gone];
  for (let columns = 1; columns <= 200; columns += columns < 100 ? 1 : 10) {
    for (const rows of [1, 5, 17, 60]) {
      const { lines } = drawFrame(all, { ...OPTIONS, columns, rows, offset: 3 });
      const drawn = [...lines, ...helpLines(columns, rows)];
      assert.ok(lines.length <= rows, `${lines.length} lines of ${rows}`);
      for (const line of drawn) {
        assert.ok(lineWidth(line) <= columns, `${plainText(line)} at ${columns} × ${rows}`);
      }
    }
  }
});

test('texts are as wide as a terminal shows them', () => {
  assert.equal(widthOf('abc'), 3);
  assert.equal(widthOf('漢字'), 4);
  assert.equal(widthOf('e\u0301'), 1);
  assert.equal(widthOf('👍'), 2);
  assert.equal(fitText('漢字の名前', 6), '漢字…');
  assert.equal(fitText('漢字の名前', 10), '漢字の名前');
  assert.equal(fitText('abc', 1), '…');
  assert.equal(fitText('abc', 0), '');
  assert.equal(safeText('Grüße, 世界'), 'Grüße, 世界');
  // At the last column a terminal would clear what was just written.
  assert.equal(paintLine([span('abc', 'bad')], 3, false), 'abc');
  assert.equal(paintLine([span('abc', 'bad')], 4, false), 'abc\u001b[K');
  assert.equal(paintLine([span('abc', 'bad')], 4, true), '\u001b[31mabc\u001b[0m\u001b[K');
});

test('a pool that is degraded: what is wrong with it, as far as there is room', () => {
  const problems = ['a', 'b', 'c', 'd'].map((message) => ({ kind: 'damaged', message }));
  const named = fakePool({ name: 'rotten', health: 'degraded', problems });
  const later = fakePool({ name: 'newer', health: 'peckish' });
  const metrics = fakeMetrics({ pools: [fakePool(), named, later] });
  const rates = ratesBetween(undefined, snapshot(1000, metrics));
  const { lines } = drawFrame([{ rundir: '/run/mpool', rates, problem: undefined }], OPTIONS);
  const texts = lines.map((line) => plainText(line).trimEnd());
  assert.match(texts[0]!, /3 pools {2}2 degraded/);
  const at = texts.findIndex((text) => /^rotten +degraded/.test(text));
  assert.deepEqual(texts.slice(at + 1, at + 5), ['  a', '  b', '  c', '  and 1 more']);
  assert.ok(
    texts.some((text) => /^newer +degraded/.test(text)),
    'what is not known is not well',
  );
  const styles = new Map(lines.flat().map(({ text, style }) => [text.trim(), style]));
  assert.equal(styles.get('degraded'), 'busy');
});

test('colours: a fault is red, what is nearly full or busy is yellow', () => {
  const styles = new Map<string, string>();
  const { lines } = drawFrame(views(), OPTIONS);
  for (const { text, style } of lines.flat()) if (style !== undefined) styles.set(text, style);
  assert.equal(styles.get('faulted'), 'bad');
  assert.equal(styles.get('the staging device is missing'), 'bad');
  assert.equal(styles.get('cpu 95%'), 'busy');
  assert.equal(styles.get(' 99%'), 'bad');
  assert.equal(styles.get('optimal'), undefined);
  assert.equal(styles.get(' 25%'), undefined);
});

test('numbers in few columns', () => {
  const counts = [undefined, 0, 0.01, 0.44, 7, 7.25, 9.96, 12.4, 999.4, 999.6, 12_345, 1e6, 3.2e13];
  const texts = [
    '-',
    '0',
    '<0.1',
    '0.4',
    '7',
    '7.3',
    '10',
    '12',
    '999',
    '1.0k',
    '12k',
    '1.0M',
    '32T',
  ];
  assert.deepEqual(counts.map(formatCount), texts);
  const latencies = [1e-5, 5e-4, 1e-3, 0.5, 1, 10].map((seconds) => formatLatency(seconds, 10));
  assert.deepEqual(latencies, ['10us', '500us', '1ms', '500ms', '1s', '10s']);
  assert.deepEqual([formatLatency(Infinity, 10), formatLatency(undefined, 10)], ['>10s', '-']);
  const ages = [0.4, 59.9, 60, 3599, 3600, 86_399, 86_400, 9e6].map(formatAge);
  assert.deepEqual(ages, ['0s', '59s', '1m00s', '59m59s', '1h00m', '23h59m', '1d00h', '104d04h']);
});

test('keys of all kinds of terminals, however many come at once', () => {
  assert.deepEqual(keysOf('jk\u001b[A\u001bOB\u001b[6~\u001b[1;5Aq'), [
    'down',
    'up',
    'up',
    'down',
    'pageDown',
    'other',
    'quit',
  ]);
  assert.deepEqual(keysOf('\u001b'), ['other'], 'the key Esc alone');
  assert.deepEqual(keysOf('é漢'), ['other', 'other']);
  assert.deepEqual(keysOf(''), []);
});
