import { close, fstat, readFile } from 'node:fs';
import { promisify } from 'node:util';
import type { Device } from '../../device/device.ts';
import { deviceLimits } from '../../device/device-limits.ts';
import { DirectDevice } from '../../device/direct-device.ts';
import { chooseEngine } from '../../device/engine-ladder.ts';
import type { EngineChoice } from '../../device/host.ts';
import type { MediaClass } from '../../pool/api.ts';
import type { DeviceForClient } from '../protocol.ts';

const closeDescriptor = promisify(close);
const statDescriptor = promisify(fstat);
const readText = promisify(readFile);
/** As /proc/<pid>/fdinfo shows it, in octal. */
const O_DIRECT = 0o40000;

/** One device of the pool, read by this process itself on descriptors that the daemon passed. */
export interface PassedDevice {
  readonly mediaClass: MediaClass;
  readonly device: Device;
  /** Of an mblock on it. */
  readonly capacityBytes: number;
  readonly allocatedBytes: number;
}

/** Descriptors for each device: a direct and a buffered one. */
export const DESCRIPTORS_PER_DEVICE = 2;

/**
 * Makes devices of what the daemon passed, which is theirs from now on; on an error all is closed.
 * @param fds in the order of the devices
 */
export async function openPassedDevices(
  told: readonly DeviceForClient[],
  fds: readonly number[],
  engine: EngineChoice | undefined,
): Promise<PassedDevice[]> {
  const opened: PassedDevice[] = [];
  try {
    for (const [i, each] of told.entries()) {
      const [fd, bufferedFd] = fds.slice(DESCRIPTORS_PER_DEVICE * i) as [number, number];
      opened.push({
        mediaClass: each.mediaClass,
        device: await openPassed(each, fd, bufferedFd, engine),
        capacityBytes: each.mblockCapacityBytes,
        allocatedBytes: each.mblockAllocatedBytes,
      });
    }
    return opened;
  } catch (error) {
    await Promise.all(opened.map(({ device }) => device.close()));
    const left = fds.slice(DESCRIPTORS_PER_DEVICE * opened.length);
    await Promise.all(left.map((fd) => closeDescriptor(fd)));
    throw error;
  }
}

async function openPassed(
  { path, kind }: DeviceForClient,
  fd: number,
  bufferedFd: number,
  engine: EngineChoice | undefined,
): Promise<Device> {
  const direct = await isDirect(fd);
  const limits = await deviceLimits(fd, path, await statDescriptor(fd), direct);
  return new DirectDevice({
    path,
    kind,
    fd,
    backingFd: undefined,
    bufferedFd,
    readOnly: true,
    limits,
    engine: chooseEngine(engine, limits.direct),
    measure: () => Promise.resolve(limits.sizeBytes),
  });
}

/** The daemon passes what its own device could do: without O_DIRECT where the file system has none. */
async function isDirect(fd: number): Promise<boolean> {
  const info = await readText(`/proc/self/fdinfo/${fd}`, 'latin1');
  const flags = /^flags:\s*([0-7]+)/m.exec(info)?.[1];
  return flags !== undefined && (Number.parseInt(flags, 8) & O_DIRECT) !== 0;
}
