/**
 * The main job, start to end: a pool in a file, real files of this machine packed into mblocks, a
 * manifest in the root MDC; closed, reopened, read back and compared; a part deleted, the manifest compacted.
 *
 *   npm run demo -- [POOL-FILE] [MIB]
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, opendir, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { create, type MblockId, open, type Pool } from '../src/index.ts';
import { type Entry, Packer } from './packer.ts';

const MIB = 2 ** 20;
const poolFile = process.argv[2] ?? join('build', 'demo', 'demo.mpool');
const wantedBytes = Number(process.argv[3] ?? 400) * MIB;
/** Smaller files would make the manifest longer than a root MDC is meant for. */
const SMALLEST_BYTES = 16 * 1024;
/** Where any machine that runs this has files: the Node installation first. */
const places = [dirname(dirname(process.execPath)), '/usr/lib', '/usr/share', '/usr/bin'];

await mkdir(dirname(poolFile), { recursive: true });
await rm(poolFile, { force: true });
const sizeBytes = 2 * wantedBytes + 256 * MIB;
let pool = await create({
  name: 'demo',
  capacity: { path: poolFile, sizeBytes, mblockSizeBytes: 8 * MIB },
});
say('created', `${poolFile}, ${mib(sizeBytes)} (sparse), pool '${pool.name}' ${pool.uuid}`);

const stored = await timed(() => storeFiles(pool));
say('stored', rate(`${stored.result.length} files`, bytesOf(stored.result), stored.ms));
await pool.close();

const reopened = await timed(() => open(poolFile));
pool = reopened.result;
say('reopened', `${pool.stats().objectCount} objects in ${reopened.ms.toFixed(1)} ms`);

const verified = await timed(() => verify(pool));
say(
  'verified',
  rate(`${verified.result.count} files, SHA-256 equal`, verified.result.bytes, verified.ms),
);

const kept = await deleteSome(pool);
say(
  'deleted',
  `${kept.deletedMblocks} mblocks; ${kept.entries} files are left in the compacted manifest`,
);
say('verified', `${(await verify(pool)).count} files again`);
const usage = await pool.usage();
say('usage', `${mib(usage.usedBytes)} used, ${mib(usage.freeUsableBytes)} free`);
await pool.close();

console.log('\n$ mpool list');
spawnSync(process.execPath, [join(import.meta.dirname, '../src/cli/main.js'), 'list', 'demo'], {
  stdio: 'inherit',
  env: { ...process.env, MPOOL_PATH: poolFile },
});

/** Packs files into mblocks, one behind the other, and commits all of them in one durable step. */
async function storeFiles(target: Pool): Promise<Entry[]> {
  const packer = new Packer(target);
  const entries: Entry[] = [];
  for await (const path of filesOf(places)) {
    if (packer.totalBytes >= wantedBytes) break;
    const entry = await packer.add(path).catch(() => undefined);
    if (entry !== undefined) entries.push(entry);
  }
  await target.mblocks.commit(await packer.finish());
  // The manifest names only what is durable already, so that no crash leaves it pointing at nothing.
  await using root = await target.mdcs.root();
  for (const entry of entries) await root.append(JSON.stringify(entry));
  await root.sync();
  return entries;
}

/** Several files at a time: a device has its full speed only with reads in flight. */
async function verify(target: Pool): Promise<{ count: number; bytes: number }> {
  await using root = await target.mdcs.root();
  const records = root.records()[Symbol.asyncIterator]();
  const total = { count: 0, bytes: 0 };
  const worker = async (): Promise<void> => {
    for (let next = await records.next(); next.done !== true; next = await records.next()) {
      const entry = JSON.parse(Buffer.from(next.value).toString()) as Entry;
      const hash = createHash('sha256');
      for (const { mblock, offsetBytes, lengthBytes } of entry.pieces) {
        hash.update(
          await target.mblocks.read(BigInt(mblock) as MblockId, offsetBytes, lengthBytes),
        );
        total.bytes += lengthBytes;
      }
      if (hash.digest('hex') !== entry.sha256)
        throw new Error(`${entry.path} reads back otherwise`);
      total.count += 1;
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  return total;
}

/** Deletes every third mblock: first the manifest forgets their files, in one step, then they go. */
async function deleteSome(target: Pool): Promise<{ deletedMblocks: number; entries: number }> {
  const doomed = new Set<bigint>();
  let i = 0;
  for await (const { id } of target.mblocks.list()) if (i++ % 3 === 0) doomed.add(id);
  await using root = await target.mdcs.root();
  const left: Uint8Array[] = [];
  for await (const record of root.records()) {
    const entry = JSON.parse(Buffer.from(record).toString()) as Entry;
    if (!entry.pieces.some(({ mblock }) => doomed.has(BigInt(mblock)))) left.push(record);
  }
  await root.compact(left);
  await target.mblocks.delete([...doomed] as MblockId[]);
  return { deletedMblocks: doomed.size, entries: left.length };
}

async function* filesOf(roots: string[]): AsyncGenerator<string> {
  for (const root of roots) {
    const entries = await opendir(root).catch(() => undefined);
    if (entries === undefined) continue;
    for await (const entry of entries) {
      const path = join(root, entry.name);
      if (entry.isFile() && (await stat(path)).size >= SMALLEST_BYTES) yield path;
      else if (entry.isDirectory()) yield* filesOf([path]);
    }
  }
}

async function timed<T>(work: () => Promise<T>): Promise<{ result: T; ms: number }> {
  const started = performance.now();
  return { result: await work(), ms: performance.now() - started };
}

function bytesOf(entries: Entry[]): number {
  return entries
    .flatMap(({ pieces }) => pieces)
    .reduce((sum, { lengthBytes }) => sum + lengthBytes, 0);
}

function mib(bytes: number): string {
  return `${(bytes / MIB).toFixed(0)} MiB`;
}

function rate(what: string, bytes: number, ms: number): string {
  const mibPerSecond = ((bytes / MIB / ms) * 1000).toFixed(0);
  return `${what}, ${mib(bytes)} in ${(ms / 1000).toFixed(2)} s: ${mibPerSecond} MiB/s`;
}

function say(what: string, detail: string): void {
  console.log(`${what.padEnd(9)} ${detail}`);
}
