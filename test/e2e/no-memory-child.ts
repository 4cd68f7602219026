/**
 * Uses a pool while the address space of the process is as good as full, and while it may open nothing, and then
 * again; prints as JSON how that went. Usage: child PATH
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { allocateBuffer, create, open, releaseBuffer } from '../../src/index.ts';

const MIB = 2 ** 20;
const [path = ''] = process.argv.slice(2);
const pool = await create({
  name: 'narrow',
  capacity: { path, sizeBytes: 64 * MIB, mblockSizeBytes: 8 * MIB },
});
const content = Buffer.alloc(4 * MIB, 'what was there');
const kept = await pool.mblocks.alloc();
await kept.write(content);
await kept.commit();

function limit(what: string, value: string | number): void {
  execFileSync('prlimit', ['--pid', String(process.pid), `--${what}=${value}:`]);
}

function mappedBytes(): number {
  return Number(/VmSize:\s+(\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))![1]) * 1024;
}

const outcomes: string[] = [];
async function attempt(work: () => Promise<unknown>): Promise<void> {
  await work().then(
    () => outcomes.push('done'),
    (error: NodeJS.ErrnoException) => outcomes.push(`${error.code} ${error.errno}`),
  );
}

// The runtime itself needs some: what is left of it is taken away in buffers.
limit('as', mappedBytes() + 96 * MIB);
const taken: Uint8Array[] = [];
let refused = '';
for (let size = 32 * MIB; size >= 2 * MIB; size /= 2) {
  try {
    for (;;) taken.push(allocateBuffer(size));
  } catch (error) {
    refused = (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
const extra = await pool.mblocks.alloc();
await attempt(() => kept.read(0, content.length));
await attempt(() => extra.write(content));
await attempt(() => pool.map([kept.id]).then((map) => map.unmap()));
for (const buffer of taken.splice(0)) releaseBuffer(buffer);
limit('as', 'unlimited');
await extra.abort();

limit('nofile', 256);
const descriptors: number[] = [];
try {
  for (;;) descriptors.push(openSync('/dev/null', 'r'));
} catch {
  // None is left.
}
await attempt(() => create({ name: 'other', capacity: { path: `${path}2`, sizeBytes: 64 * MIB } }));
await attempt(() => open(path, { exclusive: true }));
await attempt(() => kept.read(0, 4096));
for (const fd of descriptors) closeSync(fd);

const after = await pool.mblocks.alloc();
await after.write(content);
await after.commit();
const same = content.equals(await kept.read(0, content.length));
const again = content.equals(await after.read(0, content.length));
const { health } = await pool.info();
await pool.close();
const reopened = await open(path);
const durable = content.equals(await reopened.mblocks.read(after.id, 0, content.length));
await reopened.close();
process.stdout.write(JSON.stringify({ refused, outcomes, same, again, durable, health }));
