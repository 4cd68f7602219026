// Goal: verbs do through a daemon what they do directly, and start, fill and empty it. Method: the tool on
// real pools with a real mpoold, which the tool starts itself; each script of calls is done to a pool that is
// active and to one that is not, and what was said is compared.
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chown,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  realpath,
  rm,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { reaper } from '../../src/client.ts';
import { routedDryStore } from '../../src/cli/routed-dry-store.ts';
import { routedStore } from '../../src/cli/routed-store.ts';
import { loadDryStore, loadStore } from '../../src/cli/store.ts';
import { SystemDaemons } from '../../src/cli/system-daemons.ts';
import { type Result, runTool } from './fake.ts';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const NOBODY = 65_534;
let top = '';
let rundir = '';
const clients: ChildProcess[] = [];

before(async () => {
  top = await realpath(await mkdtemp(join(tmpdir(), 'mpool-cli-')));
  rundir = join(top, 'run');
  process.env['MPOOL_RUNDIR'] = rundir;
});
afterEach(async () => {
  for (const client of clients.splice(0)) await ended(client, 'SIGKILL');
  await endDaemon(rundir);
});
after(async () => {
  delete process.env['MPOOL_RUNDIR'];
  process.chdir(tmpdir());
  await rm(top, { recursive: true, force: true });
});

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
}

async function daemonPid(where = rundir): Promise<number | undefined> {
  const text = await readFile(join(where, 'mpoold.lock'), 'utf8').catch(() => '');
  const pid = Number(text);
  return pid > 0 && isAlive(pid) ? pid : undefined;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** In order: its pools are free when this resolves. */
async function endDaemon(where: string): Promise<void> {
  const pid = await daemonPid(where);
  if (pid === undefined) return;
  process.kill(pid, 'SIGCONT');
  process.kill(pid, 'SIGTERM');
  while (isAlive(pid)) await sleep(20);
}

/** An empty folder, which becomes the current one. */
async function folder(name: string): Promise<string> {
  const path = join(top, name);
  await rm(path, { recursive: true, force: true });
  await mkdir(path, { recursive: true });
  process.chdir(path);
  return path;
}

async function tool(line: string, input = ''): Promise<Result> {
  const daemons = new SystemDaemons(new AbortController().signal, () => undefined);
  try {
    const dry = routedDryStore(await loadDryStore(), () => loadDryStore({ claim: false }), daemons);
    const store = routedStore(await loadStore(), daemons, reaper);
    const argv = line.split(' ').filter((word) => word !== '');
    return await runTool(argv, store, { places: ['.'], dryStore: dry, daemons, input });
  } finally {
    await daemons.close();
  }
}

async function done(line: string, input = ''): Promise<string> {
  const { status, out, err } = await tool(line, input);
  assert.deepEqual([status, err], [0, ''], line);
  return out;
}

async function refused(line: string, why: RegExp): Promise<void> {
  const { status, out, err } = await tool(line);
  assert.deepEqual([status, out], [1, ''], line);
  assert.match(err, why, line);
}

/** A process that has a pool open until it is ended. */
async function holder(pool: string, options: object = {}): Promise<ChildProcess> {
  const client = new URL('../../src/client.js', import.meta.url).href;
  const script = `
    const { connect } = await import(${JSON.stringify(client)});
    const daemon = await connect({ client: 'holder\\u001b[2J' });
    const pool = await daemon.open(${JSON.stringify(pool)}, ${JSON.stringify(options)});
    console.log('open');
    process.stdin.resume();
    process.stdin.on('end', async () => { await pool.close(); process.exit(0); });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  clients.push(child);
  const [said] = await once(child.stdout, 'data');
  assert.equal(String(said), 'open\n');
  return child;
}

async function release(child: ChildProcess): Promise<void> {
  const exit = once(child, 'exit');
  child.stdin!.end();
  assert.deepEqual(await exit, [0, null]);
}

async function hashOf(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

/** What both must say the same: ids in the order of their first appearance, sizes of metadata left out. */
function comparable(text: string, where: string): string {
  const names = new Map<string, string>();
  const named = (id: string): string => {
    if (!names.has(id)) names.set(id, `#${names.size}`);
    return names.get(id)!;
  };
  return text
    .replaceAll(where, 'HERE')
    .replace(/0x[0-9a-f]{3,}/g, named)
    .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, named);
}

const SCRIPT: readonly [line: string, input?: string][] = [
  ['list -o name,total,label,health,mode'],
  ['list mp1 nope'],
  ['get'],
  ['get -HN mp1'],
  ['get nope'],
  ['scan -o name,health,devices'],
  ['set -v mp1 label=kv mode=0640 ra=8'],
  ['set mp1 mode=999'],
  ['set -n mp1 label=other'],
  ['get mp1'],
  ['mblock put mp1 data'],
  ['mblock put -n mp1 data'],
  ['mblock put mp1 class=staging data'],
  ['mblock list mp1 -o class,written'],
  ['mblock read mp1 0x999101'],
  ['mblock delete mp1 0x999101'],
  ['mlog alloc mp1 size=64k'],
  ['mlog list mp1 -o class,alloc'],
  ['mdc append mp1 root', 'one\ntwo\n'],
  ['mdc append -n mp1 root', 'three\n'],
  ['mdc read mp1 root'],
  ['mdc compact -v mp1 root -', 'only\n'],
  ['mdc read mp1 root'],
  ['mdc delete mp1 root'],
  ['add -n mp1 stgdev=fast.pool stgsize=16m'],
  ['add -v mp1 stgdev=fast.pool stgsize=16m stgsz=1'],
  ['add mp1 stgdev=more.pool stgsize=16m'],
  ['grow -v mp1'],
  ['mcache warm -v mp1'],
  ['mcache residency mp1 -o size,resident'],
  ['rename -n mp1 mp2'],
  ['rename -v mp1 mp2'],
  ['list -o name'],
  ['rename mp2 -x'],
  ['destroy -n mp2'],
  ['destroy -v mp2'],
  ['destroy mp2'],
  ['list'],
];

async function perform(where: string): Promise<string[]> {
  const said: string[] = [];
  for (const [line, input] of SCRIPT) {
    const { status, out, err } = await tool(line, input);
    said.push(comparable(`${line}\n${out}${err}[${status}]`, where));
  }
  return said;
}

test('an active pool is scrubbed by its daemon; what wants the media for itself stays refused', async () => {
  await folder('scrub');
  await writeFile('data', Buffer.alloc(1_500_000, 7));
  await done('create mp1 mp1.pool size=64m capsz=1');
  await done('activate mp1');
  await done('mblock put mp1 data');
  assert.match(await done('scrub mp1 rate=1g'), /^mp1: clean; .* 367 pages, /);
  const { complete, counts } = JSON.parse(await done('scrub --json ./mp1.pool from=0x0'));
  assert.deepEqual([complete, counts.pages], [true, 367]);
  for (const line of [
    'check mp1',
    'repair mp1',
    'repair -n mp1',
    'upgrade mp1',
    'upgrade -n mp1',
  ]) {
    await refused(line, /mp1 is active: .* after 'mpool deactivate mp1'.*\(EBUSY\)/);
  }
});

test('verbs say of an active pool what they say of one that is not', async () => {
  const direct = await folder('script');
  await writeFile('data', Buffer.alloc(1_500_000, 7));
  await done('create mp1 mp1.pool size=64m capsz=1');
  const expected = await perform(direct);
  const active = await folder('script');
  await writeFile('data', Buffer.alloc(1_500_000, 7));
  await done('create mp1 mp1.pool size=64m capsz=1');
  assert.equal(await done('activate -v mp1'), 'mpool mp1 now active\n');
  assert.ok((await daemonPid()) !== undefined);
  const through = await perform(active);
  for (const [i, text] of expected.entries()) assert.equal(through[i], text);
});

test('the daemon is started for activate, and keeps pools until deactivate', async () => {
  await folder('life');
  await refused('status', /^mpool: status: no mpoold runs here.*\(ENOENT\)\n$/);
  await refused('deactivate mp1', /mp1.*ENOENT/);
  await done('create mp1 mp1.pool size=16m capsz=1');
  await refused('activate nope', /pool 'nope' .*not found \(ENOENT\)/);
  await refused('deactivate mp1', /mpool mp1 is not active: not found \(ENOENT\)/);
  assert.equal(await done('activate -n mp1'), 'would activate mpool mp1\n');
  assert.equal(await daemonPid(), undefined, 'a dry run starts nothing');
  await done('activate ./mp1.pool');
  const pid = await daemonPid();
  assert.match(await done('status -H'), new RegExp(`^${rundir} +${pid} +running +1 +0 `));
  assert.equal(await done('activate -v mp1'), 'mpool mp1 is active already\n');
  assert.equal(await done('activate -n mp1'), 'would leave mpool mp1 active\n');
  // The file is claimed, and known all the same: by path, name and UUID, from anywhere.
  const uuid = (await done('list -Ho uuid')).trim();
  for (const word of ['mp1.pool', 'mp1', uuid, uuid.toUpperCase()]) {
    assert.equal(await done(`list -Ho name,active,clients ${word}`), 'mp1  yes  0\n', word);
  }
  process.chdir('/');
  assert.equal(await done('list -Ho name,active mp1'), 'mp1  yes\n');
  assert.match(await done('list -Y mp1'), /^ {2}active: true$/m);
  process.chdir(join(top, 'life'));
  // Made where a daemon runs, a pool is active; and its name is taken, wherever it is.
  assert.equal(await done('create -v mp2 mp2.pool size=16m'), 'mpool mp2 created, and active\n');
  await refused('create mp2 other.pool size=16m', /EEXIST/);
  assert.deepEqual(await readdir('.'), ['mp1.pool', 'mp2.pool'], 'nothing half made');
  await refused('rename mp1 mp2', /EEXIST/);
  await refused('check mp1', /is active: it can be checked after 'mpool deactivate mp1'/);
  assert.match(await done('scrub mp1 rate=1g'), /^mp1: .*clean/);
  assert.equal(await done('deactivate -n mp1'), 'would deactivate mpool mp1\n');
  assert.equal(await done('deactivate -v mp1'), 'mpool mp1 now inactive\n');
  await done('check mp1');
  assert.equal(await done('list -Ho name,active --sort name'), 'mp1   no\nmp2  yes\n');
});

test('scan activates and deactivates what it finds', async () => {
  await folder('scan');
  for (const name of ['a', 'b', 'c']) await done(`create ${name} ${name}.pool size=16m capsz=1`);
  assert.equal(
    await done('scan -an .'),
    ['a', 'b', 'c'].map((name) => `would activate mpool ${name}\n`).join(''),
  );
  await done('activate b');
  const { status, out, err } = await tool('scan -avo name,active .');
  assert.equal(status, 0, err);
  assert.equal(out, 'MPOOL  ACTIVE\na         yes\nb         yes\nc         yes\n');
  assert.match(
    err,
    /^mpool: activating mpool a [0-9a-f-]{36}\nmpool: activating mpool c .*\n.*: 3 mpools now active\n$/,
  );
  const client = await holder('c');
  const busy = await tool('scan -dHo name,active');
  assert.equal(busy.status, 1);
  assert.equal(busy.out, 'a   no\nb   no\nc  yes\n');
  assert.match(busy.err, /^mpool: scan: unable to deactivate mpool c: .*\(EBUSY\)\n$/);
  await release(client);
  assert.equal(await done('scan -dn'), 'would deactivate mpool c\n');
  await done('scan -d');
  const both = await tool('scan -ad');
  assert.deepEqual([both.status, both.err.includes('-a excludes -d')], [2, true]);
});

test('mode 0 and parameters survive, as the original was tested', async () => {
  await folder('smoke');
  await done('create mp1 mp1.pool size=16m capsz=1');
  await done('activate mp1');
  const mode = async (): Promise<string> => (await done('get -H mp1')).trim().split(/ +/)[4]!;
  assert.equal(await mode(), '0660');
  await done('set mp1 mode=0');
  assert.equal(await mode(), '0');
  await done('deactivate mp1');
  assert.equal(await mode(), '0');
  await done('activate mp1');
  assert.equal(await mode(), '0');
  await done('deactivate mp1');
  await done('activate mp1 mode=0640 label=kv');
  assert.equal(await mode(), '0640');
  assert.equal(await done('list -Ho label mp1'), 'kv\n');
  await done('create mp2 mp2.pool size=16m capsz=1');
  for (const verb of ['list', 'get']) {
    assert.equal((await done(`${verb} -H`)).split('\n').length, 3, verb);
    assert.equal((await done(`${verb} -H mp2`)).split('\n').length, 2, verb);
    const { status, out, err } = await tool(`${verb} -H mp1 nope`);
    assert.deepEqual([status, out.split('\n').length], [1, 2], verb);
    assert.match(err, /mpool nope: not found \(ENOENT\)/);
    await refused(`${verb} -H nope`, /mpool nope: not found \(ENOENT\)/);
  }
});

test('what clients have open is told, and refused to those that would take it away', async () => {
  await folder('clients');
  await writeFile('data', 'something');
  await done('create mp1 mp1.pool size=16m capsz=1');
  await done('activate mp1');
  const client = await holder('mp1', { readOnly: true });
  const row = `mp1 +${client.pid} .* holder\\?\\[2J +read `;
  assert.match(await done('clients -H'), new RegExp(`^${row}`));
  assert.match(await done('clients -H ./mp1.pool'), new RegExp(`^${row}`));
  assert.equal(await done('list -Ho clients mp1'), '1\n');
  for (const verb of ['deactivate mp1', 'destroy mp1', 'rename mp1 mp2']) {
    await refused(verb, /EBUSY/);
    await refused(`${verb} -n`, /EBUSY/);
  }
  const hash = await hashOf('mp1.pool');
  await done('set -n mp1 label=other');
  await done('mdc append -n mp1 root', 'one\n');
  await done('mblock put -n mp1 data');
  assert.equal(await hashOf('mp1.pool'), hash, 'a dry run of an active pool writes nothing');
  await refused('clients nope', /mpool nope: not found/);
  await release(client);
  const alone = await holder('mp1', { readOnly: true, exclusive: true });
  assert.match(await done('clients -Ho access'), /^read,excl\n$/);
  await refused('mblock list mp1', /EBUSY/);
  await release(alone);
  assert.equal(await done('clients'), '');
});

test('what reapers are told is shown, and changed', async () => {
  await folder('reaper');
  await done('create mp1 mp1.pool size=16m capsz=1');
  await refused('mcache reaper', /no mpoold runs/);
  await done('activate mp1');
  assert.equal(
    await done('mcache reaper -n mempct=50 budget=0'),
    'would tell all clients: memoryPercent 50, budgetBytes none\n',
  );
  assert.equal(await done('mcache reaper'), '', 'nothing was set');
  assert.equal((await tool('mcache reaper mempct=50 enabled=no')).status, 0);
  const { err } = await tool('mcache reaper');
  assert.equal(err, 'mpool: all clients are told: enabled false, memoryPercent 50\n');
});

test('a daemon that does not answer can be waited for, and left', async (t) => {
  await folder('stopped');
  await done('create mp1 mp1.pool size=16m capsz=1');
  await done('activate mp1');
  process.kill((await daemonPid())!, 'SIGSTOP');
  const child = spawn(process.execPath, [MAIN, 'list'], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => ended(child, 'SIGKILL'));
  // Its handlers are there by then, and the daemon is asked.
  const [said] = await once(child.stderr, 'data');
  assert.match(String(said), /^mpool: waiting for the daemon in /);
  const exit = once(child, 'exit');
  child.kill('SIGINT');
  assert.deepEqual(await exit, [130, null]);
});

test('another user has a daemon of his own', async (t) => {
  if (process.getuid!() !== 0) return t.skip('only root can be another user');
  const path = await folder('other');
  const own = join(path, 'runtime');
  await mkdir(own);
  await chown(path, NOBODY, NOBODY);
  await chown(own, NOBODY, NOBODY);
  await chown(top, NOBODY, NOBODY);
  const { MPOOL_RUNDIR: _, ...env } = process.env;
  const as = async (...argv: string[]): Promise<string> => {
    const child = spawn(process.execPath, [MAIN, ...argv], {
      uid: NOBODY,
      gid: NOBODY,
      cwd: path,
      env: { ...env, XDG_RUNTIME_DIR: own },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    child.stdout.on('data', (piece) => (text += piece));
    child.stderr.on('data', (piece) => (text += piece));
    const [status] = await once(child, 'close');
    return `${text}[${status}]`;
  };
  t.after(() => endDaemon(join(own, 'mpool')));
  assert.equal(await as('create', 'mine', 'mine.pool', 'size=16m', 'capsz=1'), '[0]');
  assert.equal(await as('activate', '-v', 'mine'), 'mpool mine now active\n[0]');
  assert.ok((await daemonPid(join(own, 'mpool'))) !== undefined);
  assert.equal(await as('list', '-Ho', 'name,active', 'mine'), 'mine  yes\n[0]');
  assert.equal(await as('deactivate', 'mine'), '[0]');
});
