// Goal: statuses, help, error lines, tables and JSON of whole calls. Method: run() with a fake
// store whose pools are optimal, busy, offline and damaged; no process, no media.
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { invalidArgument, MpoolError } from '../../src/base/errors.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { describeFailure } from '../../src/cli/failure.ts';
import { Output } from '../../src/cli/output.ts';
import type { Store } from '../../src/cli/store.ts';
import { Findings } from '../../src/pool/check-findings.ts';
import { ClosedOutput } from '../../src/cli/usage-error.ts';
import { fakeFound, fakeInfo, fakePool, runTool } from './fake.ts';

/** All that people are shown. */
const VERBS = COMMANDS.filter(({ hidden }) => !hidden);

const pools = ['mp1', 'held', 'secret', 'torn'].map(fakeFound);

const store: Partial<Store> = {
  // In the order of their names, as the library's scan().
  scan: async () => pools.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
  async open(target) {
    if (target.endsWith('held')) throw new MpoolError('ERR_MPOOL_BUSY', `${target}: process 7`);
    if (target.endsWith('secret')) throw new MpoolError('ERR_MPOOL_ACCESS', target);
    if (target.endsWith('torn')) throw new MpoolError('ERR_MPOOL_CORRUPT', target);
    return fakePool(fakeInfo(pools[0]!));
  },
};

test('bare mpool and -h print the usage, with status 0', async () => {
  const bare = await runTool([]);
  assert.equal(bare.status, 0);
  assert.match(bare.out, /^usage: mpool COMMAND/);
  for (const { name } of VERBS) assert.match(bare.out, new RegExp(`^  ${name} `, 'm'));
  assert.deepEqual(await runTool(['-h']), bare);
  const more = await runTool(['-hv']);
  assert.ok(more.out.startsWith(bare.out) && more.out.includes('MPOOL_PATH'));
});

test('every verb has help that names all its arguments and parameters', async () => {
  for (const command of VERBS) {
    const { status, out, err } = await runTool([...command.name.split(' '), '-h']);
    assert.equal(status, 0);
    assert.equal(err, '');
    assert.ok(out.startsWith(`usage: mpool ${command.name} [-`), out);
    for (const name of Object.keys(command.parameters)) assert.ok(out.includes(`  ${name}=`));
    for (const { name } of command.positionals) assert.ok(out.includes(`  ${name}`));
    assert.ok(out.includes('Examples:\n  '), command.name);
    for (const line of out.split('\n')) assert.ok(line.length <= 100, line);
    const more = await runTool([...command.name.split(' '), '-hv']);
    assert.ok(more.out.length >= out.length);
  }
});

test('usage mistakes give status 2 and one line that says the verb', async () => {
  const wrong = await runTool(['lst']);
  assert.equal(wrong.status, 2);
  assert.equal(
    wrong.err,
    "mpool: invalid command 'lst', did you mean 'list'? use -h for help (EINVAL)\n",
  );
  const option = await runTool(['list', '-Z']);
  assert.equal(option.err, 'mpool: list: invalid option -Z, use -h for help (EINVAL)\n');
  const noun = await runTool(['mblock']);
  assert.equal(noun.status, 2);
  assert.match(noun.err, /one of put, read, list, props, delete/);
  const id = await runTool(['mblock', 'read', 'mp1', '0x1201'], store);
  assert.equal(id.err, "mpool: mblock read: '0x1201' is not the id of an mblock (0x…) (EINVAL)\n");
  const both = await runTool(['-hV']);
  assert.equal(both.status, 2);
  const nothing = await runTool(['set', 'mp1']);
  assert.equal(nothing.status, 2);
  const alone = await runTool(['create', 'mp1', '/x', 'stgsz=1']);
  assert.match(alone.err, /'stgsz' specified without 'stgdev', did you mean 'capsz'\? \(EINVAL\)/);
});

test('list shows the columns of the original, and what is not optimal', async () => {
  const { status, out, err } = await runTool(['list'], store);
  assert.equal(status, 0);
  assert.equal(
    out,
    'MPOOL   TOTAL   USED  AVAIL  CAPACITY  LABEL   HEALTH\n' +
      'held        -      -      -         -      -     busy\n' +
      'mp1       99g  1.16g    98g     1.17%     kv  optimal\n' +
      'secret      -      -      -         -      -  offline\n' +
      'torn        -      -      -         -      -  faulted\n',
  );
  assert.match(err, /^mpool: torn: \/pools\/torn: .* \(ENODATA\)\n$/);
  const verbose = await runTool(['list', '-v'], store);
  assert.match(verbose.out, /HEALTH {2}DEVICES\n/);
  assert.match(verbose.out, /^mp1 .* optimal {2}\/pools\/mp1$/m);
  assert.match(verbose.err, /^mpool: held: \/pools\/held: process 7: in use \(EBUSY\)$/m);
  assert.match(verbose.err, /^mpool: secret: \/pools\/secret: permission denied \(EACCES\)$/m);
});

test('copies of a pool are shown one by one, and by path only the one meant', async () => {
  const [device] = pools[0]!.devices;
  const copied = { ...pools[0]!, devices: [{ ...device!, path: '/dev/null' }] };
  const two = { ...store, scan: async () => [pools[0]!, copied] };
  assert.equal((await runTool(['list', '-H'], two)).out.split('\n').length, 3);
  const named = await runTool(['list', '--json', '/dev/null'], {
    ...two,
    async open(target) {
      assert.equal(target, '/dev/null');
      return fakePool(fakeInfo(copied));
    },
  });
  assert.equal(JSON.parse(named.out).pools.length, 1);
});

test('list takes names and UUIDs, and fails for each that is not found', async () => {
  const some = await runTool(['l', '-Hp', 'nix', 'mp1', pools[0]!.uuid], store);
  assert.equal(some.status, 1);
  assert.equal(some.out, 'mp1  106300440576  1245540515  105054900061  1.17%  kv  optimal\n');
  const line = 'mpool: list: mpool nix: not found (ENOENT)\n';
  assert.equal(some.err, line);
  const none = await runTool(['list', 'nix', '--json', 'nix'], store);
  assert.deepEqual(none, { status: 1, out: '', err: line + line });
  assert.equal((await runTool(['list'], { scan: async () => [] })).out, '');
});

test('JSON is one document with its schema, ids as hexadecimal strings', async () => {
  const { out } = await runTool(['list', '--json', 'mp1', 'held'], store);
  const document = JSON.parse(out);
  assert.equal(document.schemaVersion, 1);
  assert.equal(document.verb, 'list');
  assert.deepEqual(
    document.pools.map((pool: { name: string; health: string }) => [pool.name, pool.health]),
    [
      ['mp1', 'optimal'],
      ['held', 'busy'],
    ],
  );
  assert.equal(document.pools[0].rootMdc, '0x1201,0x2201');
  assert.equal(document.pools[0].usage.usableBytes, 99 * 2 ** 30);
});

test('YAML has more with each -v', async () => {
  const plain = await runTool(['list', '-Y', 'mp1'], store);
  assert.equal(
    plain.out,
    'mpools:\n- name: mp1\n  active: false\n' +
      `  UUID: ${pools[0]!.uuid}\n  devices:\n  - path: /pools/mp1\n`,
  );
  const more = await runTool(['list', '-Yv', 'mp1'], store);
  assert.match(more.out, /^ {2}uid: root$/m);
  assert.match(more.out, /^ {2}gid: "4000000"$/m);
  assert.match(more.out, /^ {2}usable_space: 99g\n {2}usable_space_bytes: 106300440576$/m);
  assert.match(more.out, /^ {2}media_classes:\n {2}- mclass_name: CAPACITY$/m);
  assert.doesNotMatch(more.out, /mblock_count/);
  assert.match((await runTool(['list', '-Yvv', 'mp1'], store)).out, /^ {2}mblock_count: 3$/m);
});

test('get shows MODE as its fifth column, and numbers with -N', async () => {
  const { out } = await runTool(['get', 'mp1'], store);
  assert.equal(
    out,
    'MPOOL  LABEL   UID      GID  MODE  RA  STGSZ  CAPSZ  STGSP  CAPSP\n' +
      'mp1       kv  root  4000000  0640   8      -     32      -      5\n',
  );
  const numbers = await runTool(['get', '-HN', 'mp1'], store);
  assert.equal(numbers.out, 'mp1  kv  0  4000000  0640  8  -  32  -  5\n');
});

test('get fails for a pool that is named and cannot be shown', async () => {
  const held = await runTool(['get', 'held'], store);
  const err = 'mpool: get: mpool held: /pools/held: process 7: in use (EBUSY)\n';
  assert.deepEqual(held, { status: 1, out: '', err });
  const some = await runTool(['get', '-HN', 'held', 'mp1', 'nix'], store);
  assert.equal(some.status, 1);
  assert.equal(some.out, 'mp1  kv  0  4000000  0640  8  -  32  -  5\n');
  assert.match(some.err, /^mpool: get: mpool nix: not found \(ENOENT\)$/m);
  assert.ok(some.err.endsWith(err));
  const all = await runTool(['get'], store);
  assert.equal(all.status, 0);
  assert.match(all.err, /^mpool: torn: .*\n$/);
});

test('check counts what it does not list', async () => {
  const findings = new Findings();
  for (let i = 0; i < 250; i++) {
    findings.add('error', 'page', { device: '/pools/mp1', offsetBytes: i }, 'checksum');
  }
  findings.add('warning', 'page', { device: '/pools/mp1', offsetBytes: 0 }, 'padding');
  findings.add('note', 'log', { device: '/pools/mp1', offsetBytes: 0 }, 'torn');
  const check = async (): Promise<ReturnType<Findings['report']>> => findings.report(1000);
  const { status, out } = await runTool(['check', 'mp1'], { check });
  assert.equal(status, 1);
  assert.match(out, /^page: 151 more findings are not listed$/m);
  assert.match(out, /^mp1: NOT clean: 250 errors, 1 warning; /m);
});

test('a warning alone gives status 1, a note alone 0', async () => {
  for (const severity of ['warning', 'note'] as const) {
    const findings = new Findings();
    findings.add(severity, 'log', { device: '/pools/mp1', offsetBytes: 0 }, 'x');
    const check = async (): Promise<ReturnType<Findings['report']>> => findings.report(1000);
    const { status } = await runTool(['check', 'mp1'], { check });
    assert.equal(status, severity === 'note' ? 0 : 1);
  }
});

test('dump --json prints a whole document or nothing when it fails', async () => {
  for (const count of [0, 2]) {
    const dump: Store['dump'] = async function* () {
      for (let i = 0; i < count; i++) {
        yield { structure: 'superblock', device: '/x', offsetBytes: i, fields: {} };
      }
      throw new MpoolError('ERR_MPOOL_BUSY', '/x');
    };
    const { status, out, err } = await runTool(['dump', '--json', 'mp1'], { dump });
    assert.equal(status, 1);
    assert.equal(err, 'mpool: dump: /x: in use (EBUSY)\n');
    if (count === 0) assert.equal(out, '');
    else assert.equal(JSON.parse(out).structures.length, count);
  }
  const none = await runTool(['dump', '--json', 'mp1'], { dump: async function* () {} });
  assert.deepEqual(JSON.parse(none.out).structures, []);
});

test('a scrub that ended early says so, and where to go on', async () => {
  const report = { ...new Findings().report(1000), complete: false, cursor: '0x1101+256' };
  const { status, out, err } = await runTool(['scrub', 'mp1'], { scrub: async () => report });
  assert.equal(status, 1);
  assert.match(out, /^mp1: clean so far; 0 superblocks, /);
  assert.equal(err, 'mpool: scrub ended early: go on with from=0x1101+256\n');
});

test('check gives status 1 and says where, when something is wrong', async () => {
  const finding = {
    severity: 'error',
    structure: 'superblock',
    location: { device: '/pools/mp1', offsetBytes: 4096 },
    objectId: 0x1101n,
    message: 'checksum',
  } as const;
  const report = {
    findings: [finding],
    omitted: { page: 7 },
    severityCounts: { error: 8, warning: 0, note: 0 },
    counts: { mblockPages: 3 },
    durationMs: 1234,
    clean: false,
  };
  const check = async (): Promise<typeof report> => report;
  const { status, out } = await runTool(['check', 'mp1'], { check });
  assert.equal(status, 1);
  assert.equal(
    out,
    'error: superblock 0x1101 at /pools/mp1 4096: checksum\n' +
      'page: 7 more findings are not listed\n' +
      'mp1: NOT clean: 8 errors; 3 mblock pages; 1.23 s\n',
  );
});

test('doctor tells the engine, why not a better one, and what to do', async () => {
  const report = {
    engine: 'threads',
    rungs: [
      { name: 'io_uring', usable: false, inUse: false, reason: 'seccomp', advice: 'allow it' },
      { name: 'threads', usable: true, inUse: true },
    ],
    kernel: '6.1',
    node: 'v20',
    hugePages: { mode: 'never', usable: false },
    memlockBytes: null,
    threadCount: 4,
    advice: ['allow it'],
  };
  const diagnose = async (): Promise<typeof report> => report;
  const { out } = await runTool(['doctor'], { diagnose });
  assert.equal(
    out,
    'I/O engine: threads\n  io_uring: not usable: seccomp\n  threads: in use\n' +
      'To improve:\n  allow it\n',
  );
  const more = await runTool(['doctor', '-v'], { diagnose });
  assert.match(more.out, /^locked memory: no limit$/m);
});

test('errors become what: why (ERRNO), and a status', () => {
  const cases: [unknown, string | undefined, number][] = [
    [new MpoolError('ERR_MPOOL_NO_SPACE'), 'mp1: no free space (ENOSPC)', 1],
    [new MpoolError('ERR_MPOOL_NO_SPACE', '/a'), '/a: no free space (ENOSPC)', 1],
    [new MpoolError('ERR_MPOOL_NOT_BLANK', 'a holds x'), 'a holds x: -f overwrites it (EBUSY)', 1],
    [new MpoolError('ERR_MPOOL_ABORTED'), 'interrupted (ECANCELED)', 130],
    [invalidArgument('name has 0 characters'), 'name has 0 characters (EINVAL)', 2],
    [new ClosedOutput(), undefined, 141],
  ];
  for (const [error, text, status] of cases) {
    assert.deepEqual(describeFailure(error, 'mp1'), { text, status });
  }
  const system = Object.assign(new Error("ENOENT: no such file or directory, open 'x'"), {
    code: 'ENOENT',
    path: 'x',
  });
  const told = describeFailure(system, 'mp1').text;
  assert.equal(told, 'x: no such file or directory (ENOENT)');
  const full = Object.assign(new Error('write ENOSPC'), { path: 'standard output' });
  assert.equal(describeFailure(full, '').text, 'standard output: write ENOSPC (ENOSPC)');
  assert.match(describeFailure(new Error('oops'), '').text ?? '', /^internal error.*: Error: oops/);
});

test('output whose reader left ends the verb quietly', async () => {
  const stream = new Writable({
    write(_chunk, _encoding, done) {
      done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    },
  });
  const out = new Output(stream);
  await out.write('small pieces wait');
  await assert.rejects(out.flush(), ClosedOutput);
  await assert.rejects(out.write(Buffer.alloc(100_000)), ClosedOutput);
});

test('an aborted verb gives status 130', async () => {
  const controller = new AbortController();
  controller.abort();
  const { status, err } = await runTool(['list'], store, { signal: controller.signal });
  assert.equal(status, 130);
  assert.equal(err, 'mpool: list: interrupted (ECANCELED)\n');
});
