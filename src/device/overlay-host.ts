/**
 * A machine on which nothing is written: devices are claimed (unless told otherwise) and read as they are,
 * and what is written to them, files that are made, and files that grow are only in memory.
 *
 * Invariants
 *  1. Of the host below only memory, openDevice, stat, peek and candidates are used, and of its
 *     devices never write, flush, discard or map.
 *  2. There is one overlay a device, whatever path it is named by; it lasts as long as this host.
 */
import { basename, dirname, join } from 'node:path';
import { MpoolError } from '../base/errors.ts';
import type { Device } from './device.ts';
import type { Host, OpenDeviceOptions, PathInfo } from './host.ts';
import { Overlay } from './overlay.ts';
import { OverlayDevice } from './overlay-device.ts';

export class OverlayHost implements Host {
  readonly #below: Host;
  readonly #refuseCreate: (path: string) => Promise<void>;
  readonly #claims: boolean;
  /** By resolved path. */
  readonly #overlays = new Map<string, Overlay>();
  /** Files that are in memory only. */
  readonly #made = new Set<string>();
  readonly #removed = new Set<string>();

  /**
   * @param refuseCreate rejects when no file can be made at the path
   * @param options.claims false: devices that others have are read as they are at the moment
   */
  constructor(
    below: Host,
    refuseCreate: (path: string) => Promise<void>,
    options: { claims: boolean } = { claims: true },
  ) {
    this.#below = below;
    this.#refuseCreate = refuseCreate;
    this.#claims = options.claims;
  }

  get memory(): Host['memory'] {
    return this.#below.memory;
  }

  async openDevice(path: string, options: OpenDeviceOptions): Promise<Device> {
    const real = await this.#resolve(path);
    if (this.#made.has(real)) {
      return new OverlayDevice(path, options.access, this.#overlayOf(real));
    }
    if (this.#removed.has(real)) throw new MpoolError('ERR_MPOOL_NOT_FOUND', path, { path });
    const below = await this.#below.openDevice(
      path,
      this.#claims ? options : { ...options, access: 'read', claim: false },
    );
    return new OverlayDevice(path, options.access, this.#overlayOf(real), below);
  }

  async createFile(path: string, sizeBytes: number): Promise<void> {
    const real = await this.#resolve(path);
    if ((await this.stat(path)) !== undefined) {
      throw new MpoolError('ERR_MPOOL_EXISTS', path, { path });
    }
    if (!this.#removed.has(real)) await this.#refuseCreate(path);
    this.#made.add(real);
    this.#overlays.set(real, new Overlay(sizeBytes));
  }

  async growFile(path: string, sizeBytes: number): Promise<void> {
    const overlay = this.#overlayOf(await this.#resolve(path));
    overlay.sizeBytes = Math.max(overlay.sizeBytes, sizeBytes);
  }

  async removeFile(path: string): Promise<void> {
    const real = await this.#resolve(path);
    if (!this.#made.delete(real)) this.#removed.add(real);
    this.#overlays.delete(real);
  }

  async stat(path: string): Promise<PathInfo | undefined> {
    const real = await this.#resolve(path);
    const sizeBytes = this.#overlays.get(real)?.sizeBytes ?? 0;
    if (this.#made.has(real)) return { path: real, kind: 'file', sizeBytes };
    if (this.#removed.has(real)) return undefined;
    const info = await this.#below.stat(path);
    return info && { ...info, sizeBytes: Math.max(info.sizeBytes, sizeBytes) };
  }

  async peek(path: string, offsetBytes: number, lengthBytes: number): Promise<Uint8Array> {
    const info = await this.stat(path);
    if (info === undefined) throw new MpoolError('ERR_MPOOL_NOT_FOUND', path, { path });
    const overlay = this.#overlays.get(info.path);
    const below = this.#made.has(info.path)
      ? new Uint8Array(0)
      : await this.#below.peek(path, offsetBytes, lengthBytes);
    if (overlay === undefined) return below;
    const end = Math.min(lengthBytes, Math.max(0, overlay.sizeBytes - offsetBytes));
    const bytes = new Uint8Array(Math.max(below.length, end));
    bytes.set(below);
    overlay.cover(offsetBytes, bytes);
    return bytes;
  }

  async candidates(places: readonly string[], blockDevices: boolean): Promise<string[]> {
    const found = await this.#below.candidates(places, blockDevices);
    const real = new Set(await Promise.all(places.map((place) => this.#resolve(place))));
    const made = [...this.#made].filter((path) => real.has(path) || real.has(dirname(path)));
    return [...found.filter((path) => !this.#removed.has(path)), ...made];
  }

  #overlayOf(real: string): Overlay {
    let overlay = this.#overlays.get(real);
    if (overlay === undefined) this.#overlays.set(real, (overlay = new Overlay(0)));
    return overlay;
  }

  /** Also of a file that is not there, as long as its folder is. */
  async #resolve(path: string): Promise<string> {
    const info = await this.#below.stat(path);
    if (info !== undefined) return info.path;
    const folder = await this.#below.stat(dirname(path));
    return folder === undefined ? path : join(folder.path, basename(path));
  }
}
