import type { MpoolError } from '../base/errors.ts';
import type { DeviceMapping } from './device-mapping.ts';
import type { IoWatch } from './io-watch.ts';

/**
 * The only way to media. Everything above runs equally on a real device and on the simulated one.
 *
 * Callbacks, not promises, because this is the hot path: a promise an operation costs more than the
 * operation's own bookkeeping. Each operation calls back exactly once, never before its call returned.
 * Nothing is ordered between operations in flight; a caller that needs an order waits.
 */
export interface Device {
  /** The path it was opened by: for messages. */
  readonly path: string;
  readonly kind: 'file' | 'block' | 'simulated';
  /** Which rung of the ladder carries the I/O: 'io_uring', 'aio', 'threads', 'simulated'. */
  readonly engine: string;
  /** How it is not the engine that was asked for, or not the one it began with. */
  readonly engineProblem?: string | undefined;
  /** Told of each operation from the time it is set. */
  ioWatch?: IoWatch | undefined;
  readonly readOnly: boolean;
  /** Offsets and lengths of all I/O are multiples of it: 512 or 4096. */
  readonly sectorBytes: number;
  /** What the device likes to be written in: a multiple of 4096. */
  readonly optimalWriteBytes: number;
  /** Size when opened or last refreshed, in bytes. */
  readonly sizeBytes: number;

  /**
   * Memory fit for this device's I/O, from a pool that is reused: aligned, its content unspecified.
   * @param lengthBytes any; the view returned is exactly as long
   */
  allocate(lengthBytes: number): Uint8Array;
  /** Gives memory of allocate() back. No I/O may be using it and no one may look at it again. */
  release(buffer: Uint8Array): void;
  /** True for memory that read() and write() can use as it is: of allocate(), and aligned. */
  canUse(buffer: Uint8Array): boolean;

  /** Fills `buffer`, borrowed until `done`. Reading past the end is an error, never short. */
  read(offsetBytes: number, buffer: Uint8Array, done: Done): void;
  /**
   * Writes `buffer`, borrowed until `done`.
   * 'durable': on stable media when done, this write alone; earlier writes need a flush.
   * 'volatile': somewhere; a flush that starts after `done` makes it durable.
   */
  write(offsetBytes: number, buffer: Uint8Array, durability: Durability, done: Done): void;
  /** Makes every write that was done before this call durable. */
  flush(done: Done): void;
  /** Tells the device that a range is no longer needed: advisory; its content is then unspecified. */
  discard(offsetBytes: number, lengthBytes: number, done: Done): void;

  /** Looks again how large the device is. @returns the new `sizeBytes` */
  refreshSize(): Promise<number>;
  /**
   * Maps the device's page cache. The caller closes it, before the device.
   * @throws ERR_MPOOL_IO when the system refuses
   */
  map(): Promise<DeviceMapping>;
  /** Waits for I/O in flight, then lets go of the device and its claim. Idempotent. */
  close(): Promise<void>;
}

export type Done = (error: MpoolError | null) => void;
export type Durability = 'volatile' | 'durable';

/** The same as promises, for the paths where clarity counts for more than nanoseconds. */
export function readAsync(device: Device, offsetBytes: number, buffer: Uint8Array): Promise<void> {
  return settled((done) => device.read(offsetBytes, buffer, done));
}

export function writeAsync(
  device: Device,
  offsetBytes: number,
  buffer: Uint8Array,
  durability: Durability,
): Promise<void> {
  return settled((done) => device.write(offsetBytes, buffer, durability, done));
}

export function flushAsync(device: Device): Promise<void> {
  return settled((done) => device.flush(done));
}

export function discardAsync(
  device: Device,
  offsetBytes: number,
  lengthBytes: number,
): Promise<void> {
  return settled((done) => device.discard(offsetBytes, lengthBytes, done));
}

function settled(start: (done: Done) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    start((error) => (error === null ? resolve() : reject(error)));
  });
}
