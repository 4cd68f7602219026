/**
 * Writes golden images as the code at hand writes them, when a format or a feature is released:
 *   node build/test/golden/make.js DIRECTORY 512|4096 all|none|upgraded
 * The last word says which features the pool has, and since when.
 * A directory that is there is never written to: what a version released, every later one reads.
 */
import { createHash } from 'node:crypto';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { brotliCompressSync } from 'node:zlib';
import { checkPoolAt, dumpPoolAt } from '../../src/pool/inspect.ts';
import { goldenFindings } from './content.ts';
import { CAPACITY, GROWN, STAGING, structuresPool } from './structures.ts';

const [name, sector, features] = process.argv.slice(2);
const sectorBytes = Number(sector);
if (name === undefined || (sectorBytes !== 512 && sectorBytes !== 4096)) {
  throw new Error('say a new directory under test/golden, as format-2-512, and 512 or 4096');
}
if (features !== 'all' && features !== 'none' && features !== 'upgraded') {
  throw new Error('say which features it has: all, none, or all since it was upgraded');
}
const { host, content } = await structuresPool(sectorBytes, features);
mkdirSync(`test/golden/${name}`);

function write(file: string, bytes: Uint8Array): void {
  writeFileSync(`test/golden/${name}/${file}`, bytes);
  const digest = createHash('sha256').update(bytes).digest('hex');
  appendFileSync('test/golden/released.sha256', `${digest}  ${name}/${file}\n`);
}

const structures: unknown[] = [];
const where = { places: [], blockDevices: true };
for await (const each of dumpPoolAt(host, CAPACITY, where)) structures.push(each);
const { findings } = await checkPoolAt(host, CAPACITY, where, { data: true });
content.findings = goldenFindings(findings);
for (const [file, path] of [
  ['capacity', CAPACITY],
  ['staging', STAGING],
] as const) {
  const image = host.disk(path).bytes(0, GROWN[path]);
  write(`${file}.img.br`, brotliCompressSync(image));
}
write('content.json', Buffer.from(`${JSON.stringify(content, null, 1)}\n`));
const lines = structures.map((each) => JSON.stringify(each)).join('\n');
write('structures.jsonl.br', brotliCompressSync(Buffer.from(lines)));
