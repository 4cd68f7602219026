// Goal: a dry run changes nothing, refuses what the real run refuses, with its status and its words, and
// says of the rest what would be done. Method: pools of all conditions in a folder; each verb is run dry,
// no file there may have changed by a bit or a timestamp, then run really on the same state, and compared.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  chmod,
  copyFile,
  lstat,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { featuresText, knownFeatures } from '../../src/format/features.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { loadDryStore, loadStore } from '../../src/cli/store.ts';
import { runTool, type Result } from './fake.ts';

const FEATURES_OF_NEW = featuresText(knownFeatures()) || 'no features, and this version knows none';
const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url));
let top = '';
let work = '';
let copies = '';
/** What states() gives when nothing was changed. */
let pristine = new Map<string, string>();

async function tool(argv: readonly string[], input = ''): Promise<Result> {
  const store = await loadStore();
  const dryStore = await loadDryStore();
  return runTool(argv, store, { places: ['.'], dryStore, input });
}

async function done(line: string, input = ''): Promise<string> {
  const { status, out, err } = await tool(line.split(' '), input);
  assert.deepEqual([status, err], [0, ''], line);
  return out.trim();
}

/** 'NAME' in a case stands for what was made beforehand. */
const made: Record<string, string> = {};

before(async () => {
  top = await realpath(await mkdtemp(join(tmpdir(), 'mpool-dry-')));
  work = join(top, 'work');
  copies = join(top, 'copies');
  await mkdir(work);
  process.chdir(work);
  await writeFile('data', Buffer.alloc(1_500_000, 7));
  await writeFile('tail', 'the last one');
  await writeFile('many', 'a line that is somewhat long\n'.repeat(40_000));
  await done('create apple apple.pool size=8m capsz=1');
  made['MBLOCKS'] = (await done('mblock put apple data')).replaceAll('\n', ' ');
  made['MLOG'] = await done('mlog alloc apple size=64k');
  await done(`mlog append apple ${made['MLOG']}`, 'one\ntwo\n');
  made['MDC'] = await done('mdc alloc apple size=64k');
  await done(`mdc append apple ${made['MDC']}`, 'first\nsecond\n');
  await done('create fig fig.pool size=8m capsz=1 stgdev=fig.stg stgsize=4m stgsz=1');
  await done('create pear pear.pool size=8m capsz=1 stgdev=pear.stg stgsize=4m stgsz=1');
  await rm('pear.stg');
  await done('create full full.pool size=8m capsz=1 spare_pct_capacity=0');
  const filling = await tool(['mblock', 'put', 'full', ...Array.from({ length: 9 }, () => 'data')]);
  assert.match(filling.err, /ENOSPC/);
  await done('create kiwi kiwi.pool size=8m capsz=1');
  await truncate('kiwi.pool', 12 * 2 ** 20);
  await done('create torn torn.pool size=8m capsz=1');
  await damageSuperblocks('torn.pool');
  await done('create worn worn.pool size=8m capsz=1');
  await damageSuperblocks('worn.pool', 1);
  await writeFile('text', 'not blank');
  await writeFile('empty', '');
  await truncate('empty', 8 * 2 ** 20);
  await symlink('nowhere', 'link');
  await mkdir('folder');
  pristine = await states();
  await mkdir(copies);
  for (const name of pristine.keys()) {
    if ((await lstat(name)).isFile()) await copyFile(name, join(copies, name));
  }
});
after(async () => {
  process.chdir(tmpdir());
  await rm(top, { recursive: true, force: true });
});

async function damageSuperblocks(name: string, count = 4): Promise<void> {
  const dump = JSON.parse((await tool(['dump', '--json', name])).out) as {
    structures: { structure: string; offsetBytes: number }[];
  };
  const blocks = dump.structures.filter(({ structure }) => structure === 'superblock');
  assert.equal(blocks.length, 4);
  const file = await open(name, 'r+');
  for (const { offsetBytes } of blocks.slice(0, count))
    await file.write(Buffer.alloc(64, 0xff), 0, 64, offsetBytes + 100);
  await file.close();
}

/** Name by name: which file it is, how large, and when it was changed last. */
async function states(): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  for (const name of (await readdir('.')).toSorted()) {
    const { ino, size, mtimeNs, ctimeNs } = await lstat(name, { bigint: true });
    all.set(name, [ino, size, mtimeNs, ctimeNs].join(' '));
  }
  return all;
}

async function hashOfAll(): Promise<string> {
  const hash = createHash('sha256');
  for (const name of pristine.keys())
    hash.update(name).update(await readFile(name).catch(() => ''));
  return hash.digest('hex');
}

/** Everything as it was after `before`; only what changed is copied. */
async function restore(): Promise<void> {
  const now = await states();
  for (const name of now.keys()) if (!pristine.has(name)) await rm(name);
  for (const [name, state] of pristine) {
    if (now.get(name) === state) continue;
    await copyFile(join(copies, name), name);
    pristine.set(name, (await states()).get(name)!);
  }
}

interface Case {
  line: string;
  input?: string;
  /** Status of both runs. */
  status: 0 | 1 | 2;
  /** What the dry run says of what it would do. */
  would?: string;
}

function ok(line: string, would: string, input = ''): Case {
  return { line, status: 0, would, input };
}
function refused(line: string, input = ''): Case {
  return { line, status: 1, input };
}
function mistake(line: string): Case {
  return { line, status: 2 };
}

const NEW_FILE = (name: string): string => `${name} (a new file), 8.00m in mblocks of 1.00m`;

const CASES: Case[] = [
  ok('create plum plum.pool size=8m', `create mpool plum: capacity ${NEW_FILE('plum.pool')}`),
  ok(
    'create -D plum empty stgdev=plum.stg stgsize=4m label=x',
    'create mpool plum: capacity empty, 8.00m in mblocks of 1.00m; ' +
      'staging plum.stg (a new file), 4.00m in mblocks of 1.00m',
  ),
  ok(
    'create -f plum apple.pool size=4m',
    'create mpool plum: capacity apple.pool, 4.00m in mblocks of 1.00m',
  ),
  ok(
    'create -f torn torn.pool',
    'create mpool torn: capacity torn.pool, 8.00m in mblocks of 1.00m',
  ),
  refused('create apple plum.pool size=8m'),
  refused('create plum apple.pool'),
  refused('create plum data'),
  refused('create plum torn.pool'),
  refused('create plum plum.pool size=8m stgdev=text'),
  refused('create plum link size=8m'),
  refused('create plum missing/plum.pool size=8m'),
  refused('create plum data/plum.pool size=8m'),
  refused('create plum /dev/no-such-device'),
  mistake('create plum folder size=8m'),
  mistake('create plum plum.pool size=1m'),
  mistake('create plum empty size=9m'),
  mistake('create plum plum.pool size=8m stgdev=plum.pool stgsize=8m'),
  mistake('create plum empty stgdev=./empty'),
  mistake('create a/b plum.pool size=8m'),
  mistake('create plum plum.pool stgsz=1'),
  mistake('create plum plum.pool label=a:b'),
  ok('destroy apple', 'destroy mpool apple'),
  ok('destroy fig', 'destroy mpool fig'),
  ok('destroy -f pear', 'destroy mpool pear'),
  ok('destroy -f torn.pool', 'destroy mpool torn.pool'),
  refused('destroy plum'),
  refused('destroy pear'),
  refused('destroy torn.pool'),
  refused('destroy ./data'),
  ok(
    'set apple label=kv mode=0600 spare_pct_capacity=5',
    'set for mpool apple: mode=0600 (was 0660), label=kv (was raw), spare_pct_capacity=5 (as it was)',
  ),
  refused('set pear label=kv'),
  refused('set torn.pool label=kv'),
  mistake('set apple label=a:b'),
  ok('rename apple plum', "rename mpool 'apple' to 'plum'"),
  refused('rename apple fig'),
  refused('rename plum cherry'),
  refused('rename torn.pool cherry'),
  refused('rename pear cherry'),
  mistake('rename apple a/b'),
  ok('add apple stgdev=new.stg stgsize=8m', `add to mpool apple: staging ${NEW_FILE('new.stg')}`),
  ok(
    'add -f apple stgdev=torn.pool',
    'add to mpool apple: staging torn.pool, 8.00m in mblocks of 1.00m',
  ),
  refused('add fig stgdev=new.stg stgsize=8m'),
  refused('add apple stgdev=text'),
  mistake('add apple stgdev=apple.pool'),
  mistake('add apple stgdev=new.stg stgsize=1m stgsz=2'),
  ok('grow kiwi', 'grow mpool kiwi by 4.00m'),
  ok('grow apple', 'leave mpool apple as it is'),
  refused('grow pear'),
  ok('upgrade apple', `leave mpool apple as it is: it has ${FEATURES_OF_NEW}`),
  refused('upgrade torn.pool'),
  refused('upgrade plum'),
  ok('upgrade pear', `leave mpool pear as it is: it has ${FEATURES_OF_NEW}`),
  ok('repair apple', 'leave mpool apple as it is'),
  ok(
    'repair worn.pool',
    'repair superblock at DIR/worn.pool 0: copy 0 written again, of generation 1',
  ),
  refused('repair torn.pool'),
  refused('repair -f torn.pool'),
  refused('repair plum'),
  refused('repair ./data'),
  ok(
    'mblock put apple data tail',
    'store data: 1500000 bytes in 2 mblocks\nwould store tail: 12 bytes in 1 mblock',
  ),
  ok('mblock put apple -', 'store -: 5 bytes in 1 mblock', 'hello'),
  ok('mblock put -s fig class=staging data', 'store data: 1500000 bytes in 2 mblocks'),
  refused('mblock put fig class=staging data'),
  refused('mblock put apple data data data data data'),
  refused('mblock put full tail'),
  refused('mblock put apple class=staging tail'),
  refused('mblock put apple tail folder'),
  refused('mblock put apple missing'),
  ok('mblock delete apple MBLOCKS', 'delete 2 mblocks'),
  refused('mblock delete apple MBLOCKS 0x999101'),
  mistake('mblock delete apple MLOG'),
  ok('mlog alloc apple size=256k', 'make an empty mlog of 252k'),
  refused('mlog alloc apple size=1g'),
  refused('mlog alloc apple class=staging'),
  refused('mlog alloc full'),
  ok('mlog append apple MLOG', 'append 2 records', 'three\nfour\n'),
  ok('mlog append --raw --sync apple MLOG tail', 'append 1 record'),
  refused('mlog append apple MLOG many'),
  refused('mlog append apple 0x999201 tail'),
  ok('mlog erase apple MLOG', 'erase mlog MLOG, with 2 records in it'),
  refused('mlog erase apple 0x999201'),
  ok('mlog delete apple MLOG', 'delete 1 mlog'),
  refused('mlog delete apple MLOG 0x999201'),
  ok('mdc alloc apple size=64k', 'make an empty MDC of two logs'),
  refused('mdc alloc apple size=1g'),
  ok('mdc append apple root', 'append 1 record', 'schema=3\n'),
  refused('mdc append apple MDC many'),
  ok('mdc compact apple MDC', 'write 2 records in place of 2'),
  ok('mdc compact apple MDC -', 'write 1 record in place of 2', 'only this\n'),
  refused('mdc compact apple MDC many'),
  ok('mdc delete apple MDC', 'delete mdc MDC'),
  refused('mdc delete apple root'),
  refused('mdc delete apple 0x999201,0x99a201'),
];

function filled(text: string): string {
  return text.replace('DIR', work).replace(/\b(MBLOCKS|MLOG|MDC)\b(?! of)/g, (name) => made[name]!);
}

/** What a real run says of what it did, a dry one says of what it would do. */
function sameWords(err: string): string {
  return err.replace(/ would be (stored|appended)/, ' $1');
}

test('a dry run leaves everything as it is, and ends as the real run', async () => {
  const hash = await hashOfAll();
  const dryRuns: Result[] = [];
  for (const { line, input = '' } of CASES) {
    dryRuns.push(await tool([...filled(line).split(' '), '-n'], input));
    assert.deepEqual(await states(), pristine, `${line}: something was written`);
  }
  assert.equal(await hashOfAll(), hash);

  for (const [i, { line, input = '', status, would }] of CASES.entries()) {
    const dry = dryRuns[i]!;
    const real = await tool(filled(line).split(' '), input);
    assert.deepEqual([dry.status, sameWords(dry.err)], [real.status, real.err], line);
    assert.equal(dry.status, status, `${line}: ${dry.err}`);
    if (would !== undefined) assert.equal(dry.out, `would ${filled(would)}\n`, line);
    else assert.ok(dry.out === '' || /^(would store .*\n)+$/.test(dry.out), line);
    const changes = status === 0 && !would?.startsWith('leave');
    if (changes) assert.notDeepEqual(await states(), pristine, `${line} did something`);
    await restore();
  }
});

test('every verb that changes something can be run dry, and is among the cases', () => {
  const words =
    'list get check scrub dump status clients top doctor version completion complete-pools';
  const reading = new Set(words.split(' '));
  const isReading = (name: string): boolean =>
    reading.has(name) || /^(mcache (warm|residency|evict)|m\w+ (read|list|props))$/.test(name);
  // Where these run dry is where a daemon is: see daemon.test.ts.
  const ofDaemon = new Set(['activate', 'deactivate', 'scan', 'mcache reaper']);
  for (const { name, options } of COMMANDS) {
    assert.equal(options.includes('dry-run'), !isReading(name), name);
    if (isReading(name) || ofDaemon.has(name)) continue;
    const own = CASES.filter(({ line }) => line.startsWith(`${name} `));
    assert.ok(
      own.some(({ status }) => status === 0) && own.some(({ status }) => status !== 0),
      name,
    );
  }
});

test('a dry run has its JSON, also when it fails in the middle', async () => {
  await restore();
  const { status, out } = await tool(['rename', '--json', '--dry', 'apple', 'plum']);
  assert.equal(status, 0);
  const document = JSON.parse(out);
  assert.deepEqual(
    [document.verb, document.dryRun, document.would],
    ['rename', true, ["rename mpool 'apple' to 'plum'"]],
  );
  const put = await tool(['mblock', 'put', '-n', '--json', 'apple', 'tail', 'folder']);
  assert.equal(put.status, 1);
  assert.deepEqual(JSON.parse(put.out).would, ['store tail: 12 bytes in 1 mblock']);
});

test('a pool that another process has is refused to a dry run, too', async () => {
  await restore();
  for (const verb of ['put', 'read'] as const) {
    const writer = verb === 'put';
    const argv = writer
      ? ['mblock', 'put', 'apple', '-']
      : ['mblock', 'read', 'apple', ...made['MBLOCKS']!.split(' ')];
    const holder = spawn(process.execPath, [MAIN, ...argv], { cwd: work });
    const ended = once(holder, 'close');
    try {
      if (writer)
        await new Promise((resolve) => holder.stdin.write(Buffer.alloc(2 ** 20), resolve));
      else await once(holder.stdout, 'readable');
      const lines = [
        'set apple label=x',
        'destroy -f apple',
        'create -f plum apple.pool',
        'destroy apple',
        'rename apple plum',
        'grow apple',
        'repair apple',
        'add apple stgdev=new.stg stgsize=8m',
        'mblock put apple tail',
        'mlog alloc apple',
        'mdc append apple root tail',
      ];
      for (const line of writer ? lines : lines.slice(0, 3)) {
        const { status, out, err } = await tool([...line.split(' '), '-n']);
        assert.deepEqual([status, out], [1, ''], `${verb}: ${line}`);
        assert.match(err, new RegExp(`pid ${holder.pid} .*\\(EBUSY\\)\n$`), `${verb}: ${line}`);
      }
    } finally {
      holder.kill('SIGKILL');
      await ended;
    }
  }
});

const needsRoot =
  process.geteuid?.() === 0 ? false : 'only root can become another user with setpriv';

test('what may not be written is refused to a dry run, too', { skip: needsRoot }, async () => {
  await restore();
  await chmod(top, 0o755);
  await chmod(work, 0o755);
  await chmod('apple.pool', 0o644);
  for (const line of [
    'set apple.pool label=x',
    'destroy apple.pool',
    'rename apple.pool plum',
    'create plum plum.pool size=8m',
    'create -f plum apple.pool',
    'mblock put apple.pool tail',
  ]) {
    const user = (...more: string[]): { status: number | null; err: string } => {
      const words = ['--reuid=65534', '--regid=65534', '--clear-groups', process.execPath, MAIN];
      const options = { cwd: work, encoding: 'utf8' } as const;
      const result = spawnSync('setpriv', [...words, ...line.split(' '), ...more], options);
      return { status: result.status, err: result.stderr };
    };
    const dry = user('-n');
    assert.match(dry.err, /\(EACCES\)\n$/, line);
    assert.deepEqual(dry, user(), line);
    assert.equal(dry.status, 1);
  }
});
