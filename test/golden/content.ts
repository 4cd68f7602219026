/**
 * What every golden image of a format holds: written once by the version that released the format
 * (make.ts), read for ever by every later one (golden.test.ts).
 */
import { createHash } from 'node:crypto';
import { isMpoolError } from '../../src/base/errors.ts';
import type { LostObject, Pool, PoolParameters } from '../../src/pool/api.ts';
import type { CheckFinding } from '../../src/pool/check-findings.ts';

/** A finding without its words and its place, which may be told better one day. */
export type GoldenFinding = Pick<CheckFinding, 'severity' | 'structure' | 'objectId'>;

/** Beside the image as JSON. `error`: the code that whoever opens or reads it gets. */
export interface GoldenContent {
  name: string;
  uuid: string;
  label: string;
  mblocks: {
    id: string;
    mediaClass: string;
    writtenBytes: number;
    sha256?: string;
    error?: string;
  }[];
  deleted: string[];
  mlogs: { id: string; generation?: string; records?: string[]; error?: string }[];
  root: string[];
  /** Of others than the root MDC; images of the first release do not say. */
  mdcs?: { id: string; records: string[] }[];
  /** These three only of images since the feature `witnesses`. */
  parameters?: PoolParameters;
  lost?: LostObject[];
  /** What check() finds before the pool is opened; where this is missing: nothing but notes. */
  findings?: GoldenFinding[];
}

/** What a pool holds, as the code at hand reads it. */
export async function readGolden(pool: Pool): Promise<Omit<GoldenContent, 'deleted' | 'findings'>> {
  const mblocks: GoldenContent['mblocks'] = [];
  for await (const { id, mediaClass, writtenBytes } of pool.mblocks.list()) {
    const content = await orError(async () => {
      return { sha256: sha256(await pool.mblocks.read(id, 0, writtenBytes)) };
    });
    mblocks.push({ id: hex(id), mediaClass, writtenBytes, ...content });
  }
  const mlogs: GoldenContent['mlogs'] = [];
  for await (const { id } of pool.mlogs.list()) {
    const content = await orError(async () => {
      await using log = await pool.mlogs.open(id);
      const records: string[] = [];
      for await (const record of log.records()) records.push(sha256(record));
      return { generation: String(log.generation), records };
    });
    mlogs.push({ id: hex(id), ...content });
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
  const parameters = await pool.parameters();
  const { label } = parameters;
  const { lost } = await pool.info();
  return { name, uuid, label, mblocks, mlogs, root: texts, mdcs, parameters, lost };
}

async function orError<T>(read: () => Promise<T>): Promise<T | { error: string }> {
  try {
    return await read();
  } catch (error) {
    if (!isMpoolError(error)) throw error;
    return { error: error.code };
  }
}

export function goldenFindings(findings: readonly CheckFinding[]): GoldenFinding[] {
  return findings.map(({ severity, structure, objectId }) => {
    return { severity, structure, ...(objectId === undefined ? {} : { objectId }) };
  });
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function hex(id: bigint): string {
  return `0x${id.toString(16)}`;
}
