/**
 * What a pool must do, whoever implements it: the behaviours of the public types as tests, which run against the
 * embedded library and against a client of the daemon. Nothing here knows which it is.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { test, type TestContext } from 'node:test';
import type { Mblock, MblockId, Pool, PoolParameters } from '../../src/pool/api.ts';
import { pattern } from '../pool/pool-host.ts';

export const MIB = 2 ** 20;
export const PAGE = 4096;

/** What node:test hands to a test, as far as it is needed here. */
export interface TestScope {
  after(cleanUp: () => Promise<void> | void): void;
  diagnostic(message: string): void;
}

export interface FreshOptions {
  sizeBytes?: number | undefined;
  stagingBytes?: number | undefined;
  mblockSizeBytes?: number | undefined;
  sparePercent?: number | undefined;
  parameters?: Partial<PoolParameters> | undefined;
}

export interface OpenAgain {
  readOnly?: boolean | undefined;
  exclusive?: boolean | undefined;
  grow?: boolean | undefined;
  parameters?: Partial<PoolParameters> | undefined;
}

/** A pool of a test, on files of its own. */
export interface Setup {
  /** Replaced by reopen(). */
  readonly pool: Pool;
  readonly name: string;
  /** Of the capacity device, and of staging where there is one; and of one that could become it. */
  readonly capacityPath: string;
  readonly stagingPath: string;
  /** Another handle on the active pool. */
  open(options?: OpenAgain): Promise<Pool>;
  /** Closes it (by force when told to) so that everything is read from media again, and opens it. */
  reopen(options?: OpenAgain & { force?: boolean | undefined }): Promise<Pool>;
}

export interface Contract {
  /** Of the implementation, for titles. */
  readonly name: string;
  /** A pool of 1 MiB mblocks; whatever is left of it goes with the test. */
  readonly fresh: (t: TestScope, options?: FreshOptions) => Promise<Setup>;
}

export async function committed(pool: Pool, data: Uint8Array): Promise<Mblock> {
  const mblock = await pool.mblocks.alloc();
  await mblock.write(data);
  await mblock.commit();
  return mblock;
}

/** Mblocks of that length, each with a content of its own: pattern(lengthBytes, i + 1). */
export async function some(pool: Pool, count: number, lengthBytes: number): Promise<MblockId[]> {
  const ids: MblockId[] = [];
  for (let i = 0; i < count; i++) {
    ids.push((await committed(pool, pattern(lengthBytes, i + 1))).id);
  }
  return ids;
}

export function codeOf(error: unknown): string | undefined {
  return (error as { code?: string }).code;
}

/** A folder for the files of a test, which whoever made it removes. */
export function folderForFiles(): { path: string; remove: () => void } {
  const path = resolve(mkdtempSync(join('build', 'mpool-contract-')));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Tests under the name of the implementation. */
export function titled({ name }: Contract) {
  return (title: string, run: (t: TestContext) => Promise<void>): void =>
    void test(`${name}: ${title}`, run);
}
