// Goal: started by its socket the daemon is there when it is needed: the first connection is served, its socket stays
//   whoever ends it and however, and each new one has the pools that it should have.
// Method: a service manager of some lines of Python, which listens at ctl as systemd does, starts the daemon when
//   someone connects, hears when it is ready, and waits for its end.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
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

/** Says 'listening', and of each daemon 'started PID', 'ready PID' and 'ended STATUS'. */
const MANAGER = `
import os, select, socket, subprocess, sys
rundir, notify_path, command = sys.argv[1], sys.argv[2], sys.argv[3:]
os.umask(0)
os.mkdir(rundir, 0o755)
listener = socket.socket(socket.AF_UNIX)
listener.bind(rundir + '/ctl')
os.chmod(rundir + '/ctl', 0o666)
listener.listen(511)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(notify_path)
print('listening', flush=True)
def pass_socket():
    os.dup2(listener.fileno(), 3)
    os.set_inheritable(3, True)
while True:
    select.select([listener], [], [])
    child = subprocess.Popen(['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', *command],
        preexec_fn=pass_socket, close_fds=False,
        env={**os.environ, 'LISTEN_FDS': '1', 'LISTEN_FDNAMES': 'ctl', 'NOTIFY_SOCKET': notify_path})
    print('started', child.pid, flush=True)
    while child.poll() is None:
        if not select.select([notify], [], [], 0.02)[0]: continue
        if b'READY=1' in notify.recv(4096): print('ready', child.pid, flush=True)
    print('ended', child.returncode, flush=True)
`;

class Manager {
  readonly folder: string;
  #text = '';
  readonly #t: TestContext;

  constructor(t: TestContext, config: readonly string[]) {
    this.#t = t;
    this.folder = temporaryFolder(t);
    mkdirSync(join(this.folder, 'files'));
    this.configure(config);
    const notify = join(this.folder, 'notify');
    const configFile = join(this.folder, 'conf');
    const command = [process.execPath, MPOOLD, '--rundir', this.rundir, '--config', configFile];
    const child = spawn('python3', ['-c', MANAGER, this.rundir, notify, ...command], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    child.stdout.on('data', (chunk: Buffer) => (this.#text += chunk.toString()));
    t.after(() => {
      child.kill('SIGKILL');
      for (const pid of this.pids('started')) {
        if (existsSync(`/proc/${pid}`)) process.kill(pid, 'SIGKILL');
      }
    });
  }

  get said(): string[] {
    return this.#text.split('\n').slice(0, -1);
  }
  get rundir(): string {
    return join(this.folder, 'r');
  }
  get path(): string {
    return controlSocketPath(this.rundir);
  }

  configure(lines: readonly string[]): void {
    const all = [`searchPlaces = ${this.folder}/files`, 'blockDevices = no', ...lines];
    writeFileSync(join(this.folder, 'conf'), all.join('\n'));
  }

  /** Of daemons, in order: those that were started, or that said they are ready. */
  pids(event: 'started' | 'ready'): number[] {
    const words = this.said.map((line) => line.split(' '));
    return words.filter(([word]) => word === event).map(([, pid]) => Number(pid));
  }

  async ended(count: number): Promise<string> {
    const ends = (): string[] => this.said.filter((line) => line.startsWith('ended'));
    await until(() => ends().length >= count);
    return ends()[count - 1]!;
  }

  async control(): Promise<Asker> {
    const channel = await ClientChannel.connect(this.path, HELLO);
    this.#t.after(() => channel.destroy());
    return new Asker(channel, []);
  }
}

test(
  'the first connection starts it; it goes when idle, and the next one starts another',
  { skip: noPython },
  async (t) => {
    const manager = new Manager(t, ['idleExitSeconds = 0.2']);
    await until(() => manager.said.includes('listening'));
    const { ino } = statSync(manager.path);
    for (let round = 1; round <= 2; round++) {
      const control = await manager.control();
      const { pid, rundir } = await control.ask('status', {});
      assert.deepEqual([pid, rundir], [manager.pids('started').at(-1), manager.rundir]);
      await until(() => manager.pids('ready').includes(pid));
      assert.equal(readFileSync(join(manager.rundir, 'mpoold.lock'), 'latin1'), `${pid}\n`);
      await control.close();
      assert.equal(await manager.ended(round), 'ended 0');
      assert.deepEqual(
        [statSync(manager.path).ino, statSync(manager.path).mode & 0o777],
        [ino, 0o666],
      );
    }
    assert.equal(new Set(manager.pids('started')).size, 2);
  },
);

test(
  'stopped or killed, the next one has the pools that the configuration names',
  { skip: noPython },
  async (t) => {
    const manager = new Manager(t, ['activateAll = yes', 'idleExitSeconds = 0.2']);
    await until(() => manager.said.includes('listening'));
    const first = await manager.control();
    const capacity = {
      path: join(manager.folder, 'files/p1'),
      sizeBytes: 64 * MIB,
      mblockSizeBytes: MIB,
    };
    await first.ask('create', { options: { name: 'p1', capacity } });
    const pool = poolSocketPath(manager.rundir, 'p1');
    const channel = await ClientChannel.connect(pool, { ...HELLO, access: 'write' });
    t.after(() => channel.destroy());
    const id = await new Asker(channel, []).mblock(pattern(4096));
    channel.close();
    await first.close();
    const { ino } = statSync(manager.path);
    const ends = [
      ['SIGTERM', 'ended 0', false],
      ['SIGKILL', 'ended -9', true],
    ] as const;
    for (const [i, [signal, end, leavesSocket]] of ends.entries()) {
      const before = await manager.control();
      const { pid } = await before.ask('status', {});
      process.kill(pid, signal);
      assert.equal(await manager.ended(i + 1), end);
      assert.equal(existsSync(pool), leavesSocket);
      assert.equal(statSync(manager.path).ino, ino, 'what the manager made is the manager’s');
      // Served when the pools are there: not before.
      const after = await manager.control();
      const status = await after.ask('status', {});
      assert.notEqual(status.pid, pid);
      assert.equal(status.poolCount, 1);
      const reader = await ClientChannel.connect(pool, { ...HELLO, access: 'read' });
      const { leases } = await new Asker(reader, []).ask('mblock.lease', { ids: [id] });
      assert.equal(leases.length, 1);
      reader.destroy();
    }
    // It has a pool: nobody needs to be connected for it to stay.
    const last = await manager.control();
    const { pid } = await last.ask('status', {});
    assert.equal(pid, manager.pids('started').at(-1));
  },
);

test(
  'the mode of a socket that the manager made stays; ctlMode says what its clients may do',
  { skip: noPython },
  async (t) => {
    const manager = new Manager(t, ['ctlMode = 0644']);
    await until(() => manager.said.includes('listening'));
    chmodSync(manager.path, 0o600);
    const control = await manager.control();
    assert.equal((await control.ask('status', {})).mayManage, true);
    manager.configure(['ctlMode = 0666']);
    await control.ask('reload', {});
    assert.equal(statSync(manager.path).mode & 0o777, 0o600);
  },
);
