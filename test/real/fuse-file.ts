/** A real file, as far as the kernel and all programs know, behind which sits a medium of ours: see fuse-medium.ts. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isRoot, program } from '../device/places.ts';
import type { Commands } from './fuse-child.ts';

/** Why there can be none here; undefined when there can. */
export function noFuse(): string | undefined {
  if (!isRoot) return 'needs root, to mount a FUSE file';
  if (!existsSync('/dev/fuse')) return 'there is no /dev/fuse on this machine';
  const mount = 'exec 3<>/dev/fuse && exec mount -i -t fuse -o "$0" none /mnt';
  const options = 'fd=3,rootmode=40000,user_id=0,group_id=0';
  const probe = spawnSync('unshare', ['-m', 'sh', '-c', mount, options], { timeout: 5000 });
  return probe.status === 0 ? undefined : 'a FUSE file cannot be mounted here';
}

export interface FuseOptions {
  sizeBytes: number;
  /** A file whose content it has at first. */
  content?: string | undefined;
  name?: string | undefined;
  /** By default beside the file. */
  logPath?: string | undefined;
}

interface Answer {
  result?: unknown;
  error?: string;
}

export class FuseFile {
  readonly path: string;
  readonly logPath: string;
  readonly #child: ChildProcess;
  /** Of what it was told last. */
  #answered: (answer: Answer) => void = () => {};

  /** In a folder that is there; to be unmounted by whoever mounts it, and gone with this process in any case. */
  static async mount(folder: string, options: FuseOptions): Promise<FuseFile> {
    const { sizeBytes, content, name = 'medium' } = options;
    const path = join(folder, name);
    writeFileSync(path, '');
    const { logPath = join(folder, `${name}.log`) } = options;
    const args = [
      '--enable-source-maps',
      program('../real/fuse-child'),
      path,
      `${sizeBytes}`,
      logPath,
    ];
    const child = spawn(process.execPath, content === undefined ? args : [...args, content], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      // Of a group of its own: what ends this process and all with it leaves somebody to unmount.
      detached: true,
    });
    const [ready] = (await Promise.race([
      once(child, 'message'),
      once(child, 'exit'),
    ])) as unknown[];
    assert.deepEqual(ready, { result: 'mounted' }, 'the file is mounted');
    return new FuseFile(child, path, logPath);
  }

  private constructor(child: ChildProcess, path: string, logPath: string) {
    this.#child = child;
    child.on('message', (answer: Answer) => this.#answered(answer));
    child.on('exit', () => this.#answered({ error: 'its process ended' }));
    this.path = path;
    this.logPath = logPath;
  }

  /** One at a time. */
  async tell<Name extends keyof Commands>(
    name: Name,
    value: Commands[Name][0],
  ): Promise<Commands[Name][1]> {
    const answer = new Promise<Answer>((resolve) => (this.#answered = resolve));
    this.#child.send({ name, value });
    const { result, error } = await answer;
    assert.equal(error, undefined, `${name}: ${error}`);
    return result as Commands[Name][1];
  }

  /** Nobody may have it open. Its log is complete. */
  async unmount(): Promise<void> {
    await this.tell('unmount', null);
    await this.kill();
  }

  /** As a device that is pulled out: all that is under way or comes after fails. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exited;
    spawnSync('umount', ['--lazy', this.path]);
  }
}
