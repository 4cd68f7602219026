/** Where device tests run: temporary files on disk and on tmpfs, and loop devices. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ENGINES = ['io_uring', 'aio', 'threads'] as const;

/** Runs a program with system calls refused; made by native/Makefile. */
export const REFUSE = join(process.cwd(), 'native/build/refuse');

/** A test, or a whole file of tests: whatever says when it is over. */
export interface Scope {
  after(cleanUp: () => unknown): void;
}

/** For what is not a test: over when it is told so, the last clean-up first. */
export class Lifetime implements Scope {
  readonly #cleanUps: (() => unknown)[] = [];

  after(cleanUp: () => unknown): void {
    this.#cleanUps.push(cleanUp);
  }
  async end(): Promise<void> {
    for (const cleanUp of this.#cleanUps.splice(0).toReversed()) await cleanUp();
  }
}

/** A folder that goes with the test. */
export function temporaryFolder(t: Scope, parent = tmpdir()): string {
  const folder = mkdtempSync(join(parent, 'mpool-device-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export const isRoot = process.getuid?.() === 0;

/** Why loop devices cannot be used here; undefined when they can. */
export function noLoopDevices(): string | undefined {
  if (!isRoot) return 'needs root for losetup';
  return existsSync('/dev/loop-control') ? undefined : 'no loop devices on this machine';
}

/** Attaches a file to a loop device until the test is over. */
export function loopDevice(t: Scope, file: string, sectorBytes: number): string {
  const options = ['--find', '--show', '--direct-io=on', '--sector-size', String(sectorBytes)];
  const path = execFileSync('losetup', [...options, file], { encoding: 'utf8' }).trim();
  t.after(() => execFileSync('losetup', ['--detach', path]));
  return path;
}

/** The compiled program beside the tests. */
export function program(name: string): string {
  return fileURLToPath(new URL(`./${name}.js`, import.meta.url));
}
