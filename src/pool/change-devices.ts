import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES, roundDown } from '../base/units.ts';
import { type Device, flushAsync, writeAsync } from '../device/device.ts';
import { TAIL_RESERVED_PAGES, zoneCountOf } from '../format/device-descriptor.ts';
import type { Superblock } from '../format/superblock.ts';
import type { MediaClassOptions } from './api.ts';
import { Media } from './media.ts';
import {
  clearDevice,
  disownDevice,
  prepareDevice,
  refuseSameDevice,
  tooSmall,
} from './prepare-device.ts';
import type { Store } from './store.ts';
import { nextGeneration, writeSuperblocks } from './superblocks.ts';

/**
 * Gives an active pool its staging device. The capacity device's superblock decides: until it names the
 * device, that one is nobody's. Only one change of the devices may be under way.
 */
export async function addMediaClass(
  store: Store,
  mediaClass: 'staging',
  options: MediaClassOptions & { force?: boolean | undefined },
): Promise<void> {
  const { environment, superblock } = store;
  if (mediaClass !== 'staging' || superblock.staging !== undefined) {
    throw new MpoolError(
      'ERR_MPOOL_EXISTS',
      `media class ${mediaClass} of pool ${superblock.name}`,
    );
  }
  // Before anything is written that no superblock could name.
  nextGeneration(superblock);
  await refuseSameDevice(environment.host, store.capacity.device.path, options.path);
  const settings = { force: options.force === true, engine: store.engine };
  const prepared = await prepareDevice(environment, mediaClass, options, settings);
  const { device, descriptor } = prepared;
  const changes: Partial<Superblock> = { staging: descriptor };
  let written = false;
  let media: Media;
  try {
    const { clock } = environment;
    media = new Media(descriptor, device, 0, store.discard ? { clock } : null);
    store.watch(media);
    const page = media.space.allocZone({ spare: true });
    if (page < 0) throw tooSmall(device.path, descriptor.sizeBytes, descriptor.zonePages);
    media.space.free({ pageAddress: page, pageCount: media.mblockPages });
    changes.stagingPath = (await environment.host.stat(options.path))?.path ?? options.path;
    await clearDevice(prepared);
    written = true;
    const own = { ...superblock, ...changes, deviceUuid: descriptor.uuid };
    await writeSuperblocks(device, own, { first: true });
    const sparePercentStaging = options.sparePercent ?? store.parameters.sparePercentStaging;
    await store.setParameters({ sparePercentStaging });
    media.space.setSparePercent(sparePercentStaging);
  } catch (error) {
    if (written) await disownDevice(device);
    await prepared.undo();
    throw error;
  }
  try {
    await store.updateSuperblock(changes);
  } catch (error) {
    // The capacity device may name it already: it stays as it is.
    await device.close();
    throw error;
  }
  // Not before: an object there would outlive a crash that the class does not.
  store.staging = media;
}

/**
 * Takes in what the devices grew by. Less than the reserved tail is left for another time: the new tail
 * must lie beyond the old one, whose superblocks count until the new ones do.
 * @returns bytes gained
 */
export async function grow(store: Store): Promise<number> {
  let gainedBytes = 0;
  const changes: Partial<Superblock> = {};
  for (const media of store.allMedia) {
    const { descriptor } = media;
    const sizeBytes = roundDown(await media.device.refreshSize(), PAGE_BYTES);
    if (sizeBytes < descriptor.sizeBytes + TAIL_BYTES) continue;
    await clearTail(media.device, sizeBytes);
    gainedBytes += sizeBytes - descriptor.sizeBytes;
    const zoneCount = zoneCountOf(sizeBytes, descriptor.zonePages);
    changes[media.mediaClass] = { ...descriptor, sizeBytes, zoneCount };
  }
  if (gainedBytes === 0) return 0;
  await store.updateSuperblock(changes);
  for (const media of store.allMedia) {
    const grown = changes[media.mediaClass];
    if (grown === undefined) continue;
    media.descriptor = grown;
    media.space.grow(grown.zoneCount, grown.sizeBytes / PAGE_BYTES);
  }
  return gainedBytes;
}

const TAIL_BYTES = TAIL_RESERVED_PAGES * PAGE_BYTES;

/** What a device grew by holds anything; reserved pages that are no superblock hold zeros. */
async function clearTail(device: Device, sizeBytes: number): Promise<void> {
  const zeros = device.allocate(TAIL_BYTES);
  try {
    zeros.fill(0);
    await writeAsync(device, sizeBytes - TAIL_BYTES, zeros, 'volatile');
  } finally {
    device.release(zeros);
  }
  // The size too: whoever lengthened a file may not have, and no superblock may name more than there is.
  await flushAsync(device);
}
