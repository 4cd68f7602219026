/** A file system that can be filled to its last page: a tmpfs. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { isRoot } from '../device/places.ts';
import { MIB } from './rig.ts';

/** Why there can be none here. */
export function noTmpfs(): string | false {
  if (!isRoot) return 'needs root, to mount a tmpfs';
  try {
    execFileSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'none', '/mnt'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'a tmpfs cannot be mounted here';
  }
}

interface Owner {
  readonly folder: string;
  after(cleanUp: () => void): void;
}

export class SmallDisk {
  readonly path: string;

  /** Until its owner ended: a daemon that has it open. */
  constructor(service: Owner, sizeBytes: number) {
    this.path = join(service.folder, 'small');
    mkdirSync(this.path);
    const options = `size=${sizeBytes / MIB}m,mode=0755`;
    execFileSync('mount', ['-t', 'tmpfs', '-o', options, 'mpool-e2e', this.path]);
    service.after(() => execFileSync('umount', [this.path]));
  }

  get #filler(): string {
    return join(this.path, 'filler');
  }

  /** Takes every page that is left. */
  fill(): void {
    const fd = openSync(this.#filler, 'a');
    try {
      for (;;) writeSync(fd, Buffer.alloc(4096));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC');
    } finally {
      closeSync(fd);
    }
  }

  /** Gives them back. */
  empty(): void {
    rmSync(this.#filler);
  }

  resize(sizeBytes: number): void {
    execFileSync('mount', ['-o', `remount,size=${sizeBytes / MIB}m`, this.path]);
  }
}
