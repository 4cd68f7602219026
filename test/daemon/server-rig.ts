/** A daemon in this process, on a directory and files of its own, and clients that speak the bare protocol. */
import { closeSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { SeededPrng, systemPrng } from '../../src/base/prng.ts';
import { ClientChannel } from '../../src/daemon/client-channel.ts';
import { receiveDescriptors } from '../../src/daemon/descriptors.ts';
import type { NoticeName, Operation, Requests } from '../../src/daemon/operations.ts';
import type { Hello } from '../../src/daemon/protocol.ts';
import { controlSocketPath, poolSocketPath } from '../../src/daemon/rundir.ts';
import { ClientSlots } from '../../src/daemon/shared-slots.ts';
import type { DaemonConfig } from '../../src/daemon/server/config.ts';
import { Daemon } from '../../src/daemon/server/daemon.ts';
import { Journal } from '../../src/daemon/server/journal.ts';
import type { DaemonLimits } from '../../src/daemon/server/limits.ts';
import type { PoolService } from '../../src/daemon/server/pool-service.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { HELLO } from './sockets.ts';

export const MIB = 2 ** 20;
export const PAGE = 4096;
export const POOL = 'p1';
const POOL_BYTES = 64 * MIB;

export interface RigOptions {
  limits?: Partial<DaemonLimits>;
  config?: Partial<DaemonConfig>;
  /** Of the pool that is there from the start. */
  create?: Record<string, unknown>;
}

export interface Notice {
  name: NoticeName;
  body: unknown;
}

/** One connection; `ask` gives the body of the answer. */
export class Asker {
  readonly channel: ClientChannel;
  readonly notices: Notice[];

  constructor(channel: ClientChannel, notices: Notice[]) {
    this.channel = channel;
    this.notices = notices;
  }

  async ask<Op extends Operation>(
    operation: Op,
    body: Requests[Op][0],
    payload?: Uint8Array,
  ): Promise<Requests[Op][1]> {
    return (await this.channel.request(operation, body, payload)).body;
  }

  /** A committed mblock with that content. */
  async mblock(content: Uint8Array): Promise<string> {
    const { mblocks } = await this.ask('mblock.alloc', {});
    const { id } = mblocks[0]!;
    await this.ask('mblock.write', { id }, content);
    await this.ask('mblock.commit', { ids: [id] });
    return id;
  }

  /** Until the daemon has seen the end too. */
  async close(): Promise<void> {
    this.channel.close();
    await this.channel.ended;
  }
}

export class Rig {
  readonly daemon: Daemon;
  readonly folder: string;
  readonly events: string[];
  readonly #t: TestContext;

  constructor(t: TestContext, daemon: Daemon, folder: string, events: string[]) {
    this.#t = t;
    this.daemon = daemon;
    this.folder = folder;
    this.events = events;
  }

  get rundir(): string {
    return join(this.folder, 'r');
  }
  get service(): PoolService {
    return this.daemon.pools.services.find(({ name }) => name === POOL)!;
  }

  async control(): Promise<Asker> {
    return this.#connect(controlSocketPath(this.rundir), HELLO);
  }

  async client(hello: Partial<Hello> = {}, pool = POOL): Promise<Asker> {
    return this.#connect(poolSocketPath(this.rundir, pool), {
      ...HELLO,
      access: 'write',
      ...hello,
    });
  }

  /** The client's side of the memory that it shares with the daemon. */
  async slotsOf({ channel }: Asker): Promise<ClientSlots> {
    const { descriptorToken, devices, slotBytes, slotCount } = channel.welcome.pool!;
    const path = poolSocketPath(this.rundir, POOL);
    const hello = { ...HELLO, descriptorsFor: descriptorToken };
    const fds = await receiveDescriptors(path, hello, 2 * devices.length + 1);
    const slots = new ClientSlots(fds.at(-1)!, { slotBytes, slotCount });
    this.#t.after(() => slots.close());
    closeAll(fds);
    return slots;
  }

  async #connect(path: string, hello: Hello): Promise<Asker> {
    const notices: Notice[] = [];
    const channel = await ClientChannel.connect(path, hello, {
      onNotice: (name, body) => void notices.push({ name, body }),
    });
    this.#t.after(() => channel.destroy());
    return new Asker(channel, notices);
  }
}

/** A daemon that serves one pool, until the test ends. */
export async function startRig(t: TestContext, options: RigOptions = {}): Promise<Rig> {
  const folder = mkdtempSync(join(tmpdir(), 'mpd-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, 'files'));
  const events: string[] = [];
  const { daemon, control } = await startDaemon(t, folder, options, events);
  const capacity = {
    path: join(folder, 'files/p1'),
    sizeBytes: POOL_BYTES,
    mblockSizeBytes: MIB,
  };
  await control.ask('create', { options: { name: POOL, capacity, ...options.create } });
  await control.close();
  return new Rig(t, daemon, folder, events);
}

async function startDaemon(
  t: TestContext,
  folder: string,
  { limits, config }: RigOptions,
  events: string[],
): Promise<{ daemon: Daemon; control: Asker }> {
  const searchPlaces = [join(folder, 'files')];
  const daemon = await Daemon.start({
    environment: { host: new SystemHost(), clock: systemClock, prng: systemPrng },
    rundir: join(folder, 'r'),
    version: '1.2.3',
    journal: new Journal({
      level: 'debug',
      format: 'line',
      write: (line) => void events.push(line),
      wallMs: () => systemClock.wallMs(),
    }),
    loadConfig: async () => ({ searchPlaces, blockDevices: false, logLevel: 'debug', ...config }),
    limits,
  });
  t.after(() => daemon.stop());
  const rig = new Rig(t, daemon, folder, events);
  return { daemon, control: await rig.control() };
}

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) closeSync(fd);
}

/** Bytes that differ from place to place, and between seeds. */
export function pattern(lengthBytes: number, seed = 1): Buffer {
  const prng = new SeededPrng(seed);
  const words = Uint32Array.from({ length: Math.ceil(lengthBytes / 4) }, () => prng.u32());
  return Buffer.from(words.buffer, 0, lengthBytes);
}
