/**
 * What every golden image of a format holds: written once by the version that released the format
 * (make.ts), read for ever by every later one (golden.test.ts).
 */
import { createHash } from 'node:crypto';
import type { Pool } from '../../src/pool/api.ts';

/** Beside the image as JSON. */
export interface GoldenContent {
  name: string;
  uuid: string;
  label: string;
  mblocks: { id: string; mediaClass: string; writtenBytes: number; sha256: string }[];
  deleted: string[];
  mlogs: { id: string; generation: string; records: string[] }[];
  root: string[];
  /** Of others than the root MDC; images of the first release do not say. */
  mdcs?: { id: string; records: string[] }[];
}

/** What a pool holds, as the code at hand reads it. */
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
  const mdcs: NonNullable<GoldenContent['mdcs']> = [];
  for await (const { id, root: isRoot } of pool.mdcs.list()) {
    if (isRoot) continue;
    await using mdc = await pool.mdcs.open(id);
    const records: string[] = [];
    for await (const record of mdc.records()) records.push(Buffer.from(record).toString());
    mdcs.push({ id: hex(id.logA), records });
  }
  const { name, uuid } = pool;
  const { label } = await pool.parameters();
  return { name, uuid, label, mblocks, mlogs, root: texts, mdcs };
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hex(id: bigint): string {
  return `0x${id.toString(16)}`;
}
