/** A daemon that can be killed and started again, a pool of it, and clients whose waiting is short. */
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { open as openFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { TestContext } from 'node:test';
import { type Clock, systemClock } from '../../src/base/clock.ts';
import type { Daemon } from '../../src/daemon/client/daemon.ts';
import { findDaemon } from '../../src/daemon/client/find-daemon.ts';
import { SystemMemory } from '../../src/device/system-memory.ts';
import { mcacheOn } from '../../src/mcache/mcache.ts';
import { connectSoon, spawnDaemon } from '../contract/test-daemon.ts';

export const MIB = 2 ** 20;
export const PAGE = 4096;
export const POOL = 'p1';

/** A hundred times as fast: half a minute of patience is a third of a second. */
const FASTER = 100;
const hastyClock: Clock = {
  wallMs: () => systemClock.wallMs(),
  monotonicMs: () => systemClock.monotonicMs() * FASTER,
  after: (delayMs, callback, keepAlive) => systemClock.after(delayMs / FASTER, callback, keepAlive),
};

export interface ClientRig {
  readonly rundir: string;
  readonly path: string;
  /** To be asked about the daemon; connects again after a restart. */
  readonly daemon: Daemon;
  /** Another client, as of another process; with `hasty` it waits a hundredth of the time. */
  client(options?: { hasty?: boolean }): Promise<Daemon>;
  /** SIGKILL; with what it was doing. */
  kill(): Promise<void>;
  /** A new one, which has the pool again unless told otherwise. */
  start(options?: { activate?: boolean }): Promise<void>;
}

/** A running daemon with one active pool of 1 MiB mblocks. */
export async function clientRig(
  t: TestContext,
  options: { sizeBytes?: number; parameters?: object } = {},
): Promise<ClientRig> {
  const rundir = mkdtempSync(join(tmpdir(), 'mpoold-'));
  const folder = resolve(mkdtempSync(join('build', 'mpool-client-')));
  const path = join(folder, 'capacity');
  let child: ChildProcess = spawnDaemon(rundir);
  const daemons: Daemon[] = [];
  const daemon = await connectSoon(rundir);
  t.after(async () => {
    for (const each of daemons) await each.close();
    await daemon.close();
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    rmSync(folder, { recursive: true, force: true });
    rmSync(rundir, { recursive: true, force: true });
  });
  const { sizeBytes = 64 * MIB, parameters } = options;
  const capacity = { path, sizeBytes, mblockSizeBytes: MIB };
  await daemon.create({ name: POOL, capacity, ...parameters });
  return {
    rundir,
    path,
    daemon,
    async client({ hasty = false } = {}) {
      const clock = hasty ? hastyClock : systemClock;
      const mcache = mcacheOn({ clock: systemClock, gauge: new SystemMemory() });
      const client = await findDaemon([rundir], { clock, mcache, client: 'test' });
      daemons.push(client);
      return client;
    },
    async kill() {
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
    async start({ activate = true } = {}) {
      child = spawnDaemon(rundir);
      if (activate) await daemon.activate(path);
    },
  };
}

/** Turns a bit of the first place that holds these bytes. */
export async function damage(path: string, bytes: Uint8Array, offsetBytes = 0): Promise<number> {
  const file = await openFile(path, 'r+');
  try {
    const { buffer } = await file.read(Buffer.alloc(64 * MIB), 0, 64 * MIB, 0);
    const at = buffer.indexOf(bytes) + offsetBytes;
    assert.ok(at > 0, 'it is on the device');
    await file.write(Uint8Array.of(buffer[at]! ^ 4), 0, 1, at);
    await file.sync();
    return at;
  } finally {
    await file.close();
  }
}
