/**
 * Tears a ring down while it carries I/O, and prints as JSON how that went. Usage: child PATH ENGINE HOW
 * HOW: close or replace its descriptor, or refuse the system call that enters it with an errno.
 */
import { closeSync, openSync, readdirSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { EngineChoice } from '../../src/device/host.ts';
import { flushAsync, readAsync, writeAsync } from '../../src/device/device.ts';
import { SystemHost } from '../../src/device/system-host.ts';

const [path = '', engine = 'io_uring', how = 'EPERM'] = process.argv.slice(2);
const PAGE = 4096;
/** More than a ring takes at once, so that some are with the kernel, some entered, some in line. */
const WRITES = 1500;

function tear(): void {
  if (how !== 'close' && how !== 'replace') {
    const require = createRequire(import.meta.url);
    const { refuseNow } = require(join(process.cwd(), 'native/build/refuse-now.node')) as {
      refuseNow: (call: string, errno: number) => number;
    };
    const call = engine === 'aio' ? 'io_submit' : 'io_uring_enter';
    const result = refuseNow(call, constants.errno[how as 'EPERM']);
    if (result !== 0) throw new Error(`seccomp: ${result}`);
    return;
  }
  const fd = rings().find((each) => !othersRings.includes(each))!;
  closeSync(fd);
  // The lowest free descriptor is the one that was closed, or there are others to fill.
  if (how === 'replace') while (openSync('/dev/null', 'r') < fd);
}

function rings(): number[] {
  return readdirSync('/proc/self/fd').map(Number).filter(isRing);
}

function isRing(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`) === 'anon_inode:[io_uring]';
  } catch {
    return false;
  }
}

/** Of the runtime itself. */
const othersRings = rings();
const host = new SystemHost();
const options = { access: 'write', engine: engine as EngineChoice } as const;
const device = await host.openDevice(path, options);
const before = device.engine;
// In mid-life: the event loop watches the ring already.
await flushAsync(device);
await new Promise((resolve) => setTimeout(resolve, 5));
const pages = Array.from({ length: WRITES }, (_, i) => device.allocate(PAGE).fill(i % 251));
const failures: string[] = [];
const works = pages.map((page, i) =>
  writeAsync(device, i * PAGE, page, i % 7 === 0 ? 'durable' : 'volatile').catch(
    (error: Error) => void failures.push(error.message),
  ),
);
tear();
const late = pages.map((_, i) => {
  const page = device.allocate(PAGE);
  return readAsync(device, (WRITES + i) * PAGE, page).then(
    () => device.release(page),
    (error: Error) => void failures.push(error.message),
  );
});
await Promise.all([...works, ...late]);
await flushAsync(device);
let wrong = 0;
for (let i = 0; i < WRITES; i++) {
  const page = device.allocate(PAGE);
  await readAsync(device, i * PAGE, page);
  if (!page.every((byte) => byte === i % 251)) wrong += 1;
  device.release(page);
}
const { engine: after, engineProblem: problem } = device;
await device.close();
// One that is opened later begins at the top again, and has to find out by itself.
const next = await host.openDevice(path, options);
const page = next.allocate(PAGE);
await readAsync(next, PAGE, page);
const sound = page.every((byte) => byte === 1);
const nextEngine = next.engine;
await next.close();
const told = { before, after, problem, failures, wrong, sound, nextEngine };
process.stdout.write(JSON.stringify(told));
