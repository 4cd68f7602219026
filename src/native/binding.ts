/**
 * The addon: the system calls that Node lacks, and crc32c. It has no policy.
 *
 * Rules of the boundary: numbers, typed arrays and functions cross it; results are counts or a
 * negative errno; handles are small integers in a table of the thread, so a wrong one is -EINVAL and
 * never a wild pointer; memory under I/O belongs to the addon, never to a collectable object.
 */
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32cPlain, useCrc32cEngine } from '../base/crc32c.ts';

/** Kinds of ring. */
export const RING_IO_URING = 0;
export const RING_AIO = 1;

/** Operations of submission entries and of offload(); the first three are io_uring's numbers. */
export const OP_NOP = 0;
export const OP_FSYNC = 3;
export const OP_READ = 22;
export const OP_WRITE = 23;
/** offload() only: fallocate(PUNCH_HOLE | KEEP_SIZE), and ioctl(BLKDISCARD). */
export const OP_PUNCH_HOLE = 256;
export const OP_DISCARD = 257;

/** Flags of OP_WRITE and of OP_FSYNC. */
export const RWF_DSYNC = 2;
export const FSYNC_DATASYNC = 1;

/** Modes of lock(). */
export const LOCK_SHARED = 0;
export const LOCK_EXCLUSIVE = 1;

/** Operations of mapWork(): what DeviceMapping has under these names. */
export const MAP_EVICT = 0;
export const MAP_ZAP = 1;
export const MAP_READ_AHEAD = 2;
export const MAP_RESIDENT = 3;
export const MAP_TOUCHED = 4;

/** @see ringOpen */
export const RING_LAYOUT_LENGTH = 7;

export interface Binding {
  /**
   * @param out 5 long: size in bytes, logical sector, physical sector, optimal I/O, read-only 0 | 1
   * @returns 0 or -errno
   */
  blockLimits(fd: number, out: Float64Array): number;
  /** @param portable 1: not the processor's instruction, for tests */
  crc32c(bytes: Uint8Array, seed: number, portable: 0 | 1): number;
  /** One checksum a 4096-byte page; the last page may be short. @returns pages or -errno */
  crc32cPages(bytes: Uint8Array, sums: Uint32Array): number;
  /**
   * @param out 2 long: what direct I/O needs of addresses and of offsets; 0, 0 when it cannot be
   * @returns 1 when known, 0 when this kernel does not say, or -errno
   */
  directLimits(fd: number, out: Float64Array): number;
  /** Another descriptor of the same open file, closed on exec. @returns it or -errno */
  duplicate(fd: number): number;
  /** flock(2) without waiting. @returns 0 or -errno: -EAGAIN when another has it */
  lock(fd: number, mode: number): number;
  /** One open more, for this thread, of a mapping that any has open. @returns 0 or -ENOENT */
  mapAttach(handle: number): number;
  /** The ready bits, one a page. @param window 1 long: what windowDetach() takes */
  mapBits(handle: number, window: Uint32Array): ArrayBuffer | number;
  /**
   * Ends one open. The memory goes with the last open, window and work.
   * @returns 0: done, and `done` is never called; 1: `done` will be; or -errno
   */
  mapClose(handle: number, done: () => void): number;
  /** @param out 2 long: length in bytes, the buffered descriptor. @returns 0 or -errno */
  mapInfo(handle: number, out: Float64Array): number;
  /**
   * Maps what is behind a descriptor, or takes the mapping that the process has of that inode and length.
   * @param fd buffered; the mapping's from now on, unless it fails
   * @param path for messages
   * @returns the handle, good in all threads, or -errno
   */
  mapOpen(fd: number, path: string, lengthBytes: number): number;
  /**
   * One region of zeros, with parts of mappings in it.
   * @param parts handle, offset, length, offset in the region, and so on
   * @param window 1 long: what windowDetach() takes
   */
  mapStitch(parts: Float64Array, lengthBytes: number, window: Uint32Array): ArrayBuffer | number;
  /** @param window 1 long: what windowDetach() takes */
  mapView(
    handle: number,
    offsetBytes: number,
    lengthBytes: number,
    window: Uint32Array,
  ): ArrayBuffer | number;
  /**
   * Work on whole pages, on the thread pool.
   * @param ranges offset, length, and so on
   * @param out one longer than there are ranges: a count each, then microseconds of processor time
   * @param done takes 0 or -errno
   * @returns 0 or -errno, and then `done` is never called
   */
  mapWork(
    handle: number,
    op: number,
    ranges: Float64Array,
    out: Float64Array,
    done: (result: number) => void,
  ): number;
  /**
   * Maps memory that other processes have too, until unmapShared(). What is mapped read-only must not be
   * written to: the process would die.
   * @param fd of memoryFile(): a file that could shrink is refused with -EPERM
   * @param address 1 long: where it lies
   */
  mapShared(
    fd: number,
    lengthBytes: number,
    writable: 0 | 1,
    address: Float64Array,
  ): ArrayBuffer | number;
  /** Zeroed memory to share, of a length that nobody can change. @returns a descriptor or -errno */
  memoryFile(lengthBytes: number): number;
  /**
   * One system call on the thread pool. The memory at `address` must stay until `done`.
   * @param done takes the bytes moved, 0, or -errno
   * @returns 0 or -errno, and then `done` is never called
   */
  offload(
    op: number,
    fd: number,
    address: number,
    lengthBytes: number,
    offsetBytes: number,
    flags: number,
    done: (result: number) => void,
  ): number;
  /**
   * Who connected to a Unix socket, as of then.
   * @param out 3 long: process, user, group
   * @returns 0 or -errno
   */
  peerCredentials(fd: number, out: Uint32Array): number;
  /**
   * Supplementary groups of who connected to a Unix socket, as of then.
   * @returns how many, or -errno: -ERANGE when `out` is too short
   */
  peerGroups(fd: number, out: Uint32Array): number;
  /**
   * On the thread pool: connects to a Unix socket, sends `request`, and receives everything until the
   * peer closes.
   * @param path without a zero at the end
   * @param timeoutMs 1 … 60,000
   * @param done takes 0 and what came, or -errno: -ETIMEDOUT after `timeoutMs`. The descriptors are its own
   * @returns 0 or -errno, and then `done` is never called
   */
  receiveDescriptors(
    path: Uint8Array,
    request: Uint8Array,
    timeoutMs: number,
    done: (
      result: number,
      answer: Uint8Array<ArrayBuffer> | undefined,
      fds: Int32Array | undefined,
    ) => void,
  ): number;
  /** @returns 0 or -EBUSY while completions are outstanding */
  ringClose(ring: number): number;
  /** Hands filled entries to the kernel. @returns how many it took, or -errno */
  ringEnter(ring: number, count: number): number;
  /** The ring's memory, region 0 (heads, tails, completions) or 1 (entries); once for each. */
  ringMemory(ring: number, region: 0 | 1): ArrayBuffer | number;
  /**
   * @param layout RING_LAYOUT_LENGTH long: entries of both rings, then byte offsets in region 0 of
   *   sqHead, sqTail, cqHead, cqTail and the completions
   * @param onCompletions called on the loop while completions wait to be read
   * @returns the ring, or -errno
   */
  ringOpen(
    kind: number,
    sqEntries: number,
    cqEntries: number,
    layout: Uint32Array,
    onCompletions: () => void,
  ): number;
  /**
   * Sends one datagram to a Unix socket, without waiting: a service manager's, for one.
   * @param path a leading NUL byte says an abstract name
   * @returns 0 or -errno
   */
  sendDatagram(path: Uint8Array, bytes: Uint8Array): number;
  /**
   * Sends bytes on a Unix socket and descriptors with the first of them, without waiting.
   * @returns bytes sent, or -errno: -EAGAIN when the socket is full
   */
  sendDescriptors(fd: number, bytes: Uint8Array, fds: Int32Array): number;
  /** Turns O_DIRECT of an open file on or off. @returns 0 or -errno */
  setDirect(fd: number, direct: 0 | 1): number;
  /** @returns 0, or -ENOENT when the share is closing or gone */
  shareAttach(share: number): number;
  /** @param gone 0: nobody can attach any more; 1: its id is free. @returns 0, or -ENOENT */
  shareClose(share: number, gone: 0 | 1): number;
  /** @returns 1 when it is closing or gone, else 0 */
  shareClosing(share: number): number;
  /** @returns attachments in all threads, or -ENOENT when it is gone */
  shareCount(share: number): number;
  /** @returns 0, or -ENOENT when this thread is not attached */
  shareDetach(share: number): number;
  /** @returns a share that lives until it is closed or this thread ends, or -EMFILE */
  shareOpen(): number;
  /**
   * Memory for I/O, outside the reach of the garbage collector until slabUnmap().
   * @param lengthBytes a multiple of 2 MiB
   * @param address 1 long: where it lies
   */
  slabMap(lengthBytes: number, address: Float64Array): ArrayBuffer | number;
  /** Detaches every view of it, then unmaps it. @returns 0 or -errno */
  slabUnmap(address: number): number;
  /**
   * Ends an ArrayBuffer of mapView(), mapBits() or mapStitch(): all that looks at it has length 0.
   * @returns 0: done, and `done` is never called; 1: `done` is, when its memory is unmapped;
   *   -EBUSY: its memory was moved away, and stays until that is collected; or -errno
   */
  windowDetach(window: number, buffer: ArrayBuffer, done: () => void): number;
  /** Detaches every view of it, then unmaps it. @returns 0 or -errno */
  unmapShared(address: number): number;
}

const NODE_API_MIN = 9;
/** An on-heap typed array is at most so long, and handing one over would move it off the heap. */
const CRC_PLAIN_BYTES_MAX = 64;

/** Where the package.json is. */
export function packageRoot(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest) && /"name":\s*"mpool"/.test(readFileSync(manifest, 'utf8'))) {
      return folder;
    }
    if (folder === dirname(folder)) throw new Error('mpool: its package.json was not found');
  }
}

function find(): string {
  const override = process.env['MPOOL_NATIVE'];
  if (override !== undefined && override !== '') return override;
  const root = packageRoot();
  const places = [`prebuilds/linux-${process.arch}/mpool.node`, 'native/build/mpool.node'];
  const found = places.map((place) => join(root, place)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new Error(
    `mpool: the native addon is missing (looked for ${places.join(' and ')} in ${root}): ` +
      'run `npm run native`, which needs make and g++',
  );
}

function load(): Binding {
  // Loading an addon into a Node that lacks its Node-API version crashes the process: look first.
  if (process.platform !== 'linux' || Number(process.versions['napi']) < NODE_API_MIN) {
    throw new Error(
      `mpool: needs Linux and Node-API ${NODE_API_MIN} (Node.js 20.19 or later); ` +
        `this is ${process.platform}, Node.js ${process.version}`,
    );
  }
  return createRequire(import.meta.url)(find()) as Binding;
}

export const binding: Binding = load();

useCrc32cEngine(
  (bytes, seed) =>
    bytes.length <= CRC_PLAIN_BYTES_MAX ? crc32cPlain(bytes, seed) : binding.crc32c(bytes, seed, 0),
  (bytes, sums) => {
    if (binding.crc32cPages(bytes, sums) < 0) throw new RangeError('a checksum for every page');
  },
);
