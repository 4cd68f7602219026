// Goal: what is packaged for service managers fits the programs: units that systemd takes, options, variables and
//   settings that exist, and privileges that are enough.
// Method: the files are read as systemd reads them, and by systemd itself where it is; the daemon runs with just the
//   capabilities that its unit leaves it.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { controlSocketPath, poolSocketPath, rundirPath } from '../../src/daemon/rundir.ts';
import { CONFIG_DEFAULTS, parseConfig } from '../../src/daemon/server/config.ts';
import { DAEMON_LIMITS } from '../../src/daemon/server/limits.ts';
import { program, temporaryFolder } from '../device/places.ts';
import { Asker, MIB } from './server-rig.ts';
import { HELLO, until } from './sockets.ts';

const ROOT = join(import.meta.dirname, '..', '..', '..');
const PACKAGING = join(ROOT, 'packaging');
const MPOOLD = program('../../src/daemon/main');
const MPOOL = program('../../src/cli/main');
const hasVerify = spawnSync('systemd-analyze', ['--version']).status === 0;
const hasSetpriv = spawnSync('setpriv', ['--version']).status === 0;
const notRoot = process.geteuid!() === 0 ? false : 'needs root';

/** Section → key → values, in order; the last of lines ended by a backslash counts with the next. */
type Unit = Map<string, Map<string, string[]>>;

function unitOf(text: string): Unit {
  const unit: Unit = new Map();
  let section = new Map<string, string[]>();
  for (const line of text.replaceAll('\\\n', ' ').split('\n')) {
    if (line.trim() === '' || /^[#;]/.test(line)) continue;
    const [, head] = /^\[(\w+)\]$/.exec(line) ?? [];
    const [, key, value] = /^(\w+)=(.*)$/.exec(line) ?? [];
    if (head !== undefined) unit.set(head, (section = new Map()));
    else {
      assert.ok(key !== undefined && value !== undefined, line);
      section.set(key, [...(section.get(key) ?? []), value]);
    }
  }
  return unit;
}

function single(unit: Unit, section: string, key: string): string {
  const values = unit.get(section)?.get(key) ?? [];
  assert.equal(values.length, 1, `${section} ${key}: ${values.length} values`);
  return values[0]!;
}

function unitsIn(folder: string): Map<string, Unit> {
  const names = readdirSync(join(PACKAGING, 'systemd', folder));
  return new Map(
    names.map((name) => [
      name,
      unitOf(readFileSync(join(PACKAGING, 'systemd', folder, name), 'utf8')),
    ]),
  );
}

const system = unitsIn('system');
const user = unitsIn('user');

test('the programs have the options that units give them', () => {
  assert.deepEqual([...system.keys()].toSorted(), [
    'mpool-activate.service',
    'mpoold.service',
    'mpoold.socket',
  ]);
  assert.deepEqual([...user.keys()].toSorted(), ['mpoold.service', 'mpoold.socket']);
  for (const unit of [...system.values(), ...user.values()]) {
    if (!unit.has('Service')) continue;
    const [name, ...args] = single(unit, 'Service', 'ExecStart').split(' ');
    const verbs = args.filter((arg) => /^[a-z]+$/.test(arg));
    const [script, ask] = name === 'mpoold' ? [MPOOLD, []] : [MPOOL, verbs];
    assert.match(name!, /^mpoold?$/);
    const { stdout, status } = spawnSync(process.execPath, [script, ...ask, '--help'], {
      encoding: 'utf8',
    });
    assert.equal(status, 0);
    const options = args.filter((arg) => arg.startsWith('-'));
    assert.ok(options.length > 0);
    for (const option of options) {
      assert.match(stdout, new RegExp(`^ +(\\S+, )?(-v, )?${option}\\b`, 'm'), `${name} ${option}`);
    }
    for (const [, variable] of (unit.get('Service')!.get('Environment') ?? [])
      .join(' ')
      .matchAll(/(\w+)=/g)) {
      assert.match(variable!, /^MPOOL_(PATH|CONFIG|RUNDIR)$/);
    }
  }
});

test('the sockets are where the daemon has its control socket, for whom its defaults let look', () => {
  const listen = single(system.get('mpoold.socket')!, 'Socket', 'ListenStream');
  assert.equal(listen, controlSocketPath(rundirPath({}, 0)));
  const mode = Number.parseInt(single(system.get('mpoold.socket')!, 'Socket', 'SocketMode'), 8);
  assert.ok((CONFIG_DEFAULTS.ctlMode & 0o004) !== 0 && mode === 0o666);
  const own = single(user.get('mpoold.socket')!, 'Socket', 'ListenStream');
  const runtime = rundirPath({ XDG_RUNTIME_DIR: '%t' }, 7);
  assert.equal(own, controlSocketPath(runtime));
  for (const units of [system, user]) {
    assert.equal(single(units.get('mpoold.socket')!, 'Socket', 'FileDescriptorName'), 'ctl');
    const service = units.get('mpoold.service')!;
    assert.equal(single(service, 'Service', 'Type'), 'notify');
    // Systemd removes such a directory, with the sockets of the pools and of ctl, at each stop.
    assert.equal(service.get('Service')!.has('RuntimeDirectory'), false);
    const stopSeconds = Number(single(service, 'Service', 'TimeoutStopSec'));
    assert.ok(stopSeconds > CONFIG_DEFAULTS.stopSeconds + 10);
  }
});

test('systemd takes the units', { skip: hasVerify ? false : 'needs systemd-analyze' }, (t) => {
  for (const folder of ['system', 'user']) {
    const place = temporaryFolder(t);
    // Where mpool is not installed its commands would not be found: they stand for it.
    for (const name of ['mpool', 'mpoold']) {
      writeFileSync(join(place, name), '#!/bin/sh\n');
      chmodSync(join(place, name), 0o755);
    }
    const units = readdirSync(join(PACKAGING, 'systemd', folder));
    for (const unit of units) {
      const text = readFileSync(join(PACKAGING, 'systemd', folder, unit), 'utf8');
      writeFileSync(join(place, unit), text.replace(/^ExecStart=/m, `ExecStart=${place}/`));
    }
    const args = ['verify', '--man=no', ...(folder === 'user' ? ['--user'] : [])];
    const run = spawnSync('systemd-analyze', [...args, ...units.map((unit) => join(place, unit))], {
      encoding: 'utf8',
      env: { ...process.env, XDG_RUNTIME_DIR: place },
    });
    const about = run.stderr.split('\n').filter((line) => line.includes('mpool'));
    assert.deepEqual([run.status, about], [0, []], run.stderr);
  }
});

test('the configuration that is shown has every setting, each with its default', () => {
  const text = readFileSync(join(PACKAGING, 'mpoold.conf'), 'utf8');
  assert.deepEqual(parseConfig(text, 'mpoold.conf'), {}, 'as it is it changes nothing');
  const shown = parseConfig(text.replaceAll(/^# (?=\w+ = )/gm, ''), 'mpoold.conf');
  assert.deepEqual(Object.keys(shown).toSorted(), Object.keys(CONFIG_DEFAULTS).toSorted());
  const defaults = {
    ...CONFIG_DEFAULTS,
    clientsPerUser: DAEMON_LIMITS.sessionsPerUser,
    sharedMiBPerUser: DAEMON_LIMITS.sharedBytesPerUser / MIB,
  };
  for (const [key, value_] of Object.entries(shown)) {
    const usual = defaults[key as keyof typeof defaults];
    // What has none is shown with an example.
    if (usual !== undefined && key !== 'searchPlaces') assert.equal(value_, usual, key);
  }
});

test('other files say what their readers understand, and all of them are packed', () => {
  const lines = (file: string): string[] =>
    readFileSync(join(PACKAGING, file), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('# '));
  for (const line of lines('tmpfiles.d/mpool.conf')) {
    assert.match(line, /^d \/(run|var\/lib)\/mpool 0755 root root -$/);
  }
  for (const line of lines('sysctl.d/60-mpool.conf')) {
    const [, name] = /^#([\w.-]+) = \d+$/.exec(line) ?? [];
    assert.ok(name !== undefined, `${line}: nothing is set, settings are only named`);
  }
  const { files } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
    files: string[];
  };
  assert.ok(files.includes('packaging'), 'package.json has no packaging among its files');
});

test(
  'with the privileges of its unit the daemon serves a pool of another user, in a file of his',
  { skip: notRoot !== false ? notRoot : hasSetpriv ? false : 'needs setpriv' },
  async (t) => {
    const folder = temporaryFolder(t);
    const [uid, gid] = [4731, 4732];
    const files = join(folder, 'files');
    mkdirSync(files, { mode: 0o700 });
    chownSync(files, uid, gid);
    const config = join(folder, 'conf');
    writeFileSync(config, 'blockDevices = no\n');
    const set = single(system.get('mpoold.service')!, 'Service', 'CapabilityBoundingSet');
    const capabilities = set.split(' ').map((name) => `+${name.slice(4).toLowerCase()}`);
    const rundir = join(folder, 'r');
    const daemon = spawn(
      'setpriv',
      [
        '--no-new-privs',
        `--bounding-set=-all,${capabilities.join(',')}`,
        '--inh-caps=-all',
        process.execPath,
        MPOOLD,
        '--rundir',
        rundir,
        '--config',
        config,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    t.after(() => daemon.kill('SIGKILL'));
    let said = '';
    daemon.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    await until(() => said.includes(' serving ') || daemon.exitCode !== null);
    const status = readFileSync(`/proc/${daemon.pid}/status`, 'utf8');
    const effective = BigInt(`0x${/^CapEff:\s+(\w+)$/m.exec(status)![1]}`);
    let count = 0;
    for (let bits = effective; bits > 0n; bits >>= 1n) count += Number(bits & 1n);
    assert.equal(count, capabilities.length, `the kernel left it ${count} capabilities`);
    const channel = await ClientChannel.connect(controlSocketPath(rundir), HELLO);
    t.after(() => channel.destroy());
    const control = new Asker(channel, []);
    const capacity = { path: join(files, 'p1'), sizeBytes: 64 * MIB, mblockSizeBytes: MIB };
    await control.ask('create', { options: { name: 'p1', capacity, uid, gid, mode: 0o640 } });
    const socket = statSync(poolSocketPath(rundir, 'p1'));
    assert.deepEqual([socket.uid, socket.gid, socket.mode & 0o777], [uid, gid, 0o660]);
    await control.ask('set', { target: 'p1', changes: { uid: uid + 5, mode: 0o600 } });
    const changed = statSync(poolSocketPath(rundir, 'p1'));
    assert.deepEqual([changed.uid, changed.mode & 0o777], [uid + 5, 0o600]);
    await control.ask('deactivate', { target: 'p1' });
    await control.ask('activate', { target: join(files, 'p1') });
  },
);
