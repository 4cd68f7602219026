/**
 * Writes the golden image of the format as the code at hand writes it; to be run once, when a format
 * is released:  node build/test/golden/make.js VERSION
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { createPool } from '../../src/pool/create.ts';
import { openPool } from '../../src/pool/open.ts';
import { SimHost } from '../../src/testing/index.ts';
import { fillGolden, GOLDEN_SIZES } from './content.ts';

const version = process.argv[2];
if (version === undefined) throw new Error('which version of the format?');
const host = new SimHost({ seed: 2 });
const environment = host.environment;
for (const [name, sizeBytes] of Object.entries(GOLDEN_SIZES)) {
  host.addDisk(`/golden/${name}`, { sizeBytes, kind: 'file' });
}
await createPool(environment, {
  name: 'golden',
  capacity: { path: '/golden/capacity', mblockSizeBytes: 2 ** 20 },
  staging: { path: '/golden/staging', mblockSizeBytes: 2 ** 20 },
});
const where = { places: ['/golden'], blockDevices: false };
const pool = await openPool(environment, 'golden', { discard: false }, where);
const content = await fillGolden(pool);
await pool.close();
const directory = `test/golden/format-${version}`;
mkdirSync(directory, { recursive: true });
writeFileSync(`${directory}/content.json`, `${JSON.stringify(content, null, 2)}\n`);
for (const [name, sizeBytes] of Object.entries(GOLDEN_SIZES)) {
  const image = host.disk(`/golden/${name}`).bytes(0, sizeBytes);
  writeFileSync(`${directory}/${name}.img.gz`, gzipSync(image, { level: 9 }));
}
