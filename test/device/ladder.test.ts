// Goal: a refused rung gives the next one, and the doctor says why. Method: children under a seccomp
// filter that refuses system calls as container runtimes do, and under $MPOOL_ENGINE.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { diagnose } from '../../src/device/doctor.ts';
import type { EngineReport } from '../../src/device/doctor.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { program, REFUSE, temporaryFolder } from './places.ts';

interface Answer {
  engine: string;
  sectorBytes: number;
  sound: boolean;
  report: EngineReport;
}

const CASES: [refused: string, engine: string, reason: RegExp][] = [
  ['', 'io_uring', /^$/],
  ['io_uring', 'aio', /EPERM: a seccomp filter refuses it/],
  ['io_uring_nomem', 'aio', /ENOMEM: locked memory is limited/],
  ['io_uring,aio', 'threads', /EPERM: a seccomp filter refuses it/],
  // Buffered: AIO would block the loop, so it is left out.
  ['direct', 'io_uring', /^$/],
  ['io_uring,direct', 'threads', /EPERM: a seccomp filter refuses it/],
];

function ask(path: string, refused: string, env: Record<string, string> = {}): Answer {
  const command = [process.execPath, program('ladder-child'), path];
  const [file, ...args] = refused === '' ? command : [REFUSE, refused, ...command];
  const child = spawnSync(file!, args, {
    encoding: 'utf8',
    env: { ...process.env, MPOOL_ENGINE: '', ...env },
  });
  assert.equal(child.status, 0, child.stderr);
  return JSON.parse(child.stdout) as Answer;
}

for (const [refused, engine, reason] of CASES) {
  const skip = existsSync(REFUSE) ? false : `${REFUSE} is missing: run npm run native`;
  test(`refused: ${refused || 'nothing'}`, { skip }, (t) => {
    const path = join(temporaryFolder(t), 'device.img');
    writeFileSync(path, new Uint8Array(MIB));
    const answer = ask(path, refused);
    assert.equal(answer.engine, engine);
    assert.ok(answer.sound, 'what was written is read');
    const top = answer.report.rungs[0]!;
    assert.match(top.reason ?? '', reason);
    assert.equal(top.usable, top.reason === undefined);
    assert.equal(answer.report.rungs.filter((rung) => rung.inUse).length, 1);
    assert.equal(answer.report.advice.length > 0, !top.usable || !answer.report.hugePages.usable);
  });
}

test('$MPOOL_ENGINE says where the ladder begins', (t) => {
  const path = join(temporaryFolder(t), 'device.img');
  writeFileSync(path, new Uint8Array(MIB));
  for (const engine of ['io_uring', 'aio', 'threads']) {
    const answer = ask(path, '', { MPOOL_ENGINE: engine });
    assert.equal(answer.engine, engine);
    assert.ok(answer.sound);
    assert.ok(answer.report.advice.some((line) => line.includes(`MPOOL_ENGINE=${engine}`)));
  }
  assert.equal(ask(path, '', { MPOOL_ENGINE: 'auto' }).engine, 'io_uring');
});

test('an engine that does not exist is refused before anything is opened', async () => {
  const options = { access: 'read', engine: 'spdk' as 'auto' } as const;
  await assert.rejects(new SystemHost().openDevice('/nowhere', options), {
    code: 'ERR_MPOOL_INVALID_ARG',
    message: /'spdk' is no engine/,
  });
});

test('the doctor on this machine', async () => {
  const report = await diagnose();
  assert.deepEqual(
    report.rungs.map((rung) => rung.name),
    ['io_uring', 'aio', 'threads'],
  );
  assert.equal(report.rungs.find((rung) => rung.inUse)?.name, report.engine);
  assert.match(report.kernel, /^\d+\.\d+/);
  assert.ok(report.threadCount >= 1);
});
