import { equalBytes } from '../base/bytes.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { flushAsync, writeAsync, type Device } from '../device/device.ts';
import { HEAD_RESERVED_PAGES, TAIL_RESERVED_PAGES } from '../format/device-descriptor.ts';
import {
  ownDescriptor,
  SUPERBLOCK_COPY_COUNT,
  superblockOffsetBytes,
  type Superblock,
} from '../format/superblock.ts';
import { zeroBetween } from '../format/u64.ts';
import { mdc0Places } from './activate.ts';
import { readLogHeader } from './log-scan.ts';
import { type RepairSteps, stepAt } from './repair-report.ts';
import { readTolerant } from './salvage.ts';
import { copiesUnlike, repairSuperblocks } from './superblocks.ts';

/** Brings every copy of a device to the superblock that counts, and zeroes the rest of the reserved pages. */
export async function repairDeviceSuperblocks(
  steps: RepairSteps,
  device: Device,
  chosen: Superblock,
): Promise<void> {
  const wrong = await copiesUnlike(device, chosen);
  const { sizeBytes } = ownDescriptor(chosen);
  if (wrong.length > 0) {
    const location = {
      device: device.path,
      offsetBytes: superblockOffsetBytes(wrong[0]!, sizeBytes),
    };
    const which = wrong.length === 1 ? `copy ${wrong[0]}` : `copies ${wrong.join(', ')}`;
    const message = `${which} written again, of generation ${chosen.generation}`;
    await steps.take(stepAt('superblock', location, message), async () => {
      await repairSuperblocks(device, chosen);
    });
  }
  for (const offsetBytes of await dirtyReservedPages(device, sizeBytes)) {
    const location = { device: device.path, offsetBytes };
    const step = stepAt('reserved pages', location, 'the reserved page is zeroed');
    await steps.take(step, () => zeroPage(device, offsetBytes));
  }
}

async function dirtyReservedPages(device: Device, sizeBytes: number): Promise<number[]> {
  const copies = new Set<number>();
  for (let copy = 0; copy < SUPERBLOCK_COPY_COUNT; copy++) {
    copies.add(superblockOffsetBytes(copy, sizeBytes));
  }
  const dirty: number[] = [];
  for (const [first, pageCount] of [
    [0, HEAD_RESERVED_PAGES],
    [sizeBytes - TAIL_RESERVED_PAGES * PAGE_BYTES, TAIL_RESERVED_PAGES],
  ] as const) {
    const { bytes, unreadable } = await readTolerant(device, first, pageCount * PAGE_BYTES);
    const bad = new Set([...unreadable].map((sector) => Math.floor(sector / PAGE_BYTES)));
    for (let page = 0; page < pageCount; page++) {
      const at = page * PAGE_BYTES;
      const isZero = zeroBetween(bytes, at, at + PAGE_BYTES) && !bad.has(page);
      if (!isZero && !copies.has(first + at)) dirty.push(first + at);
    }
  }
  return dirty;
}

async function zeroPage(device: Device, offsetBytes: number): Promise<void> {
  const zeros = device.allocate(PAGE_BYTES);
  try {
    zeros.fill(0);
    await writeAsync(device, offsetBytes, zeros, 'volatile');
    await flushAsync(device);
  } finally {
    device.release(zeros);
  }
}

/**
 * The superblock of a capacity device of which no copy is whole, as a staging device of the pool has it. That
 * it is this pool's tells a header of MDC 0 where the superblock says that MDC 0 is.
 */
export async function lostSuperblock(
  device: Device,
  staging: Superblock,
): Promise<Superblock | undefined> {
  if (equalBytes(staging.deviceUuid, staging.capacity.uuid)) return undefined;
  const superblock = { ...staging, deviceUuid: staging.capacity.uuid };
  if (superblock.capacity.sizeBytes > device.sizeBytes) return undefined;
  for (const place of mdc0Places(superblock, device, undefined)) {
    const read = await readLogHeader(place).catch(() => undefined);
    if (read?.ok === true) return superblock;
  }
  return undefined;
}

/** Writes a superblock that lostSuperblock() gave. */
export async function restoreSuperblocks(
  steps: RepairSteps,
  device: Device,
  superblock: Superblock,
): Promise<void> {
  const location = { device: device.path, offsetBytes: 0 };
  const { generation } = superblock;
  const message = `all copies written again, of generation ${generation}, as the staging device has it`;
  const losses = [
    'a change of the superblock that was interrupted before it reached the staging device',
  ];
  await steps.take(stepAt('superblock', location, message, { losses }), async () => {
    await repairSuperblocks(device, superblock);
  });
}
