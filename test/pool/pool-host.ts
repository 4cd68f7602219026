import assert from 'node:assert/strict';
import { isMpoolError, type ErrorCode } from '../../src/base/errors.ts';
import type { CreateOptions, OpenOptions, Pool } from '../../src/pool/api.ts';
import type { Device } from '../../src/device/device.ts';
import { createPool } from '../../src/pool/create.ts';
import { openPool } from '../../src/pool/open.ts';
import { SimHost } from '../../src/testing/index.ts';
import type { SimHostOptions } from '../../src/testing/index.ts';

export const MIB = 2 ** 20;
export const A = '/dev/a';
export const B = '/dev/b';
export const NAME = 'p1';
/** Where pools of a simulated machine are: its block devices, and the files of one folder. */
export const HERE = { places: ['/files'], blockDevices: true };

export interface Setup {
  host: SimHost;
  pool: Pool;
}

/** A machine with a disk at A, and a pool of 1 MiB mblocks on it; with a staging device at B if asked for. */
export async function freshPool(
  options: {
    sizeBytes?: number;
    stagingBytes?: number;
    create?: Partial<CreateOptions>;
    open?: OpenOptions;
    host?: SimHostOptions;
    mblockSizeBytes?: number;
    sparePercent?: number;
  } = {},
): Promise<Setup> {
  const host = new SimHost({ seed: 7, discardLeaves: 'zeros', keepTrace: false, ...options.host });
  const { mblockSizeBytes = MIB, sparePercent, stagingBytes } = options;
  host.addDisk(A, { sizeBytes: options.sizeBytes ?? 64 * MIB });
  if (stagingBytes !== undefined) host.addDisk(B, { sizeBytes: stagingBytes });
  await createPool(host.environment, {
    name: NAME,
    capacity: { path: A, mblockSizeBytes, sparePercent },
    staging: stagingBytes === undefined ? undefined : { path: B, mblockSizeBytes },
    ...options.create,
  });
  return { host, pool: await openHere(host, NAME, options.open) };
}

export function openHere(host: SimHost, target = NAME, options: OpenOptions = {}): Promise<Pool> {
  return openPool(host.environment, target, options, HERE);
}

/** Closes the pool, and looks that nothing of it is left behind. */
export async function closeClean({ host, pool }: Setup, force = false): Promise<void> {
  await pool.close({ force });
  assert.equal(host.liveBufferCount, 0, 'every buffer is given back');
  assert.equal(host.inFlightCount, 0, 'nothing is in flight');
}

/** Closes and opens again. */
export async function reopen({ host, pool }: Setup, options: OpenOptions = {}): Promise<Setup> {
  await closeClean({ host, pool });
  return { host, pool: await openHere(host, NAME, options) };
}

/** The promise is rejected with that code; a synchronous throw would fail the test. */
export async function refuses(
  call: () => Promise<unknown>,
  code: ErrorCode,
  message?: RegExp,
): Promise<void> {
  let promise: Promise<unknown>;
  try {
    promise = call();
  } catch (error) {
    assert.fail(`${call.toString()}: threw instead of rejecting: ${String(error)}`);
  }
  const error = await promise.then(
    () => assert.fail(`${call.toString()}: was not refused`),
    (reason: unknown) => reason as NodeJS.ErrnoException,
  );
  assert.equal(error.code, code, `${call.toString()}: ${error.stack}`);
  if (message !== undefined) assert.match(error.message, message);
  if (code === 'ERR_MPOOL_INVALID_ARG') {
    assert.ok(error instanceof RangeError || error instanceof TypeError, 'RangeError or TypeError');
  } else assert.ok(isMpoolError(error, code));
}

/** Bytes that differ from place to place, and between seeds. */
export function pattern(lengthBytes: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let word = (seed * 2_654_435_761 + 12_345) >>> 0;
  for (let i = 0; i < lengthBytes; i++) {
    if (i % 4 === 0) word = (Math.imul(word, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[i] = word >>> ((i % 4) * 8);
  }
  return bytes;
}

export async function allOf<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

export async function texts(records: AsyncIterable<Uint8Array>): Promise<string[]> {
  return (await allOf(records)).map((record) => Buffer.from(record).toString());
}

/** Lets everything that is ready run, simulated I/O included. */
export function turns(count: number): Promise<void> {
  return new Promise((resolve) => {
    const step = (left: number): void => {
      if (left === 0) resolve();
      else setImmediate(() => step(left - 1));
    };
    step(count);
  });
}

/** A device of its own, for the sake of its memory. */
export async function allocateOn(host: SimHost): Promise<Device> {
  const path = '/dev/memory';
  host.addDisk(path, { sizeBytes: MIB });
  return host.openDevice(path, { access: 'write' });
}
