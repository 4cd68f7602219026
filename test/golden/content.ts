/**
 * What every golden image of a format holds: written once by the version that released the format
 * (make.ts), read for ever by every later one (golden.test.ts).
 */
import { createHash } from 'node:crypto';
import { SeededPrng } from '../../src/base/prng.ts';
import type { Pool } from '../../src/pool/api.ts';

export const GOLDEN_SIZES = { capacity: 64 * 2 ** 20, staging: 32 * 2 ** 20 };

/** Beside the image as JSON. */
export interface GoldenContent {
  name: string;
  uuid: string;
  label: string;
  mblocks: { id: string; mediaClass: string; writtenBytes: number; sha256: string }[];
  deleted: string[];
  mlogs: { id: string; generation: string; records: string[] }[];
  root: string[];
}

export async function fillGolden(pool: Pool): Promise<GoldenContent> {
  const prng = new SeededPrng(2);
  // Of a period that no page divides, so that it compresses and no two pages are alike.
  const bytesOf = (length: number): Uint8Array => {
    const period = Uint8Array.from({ length: 509 }, () => prng.u32() & 0xff);
    return Uint8Array.from({ length }, (_, i) => period[i % period.length]!);
  };
  const deleted: string[] = [];
  for (const [i, lengthBytes] of [0, 1, 4096, 4097, 100_000, 1_044_480].entries()) {
    const mblock = await pool.mblocks.alloc({ mediaClass: i % 2 === 0 ? 'capacity' : 'staging' });
    await mblock.write(bytesOf(lengthBytes));
    await mblock.commit();
    if (lengthBytes !== 4097) continue;
    await mblock.delete();
    deleted.push(hex(mblock.id));
  }
  const allocation = await pool.mlogs.alloc({ capacityBytes: 2 ** 20 });
  await allocation.commit();
  {
    await using log = await pool.mlogs.open(allocation.id);
    await log.append('of an older generation', { sync: true });
    await log.erase();
    await log.append('small', { sync: true });
    await log.append('');
    await log.append(bytesOf(300_000), { sync: true });
  }
  {
    await using root = await pool.mdcs.root();
    await root.append('before the compaction', { sync: true });
    await root.compact(['one', 'two']);
    await root.append('three', { sync: true });
  }
  await pool.setParameters({ label: 'golden', mode: 0o640 });
  return { ...(await readGolden(pool)), deleted };
}

/** The same, as the code at hand reads it. */
export async function readGolden(pool: Pool): Promise<Omit<GoldenContent, 'deleted'>> {
  const mblocks: GoldenContent['mblocks'] = [];
  for await (const { id, mediaClass, writtenBytes } of pool.mblocks.list()) {
    const bytes = await pool.mblocks.read(id, 0, writtenBytes);
    mblocks.push({ id: hex(id), mediaClass, writtenBytes, sha256: sha256(bytes) });
  }
  const mlogs: GoldenContent['mlogs'] = [];
  for await (const { id } of pool.mlogs.list()) {
    await using log = await pool.mlogs.open(id);
    const records: string[] = [];
    for await (const record of log.records()) records.push(sha256(record));
    mlogs.push({ id: hex(id), generation: String(log.generation), records });
  }
  await using root = await pool.mdcs.root();
  const texts: string[] = [];
  for await (const record of root.records()) texts.push(Buffer.from(record).toString());
  const { name, uuid } = pool;
  return { name, uuid, label: (await pool.parameters()).label, mblocks, mlogs, root: texts };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hex(id: bigint): string {
  return `0x${id.toString(16)}`;
}
