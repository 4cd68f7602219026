/** Superblocks and log headers of an image, beside what they are encoded as today. */
import { decodeLogHeader, encodeLogHeader, logIdentity } from '../../src/format/log-header.ts';
import {
  decodeSuperblock,
  encodeSuperblock,
  ownDescriptor,
  type Superblock,
  superblockOffsetBytes,
} from '../../src/format/superblock.ts';
import { viewOf } from '../../src/base/bytes.ts';

const PAGE = 4096;
const LOG_HEADER_MAGIC = 0x484c706d;

export interface Rewritten {
  bytes: Buffer;
  again: Buffer;
}

export function structuresOn(images: { capacity: Buffer; staging: Buffer }): {
  pool: Rewritten[];
  logs: Rewritten[];
} {
  const pool: Rewritten[] = [];
  const logs: Rewritten[] = [];
  for (const image of [images.capacity, images.staging]) {
    const first = decodeSuperblock(image.subarray(0, PAGE), 0);
    if (!first.ok) throw new Error(first.detail);
    const { superblock } = first;
    pool.push(...superblocksOf(image, superblock));
    logs.push(...logHeadersOf(image, superblock));
  }
  return { pool, logs };
}

function superblocksOf(image: Buffer, superblock: Superblock): Rewritten[] {
  const { sizeBytes } = ownDescriptor(superblock);
  return [0, 1, 2, 3].map((copy) => {
    const at = superblockOffsetBytes(copy, sizeBytes);
    const bytes = image.subarray(at, at + PAGE);
    return { bytes, again: Buffer.from(encodeSuperblock(superblock, copy)) };
  });
}

/** Every page that begins as a log's header does: of logs that were deleted, too. */
function logHeadersOf(image: Buffer, superblock: Superblock): Rewritten[] {
  const found: Rewritten[] = [];
  const { sectorBytes } = ownDescriptor(superblock);
  for (let at = 0; at < image.length; at += PAGE) {
    if (image.readUInt32LE(at) !== LOG_HEADER_MAGIC) continue;
    const bytes = image.subarray(at, at + 512);
    const view = viewOf(bytes);
    const id = { low: view.getUint32(32, true), high: view.getUint32(36, true) };
    const identity = logIdentity(superblock.poolUuid, id);
    const extentBytes = Number.MAX_SAFE_INTEGER;
    const decoded = decodeLogHeader(bytes, { identity, sectorBytes, extentBytes });
    if (!decoded.ok) throw new Error(`the header at ${at}: ${decoded.detail}`);
    found.push({
      bytes,
      again: Buffer.from(encodeLogHeader(decoded.header, identity).subarray(0, 512)),
    });
  }
  return found;
}
