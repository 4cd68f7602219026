import { equalBytes } from '../base/bytes.ts';
import { PAGE_BYTES } from '../base/units.ts';
import { readAsync, type Device } from '../device/device.ts';
import { HEAD_RESERVED_PAGES, TAIL_RESERVED_PAGES } from '../format/device-descriptor.ts';
import {
  encodeSuperblock,
  ownDescriptor,
  SUPERBLOCK_COPY_COUNT,
  superblockOffsetBytes,
  type Superblock,
} from '../format/superblock.ts';
import { zeroBetween } from '../format/u64.ts';
import type { Findings } from './check-findings.ts';
import { ioMessage } from './check-logs.ts';
import { readSuperblocks, type SuperblocksFound } from './superblocks.ts';

/** Every copy on the capacity device. @returns the superblock that counts, if any may */
export async function checkCapacitySuperblocks(
  device: Device,
  findings: Findings,
): Promise<Superblock | undefined> {
  const found = await readSuperblocks(device);
  reportCopies(device, found, found.newest, findings);
  const { newest, problem, detail } = found;
  if (newest === undefined || problem !== undefined) {
    const message = `no superblock to go on with: ${problem} (${detail})`;
    findings.add('error', 'superblock', { device: device.path, offsetBytes: 0 }, message);
    return undefined;
  }
  if (!equalBytes(newest.deviceUuid, newest.capacity.uuid)) {
    const message = 'this is the staging device of the pool';
    findings.add('error', 'device', { device: device.path, offsetBytes: 0 }, message);
    return undefined;
  }
  await checkReservedPages(device, newest, findings);
  return newest;
}

/** The staging device: is it the one that the capacity device names? @returns whether it is */
export async function checkStagingSuperblocks(
  device: Device,
  chosen: Superblock,
  findings: Findings,
): Promise<boolean> {
  const at = { device: device.path, offsetBytes: 0 };
  const found = await readSuperblocks(device);
  const { newest } = found;
  const expected = chosen.staging;
  if (newest === undefined || found.problem !== undefined) {
    reportCopies(device, found, newest, findings);
    const message = `no superblock to go on with: ${found.problem} (${found.detail})`;
    findings.add('error', 'superblock', at, message);
    return false;
  }
  const belongs =
    expected !== undefined &&
    equalBytes(newest.poolUuid, chosen.poolUuid) &&
    equalBytes(newest.deviceUuid, expected.uuid);
  if (!belongs) {
    findings.add('error', 'device', at, 'it is not the staging device of this pool');
    return false;
  }
  reportCopies(device, found, { ...chosen, deviceUuid: expected.uuid }, findings);
  await checkReservedPages(device, newest, findings);
  return true;
}

function reportCopies(
  device: Device,
  { copies }: SuperblocksFound,
  chosen: Superblock | undefined,
  findings: Findings,
): void {
  const chosenBytes = chosen === undefined ? undefined : ownDescriptor(chosen).sizeBytes;
  for (const { copy, offsetBytes, status, detail, superblock } of copies) {
    const at = { device: device.path, offsetBytes };
    // Where copies 2 and 3 were before a growth, anything may be by now.
    const known =
      chosenBytes === undefined || superblockOffsetBytes(copy, chosenBytes) === offsetBytes;
    if (!known) continue;
    findings.counts.superblocks += 1;
    if (superblock === undefined) {
      findings.add('warning', 'superblock', at, `copy ${copy} is ${status}: ${detail}`);
    } else if (chosen !== undefined && superblock.generation < chosen.generation) {
      const { generation } = superblock;
      const message = `copy ${copy} is of generation ${generation}, not ${chosen.generation}`;
      findings.add('note', 'superblock', at, message);
    } else if (chosen !== undefined && !sameContent(superblock, chosen)) {
      const message = `copy ${copy} differs from another of generation ${chosen.generation}`;
      findings.add('error', 'superblock', at, message);
    }
  }
}

/** What they say on media, but for where each is: what unknown features keep beside it counts, too. */
function sameContent(a: Superblock, b: Superblock): boolean {
  return equalBytes(encodeSuperblock(a, 0), encodeSuperblock(b, 0));
}

/**
 * What is not a copy there is zero; something else was there before, or writes where it must not.
 */
async function checkReservedPages(
  device: Device,
  superblock: Superblock,
  findings: Findings,
): Promise<void> {
  const { sizeBytes } = ownDescriptor(superblock);
  const copies = new Set<number>();
  for (let copy = 0; copy < SUPERBLOCK_COPY_COUNT; copy++) {
    copies.add(superblockOffsetBytes(copy, sizeBytes));
  }
  const regions: [number, number][] = [
    [0, HEAD_RESERVED_PAGES],
    [sizeBytes - TAIL_RESERVED_PAGES * PAGE_BYTES, TAIL_RESERVED_PAGES],
  ];
  for (const [offsetBytes, pageCount] of regions) {
    const buffer = device.allocate(pageCount * PAGE_BYTES);
    try {
      // oxlint-disable-next-line no-await-in-loop -- two reads
      await readAsync(device, offsetBytes, buffer);
      for (let page = 0; page < pageCount; page++) {
        const at = offsetBytes + page * PAGE_BYTES;
        const start = page * PAGE_BYTES;
        if (copies.has(at) || zeroBetween(buffer, start, start + PAGE_BYTES)) continue;
        const location = { device: device.path, offsetBytes: at };
        findings.add('warning', 'reserved pages', location, 'a reserved page is not zero');
      }
    } catch (error) {
      const location = { device: device.path, offsetBytes };
      findings.add('warning', 'reserved pages', location, ioMessage(error));
    } finally {
      device.release(buffer);
    }
  }
}
