import type { Device } from './device.ts';
import type { MemoryGauge } from './memory-gauge.ts';

/** The machine as the store sees it: where devices are. Real in `system-host`, simulated in `testing`. */
export interface Host {
  readonly memory: MemoryGauge;

  /**
   * Opens a block device or regular file and claims it.
   * 'write' claims it alone: no other process, and no other opener in this one, may have it open.
   * 'read' shares it with other readers, and never writes.
   * @throws ERR_MPOOL_BUSY when claimed elsewhere; the message names the holder where it can be known
   * @throws ERR_MPOOL_NOT_FOUND, ERR_MPOOL_ACCESS, ERR_MPOOL_IO
   */
  openDevice(path: string, options: OpenDeviceOptions): Promise<Device>;

  /**
   * Makes a sparse file of that size, durably (the directory entry too).
   * @throws ERR_MPOOL_EXISTS when something is there; ERR_MPOOL_NO_SPACE
   */
  createFile(path: string, sizeBytes: number): Promise<void>;
  /** Lengthens a regular file, sparsely and durably. Never shortens it. */
  growFile(path: string, sizeBytes: number): Promise<void>;
  removeFile(path: string): Promise<void>;

  /** What is at a path, following links; undefined when nothing is. */
  stat(path: string): Promise<PathInfo | undefined>;
  /** Bytes of a device or file, without claiming it; shorter at its end. For probing. */
  peek(path: string, offsetBytes: number, lengthBytes: number): Promise<Uint8Array>;
  /**
   * Block devices of the machine (when `blockDevices`), and regular files at or directly in the given
   * places. Unreadable ones are left out.
   */
  candidates(places: readonly string[], blockDevices: boolean): Promise<string[]>;
}

export interface OpenDeviceOptions {
  access: 'read' | 'write';
  /** Which rung of the ladder to begin at; 'auto' by default. */
  engine?: EngineChoice | undefined;
  /** False: only to read, whoever has it claimed, and whatever changes under the reader. True by default. */
  claim?: boolean | undefined;
}

export type EngineChoice = 'auto' | 'io_uring' | 'aio' | 'threads';

export interface PathInfo {
  /** Absolute, links resolved. */
  path: string;
  kind: 'file' | 'block' | 'other';
  sizeBytes: number;
}
