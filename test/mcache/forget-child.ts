import { join } from 'node:path';
import { create, type MblockId, type Pool } from '../../src/index.ts';

const MIB = 2 ** 20;
const path = join(process.argv[2]!, 'forget.mpool');
const pool = await create({
  name: `forget-${process.pid}`,
  capacity: { path, sizeBytes: 32 * MIB, mblockSizeBytes: MIB },
});
const mblock = await pool.mblocks.alloc();
await mblock.write(Buffer.from('some bytes'));
await mblock.commit();
process.on('warning', (warning) => {
  console.log(`warning: ${(warning as Error & { code: string }).code}`);
});

let view: Uint8Array | undefined = await viewOf(pool, mblock.id);
await collect();
console.log(`kept by its view: ${Buffer.from(view).toString() === 'some bytes'}`);
view = undefined;
await collect();
await mblock.delete({ refuseMapped: true });
console.log('may be deleted: true');
await pool.close();

async function viewOf(of: Pool, id: MblockId): Promise<Uint8Array> {
  return (await of.map([id])).view(0);
}

async function collect(): Promise<void> {
  for (let i = 0; i < 20; i++) {
    (globalThis as unknown as { gc(): void }).gc();
    await new Promise((resume) => setTimeout(resume, 10));
  }
}
