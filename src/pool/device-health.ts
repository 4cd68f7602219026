import type { Clock } from '../base/clock.ts';
import type { Device } from '../device/device.ts';
import { IoWatch } from '../device/io-watch.ts';
import type { Health } from './health.ts';

/** What the kernel gives a command of a SCSI or NVMe device before it tries to reset it. */
export const SLOW_DEVICE_MS_DEFAULT = 30_000;
/** What a timer of Node.js can wait. */
export const SLOW_DEVICE_MS_MAX = 2 ** 31 - 1;

/** From now on it is noted when the device does not answer, and that it did. */
export function watchDevice(
  device: Device,
  { clock, health, slowMs }: { clock: Clock; health: Health; slowMs: number },
): void {
  const { path } = device;
  noteEngine(device, health);
  device.ioWatch = new IoWatch(clock, slowMs, {
    slow: (operation) => health.note('slow-device', `${path} has not answered ${operation}`, path),
    answered: () => health.clear('slow-device', path),
  });
}

/** Where the system gives less than was asked for, at first or later: looked at when someone asks. */
export function noteEngine(device: Device, health: Health): void {
  const { path, engineProblem } = device;
  if (engineProblem === undefined || health.has('engine', path)) return;
  health.note('engine', `${path}: ${engineProblem}`, path);
}
