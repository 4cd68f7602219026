import { close } from 'node:fs';
import { constants } from 'node:os';
import { promisify } from 'node:util';
import { MpoolError } from '../../base/errors.ts';
import { DirectDevice } from '../../device/direct-device.ts';
import { systemErrno } from '../../device/io-error.ts';
import type { Media } from '../../pool/media.ts';
import type { Store } from '../../pool/store.ts';
import { PAGE_BYTES } from '../../base/units.ts';
import type { DeviceForClient } from '../protocol.ts';
import { limitReached } from './limits.ts';

const { errno: E } = constants;
const closeDescriptor = promisify(close);

/** What clients are told of the devices that they may read by themselves, in the order of the descriptors. */
export function devicesForClients(store: Store): DeviceForClient[] {
  return store.allMedia.map((media) => ({
    mediaClass: media.mediaClass,
    path: media.device.path,
    kind: media.device.kind === 'block' ? 'block' : 'file',
    sectorBytes: media.device.sectorBytes,
    optimalWriteBytes: media.device.optimalWriteBytes,
    sizeBytes: media.device.sizeBytes,
    mblockCapacityBytes: media.mblockCapacityBytes,
    mblockAllocatedBytes: media.mblockPages * PAGE_BYTES,
  }));
}

/**
 * Opens each device twice, read-only: for direct and for buffered reads. Anew for each client, so
 * that no client
 * shares flags, offsets or the daemon's claim. The caller closes them.
 * @throws ERR_MPOOL_LIMIT when the daemon has no descriptor left
 */
export async function openForClient(store: Store): Promise<number[]> {
  const fds: number[] = [];
  try {
    for (const media of store.allMedia) {
      const device = directDevice(media);
      fds.push(await device.openReadOnly({ direct: true }));
      fds.push(await device.openReadOnly({ direct: false }));
    }
    return fds;
  } catch (error) {
    await closeAll(fds);
    const errno = systemErrno(error);
    // The device is as good as ever.
    if (errno === -E.EMFILE || errno === -E.ENFILE) throw limitReached('open files of the daemon');
    throw error;
  }
}

export async function closeAll(fds: readonly number[]): Promise<void> {
  await Promise.all(fds.map((fd) => closeDescriptor(fd)));
}

function directDevice({ device }: Media): DirectDevice {
  if (device instanceof DirectDevice) return device;
  throw new MpoolError('ERR_MPOOL_PERMISSION', `${device.path} has no descriptor to pass`);
}
