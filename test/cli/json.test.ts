// Goal: what --json prints is what docs/cli.schema.json says, no more and no less, of every verb.
// Method: every verb on real pools, sound and faulted, and what they cannot easily be brought to on fake
// ones; each document is validated strictly, and each documented member must have been met.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import type { Daemon } from '../../src/client.ts';
import { COMMANDS } from '../../src/cli/commands/index.ts';
import { loadDryStore, loadStore, type Store } from '../../src/cli/store.ts';
import { Findings } from '../../src/pool/check-findings.ts';
import { fakeFound, fakeInfo, fakePool, runTool } from './fake.ts';
import { fakeMetrics, fakePool as fakePoolFigures } from './top-fixture.ts';
import { Validator, type Schema } from './json-schema.ts';

const ROOT = process.cwd();
const schema = JSON.parse(await readFile(join(ROOT, 'docs/cli.schema.json'), 'utf8')) as Schema;
const validator = new Validator(schema);
/** One valid document of each kind. */
const documents = new Map<string, Record<string, unknown>>();
let folder = '';

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mpool-json-'));
  process.chdir(folder);
});
after(async () => {
  process.chdir(ROOT);
  await rm(folder, { recursive: true, force: true });
});

/** Which of the schema's documents a verb's is: some options have one of their own. */
function kindOf(document: Record<string, unknown>): string {
  if ('dryRun' in document) return 'dryRun';
  return 'columns' in document ? 'columns' : String(document['verb']).replace(' ', '-');
}

function validated(text: string, verb: string): Record<string, unknown> {
  assert.match(text, /^\{.*\}\n$/, `${verb}: one document on one line`);
  const document = JSON.parse(text) as Record<string, unknown>;
  assert.deepEqual(Object.keys(document).slice(0, 2), ['schemaVersion', 'verb']);
  assert.equal(document['verb'], verb);
  const kind = kindOf(document);
  assert.deepEqual(validator.problems(document, kind), [], `${verb} as ${kind}`);
  documents.set(kind, document);
  return document;
}

/** Runs a line really and checks its document. */
async function real(line: string, input = '', status = 0): Promise<Record<string, unknown>> {
  const argv = line.split(' ');
  const store = await loadStore();
  const dryStore = await loadDryStore();
  const world = { places: ['.'], dryStore, input };
  const result = await runTool([...argv, '--json'], store, world);
  assert.equal(result.status, status, `${line}: ${result.err}`);
  return validated(result.out, verbOf(argv));
}

/** A line that is refused prints no document. */
async function nothing(line: string): Promise<void> {
  const store = await loadStore();
  const world = { places: ['.'], dryStore: await loadDryStore() };
  const { status, out } = await runTool([...line.split(' '), '--json'], store, world);
  assert.deepEqual([status, out], [1, ''], line);
}

function verbOf(argv: readonly string[]): string {
  const two = argv.slice(0, 2).join(' ');
  return COMMANDS.some(({ name }) => name === two) ? two : argv[0]!;
}

async function fake(
  argv: string[],
  store: Partial<Store>,
  status = 0,
  daemons: readonly Partial<Daemon>[] = [],
): Promise<void> {
  const result = await runTool([...argv, '--json'], store, { daemons });
  assert.equal(result.status, status, `${argv.join(' ')}: ${result.err}`);
  validated(result.out, verbOf(argv));
}

test('every verb prints a document as documented', async () => {
  await writeFile('data', Buffer.alloc(1_500_000, 7));
  await writeFile('binary', Buffer.from([0xff, 0xfe]));
  await real('create -n oak oak.pool size=8m');
  await real('create oak oak.pool size=8m');
  await real('add oak stgdev=oak.stg stgsize=8m');
  await real('set oak label=kv');
  await real('grow oak');
  await real('upgrade -n oak');
  await real('upgrade oak');
  await real('scan .');
  await real('list');
  await real('list --sort -name -o name');
  await real('get');
  await real('list -o help');
  const put = await real('mblock put oak data');
  const [{ mblocks }] = put['files'] as [{ mblocks: string[] }];
  assert.equal(mblocks.length, 2);
  await real(`mblock read oak ${mblocks[0]} off=1 len=3`);
  await real('mblock list oak');
  await real('mblock list oak -O -written');
  await real(`mblock props oak ${mblocks.join(' ')}`);
  // A name that is wrong is seen before anything is stored: no document.
  await nothing('mblock put oak data missing');
  await real('mblock put oak data .', '', 1);
  await real('mcache warm oak');
  await real(`mcache residency oak ${mblocks.join(' ')} -O -resident`);
  await real('mcache evict oak');
  await real(`mblock delete oak ${mblocks.join(' ')}`);
  const { id } = await real('mlog alloc oak size=64k');
  await real(`mlog append oak ${String(id)}`, 'one\n');
  await real(`mlog append --raw oak ${String(id)} binary`);
  await real(`mlog read oak ${String(id)}`);
  await real('mlog list oak');
  await real('mlog list -v oak');
  await real(`mlog erase oak ${String(id)}`);
  await real(`mlog delete oak ${String(id)}`);
  const mdc = (await real('mdc alloc oak size=64k'))['id'];
  await real(`mdc append oak ${String(mdc)}`, 'one\ntwo\n');
  await real(`mdc read oak ${String(mdc)}`);
  await real(`mdc compact oak ${String(mdc)}`);
  await real('mdc list oak');
  await real(`mdc delete oak ${String(mdc)}`);
  // The id of the root MDC in a pool's document is one that verbs take.
  const [pool] = (await real('list'))['pools'] as [{ rootMdc: string }];
  await real(`mdc read oak ${pool.rootMdc}`);
  await real('check oak');
  await real('check --data oak');
  await real('scrub oak rate=1g');
  await real('repair -n oak');
  await real('repair --data oak');
  await real('dump oak');
  await rm('oak.stg');
  await real('list oak');
  await real('scan .');
  await nothing('rename -n oak elm');
  await real('destroy -f oak');
  await real('create oak oak.pool');
  await real('rename oak elm');
  await real('doctor');
  await real('version');
  await real('completion bash');
  const version = await runTool(['list', '-V', '--json']);
  validated(version.out, 'version');
});

test('pools and machines that are not well have documents, too', async () => {
  const file = await open('oak.pool', 'r+');
  await file.write(Buffer.alloc(4096, 1), 0, 4096, 1024 * 1024);
  await file.close();
  await real('dump elm');
  const held = fakeFound('held', 1);
  await fake(['list'], {
    scan: async () => [held, fakeFound('well', 2)],
    open(target) {
      if (target.endsWith('held')) return Promise.reject(new MpoolError('ERR_MPOOL_BUSY', target));
      return Promise.resolve(fakePool({ ...fakeInfo(held), health: 'faulted', fault: 'failed' }));
    },
  });
  const findings = new Findings();
  for (let i = 0; i < 120; i++) {
    const id = { idLow: 0x1101, idHigh: 0 };
    findings.add('error', 'page', { device: '/x', offsetBytes: 4096 * i }, 'checksum', id);
  }
  await fake(['check', 'held'], { check: async () => findings.report(1.5) }, 1);
  const ended = { ...findings.report(1.5), complete: false, cursor: '0x1101+256' };
  await fake(['scrub', 'held', 'from=0x1101'], { scrub: async () => ended }, 1);
  const complete = { ...findings.report(1.5), complete: true };
  await fake(['scrub', 'held'], { scrub: async () => complete }, 1);
  const [left] = findings.report(0).findings;
  const place = { location: { device: '/x', offsetBytes: 0 }, message: 'written again' };
  const step = { structure: 'superblock', ...place, losses: [] };
  const withheld = { ...step, objectId: '0x1101', losses: ['a record'] };
  const counts = { error: 2, warning: 1, note: 0 };
  const rest = { dryRun: false, before: counts, after: counts, durationMs: 1, clean: false };
  const repaired = { steps: [step], withheld: [withheld], left: [left!], ...rest };
  await fake(['repair', 'held'], { repair: async () => repaired }, 1);
  await fake(['doctor'], {
    diagnose: async () => ({
      engine: 'threads',
      rungs: [{ name: 'aio', usable: false, inUse: false, reason: 'EPERM', advice: 'allow it' }],
      kernel: '6.1',
      node: 'v20',
      hugePages: { mode: 'never', usable: false },
      memlockBytes: null,
      threadCount: 4,
      advice: ['allow it'],
    }),
  });
});

test('a daemon, its clients and their reapers have documents', async () => {
  const client = {
    pool: 'held',
    session: 7,
    pid: 812,
    uid: 1000,
    gid: 1000,
    client: 'engine',
    access: 'write' as const,
    exclusive: false,
    connectedMs: 1.7e12,
    requestsInFlight: 1,
    requestCount: 200,
    leaseCount: 30,
    mappedCount: 20,
    uncommittedCount: 1,
    openLogCount: 2,
    writtenBytes: 2 ** 20,
  };
  const residentPages = { cold: 1, warm: 2, hot: 3, pinned: 4, unmapped: 5 };
  const stats = {
    pressure: 0.25,
    limit: 'group' as const,
    freePercent: 30,
    ttlMs: 5000,
    residentPages,
    objectCount: 20,
    evictedObjects: 3,
    evictedPages: 100,
    refaultedObjects: 1,
    delayedReads: 0,
    delayedMs: 0,
    shortenedReadAheads: 0,
    rounds: 9,
    threadMs: 1.5,
    poolMs: 0.5,
    kernelReclaimedPages: 0,
    kernelRefaults: 0,
  };
  const reaper = {
    clients: 1,
    pressure: 0.25,
    residentPages,
    evictedPages: 3,
    refaultedObjects: 1,
  };
  const settings = {
    enabled: true,
    memoryPercent: 60,
    highWatermarkFactor: 1.1,
    ttlMs: 5000,
    budgetBytes: null,
  };
  const problem = { kind: 'damaged' as const, message: 'rotten', sinceMs: 1.7e12, count: 2 };
  const info = {
    ...fakeInfo(fakeFound('held', 1)),
    health: 'faulted' as const,
    fault: 'failed',
    problems: [{ ...problem, object: '0x1101' }],
  };
  const daemon: Partial<Daemon> = {
    rundir: '/run/mpool',
    pools: async () => [{ ...info, clientCount: 1 }],
    clients: async () => [client],
    reaper: async () => ({ settings, clients: [{ pool: 'held', session: 7, pid: 812, stats }] }),
    status: async () => ({
      version: '1',
      pid: 4711,
      startedMs: 1.7e12,
      rundir: '/run/mpool',
      poolCount: 1,
      clientCount: 1,
      state: 'running',
      mayManage: true,
    }),
    activate: async () => ({ name: 'held', uuid: info.uuid, already: false }),
    deactivate: async () => undefined,
    metrics: async () =>
      fakeMetrics({ pools: [fakePoolFigures({ uuid: info.uuid, fault: 'failed', reaper })] }),
  };
  const idle: Partial<Store> = { scan: async () => [fakeFound('held', 1)] };
  const active = { daemon: daemon as Daemon, info, clientCount: 1 };
  const store: Partial<Store> = { ...idle, active: async () => [active] };
  await fake(['status'], store, 1, [daemon]);
  await fake(['clients'], store, 0, [daemon]);
  await fake(['top', 'interval=0.1'], store, 0, [daemon]);
  await fake(['list'], store, 0, [daemon]);
  await fake(['mcache', 'reaper'], store, 0, [daemon]);
  await fake(['activate', 'held'], idle, 0, [daemon]);
  await fake(['deactivate', 'held'], store, 0, [daemon]);
});

test('every verb, and every member that is documented, was met', () => {
  for (const { name, hidden } of COMMANDS) {
    assert.ok(hidden || documents.has(name.replace(' ', '-')), `${name} was not tried`);
  }
  assert.deepEqual(
    validator.members.filter((member) => !validator.seen.has(member)),
    [],
  );
  const listed = schema.anyOf!.map(({ $ref }) => $ref!.replace('#/$defs/', ''));
  assert.deepEqual([...documents.keys()].toSorted(), listed.toSorted());
});

test('documents that are not so are found to be wrong', () => {
  for (const [kind, document] of documents) {
    const wrong = (changed: object): boolean => validator.problems(changed, kind).length > 0;
    assert.ok(wrong({ ...document, more: 1 }), `${kind}: an unknown member`);
    for (const member of Object.keys(document)) {
      const { [member]: value, ...rest } = document;
      assert.ok(wrong(rest), `${kind} without ${member}`);
      const other = typeof value === 'string' ? 7 : 'seven';
      assert.ok(wrong({ ...document, [member]: other }), `${kind} with another ${member}`);
    }
  }
  const pool = documents.get('create')!['pool'] as object;
  const odd = { ...documents.get('create')!, pool: { ...pool, uuid: '0' } };
  assert.match(validator.problems(odd, 'create').join(), /pool\.uuid: not like/);
});

test('docs/json.md is made of the schema', async () => {
  const script = join(ROOT, 'scripts/json-doc.mjs');
  const text = execFileSync(process.execPath, [script, '--print'], { encoding: 'utf8' });
  const page = await readFile(join(ROOT, 'docs/json.md'), 'utf8');
  assert.equal(page, text, 'run: node scripts/json-doc.mjs');
});
