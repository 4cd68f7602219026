// Goal: mappings survive every end of threads, processes and memory, or die with a word of why.
// Method: children that do what is dangerous; their signals, exit codes and words are looked at.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { isRoot, program, REFUSE, temporaryFolder } from './places.ts';

const STORE = /^mpool: fatal: a store into a read-only view of .*at byte \d+ \(objects are immut/m;
const UNREADABLE =
  /^mpool: fatal: a page of a mapped object could not be read: .*device\.img, at byte/m;
const SILENT = /^(?![^]*mpool: fatal)/;

const ENDS: [scene: string, end: number | NodeJS.Signals, words: RegExp, errors?: RegExp][] = [
  ['store', 'SIGSEGV', /^17;$/, /device\.img, at byte 8192 /],
  ['store', 'SIGSEGV', /^17;$/, STORE],
  ['storeRegion', 'SIGSEGV', /^17;$/, STORE],
  ['shrink', 'SIGBUS', /^17;$/, UNREADABLE],
  ['shrink', 'SIGBUS', /^17;$/, /at byte 20480 .*use getPages\(\) or read\(\)/],
  ['wasm', 0, /^0;RuntimeError;$/, SILENT],
  ['killed', 'SIGSEGV', /^mapped;$/, SILENT],
  ['exit', 0, /^exit;$/, SILENT],
  ['exits', 0, /^1;0;$/],
  ['terminated', 0, /^1;0;$/],
  ['returns', 0, /^1;0;$/],
  ['moved', 0, /^0;1;true;0;$/],
  ['posted', 'SIGSEGV', /^17;0;34;$/, SILENT],
  ['forgotten', 0, /^17;(?=.*the mapping of FILE was collected without close\(\);).*;0;$/],
];

for (const [scene, end, words, errors = SILENT] of ENDS) {
  test(`${scene}: ends with ${end}, saying ${errors.source.slice(0, 40)}`, (t) => {
    const path = join(temporaryFolder(t), 'device.img');
    writeFileSync(path, new Uint8Array(4 * MIB).fill(0x11));
    const child = spawnSync(process.execPath, [program('mapping-child'), scene, path], {
      encoding: 'utf8',
      timeout: 60_000,
    });
    assert.equal(child.signal ?? child.status, end, child.stdout + child.stderr);
    assert.match(child.stdout, words, child.stderr);
    assert.match(child.stderr, errors);
  });
}

test('very many views are one VMA, and no storm of collections', (t) => {
  const path = join(temporaryFolder(t), 'device.img');
  writeFileSync(path, '');
  truncateSync(path, 64 * MIB);
  const child = spawnSync(process.execPath, [program('mapping-child'), 'views', path], {
    encoding: 'utf8',
    timeout: 120_000,
  });
  assert.equal(child.status, 0, child.stderr);
  assert.equal(child.stdout, '1;true;1;true;0;few;settled;');
});

/** Ways to count that are left when system calls are refused or the file is another's. */
const COUNTINGS: [name: string, refused: string, stranger: boolean, words: string][] = [
  ['cachestat', '', false, '0;1700;0,100;100;'],
  ['mincore', 'cachestat', false, '0;1700;0,100;100;'],
  // Only what this process touched: zapped, nothing.
  ['the page table', 'cachestat', true, '0;1700;0,100;0;'],
];

for (const [name, refused, stranger, words] of COUNTINGS) {
  const skip = existsSync(REFUSE)
    ? stranger && !isRoot && 'needs root to become another user'
    : `${REFUSE} is missing: run npm run native`;
  test(`pages are counted by ${name}`, { skip }, (t) => {
    const folder = temporaryFolder(t);
    const path = join(folder, 'device.img');
    writeFileSync(path, new Uint8Array(4 * MIB).fill(0x11), { flush: true });
    chmodSync(folder, 0o755);
    chmodSync(path, 0o644);
    const command = [process.execPath, program('mapping-child'), 'counting', path];
    if (refused !== '') command.unshift(REFUSE, refused);
    const [file, ...args] = command;
    const child = spawnSync(file!, args, {
      encoding: 'utf8',
      ...(stranger ? { uid: 65534, gid: 65534 } : {}),
    });
    assert.equal(child.status, 0, child.stderr);
    assert.equal(child.stdout, words);
  });
}
