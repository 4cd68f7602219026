import { close } from 'node:fs';
import { promisify } from 'node:util';
import type { Clock } from '../../base/clock.ts';
import type { MpoolError } from '../../base/errors.ts';
import type { Device } from '../../device/device.ts';
import type { EngineChoice } from '../../device/host.ts';
import type { MediaClass, PoolParameters } from '../../pool/api.ts';
import { noteEngine, watchDevice } from '../../pool/device-health.ts';
import type { MappableStore, Mcache, StoreMaps } from '../../pool/environment.ts';
import type { Health } from '../../pool/health.ts';
import type { ClientChannel } from '../client-channel.ts';
import { receiveDescriptors } from '../descriptors.ts';
import type { DeviceForClient, Hello } from '../protocol.ts';
import { ClientSlots } from '../shared-slots.ts';
import type { DeletedIds } from './deleted-ids.ts';
import { Leases } from './leases.ts';
import { DESCRIPTORS_PER_DEVICE, openPassedDevices, type PassedDevice } from './passed-devices.ts';

const closeDescriptor = promisify(close);

export interface AttachmentOptions {
  /** Of the pool's socket. */
  path: string;
  /** For the connection that fetches descriptors. */
  hello: (token: string) => Hello;
  clock: Clock;
  mcache: Mcache;
  engine: EngineChoice | undefined;
  checksumCacheBytes: number | undefined;
  deleted: DeletedIds;
  /** What maps ask of the pool at any time. */
  pool: { readonly name: string; readonly parameters: PoolParameters; assertOpen(): void };
}

/**
 * What one connection to a pool brings, and what ends with it: descriptors of the devices, leases, maps, and
 * memory to write from.
 *
 * Invariant: devices that were replaced (one was added, or grew) stay open until the attachment ends:
 * maps and reads may be using them for as long as they like.
 */
export class Attachment {
  readonly channel: ClientChannel;
  readonly leases: Leases;
  readonly maps: StoreMaps;
  /** Of a pool opened for writing. */
  readonly slots: ClientSlots | undefined;
  readonly #options: AttachmentOptions;
  #watching: { health: Health; slowMs: number } | undefined;
  #devices: readonly PassedDevice[];
  #retired: readonly PassedDevice[] = [];
  #opening: Promise<void> | undefined;
  #ended = false;

  static async make(channel: ClientChannel, options: AttachmentOptions): Promise<Attachment> {
    const pool = channel.welcome.pool!;
    const { devices: told, descriptorToken, slotBytes, slotCount, readOnly } = pool;
    const { devices, memory } = await fetchDevices(options, told, descriptorToken, !readOnly);
    try {
      const sizes = { slotBytes, slotCount };
      const slots = memory === undefined ? undefined : new ClientSlots(memory, sizes);
      return new Attachment(channel, options, devices, slots);
    } catch (error) {
      await Promise.all(devices.map(({ device }) => device.close()));
      throw error;
    } finally {
      if (memory !== undefined) await closeDescriptor(memory);
    }
  }

  private constructor(
    channel: ClientChannel,
    options: AttachmentOptions,
    devices: readonly PassedDevice[],
    slots: ClientSlots | undefined,
  ) {
    this.channel = channel;
    this.slots = slots;
    this.#options = options;
    this.#devices = devices;
    this.leases = new Leases({
      channel,
      device: (code) => this.#deviceOf(code),
      checksumCacheBytes: options.checksumCacheBytes,
      deleted: options.deleted,
    });
    this.maps = options.mcache.mapsOf(mappableStore(this, options.pool));
    this.leases.maps = this.maps;
  }

  /** Of that class; undefined when the pool has none, or the device is missing. */
  media(mediaClass: MediaClass): PassedDevice | undefined {
    return this.#devices.find((each) => each.mediaClass === mediaClass);
  }

  device(classCode: number): Device | undefined {
    return this.#deviceOf(classCode);
  }

  /** From now on what is found wrong with devices and objects is noted. */
  watch(health: Health, slowMs: number): void {
    this.#watching = { health, slowMs };
    this.leases.health = health;
    this.#watchDevices();
  }

  #watchDevices(): void {
    if (this.#watching === undefined) return;
    const { health, slowMs } = this.#watching;
    for (const { device } of this.#devices) {
      watchDevice(device, { clock: this.#options.clock, health, slowMs });
    }
  }

  /** Where the system gives, or left, this process less than was asked for. */
  noteEngines(): void {
    const { health } = this.#watching!;
    for (const { device } of this.#devices) noteEngine(device, health);
  }

  /** The daemon tells that devices were added or grew. */
  replaceDevices(told: readonly DeviceForClient[], token: string): void {
    const before = this.#opening;
    const opening = this.#replaceDevices(told, token, before)
      // The next connection brings all of them.
      .catch(() => this.channel.destroy())
      .finally(() => {
        if (this.#opening === opening) this.#opening = undefined;
      });
    this.#opening = opening;
  }

  /** While devices that the daemon told of are not there yet: objects may lie on them already. */
  get opening(): Promise<void> | undefined {
    return this.#opening;
  }

  async #replaceDevices(
    told: readonly DeviceForClient[],
    token: string,
    before: Promise<void> | undefined,
  ): Promise<void> {
    const withMemory = this.slots !== undefined;
    const fetching = fetchDevices(this.#options, told, token, withMemory);
    await before;
    const { devices, memory } = await fetching;
    // The same as the first time.
    if (memory !== undefined) await closeDescriptor(memory);
    if (this.#ended) {
      await Promise.all(devices.map(({ device }) => device.close()));
      return;
    }
    this.#retired = [...this.#retired, ...this.#devices];
    this.#devices = devices;
    this.#watchDevices();
  }

  /**
   * Ends maps, waits for reads, lets go of devices and memory; when it was lost too: nobody may look any more
   * at what was leased. Every view has length 0 when this returns. Idempotent.
   * @param why what maps say, when it was lost
   */
  async close(why?: MpoolError): Promise<void> {
    if (this.#ended) return;
    this.#ended = true;
    const unmapping = this.maps.close(why);
    this.slots?.close();
    await unmapping;
    await this.leases.reader.idle();
    if (this.channel.open) await this.leases.giveUpAll();
    const devices = [...this.#devices, ...this.#retired];
    await Promise.all(devices.map(({ device }) => device.close()));
  }

  #deviceOf(code: number): Device | undefined {
    return this.media(code === 1 ? 'capacity' : 'staging')?.device;
  }
}

async function fetchDevices(
  { path, hello, engine }: AttachmentOptions,
  told: readonly DeviceForClient[],
  token: string,
  withMemory: boolean,
): Promise<{ devices: PassedDevice[]; memory: number | undefined }> {
  const deviceCount = DESCRIPTORS_PER_DEVICE * told.length;
  const fds = await receiveDescriptors(path, hello(token), deviceCount + (withMemory ? 1 : 0));
  const memory = withMemory ? fds.pop() : undefined;
  try {
    return { devices: await openPassedDevices(told, fds, engine), memory };
  } catch (error) {
    if (memory !== undefined) await closeDescriptor(memory);
    throw error;
  }
}

/** The pool as maps see it. */
function mappableStore(attachment: Attachment, pool: AttachmentOptions['pool']): MappableStore {
  const { leases } = attachment;
  return {
    name: pool.name,
    table: leases.table,
    reader: leases.reader,
    get parameters() {
      return pool.parameters;
    },
    assertOpen: () => pool.assertOpen(),
    indexOf: (id) => leases.indexOf(id),
    media: (classCode) => {
      const device = attachment.device(classCode);
      return device && { device };
    },
    reclaim: (index) => leases.reclaim(index),
  };
}
