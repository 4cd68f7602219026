// Goal: mpoold is a service as its managers and operators expect: it says when it serves, stops in order or at once,
//   takes over what a dead one left, never runs twice in one place, and goes into the background when told to.
// Method: the real program as a child process, with signals, service managers played by small Python programs,
//   and a pool whose acknowledged commits are looked for after each end.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { controlSocketPath, poolSocketPath } from '../../src/daemon/rundir.ts';
import { program, temporaryFolder } from '../device/places.ts';
import { Asker, MIB, pattern } from './server-rig.ts';
import { HELLO, until } from './sockets.ts';

const MPOOLD = program('../../src/daemon/main');
const hasPython = spawnSync('python3', ['--version']).status === 0;
const noPython = hasPython ? false : 'needs python3, to play the service manager';

class Program {
  readonly child: ChildProcess;
  readonly folder: string;
  said = '';
  readonly #t: TestContext;

  constructor(t: TestContext, folder: string, args: readonly string[], env: object = {}) {
    this.#t = t;
    this.folder = folder;
    this.child = spawn(process.execPath, [MPOOLD, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...process.env,
        MPOOL_RUNDIR: join(folder, 'r'),
        MPOOL_CONFIG: config(folder),
        ...env,
      },
    });
    this.child.stderr!.on('data', (chunk: Buffer) => (this.said += chunk.toString()));
    t.after(() => this.child.kill('SIGKILL'));
  }

  async serving(): Promise<this> {
    await until(() => this.said.includes(' serving ') || this.child.exitCode !== null);
    assert.match(this.said, / serving /);
    return this;
  }

  /** @returns its exit status */
  async ended(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null)
      await once(this.child, 'exit');
    return this.child.exitCode;
  }

  control(): Promise<Asker> {
    return connect(this.#t, controlSocketPath(join(this.folder, 'r')));
  }

  client(): Promise<Asker> {
    return connect(this.#t, poolSocketPath(join(this.folder, 'r'), 'p1'));
  }
}

async function connect(t: TestContext, path: string): Promise<Asker> {
  const channel = await ClientChannel.connect(path, HELLO);
  t.after(() => channel.destroy());
  return new Asker(channel, []);
}

/** A configuration file for daemons of that folder. */
function config(folder: string, more = ''): string {
  const path = join(folder, 'conf');
  const lines = [`searchPlaces = ${folder}/files`, 'blockDevices = no', more];
  if (more !== '' || !existsSync(path)) writeFileSync(path, lines.join('\n'));
  return path;
}

function freshFolder(t: TestContext): string {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'files'));
  return folder;
}

async function makePool(daemon: Program): Promise<void> {
  const control = await daemon.control();
  const path = join(daemon.folder, 'files/p1');
  const capacity = { path, sizeBytes: 64 * MIB, mblockSizeBytes: MIB };
  await control.ask('create', { options: { name: 'p1', capacity } });
  await control.close();
}

test('TERM: requests under way are answered, clients are told, the pool is closed', async (t) => {
  const daemon = await new Program(t, freshFolder(t), []).serving();
  await makePool(daemon);
  const client = await daemon.client();
  const committed: string[] = [];
  const worker = async (): Promise<never> => {
    for (;;) {
      committed.push(await client.mblock(pattern(4096)));
      const surplus = committed.length > 20 ? [committed.shift()!] : [];
      await client.ask('mblock.delete', { ids: surplus });
    }
  };
  const working = [worker(), worker(), worker()].map((each) => each.catch((error: Error) => error));
  await until(() => committed.length > 10);
  daemon.child.kill('SIGTERM');
  for (const error of await Promise.all(working)) {
    const { code, cause } = error as NodeJS.ErrnoException & { cause?: NodeJS.ErrnoException };
    assert.equal(code, 'ERR_MPOOL_CONNECTION_LOST');
    assert.equal(cause?.code, 'ERR_MPOOL_CLOSED', 'the daemon said why');
  }
  assert.equal(await daemon.ended(), 0);
  assert.match(daemon.said, / stopped\n$/);
  assert.equal(existsSync(controlSocketPath(join(daemon.folder, 'r'))), false);
  assert.equal(existsSync(poolSocketPath(join(daemon.folder, 'r'), 'p1')), false);

  const again = await new Program(t, daemon.folder, ['--activate-all']).serving();
  const after = await again.client();
  const { leases } = await after.ask('mblock.lease', { ids: committed });
  assert.equal(leases.length, committed.length);
});

test('a second TERM does not wait; killed at any moment, the next one has all that was acknowledged', async (t) => {
  const folder = freshFolder(t);
  config(folder, 'stopSeconds = 300');
  const daemon = await new Program(t, folder, []).serving();
  await makePool(daemon);
  const client = await daemon.client();
  const id = await client.mblock(pattern(100_000));
  // Asks for more than it reads: these requests stay under way.
  const log = await client.ask('mlog.alloc', { capacityBytes: 16 * MIB });
  await client.ask('mlog.commit', log);
  const open = await client.ask('mlog.open', { id: log.id });
  for (let i = 0; i < 12; i++) {
    const body = { log: open.log, lengths: [MIB - 100_000] };
    await client.ask('log.append', body, Buffer.alloc(MIB - 100_000));
  }
  (client.channel as unknown as { socket: { pause(): void } }).socket.pause();
  for (let reader = 0; reader < 40; reader++) {
    const body = { log: open.log, reader, maxBytes: MIB };
    client.ask('log.read', body).catch(() => {});
  }
  const control = await daemon.control();
  for (let busy = 0; busy < 10;) {
    const { clients } = await control.ask('clients', {});
    busy = clients[0]!.requestsInFlight;
  }
  daemon.child.kill('SIGTERM');
  await until(() => daemon.said.includes('stopping'));
  daemon.child.kill('SIGTERM');
  assert.equal(await daemon.ended(), 1);

  const second = await new Program(t, folder, ['--activate-all']).serving();
  const { leases } = await (await second.client()).ask('mblock.lease', { ids: [id] });
  assert.equal(leases[0]!.lengthBytes, 100_000);
  const sockets = [controlSocketPath, (path: string) => poolSocketPath(path, 'p1')];
  second.child.kill('SIGKILL');
  await second.ended();
  for (const path of sockets)
    assert.ok(existsSync(path(join(folder, 'r'))), 'left by the dead one');
  const third = await new Program(t, folder, ['--activate-all']).serving();
  assert.equal((await (await third.client()).ask('mblock.lease', { ids: [id] })).leases.length, 1);
});

test('a thread that hangs keeps no stop from its end, which says what was not finished', async (t) => {
  const folder = freshFolder(t);
  config(folder, 'stopSeconds = 0.1');
  const daemon = await new Program(t, folder, []).serving();
  await makePool(daemon);
  const id = await (await daemon.client()).mblock(pattern(4096));
  // Opening it takes for ever: nobody writes to it.
  rmSync(join(folder, 'conf'));
  assert.equal(spawnSync('mkfifo', [join(folder, 'conf')]).status, 0);
  daemon.child.kill('SIGHUP');
  daemon.child.kill('SIGTERM');
  await daemon.ended();
  assert.equal(daemon.child.signalCode, 'SIGKILL', 'which nothing waits for');
  const last = daemon.said.trimEnd().split('\n').at(-1)!;
  assert.match(last, / error stopped, and not finished: .*unfinished="reading the configuration"/);
  rmSync(join(folder, 'conf'));
  const next = await new Program(t, folder, ['--activate-all']).serving();
  assert.equal((await (await next.client()).ask('mblock.lease', { ids: [id] })).leases.length, 1);
});

test('one daemon in a run directory, and it says who is there', async (t) => {
  const daemon = await new Program(t, freshFolder(t), []).serving();
  const second = new Program(t, daemon.folder, []);
  assert.equal(await second.ended(), 1);
  assert.match(second.said, new RegExp(`the daemon of pid ${daemon.child.pid} is at work here`));
  assert.equal((await (await daemon.control()).ask('status', {})).pid, daemon.child.pid);
});

test('a wrong command line is refused before anything is touched', (t) => {
  const folder = freshFolder(t);
  const run = (...args: string[]) => {
    const env = { ...process.env, MPOOL_RUNDIR: join(folder, 'r') };
    return spawnSync(process.execPath, [MPOOLD, ...args], { encoding: 'utf8', env });
  };
  for (const args of [
    ['--nix'],
    ['--metrics', 'host:80'],
    ['--idle-exit', '-1'],
    ['--log-level', 'x'],
    ['word'],
  ]) {
    const { status, stderr } = run(...args);
    assert.equal(status, 64, args.join(' '));
    assert.match(stderr, /^mpoold: .*, use --help for help\n$/);
  }
  assert.match(run('--version').stdout, /^mpoold \d+\.\d+\.\d+\n$/);
  assert.match(run('--help').stdout, /--activate-all/);
  const { status, stderr } = run('--config', join(folder, 'none'));
  assert.equal(status, 1);
  assert.match(stderr, /none: not found/);
  assert.equal(existsSync(join(folder, 'r')), false);
});

test('HUP: the configuration is read again; a wrong one is said and changes nothing', async (t) => {
  const folder = freshFolder(t);
  const daemon = await new Program(t, folder, []).serving();
  const path = controlSocketPath(join(folder, 'r'));
  config(folder, 'ctlMode = 0666\nlogFormat = json');
  daemon.child.kill('SIGHUP');
  await until(() => (statSync(path).mode & 0o777) === 0o666 && daemon.said.endsWith('}\n'));
  const last = daemon.said.trimEnd().split('\n').at(-1)!;
  const { level, event } = JSON.parse(last) as { level: string; event: string };
  assert.deepEqual([level, event], ['info', 'the configuration was read again']);
  config(folder, 'ctlMode = 0600\nnonsense');
  daemon.child.kill('SIGHUP');
  await until(() => daemon.said.includes('stays as it was'));
  assert.equal(statSync(path).mode & 0o777, 0o666);
});

test('a daemon that has no pool and no client stops by itself when told to', async (t) => {
  const daemon = await new Program(t, freshFolder(t), ['--idle-exit', '0.1']).serving();
  assert.equal(await daemon.ended(), 0);
  assert.match(daemon.said, /no pool was active and nobody connected for 0.1 s/);
});

test('daemonize: returns when it serves, in a session of its own; or with what went wrong', async (t) => {
  const folder = freshFolder(t);
  const logFile = join(folder, 'log');
  const first = new Program(t, folder, ['--daemonize', '--log-file', logFile]);
  assert.equal(await first.ended(), 0);
  const control = await first.control();
  const { pid } = await control.ask('status', {});
  t.after(() => {
    if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
  });
  assert.notEqual(pid, first.child.pid);
  const session = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]!.split(' ')[3];
  assert.equal(Number(session), pid);
  assert.match(readFileSync(logFile, 'utf8'), / serving /);
  const second = new Program(t, folder, ['--daemonize']);
  assert.equal(await second.ended(), 1);
  assert.match(second.said, new RegExp(`mpoold: .*the daemon of pid ${pid} is at work here`));
  await control.ask('shutdown', {});
  await until(() => readFileSync(logFile, 'utf8').endsWith(' stopped\n'));
});

/** Prints each datagram that comes to the socket as a line of JSON. */
const RECEIVER = `
import json, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
name = sys.argv[1]
s.bind('\\0' + name[1:] if name[0] == '@' else name)
print(json.dumps('bound'), flush=True)
while True: print(json.dumps(s.recv(4096).decode()), flush=True)
`;

for (const kind of ['a file', 'an abstract name']) {
  test(
    `a service manager at ${kind} hears of the start, the watchdog, reloads and the end`,
    { skip: noPython },
    async (t) => {
      const folder = freshFolder(t);
      const name = kind === 'a file' ? join(folder, 'notify') : `@mpool-test-${process.pid}`;
      const manager = spawn('python3', ['-c', RECEIVER, name], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      t.after(() => manager.kill('SIGKILL'));
      let heard = '';
      manager.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
      await until(() => heard !== '');
      const env = { NOTIFY_SOCKET: name, WATCHDOG_USEC: '300000' };
      const daemon = await new Program(t, folder, [], env).serving();
      await until(() => heard.split('WATCHDOG=1').length > 3);
      daemon.child.kill('SIGHUP');
      await until(() => heard.split('READY=1').length > 2);
      daemon.child.kill('SIGTERM');
      assert.equal(await daemon.ended(), 0);
      await until(() => heard.includes('STOPPING=1'));
      const messages = heard
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as string);
      assert.match(messages[1]!, new RegExp(`^READY=1\nSTATUS=.*\nMAINPID=${daemon.child.pid}$`));
      assert.match(
        messages.find((each) => each.startsWith('RELOADING'))!,
        /\nMONOTONIC_USEC=\d+$/,
      );
      assert.equal(messages.filter((each) => each.startsWith('READY=1')).length, 2);
      const stopping = messages.find((each) => each.startsWith('STOPPING'))!;
      assert.match(stopping, /\nEXTEND_TIMEOUT_USEC=17000000$/);
      const after = messages.slice(messages.indexOf(stopping) + 1);
      assert.deepEqual(
        after.filter((each) => each !== 'WATCHDOG=1'),
        [],
      );
    },
  );
}

/** Listens, and becomes the program with that socket as descriptor 3. */
const ACTIVATOR = `
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
print('listening', flush=True)
if s.fileno() != 3: os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
`;

test(
  'a socket for ctl that listens already is taken over, and left as it is',
  { skip: noPython },
  async (t) => {
    const folder = freshFolder(t);
    const path = join(folder, 'passed');
    const env = { ...process.env, MPOOL_RUNDIR: join(folder, 'r'), MPOOL_CONFIG: config(folder) };
    const child = spawn('python3', ['-c', ACTIVATOR, path, process.execPath, MPOOLD], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env,
    });
    t.after(() => child.kill('SIGKILL'));
    const said = text(child.stderr);
    await once(child.stdout, 'data');
    // Before the daemon runs: what connects now is served once it does.
    const control = await connect(t, path);
    assert.equal((await control.ask('status', {})).pid, child.pid);
    assert.equal(existsSync(controlSocketPath(join(folder, 'r'))), false);
    child.kill('SIGTERM');
    assert.match(await said, / stopped\n$/);
  },
);

test('metrics and health over HTTP, on a socket and on a port of this machine', async (t) => {
  const folder = freshFolder(t);
  const socketPath = join(folder, 'metrics');
  const daemon = await new Program(t, folder, ['--metrics', `unix:${socketPath}`]).serving();
  await makePool(daemon);
  const client = await daemon.client();
  await client.mblock(pattern(8192));
  await client.ask('mblock.lease', { ids: ['0x1'] }).catch(() => {});
  const get = async (path: string, headers = {}) => {
    const asking = request({ socketPath, path, headers }).end();
    const [response] = await once(asking, 'response');
    return {
      status: response.statusCode,
      type: response.headers['content-type'],
      body: await text(response),
    };
  };
  const { status, type, body } = await get('/metrics');
  assert.equal(status, 200);
  assert.match(type, /^application\/openmetrics-text; version=1.0.0/);
  checkOpenMetrics(body);
  assert.match(body, /^mpool_written_bytes_total\{pool="p1"\} 8192$/m);
  assert.match(body, /^mpool_commits_total\{pool="p1"\} 1$/m);
  assert.match(body, /^mpool_metadata_group_operations_bucket\{pool="p1",le="1"\} [1-9]/m);
  assert.match(body, /^mpool_metadata_group_operations_bucket\{pool="p1",le="1024"\} [1-9]/m);
  assert.match(body, /^mpool_sync_group_operations_count\{pool="p1"\} \d+$/m);
  assert.match(body, /^mpool_mblocks\{pool="p1",class="capacity"\} 1$/m);
  assert.match(body, /^mpoold_request_duration_seconds_count\{operation="mblock.commit"\} 1$/m);
  assert.match(
    body,
    /^mpoold_request_errors_total\{operation="mblock.lease",code="ERR_MPOOL_INVALID_ARG"\} 1$/m,
  );
  assert.deepEqual(await get('/healthz'), { status: 200, type: 'text/plain', body: 'healthy\n' });
  const json = await get('/healthz', { accept: 'application/json' });
  assert.equal((JSON.parse(json.body) as { healthy: boolean }).healthy, true);
  assert.equal((await get('//')).status, 404);
  assert.equal((await get('/nix')).status, 404);
  daemon.child.kill('SIGTERM');
  assert.equal(await daemon.ended(), 0);
  assert.equal(existsSync(socketPath), false);
});

/** The rules of the format that a scraper insists on. */
function checkOpenMetrics(body: string): void {
  assert.ok(body.endsWith('\n# EOF\n'));
  const types = new Map<string, string>();
  let current = '';
  for (const line of body.slice(0, -'# EOF\n'.length).trimEnd().split('\n')) {
    const [, keyword, name, rest] = /^# (TYPE|UNIT|HELP) (\S+) (.+)$/.exec(line) ?? [];
    if (keyword === 'TYPE') {
      assert.ok(!types.has(name!), `${name} once`);
      types.set((current = name!), rest!);
    } else if (keyword !== undefined) {
      assert.equal(name, current);
      if (keyword === 'UNIT') assert.ok(name?.endsWith(`_${rest}`), line);
    } else {
      const sample = /^([a-z_]+)(?:\{((?:[a-z]+="[^"]*",?)+)\})? (-?[0-9.e+-]+)$/.exec(line);
      assert.ok(sample !== null, line);
      const suffixes: Record<string, RegExp> = {
        counter: /^_total$/,
        gauge: /^$/,
        histogram: /^_(bucket|sum|count)$/,
      };
      assert.ok(sample[1]!.startsWith(current), line);
      assert.match(sample[1]!.slice(current.length), suffixes[types.get(current)!]!, line);
    }
  }
  assert.ok(types.size > 20);
}
