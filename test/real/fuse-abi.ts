/** What the kernel asks a file system of one file, and how it is answered. Source: linux/fuse.h, version 7.38. */
import { constants } from 'node:os';

export const OP = {
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  FLUSH: 25,
  INIT: 26,
  ACCESS: 34,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  LSEEK: 46,
} as const;

/** Of one transfer: what the kernel sends at once at most. */
export const TRANSFER_BYTES_MAX = 2 ** 20;
export const REQUEST_BYTES_MAX = TRANSFER_BYTES_MAX + 4096;
const IN_HEADER_BYTES = 40;
const OUT_HEADER_BYTES = 16;
const WRITE_IN_BYTES = 40;
const PAGE_BYTES = 4096;
/** Nobody else changes the file: what the kernel knows of it stays right. */
const ATTRIBUTES_VALID_S = 3600n;
const S_IFREG = 0o100000;
const FATTR_SIZE = 1 << 3;
const O_DSYNC = 0o10000;
const SEEK_DATA = 3;
const FALLOC_PUNCH_HOLE = 2;
/** FUSE_ASYNC_READ, FUSE_BIG_WRITES, FUSE_ASYNC_DIO, FUSE_MAX_PAGES: many direct transfers at once, whole. */
const INIT_FLAGS = (1 << 0) | (1 << 5) | (1 << 15) | (1 << 22);
const BACKGROUND_MAX = 128;

export interface Request {
  opcode: number;
  unique: bigint;
  body: Buffer;
}

/** @param bytes one read from /dev/fuse, which is one request */
export function parseRequest(bytes: Buffer): Request {
  return {
    opcode: bytes.readUInt32LE(4),
    unique: bytes.readBigUInt64LE(8),
    body: bytes.subarray(IN_HEADER_BYTES, bytes.readUInt32LE(0)),
  };
}

/** @param error 0 or a positive errno */
export function formatReply(unique: bigint, error: number, body?: Uint8Array): Buffer {
  const reply = Buffer.alloc(OUT_HEADER_BYTES + (body?.length ?? 0));
  reply.writeUInt32LE(reply.length, 0);
  reply.writeInt32LE(-error, 4);
  reply.writeBigUInt64LE(unique, 8);
  if (body !== undefined) reply.set(body, OUT_HEADER_BYTES);
  return reply;
}

/** Of the version that this knows, with what the kernel offers of what this wants. */
export function formatInit(request: Buffer): Buffer {
  const body = Buffer.alloc(64);
  body.writeUInt32LE(7, 0);
  body.writeUInt32LE(38, 4);
  body.writeUInt32LE(request.readUInt32LE(8), 8);
  body.writeUInt32LE((request.readUInt32LE(12) & INIT_FLAGS) >>> 0, 12);
  body.writeUInt16LE(BACKGROUND_MAX, 16);
  body.writeUInt16LE(BACKGROUND_MAX, 18);
  body.writeUInt32LE(TRANSFER_BYTES_MAX, 20);
  body.writeUInt32LE(1, 24);
  body.writeUInt16LE(TRANSFER_BYTES_MAX / PAGE_BYTES, 28);
  return body;
}

export function formatAttributes(sizeBytes: number): Buffer {
  const body = Buffer.alloc(104);
  body.writeBigUInt64LE(ATTRIBUTES_VALID_S, 0);
  body.writeBigUInt64LE(1n, 16);
  body.writeBigUInt64LE(BigInt(sizeBytes), 24);
  body.writeBigUInt64LE(BigInt(Math.ceil(sizeBytes / 512)), 32);
  body.writeUInt32LE(S_IFREG | 0o600, 76);
  body.writeUInt32LE(1, 80);
  body.writeUInt32LE(PAGE_BYTES, 96);
  return body;
}

/** Opened with nothing of its own: direct I/O is direct, all other goes through the page cache, as with any file. */
export function formatOpen(): Buffer {
  return Buffer.alloc(16);
}

export function formatStatfs(sizeBytes: number): Buffer {
  const body = Buffer.alloc(80);
  body.writeBigUInt64LE(BigInt(Math.ceil(sizeBytes / PAGE_BYTES)), 0);
  body.writeUInt32LE(PAGE_BYTES, 40);
  body.writeUInt32LE(255, 44);
  body.writeUInt32LE(PAGE_BYTES, 48);
  return body;
}

export function parseRead(body: Buffer): { offsetBytes: number; lengthBytes: number } {
  return { offsetBytes: Number(body.readBigUInt64LE(8)), lengthBytes: body.readUInt32LE(16) };
}

/** A write with RWF_DSYNC comes with O_DSYNC among the flags; asynchronous ones have no FSYNC after them. */
export function parseWrite(body: Buffer): {
  offsetBytes: number;
  data: Buffer;
  durable: boolean;
} {
  return {
    offsetBytes: Number(body.readBigUInt64LE(8)),
    data: body.subarray(WRITE_IN_BYTES, WRITE_IN_BYTES + body.readUInt32LE(16)),
    durable: (body.readUInt32LE(32) & O_DSYNC) !== 0,
  };
}

export function formatWritten(lengthBytes: number): Buffer {
  const body = Buffer.alloc(8);
  body.writeUInt32LE(lengthBytes, 0);
  return body;
}

/** The new size, if it is the size that is to change. */
export function parseSetSize(body: Buffer): number | undefined {
  return (body.readUInt32LE(0) & FATTR_SIZE) === 0 ? undefined : Number(body.readBigUInt64LE(16));
}

export function parseFallocate(body: Buffer): {
  offsetBytes: number;
  lengthBytes: number;
  isDiscard: boolean;
} {
  return {
    offsetBytes: Number(body.readBigUInt64LE(8)),
    lengthBytes: Number(body.readBigUInt64LE(16)),
    isDiscard: (body.readUInt32LE(24) & FALLOC_PUNCH_HOLE) !== 0,
  };
}

/** All of it is data. @returns undefined when there is nothing */
export function seek(body: Buffer, sizeBytes: number): Buffer | undefined {
  const offset = body.readBigUInt64LE(8);
  if (offset >= BigInt(sizeBytes)) return undefined;
  const found = Buffer.alloc(8);
  found.writeBigUInt64LE(body.readUInt32LE(16) === SEEK_DATA ? offset : BigInt(sizeBytes), 0);
  return found;
}

export const { errno: ERRNO } = constants;
