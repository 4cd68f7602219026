// A host whose devices report each I/O before it is submitted: for I9, that all of it lies in space the
// pool owns at that moment.
import type { Device, Done, Durability } from '../../src/device/device.ts';
import type { Host, OpenDeviceOptions } from '../../src/device/host.ts';
import type { SimHost } from '../../src/testing/index.ts';

export type Watch = (
  op: 'read' | 'write' | 'discard',
  path: string,
  offsetBytes: number,
  lengthBytes: number,
  /** What is written. */
  bytes?: Uint8Array,
) => void;

/** @param kind what the devices say they are: logs on block devices are written without zeros ahead */
export function watched(host: SimHost, watch: Watch, kind: Device['kind'] = 'simulated'): Host {
  return {
    memory: host.memory,
    openDevice: async (path: string, options: OpenDeviceOptions) =>
      watchedDevice(await host.openDevice(path, options), watch, kind),
    createFile: (path, sizeBytes) => host.createFile(path, sizeBytes),
    growFile: (path, sizeBytes) => host.growFile(path, sizeBytes),
    removeFile: (path) => host.removeFile(path),
    stat: (path) => host.stat(path),
    peek: (path, offsetBytes, lengthBytes) => host.peek(path, offsetBytes, lengthBytes),
    candidates: (places, blockDevices) => host.candidates(places, blockDevices),
  };
}

/** As watched(), of one device. */
export function watchedDevice(device: Device, watch: Watch, kind: Device['kind']): Device {
  const { path } = device;
  return new Proxy(device, {
    get(target, name) {
      if (name === 'kind') return kind;
      if (name === 'read') {
        return (offsetBytes: number, buffer: Uint8Array, done: Done): void => {
          watch('read', path, offsetBytes, buffer.length);
          target.read(offsetBytes, buffer, done);
        };
      }
      if (name === 'write') {
        return (at: number, buffer: Uint8Array, durability: Durability, done: Done): void => {
          watch('write', path, at, buffer.length, buffer);
          target.write(at, buffer, durability, done);
        };
      }
      if (name === 'discard') {
        return (offsetBytes: number, lengthBytes: number, done: Done): void => {
          watch('discard', path, offsetBytes, lengthBytes);
          target.discard(offsetBytes, lengthBytes, done);
        };
      }
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
