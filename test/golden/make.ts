/**
 * Writes golden images as the code at hand writes them, when a format or a feature is released:
 *   node build/test/golden/make.js DIRECTORY 512|4096
 * A directory that is there is never written to: what a version released, every later one reads.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { brotliCompressSync } from 'node:zlib';
import { crc32c } from '../../src/base/crc32c.ts';
import { dumpPoolAt } from '../../src/pool/inspect.ts';
import { CAPACITY, GROWN, STAGING, structuresPool } from './structures.ts';

const [name, sector] = process.argv.slice(2);
const sectorBytes = Number(sector);
if (name === undefined || (sectorBytes !== 512 && sectorBytes !== 4096)) {
  throw new Error('say a new directory under test/golden, as format-2-512, and 512 or 4096');
}
const { host, content } = await structuresPool(sectorBytes, crc32c(Buffer.from(name)));
const directory = `test/golden/${name}`;
mkdirSync(directory);
const structures: unknown[] = [];
const where = { places: [], blockDevices: true };
for await (const each of dumpPoolAt(host, CAPACITY, where)) structures.push(each);
for (const [file, path] of [
  ['capacity', CAPACITY],
  ['staging', STAGING],
] as const) {
  const image = host.disk(path).bytes(0, GROWN[path]);
  writeFileSync(`${directory}/${file}.img.br`, brotliCompressSync(image));
}
writeFileSync(`${directory}/content.json`, `${JSON.stringify(content, null, 1)}\n`);
const lines = structures.map((each) => JSON.stringify(each)).join('\n');
writeFileSync(`${directory}/structures.jsonl.br`, brotliCompressSync(Buffer.from(lines)));
