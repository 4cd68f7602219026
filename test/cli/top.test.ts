// Goal: `mpool top` without a terminal: pictures as plain text, one JSON document, and errors as all verbs have them.
// Method: the verb with daemons of the test's own, and real ones where the reader of the output leaves.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import type { Daemon } from '../../src/client.ts';
import { runTool } from './fake.ts';
import { fakeClient, fakePool, fakeStatus, laterMetrics } from './top-fixture.ts';

const NO_DAEMON = 'mpool: top: no mpoold runs here: not found (ENOENT)\n';
/** The shortest interval there is. */
const QUICK = 'interval=0.1';

function fakeDaemon(rundir: string, error?: Error): Partial<Daemon> {
  let commits = 0;
  const refusing = <T>(answer: T): T => {
    if (error !== undefined) throw error;
    return answer;
  };
  return {
    rundir,
    status: async () => refusing(fakeStatus({ rundir })),
    clients: async () => [fakeClient({ client: '\u001b[2Jevil', uid: 4_000_000 })],
    metrics: async () => laterMetrics({ pools: [fakePool({}, { commits: (commits += 100) })] }),
  };
}

test('no daemon, and what cannot be asked for', async () => {
  assert.deepEqual(await runTool(['top']), { status: 1, out: '', err: NO_DAEMON });
  const daemons = [fakeDaemon('/r')];
  const wrong = async (...words: string[]): Promise<string> => {
    const { status, out, err } = await runTool(['top', ...words], {}, { daemons });
    assert.deepEqual([status, out], [2, ''], words.join(' '));
    return err;
  };
  assert.match(await wrong('--json', 'count=2'), /--json excludes count \(EINVAL\)/);
  assert.match(await wrong('interval=0.01'), /0\.1 to 3600 \(ERANGE\)/);
  assert.match(await wrong('interval=1e1'), /\(EINVAL\)/);
  assert.match(await wrong('count=0'), /\(ERANGE\)/);
  assert.match(await wrong('mp1'), /extraneous argument/);
});

test('into a pipe it prints one picture, or so many, of plain text', async () => {
  const world = { daemons: [fakeDaemon('/r'), fakeDaemon('/own')] };
  const { status, out, err } = await runTool(['top', QUICK], {}, world);
  assert.deepEqual([status, err], [0, '']);
  assert.match(out, /^mpool top {2}\d\d:\d\d:\d\d {2}over 0\.1 s {2}2 daemons {2}2 pools/);
  assert.match(out, /^mpoold \/r /m);
  assert.match(out, /^mpoold \/own /m);
  // A hundred commits in a tenth of a second or, on a busy machine, in more of it.
  assert.match(out, /^mp1 +optimal +2 +0 +[1-9][\d.]*k? /m);
  assert.match(out, / 4000000 +\?\[2Jevil /);
  assert.doesNotMatch(out.replaceAll('\n', ''), /\p{C}/u);
  const three = await runTool(['top', '-b', QUICK, 'count=3'], {}, world);
  assert.equal(three.out.match(/^mpool top /gm)?.length, 3);
  assert.equal(three.out.match(/^\nmpool top /gm)?.length, 2, 'an empty line between them');
});

test('--json is one document of one interval', async () => {
  const world = { daemons: [fakeDaemon('/r')] };
  const { status, out, err } = await runTool(['top', '--json', QUICK], {}, world);
  assert.deepEqual([status, err], [0, '']);
  const document = JSON.parse(out);
  assert.deepEqual(Object.keys(document), ['schemaVersion', 'verb', 'daemons']);
  const [daemon] = document.daemons;
  assert.ok(daemon.intervalSeconds > 0);
  const [pool] = daemon.pools;
  const commits = pool.commitsPerSecond * daemon.intervalSeconds;
  assert.ok(Math.abs(commits - 100) < 1e-6, `${commits}`);
  assert.deepEqual(pool.classes[0].mblockCount, 1200);
  assert.equal(daemon.clients[0].client, '\u001b[2Jevil');
});

test('a daemon that refuses is told of beside the others; when all do, it is the error', async () => {
  const refused = new MpoolError('ERR_MPOOL_ACCESS', '/own/ctl');
  const some = { daemons: [fakeDaemon('/r'), fakeDaemon('/own', refused)] };
  const one = await runTool(['top', QUICK], {}, some);
  assert.equal(one.status, 1);
  assert.match(one.out, /^mpoold \/r /m);
  assert.match(one.err, /^mpool: top: mpoold \/own: .*\(EACCES\)\n$/);
  const all = await runTool(['top', QUICK], {}, { daemons: [fakeDaemon('/own', refused)] });
  assert.deepEqual([all.status, all.out], [1, '']);
  assert.match(all.err, /\(EACCES\)\n$/);
});

test('Ctrl-C ends the interval', async () => {
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  const world = { daemons: [fakeDaemon('/r')], signal: controller.signal };
  const { status, out, err } = await runTool(['top', 'interval=3600'], {}, world);
  assert.deepEqual([status, out, err], [130, '', 'mpool: top: interrupted (ECANCELED)\n']);
});
