// Goal: a pool written by any released format version reads as it was written, for ever.
// Method: unpack each image to a real file, open it read-only and then read-write, compare with what its
// writer said; let the checker and the reader in Python (from docs/format.md alone) agree.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { gunzipSync } from 'node:zlib';
import { check, isMpoolError, open, type MblockId } from '../../src/index.ts';
import { type GoldenContent, readGolden } from './content.ts';

const images = readdirSync('test/golden').filter((name) => name.startsWith('format-'));
const directory = mkdtempSync(join(tmpdir(), 'mpool-golden-'));
after(() => rmSync(directory, { recursive: true }));

assert.ok(images.length > 0, 'there are golden images');

for (const image of images) {
  const source = join('test/golden', image);
  const capacity = join(directory, `${image}.capacity`);
  const staging = join(directory, `${image}.staging`);
  writeFileSync(capacity, gunzipSync(readFileSync(join(source, 'capacity.img.gz'))));
  writeFileSync(staging, gunzipSync(readFileSync(join(source, 'staging.img.gz'))));
  const written = JSON.parse(readFileSync(join(source, 'content.json'), 'utf8')) as GoldenContent;
  const { deleted, ...expected } = written;

  for (const readOnly of [true, false]) {
    test(`${image} opens ${readOnly ? 'read-only' : 'read-write'} and reads as written`, async () => {
      await using pool = await open(capacity, { readOnly, stagingPath: staging });
      assert.deepEqual(await readGolden(pool), expected);
      for (const id of deleted) {
        await assert.rejects(pool.mblocks.find(BigInt(id) as MblockId), (error) =>
          isMpoolError(error, 'ERR_MPOOL_NOT_FOUND'),
        );
      }
    });
  }

  test(`${image} passes the checker, page by page`, async () => {
    const report = await check(capacity, { data: true, searchPlaces: [directory] });
    assert.deepEqual(
      report.findings.filter(({ severity }) => severity !== 'note'),
      [],
    );
  });

  test(`${image} reads the same in Python, from the specification alone`, (t) => {
    const python = spawnSync('python3', ['scripts/read-pool.py', '--json', capacity, staging], {
      encoding: 'utf8',
      maxBuffer: 2 ** 26,
    });
    if (python.error !== undefined) return t.skip('there is no python3');
    assert.equal(python.status, 0, python.stdout + python.stderr);
    for (const { id } of expected.mblocks) assert.match(python.stdout, new RegExp(id.slice(2)));
  });
}
