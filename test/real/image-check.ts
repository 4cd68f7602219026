/** One image of a medium, against what must be on it: opened with the library as a plain file. */
import assert from 'node:assert/strict';
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { check, open, type Pool } from '../../src/index.ts';

const CHUNK_BYTES = 2 ** 18;
const ZEROS = Buffer.alloc(CHUNK_BYTES);

/** Fails when the pool is not as it must be. */
export type Compare = (pool: Pool) => Promise<unknown>;

export class ImageCheck {
  readonly #folder: string;
  readonly #path: string;
  /** What was read back, of the size of the images. */
  #read: Buffer = Buffer.alloc(0);
  readonly #keep: boolean;
  #kept = false;

  /** @param keep whether an image that fails is kept */
  constructor(keep: boolean) {
    this.#keep = keep;
    // Durability of the images themselves is of no interest: memory is quick.
    const parent = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
    this.#folder = mkdtempSync(join(parent, 'mpool-image-'));
    this.#path = join(this.#folder, 'image');
  }

  /** All that can be asked of it. An image that fails is kept, and the error says where. */
  async run(image: Buffer, compare: Compare, name: string): Promise<void> {
    try {
      await this.#run(image, compare);
    } catch (error) {
      const message = `${name}: ${(error as Error).message}`;
      if (!this.#keep) throw new Error(message, { cause: error });
      const kept = `${this.#path}-failed`;
      writeImage(kept, image);
      this.#kept = true;
      throw new Error(`${message}; the image is kept as ${kept}`, { cause: error });
    }
  }

  /** What failed stays. */
  close(): void {
    rmSync(this.#kept ? this.#path : this.#folder, { recursive: true, force: true });
  }

  async #run(image: Buffer, compare: Compare): Promise<void> {
    writeImage(this.#path, image);
    await isClean(this.#path, true);
    const seen = await this.#look({ readOnly: true }, compare);
    assert.equal(this.#readBack(image.length).compare(image), 0, 'a read-only open writes nothing');
    // As if the power went once more, when recovery was just over.
    let recovered: Buffer = ZEROS;
    const first = await this.#look({}, undefined, () => (recovered = this.#readBack(image.length)));
    assert.deepEqual(first, seen, 'opened for writing it is what it is to a reader');
    await isClean(this.#path, false);
    writeImage(this.#path, recovered);
    const second = await this.#look({}, compare, isUsable);
    assert.deepEqual(second, first, 'recovered again it is the same');
    await isClean(this.#path, false);
  }

  #readBack(lengthBytes: number): Buffer {
    if (this.#read.length !== lengthBytes) this.#read = Buffer.alloc(lengthBytes);
    const fd = openSync(this.#path, 'r');
    const length = readSync(fd, this.#read, 0, lengthBytes, 0);
    closeSync(fd);
    assert.equal(length, lengthBytes, 'its size is what it was');
    return this.#read;
  }

  async #look(
    options: { readOnly?: boolean },
    compare: Compare | undefined,
    then?: (pool: Pool) => unknown,
  ): Promise<unknown> {
    await using pool = await open(this.#path, options);
    await compare?.(pool);
    const sight = await sightOf(pool);
    await then?.(pool);
    return sight;
  }
}

async function sightOf(pool: Pool): Promise<unknown> {
  const mblocks: string[] = [];
  for await (const { id, writtenBytes } of pool.mblocks.list()) {
    mblocks.push(`${id} ${writtenBytes}`);
  }
  const mdcs: string[] = [];
  for await (const { id } of pool.mdcs.list()) mdcs.push(String(id.logA));
  await using root = await pool.mdcs.root();
  const records: string[] = [];
  for await (const record of root.records()) records.push(Buffer.from(record).toString());
  return { mblocks, mdcs, records, usage: await pool.usage() };
}

/** New things have place beside the old, and take nothing from them. */
async function isUsable(pool: Pool): Promise<void> {
  const before = await sightOf(pool);
  const mblock = await pool.mblocks.alloc();
  await mblock.write(Buffer.alloc(10_000, 'new'));
  await mblock.commit();
  await using root = await pool.mdcs.root();
  await root.append('new', { sync: true });
  const records = root.records();
  let last = '';
  for await (const record of records) last = Buffer.from(record).toString();
  assert.equal(last, 'new', 'records can be appended');
  await mblock.delete();
  const { mblocks } = (await sightOf(pool)) as { mblocks: string[] };
  assert.deepEqual(mblocks, (before as { mblocks: string[] }).mblocks);
}

export async function isClean(path: string, data: boolean): Promise<void> {
  const { findings } = await check(path, { data });
  assert.deepEqual(
    findings.filter(({ severity }) => severity !== 'note'),
    [],
  );
}

/** What is zero takes no place and no time. */
function writeImage(path: string, image: Buffer): void {
  const fd = openSync(path, 'w');
  try {
    ftruncateSync(fd, image.length);
    for (let at = 0; at < image.length; at += CHUNK_BYTES) {
      const chunk = image.subarray(at, at + CHUNK_BYTES);
      if (chunk.equals(ZEROS.subarray(0, chunk.length))) continue;
      writeSync(fd, chunk, 0, chunk.length, at);
    }
  } finally {
    closeSync(fd);
  }
}
