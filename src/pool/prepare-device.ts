import { isMpoolError, invalidArgument, MpoolError } from '../base/errors.ts';
import { MIB, PAGE_BYTES, roundDown } from '../base/units.ts';
import { type Device, discardAsync, flushAsync, writeAsync } from '../device/device.ts';
import type { EngineChoice, Host } from '../device/host.ts';
import { probeContent } from '../device/probe-content.ts';
import { type DeviceDescriptor, ZONE_COUNT_MAX, zoneCountOf } from '../format/device-descriptor.ts';
import { randomUuid } from '../base/prng.ts';
import type { MediaClass, MediaClassOptions } from './api.ts';
import type { Environment } from './environment.ts';
import { checkMblockBytes, integerIn, MBLOCK_BYTES_DEFAULT } from './parameters.ts';
import { eraseSuperblocks } from './superblocks.ts';

/** A device claimed for a pool to be, on which nothing has been written yet. */
export interface PreparedDevice {
  device: Device;
  descriptor: DeviceDescriptor;
  /** What it holds and will lose; only with force. */
  holds: string | undefined;
  discard: boolean;
  /** Lets go of the device; a file made for it is removed. */
  undo(): Promise<void>;
}

/** Below this many zones the default mblock size shrinks: a pool of two mblocks serves nobody. */
const ZONES_WANTED = 32;
/** At both ends of a device that held something: where signatures of all kinds live. */
const WIPED_BYTES = MIB;

/**
 * Claims a device (or makes the file) and looks that nothing on it would be lost.
 * @throws ERR_MPOOL_NOT_BLANK naming what it holds, unless forced; ERR_MPOOL_BUSY; RangeError
 */
export async function prepareDevice(
  environment: Environment,
  mediaClass: MediaClass,
  options: MediaClassOptions,
  settings: { force: boolean; engine: EngineChoice | undefined },
): Promise<PreparedDevice> {
  const { host, prng } = environment;
  checkDeviceOptions(options);
  const made = await makeFile(environment, options);
  let device: Device | undefined;
  try {
    device = await host.openDevice(options.path, { access: 'write', engine: settings.engine });
    const found = made ? undefined : await probeContent(host, options.path);
    if (found !== undefined && !settings.force) {
      throw new MpoolError(
        'ERR_MPOOL_NOT_BLANK',
        `${options.path} holds ${found.what} (at byte ${found.offsetBytes})`,
        { path: options.path },
      );
    }
    const claimed = device;
    return {
      device,
      descriptor: describe(device, mediaClass, options, randomUuid(prng)),
      holds: found?.what,
      discard: options.discard === true,
      undo: () => undo(environment, claimed, made ? options.path : undefined),
    };
  } catch (error) {
    await undo(environment, device, made ? options.path : undefined);
    throw error;
  }
}

/** Gives up what the device held. To be called when nothing but the device itself can fail any more. */
export async function clearDevice(prepared: PreparedDevice): Promise<void> {
  const { device, descriptor } = prepared;
  if (prepared.holds !== undefined) {
    // An old pool first, so that no crash leaves it looking whole when it is not.
    await eraseSuperblocks(device);
    await wipeEnds(device);
  }
  if (prepared.discard) await discardAsync(device, 0, descriptor.sizeBytes);
}

/** @throws RangeError: one device cannot be two media classes of a pool, whatever its paths */
export async function refuseSameDevice(host: Host, a: string, b: string): Promise<void> {
  const first = await host.stat(a);
  const second = await host.stat(b);
  if (a !== b && (first === undefined || first.path !== second?.path)) return;
  throw invalidArgument(`${b} is the capacity device: the staging device must be another`);
}

/** Best effort, after a failure: a device on which superblocks may have been written is no pool's again. */
export async function disownDevice(device: Device): Promise<void> {
  await eraseSuperblocks(device).catch(() => {});
}

/** Zeroes both ends of a device that is nobody's any more, durably: no tool finds anything there. */
export async function wipeEnds(device: Device): Promise<void> {
  const zeros = device.allocate(WIPED_BYTES);
  try {
    zeros.fill(0);
    const endBytes = Math.min(WIPED_BYTES, roundDown(device.sizeBytes, PAGE_BYTES));
    const tail = roundDown(device.sizeBytes, device.sectorBytes) - endBytes;
    await writeAsync(device, 0, zeros.subarray(0, endBytes), 'volatile');
    await writeAsync(device, tail, zeros.subarray(0, endBytes), 'volatile');
  } finally {
    device.release(zeros);
  }
  await flushAsync(device);
}

async function makeFile(environment: Environment, options: MediaClassOptions): Promise<boolean> {
  const { host } = environment;
  const info = await host.stat(options.path);
  if (info === undefined) {
    if (options.sizeBytes === undefined) {
      throw invalidArgument(`${options.path} does not exist: say a size to make a file there`);
    }
    await host.createFile(options.path, options.sizeBytes);
    return true;
  }
  if (info.kind === 'other') {
    throw invalidArgument(`${options.path} is neither a file nor a block device`);
  }
  if (info.kind === 'file' && info.sizeBytes === 0 && options.sizeBytes !== undefined) {
    await host.growFile(options.path, options.sizeBytes);
  }
  return false;
}

async function undo(
  environment: Environment,
  device: Device | undefined,
  madeFile: string | undefined,
): Promise<void> {
  await device?.close().catch(() => {});
  if (madeFile === undefined) return;
  await environment.host.removeFile(madeFile).catch((error: unknown) => {
    if (!isMpoolError(error, 'ERR_MPOOL_NOT_FOUND')) throw error;
  });
}

/** @throws RangeError, TypeError */
export function checkDeviceOptions(options: MediaClassOptions): void {
  if (typeof options !== 'object' || options === null) {
    throw invalidArgument('a device is given as { path, … }', 'type');
  }
  if (typeof options.path !== 'string' || options.path === '') {
    throw invalidArgument('a device needs a path', 'type');
  }
  if (options.mblockSizeBytes !== undefined) checkMblockBytes(options.mblockSizeBytes);
  integerIn('sparePercent', options.sparePercent, 0, 100);
  integerIn('sizeBytes', options.sizeBytes, MIB, Number.MAX_SAFE_INTEGER);
}

function describe(
  device: Device,
  mediaClass: MediaClass,
  options: MediaClassOptions,
  uuid: Uint8Array,
): DeviceDescriptor {
  const wanted = options.sizeBytes ?? device.sizeBytes;
  if (wanted > device.sizeBytes) {
    throw invalidArgument(`${device.path} has ${device.sizeBytes} bytes, not ${wanted}`);
  }
  const sizeBytes = roundDown(wanted, PAGE_BYTES);
  const zonePages = (options.mblockSizeBytes ?? defaultMblockBytes(sizeBytes)) / PAGE_BYTES;
  const zoneCount = zoneCountOf(sizeBytes, zonePages);
  if (zoneCount < 1) throw tooSmall(device.path, sizeBytes, zonePages);
  if (zoneCount > ZONE_COUNT_MAX) {
    throw invalidArgument(`${device.path}: ${zoneCount} mblocks are too many: make them larger`);
  }
  return {
    uuid,
    mediaClass,
    kind: device.kind === 'file' ? 'file' : 'block',
    sectorBytes: device.sectorBytes,
    zonePages,
    sizeBytes,
    zoneCount,
  };
}

export function tooSmall(path: string, sizeBytes: number, zonePages: number): Error {
  return invalidArgument(
    `${path}: ${sizeBytes} bytes are too few for mblocks of ${zonePages * PAGE_BYTES} bytes; ` +
      'take a larger device or smaller mblocks',
  );
}

function defaultMblockBytes(sizeBytes: number): number {
  let bytes = MBLOCK_BYTES_DEFAULT;
  while (bytes > MIB && sizeBytes / bytes < ZONES_WANTED) bytes /= 2;
  return bytes;
}
