import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { Device } from '../device/device.ts';
import type { DeviceMapping } from '../device/device-mapping.ts';
import type { MappableStore } from '../pool/environment.ts';

/** By code of the media class: 0 staging, 1 capacity. */
export type ClassMappings = readonly (DeviceMapping | undefined)[];

const CLASS_NAMES = ['staging', 'capacity'];

/**
 * The mapped devices of a store. A device is mapped when the first object on it is, and once more when an
 * object lies where it grew to since; objects mapped before stay with the mapping they have.
 */
export class StoreMappings {
  readonly #store: MappableStore;
  readonly #current: (DeviceMapping | undefined)[] = [undefined, undefined];
  readonly #opening = new Map<Device, Promise<DeviceMapping>>();
  readonly #open: DeviceMapping[] = [];

  constructor(store: MappableStore) {
    this.#store = store;
  }

  /**
   * Of the classes that the objects are of; a promise only when something has to be mapped first.
   * @throws ERR_MPOOL_NO_DEVICE, ERR_MPOOL_IO
   */
  of(indices: readonly number[]): ClassMappings | Promise<ClassMappings> {
    const { table } = this.#store;
    const ends = [0, 0];
    for (const index of indices) {
      const end = (table.pageAddress(index) + table.pageCount(index)) * PAGE_BYTES;
      const code = table.mediaClass(index);
      if (end > ends[code]!) ends[code] = end;
    }
    const reaches = ends.every((end, code) => end <= (this.#current[code]?.lengthBytes ?? 0));
    if (reaches) return [...this.#current];
    return Promise.all(ends.map(async (end, code) => this.#reach(code, end)));
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#opening.values());
    await Promise.all(this.#open.map((mapping) => mapping.close()));
  }

  /** @returns undefined where nothing is needed */
  async #reach(code: number, endBytes: number): Promise<DeviceMapping | undefined> {
    if (endBytes === 0) return undefined;
    const media = this.#store.media(code);
    if (media === undefined) {
      throw new MpoolError('ERR_MPOOL_NO_DEVICE', `media class ${CLASS_NAMES[code]}`);
    }
    for (;;) {
      const current = this.#current[code];
      if (current !== undefined && current.lengthBytes >= endBytes) return current;
      await (this.#opening.get(media.device) ?? this.#map(code, media.device));
    }
  }

  #map(code: number, device: Device): Promise<DeviceMapping> {
    const opening = device.map();
    this.#opening.set(device, opening);
    return opening
      .then((mapping) => {
        this.#open.push(mapping);
        this.#current[code] = mapping;
        return mapping;
      })
      .finally(() => this.#opening.delete(device));
  }
}
