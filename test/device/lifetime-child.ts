/** Does I/O in ways that ends of threads and processes have to survive. Usage: child SCENE PATH ENGINE */
import { statSync } from 'node:fs';
import { parentPort, Worker, isMainThread, workerData } from 'node:worker_threads';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { readAsync } from '../../src/device/device.ts';
import type { Device } from '../../src/device/device.ts';
import type { EngineChoice } from '../../src/device/host.ts';
import { pageBuffers } from '../../src/device/page-buffers.ts';
import { SystemHost } from '../../src/device/system-host.ts';

interface Task {
  scene: string;
  path: string;
  engine: EngineChoice;
}

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;
const host = new SystemHost();

function open(task: Task): Promise<Device> {
  return host.openDevice(task.path, { access: 'read', engine: task.engine });
}

/** Reads for ever, `depth` at a time. */
function keepReading(device: Device, depth: number, onFirst: () => void): void {
  let count = 0;
  for (let i = 0; i < depth; i++) {
    const buffer = device.allocate(256 * 1024);
    const again = (): void => {
      if (count++ === 2 * depth) onFirst();
      device.read(((count * 7) % 8) * buffer.length, buffer, again);
    };
    again();
  }
}

const SCENES: Record<string, (task: Task) => Promise<void>> = {
  /** Ends by itself although a device is open: nothing in flight keeps nothing alive. */
  async idle(task) {
    const device = await open(task);
    await readAsync(device, 0, device.allocate(4096));
    process.stdout.write('idle');
    (globalThis as { device?: Device }).device = device;
  },
  /** So too when the last completions came while callbacks ran, so that no wake-up told of them. */
  async slow(task) {
    const device = await open(task);
    for (let i = 0; i < 64; i++) {
      device.read(0, device.allocate(2 ** 20), () => {
        const untilMs = performance.now() + 2;
        // Each system call lets the kernel post completions.
        while (performance.now() < untilMs) statSync(task.path);
      });
    }
    (globalThis as { device?: Device }).device = device;
  },
  /** A read in flight does keep the process alive. */
  async busy(task) {
    const device = await open(task);
    device.read(0, device.allocate(2 ** 20), () => process.stdout.write('read'));
  },
  async exit(task) {
    const device = await open(task);
    keepReading(device, 64, () => {
      process.stdout.write('exit');
      process.exit(0);
    });
  },
  async uncaught(task) {
    const device = await open(task);
    keepReading(device, 64, () => {
      throw new Error('on purpose');
    });
  },
  /** A collected device warns and lets go of its claim; buffers in flight outlive their views. */
  async forget(task) {
    process.on('warning', (warning) => process.stdout.write(`${warning.message};`));
    await forgetOne(task);
    for (let i = 0; i < 100; i++) {
      collect();
      await new Promise((resolve) => setTimeout(resolve, 10));
      const alone = host.openDevice(task.path, { access: 'write' });
      const opened = await alone
        .then((device) => device.close())
        .then(
          () => true,
          () => false,
        );
      if (!opened) continue;
      process.stdout.write('released');
      return;
    }
  },
  /** Workers that are terminated with I/O in flight, one after the other, beside I/O of our own. */
  async terminate(task) {
    const device = await open(task);
    const own = { stop: false };
    const reading = (async () => {
      while (!own.stop) await readAsync(device, 0, device.allocate(4096));
    })();
    for (let i = 0; i < 6; i++) {
      const worker = new Worker(new URL(import.meta.url), {
        workerData: { ...task, scene: 'worker' } satisfies Task,
      });
      await new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
      });
      await worker.terminate();
    }
    own.stop = true;
    await reading;
    await device.close();
    process.stdout.write('terminated');
  },
  async worker(task) {
    const device = await open(task);
    keepReading(device, 64, () => answer('reading'));
  },
  /** Four workers that read, answer and end by themselves. */
  async workers(task) {
    const sums = await Promise.all(
      Array.from({ length: 4 }, () => {
        const worker = new Worker(new URL(import.meta.url), {
          workerData: { ...task, scene: 'sum' } satisfies Task,
        });
        return new Promise<number>((resolve, reject) => {
          worker.once('message', resolve);
          worker.once('error', reject);
        });
      }),
    );
    process.stdout.write(sums.join(' '));
  },
  async sum(task) {
    const device = await open(task);
    const buffer = device.allocate(2 ** 20);
    let sum = 0;
    for (let i = 0; i < 20; i++) {
      await readAsync(device, 0, buffer);
      for (const byte of buffer) sum += byte;
    }
    await device.close();
    device.release(buffer);
    pageBuffers.trim(0);
    answer(sum);
  },
};

function answer(message: unknown): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port, not a window
  parentPort?.postMessage(message);
}

/** In a function of its own, so that no register or frame of the caller holds the device. */
async function forgetOne(task: Task): Promise<void> {
  const device = await open(task);
  let left = 16;
  await new Promise<void>((resolve) => {
    for (let i = 0; i < 16; i++) {
      device.read(0, device.allocate(2 ** 20), () => {
        if (--left === 0) resolve();
      });
    }
    collect();
  });
}

const [, , scene = '', path = '', engine = 'auto'] = process.argv;
const task: Task = isMainThread
  ? { scene, path, engine: engine as EngineChoice }
  : (workerData as Task);
await SCENES[task.scene]!(task);
