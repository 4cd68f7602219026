// Goal: the program among other processes: interrupted, refused, its reader gone, without rights.
// Method: real processes on files in a directory of their own.
import assert from 'node:assert/strict';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
const MIB = 2 ** 20;
const children: ChildProcess[] = [];
let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mpool-process-'));
  // Whoever runs these as root also lets others in.
  await chmod(folder, 0o755);
});
after(() => {
  // A failed test may leave one waiting for input, and this file with it.
  for (const child of children) child.kill('SIGKILL');
  return rm(folder, { recursive: true, force: true });
});

function mpool(...argv: string[]): { status: number | null; out: string; err: string } {
  const options = { cwd: folder, encoding: 'utf8', timeout: 10_000 } as const;
  const result = spawnSync(process.execPath, [MAIN, ...argv], options);
  return { status: result.status, out: result.stdout, err: result.stderr };
}

function done(...argv: string[]): string {
  const { status, out, err } = mpool(...argv);
  assert.deepEqual([status, err], [0, ''], argv.join(' '));
  return out;
}

function start(...argv: string[]): ChildProcess {
  const child = spawn(process.execPath, [MAIN, ...argv], { cwd: folder });
  children.push(child);
  return child;
}

/** Resolves once the process took all the bytes: a pipe holds but 64 KiB. */
function feed(child: ChildProcess, lengthBytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdin!.write(Buffer.alloc(lengthBytes, 7), (error) =>
      error ? reject(error) : resolve(),
    );
  });
}

async function ended(child: ChildProcess): Promise<{ status: unknown; out: string; err: string }> {
  let out = '';
  let err = '';
  child.stdout!.on('data', (chunk) => (out += String(chunk)));
  child.stderr!.on('data', (chunk) => (err += String(chunk)));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { status: code ?? signal, out, err };
}

test('Ctrl-C in the middle of a put leaves nothing of the file', async () => {
  done('create', 'elm', 'elm.pool', 'size=128m', 'capsz=1');
  const child = start('mblock', 'put', 'elm', '-');
  const result = ended(child);
  await feed(child, 5 * MIB);
  child.kill('SIGINT');
  const told = 'mpool: mblock put: interrupted (ECANCELED)\n';
  assert.deepEqual(await result, { status: 130, out: '', err: told });
  assert.equal(done('mblock', 'list', 'elm'), '');
  assert.match(done('check', 'elm'), /^elm: clean/);
});

test('files stored before the Ctrl-C stay, and are told', async () => {
  done('create', 'ash', 'ash.pool', 'size=128m', 'capsz=1');
  await writeFile(join(folder, 'small'), 'small');
  const child = start('mblock', 'put', 'ash', 'small', '-');
  const result = ended(child);
  await feed(child, 3 * MIB);
  child.kill('SIGINT');
  const { status, out, err } = await result;
  assert.equal(status, 130);
  assert.match(err, /^mpool: mblock put: 1 of 2 files stored$/m);
  assert.equal(done('mblock', 'read', 'ash', out.trim()), 'small');
});

test('SIGKILL in the middle of a put leaves nothing either', async () => {
  done('create', 'yew', 'yew.pool', 'size=128m', 'capsz=1');
  const child = start('mblock', 'put', 'yew', '-');
  const result = ended(child);
  await feed(child, 5 * MIB);
  child.kill('SIGKILL');
  assert.equal((await result).status, 'SIGKILL');
  assert.equal(done('mblock', 'list', 'yew'), '');
  assert.match(done('check', '--data', 'yew'), /^yew: clean/);
});

test('a second Ctrl-C ends a process that hangs', async () => {
  done('create', 'fir', 'fir.pool', 'size=64m', 'capsz=1');
  const fifo = join(folder, 'fifo');
  assert.equal(spawnSync('mkfifo', [fifo]).status, 0);
  // Opening a FIFO that no one writes hangs in the kernel, where nothing can be aborted.
  const child = start('mblock', 'put', 'fir', 'fifo');
  const result = ended(child);
  for (let tries = 0; mpool('mblock', 'list', 'fir').status === 0; tries++) {
    assert.ok(tries < 50, 'the process never took the pool');
  }
  child.kill('SIGINT');
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal(child.exitCode, null);
  child.kill('SIGINT');
  assert.equal((await result).status, 'SIGINT');
  assert.equal(done('mblock', 'list', 'fir'), '');
});

test('a pool that another process has is refused, and listed as busy', async () => {
  done('create', 'oak', 'oak.pool', 'size=64m', 'capsz=1');
  const holder = start('mblock', 'put', 'oak', '-');
  const result = ended(holder);
  await feed(holder, MIB);
  for (const verb of [
    ['set', 'oak', 'label=x'],
    ['mblock', 'list', 'oak'],
    ['destroy', 'oak'],
    ['destroy', '-f', 'oak'],
    ['check', 'oak'],
    ['rename', 'oak', 'beech'],
    ['create', '-f', 'beech', 'oak.pool', 'capsz=1'],
  ]) {
    const { status, out, err } = mpool(...verb);
    assert.equal(status, 1, verb.join(' '));
    assert.equal(out, '');
    assert.match(err, /^mpool: [a-z ]+: .*\(EBUSY\)\n$/);
    assert.ok(err.includes(String(holder.pid)), `names the holder: ${err}`);
  }
  const list = mpool('list', '-v', 'oak');
  assert.match(list.out, /^oak .* busy {2}.*oak\.pool$/m);
  assert.match(list.err, /\(EBUSY\)/);
  assert.equal(mpool('list', 'oak').status, 0);
  const get = mpool('get', 'oak');
  assert.deepEqual([get.status, get.out], [1, '']);
  assert.match(get.err, /^mpool: get: mpool oak: .*\(EBUSY\)\n$/);
  assert.ok(get.err.includes(String(holder.pid)), get.err);
  const dump = mpool('dump', '--json', 'oak');
  assert.deepEqual([dump.status, dump.out], [1, '']);
  assert.match(done('scan', '-H', '.'), /^oak /m);
  holder.stdin!.end();
  assert.equal((await result).status, 0);
  assert.match(done('list', '-H', 'oak'), / optimal$/m);
});

test('two readers share a pool', async () => {
  done('create', 'asp', 'asp.pool', 'size=64m', 'capsz=1');
  await writeFile(join(folder, 'large'), Buffer.alloc(8 * MIB, 5));
  const ids = done('mblock', 'put', 'asp', 'large').trim().split('\n');
  const reader = start('mblock', 'read', 'asp', ...ids);
  // It writes more than the pipe holds, so it stays as long as no one reads.
  await once(reader.stdout!, 'readable');
  assert.equal(done('mblock', 'list', '-H', 'asp').trim().split('\n').length, ids.length);
  assert.match(done('check', 'asp'), /clean/);
  const result = ended(reader);
  assert.equal((await result).out.length, 8 * MIB);
});

test('a reader that leaves ends the program quietly', () => {
  done('create', 'bay', 'bay.pool', 'size=64m', 'capsz=1');
  const script = `head -c 8m /dev/zero > zero
    $M mblock read bay $($M mblock put bay zero) | head -c 1 | wc -c; echo "$\{PIPESTATUS[0]}"
    log=$($M mlog alloc bay size=2m); yes | head -200000 | $M mlog append bay $log
    $M mlog read bay $log | head -2; echo "$\{PIPESTATUS[0]}"
    $M -h | true
    $M mlog read --json bay $log | head -c 10; echo " $\{PIPESTATUS[0]}"`;
  const env = { ...process.env, M: `${process.execPath} ${MAIN}` };
  const result = spawnSync('bash', ['-c', script], { cwd: folder, env, encoding: 'utf8' });
  assert.equal(result.stderr, '');
  assert.equal(result.stdout, '1\n141\ny\ny\n141\n{"schemaVe 141\n');
});

const needsRoot =
  process.geteuid?.() === 0 ? false : 'only root can become another user with setpriv';

test('an ordinary user works on files of their own', { skip: needsRoot }, async () => {
  const home = join(folder, 'home');
  spawnSync('mkdir', [home]);
  await chown(home, 65_534, 65_534);
  const user = (...argv: string[]): { status: number | null; out: string; err: string } => {
    const words = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, MAIN];
    const options = { cwd: home, encoding: 'utf8' } as const;
    const result = spawnSync('setpriv', [...words, ...argv], options);
    return { status: result.status, out: result.stdout, err: result.stderr };
  };
  const created = user('create', 'own', 'own.pool', 'size=64m', 'capsz=1');
  assert.deepEqual(created, { status: 0, out: '', err: '' });
  assert.match(user('get', '-HN', 'own').out, /^own +raw +65534 +65534 /);
  assert.match(user('check', 'own').out, /clean/);
  assert.equal(user('doctor').status, 0);

  // What belongs to someone else.
  await writeFile(join(home, 'private'), 'x', { mode: 0o600 });
  const put = user('mblock', 'put', 'own', 'private');
  assert.equal(put.status, 1);
  assert.equal(put.err, 'mpool: mblock put: private: permission denied (EACCES)\n');
  done('create', 'alder', 'home/alder.pool', 'size=64m', 'capsz=1');
  await chmod(join(home, 'alder.pool'), 0o600);
  const set = user('set', 'alder.pool', 'label=x');
  assert.equal(set.status, 1);
  assert.match(set.err, /^mpool: set: .*alder\.pool.* \(EACCES\)\n$/);
  const list = user('list', '-v', 'own');
  assert.equal(list.status, 0);
  assert.match(list.out, /^own .* optimal {2}.*own\.pool$/m);
  for (const verb of ['list', 'get', 'scan']) {
    const { status, out, err } = user(verb, '-H', 'alder.pool', 'own.pool');
    assert.equal(status, 1);
    assert.match(out, /^own /);
    assert.match(err, new RegExp(`^mpool: ${verb}: .*alder\\.pool.* \\(EACCES\\)\n$`));
  }
  await mkdir(join(home, 'closed'), { mode: 0o700 });
  assert.match(user('scan', 'closed').err, /^mpool: scan: closed: .*\(EACCES\)\n$/);
  assert.match(user('destroy', 'alder.pool').err, /\(EACCES\)\n$/);
  const made = user('create', 'no', '../no.pool', 'size=64m', 'capsz=1');
  assert.equal(made.status, 1);
  assert.match(made.err, /^mpool: create: .*no\.pool.* \(EACCES\)\n$/);
});
