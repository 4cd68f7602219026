// Goal: a configuration file means what it says, whichever way it is written, and what is wrong in it is named.
// Method: texts and what they must become; the journal's lines as people and as machines read them.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import { configPath, parseConfig } from '../../src/daemon/server/config.ts';
import { Journal } from '../../src/daemon/server/journal.ts';
import { OperationMetrics } from '../../src/daemon/server/operation-metrics.ts';

test('lines and JSON say the same', () => {
  const lines = `
# pools of this machine
searchPlaces = /srv/pools:/srv/more
blockDevices = no
activateAll=yes          # all of them
ctlMode = 0660
ctlGroup = 6
metrics = 9177
idleExitSeconds = 1.5
clientsPerUser = 1000
sharedMiBPerUser = 512
logLevel = warn
`;
  const json = JSON.stringify({
    searchPlaces: ['/srv/pools', '/srv/more'],
    blockDevices: false,
    activateAll: true,
    ctlMode: '0660',
    ctlGroup: '6',
    metrics: 9177,
    idleExitSeconds: 1.5,
    clientsPerUser: 1000,
    sharedMiBPerUser: 512,
    logLevel: 'warn',
  });
  const expected = {
    searchPlaces: ['/srv/pools', '/srv/more'],
    blockDevices: false,
    activateAll: true,
    ctlMode: 0o660,
    ctlGroup: '6',
    metrics: '9177',
    idleExitSeconds: 1.5,
    clientsPerUser: 1000,
    sharedMiBPerUser: 512,
    logLevel: 'warn',
  };
  assert.deepEqual(parseConfig(lines, 'f'), expected);
  assert.deepEqual(parseConfig(json, 'f'), expected);
  assert.deepEqual(parseConfig('', 'f'), {});
});

test('a configuration is the system’s for root and the user’s own for others', () => {
  assert.equal(configPath({ XDG_CONFIG_HOME: '/x', HOME: '/h' }, 0), '/etc/mpool/mpoold.conf');
  assert.equal(configPath({ XDG_CONFIG_HOME: '/x', HOME: '/h' }, 7), '/x/mpool/mpoold.conf');
  assert.equal(configPath({ XDG_CONFIG_HOME: '', HOME: '/h' }, 7), '/h/.config/mpool/mpoold.conf');
  assert.equal(configPath({}, 7), undefined);
});

test('what is wrong is named', () => {
  for (const [content, message] of [
    ['ctlMode = 0888', /ctlMode '0888' is no mode/],
    ['what is this', /f:1: 'what is this' is no 'key = value'/],
    ['\nctlMode = 600\nctlMode = 660', /f:3: ctlMode again/],
    ['metrics = example.org:80', /metrics 'example.org:80' is neither/],
    ['metrics = unix:relative', /metrics 'relative' must be absolute/],
    ['metrics = 70000', /metrics '70000'/],
    ['searchPlaces = here', /searchPlaces 'here' must be absolute/],
    ['idleExitSeconds = soon', /idleExitSeconds must be a number/],
    ['logLevel = loud', /logLevel 'loud' is none of debug, info, warn, error/],
    ['clientsPerUser = 0', /clientsPerUser is 0, must be an integer from 1/],
    ['{"blockDevices": 1}', /blockDevices must be true or false/],
    ['{"blockDevices": true', /f: .*JSON/],
    ['serachPlaces = /srv', /f: no setting 'serachPlaces'/],
  ] as const) {
    assert.throws(() => parseConfig(content, 'f'), message, content);
  }
});

test('a journal has one event a line, whatever is in it, and no more of clients than is good for a disk', () => {
  const lines: string[] = [];
  let now = 1e12;
  const journal = new Journal({
    level: 'info',
    format: 'line',
    write: (line) => void lines.push(line),
    wallMs: () => now,
  });
  journal.debug('not shown');
  journal.info('a client came', { client: 'evil\nname "x"', pid: 7, nothing: undefined });
  journal.configure({ format: 'json' });
  journal.error('failed', { error: new MpoolError('ERR_MPOOL_BUSY', 'p1') });
  journal.configure({ format: 'line', systemd: true });
  journal.warn('bug', { error: new TypeError('x is undefined') });
  assert.equal(
    lines[0],
    '2001-09-09T01:46:40.000Z info a client came client="evil\\nname \\"x\\"" pid=7\n',
  );
  assert.deepEqual(JSON.parse(lines[1]!), {
    time: '2001-09-09T01:46:40.000Z',
    level: 'error',
    event: 'failed',
    error: 'p1: in use',
    code: 'ERR_MPOOL_BUSY',
  });
  assert.match(lines[2]!, /^<4>bug error="x is undefined" stack="TypeError: .*"\n$/);
  assert.equal(lines[2]!.split('\n').length, 2);

  lines.length = 0;
  for (let i = 0; i < 1000; i++) journal.ofClient('debug', 'not shown, and not counted');
  for (let i = 0; i < 1000; i++) journal.ofClient('info', 'a client was refused');
  assert.equal(lines.length, 50);
  now += 1000;
  journal.ofClient('info', 'a client was refused');
  assert.deepEqual(lines.slice(50), [
    '<4>events of clients not shown count=950\n',
    '<6>a client was refused\n',
  ]);
});

test('latencies are counted in the bucket that holds them, quantiles never flatter', () => {
  const metrics = new OperationMetrics();
  for (let i = 0; i < 103; i++) metrics.begin();
  for (let i = 1; i <= 100; i++) metrics.add(i / 1000, i % 10 === 0 ? 'ERR_MPOOL_BUSY' : undefined);
  metrics.add(99, undefined);
  assert.equal(
    metrics.buckets.reduce((sum, count) => sum + count, 0),
    101,
  );
  assert.equal(metrics.quantile(0.5), 0.1);
  assert.equal(metrics.quantile(0.01), 0.002);
  assert.equal(metrics.quantile(1), Infinity);
  assert.equal(metrics.buckets.at(-1), 1);
  assert.deepEqual([...metrics.errors], [['ERR_MPOOL_BUSY', 10]]);
  assert.equal(Math.round(metrics.seconds), 104);
  assert.equal(metrics.underWay, 2);
});
