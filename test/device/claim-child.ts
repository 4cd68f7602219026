/** Holds a device until its standard input ends. Usage: child PATH read|write */
import { SystemHost } from '../../src/device/system-host.ts';

const [, , path = '', access = 'read'] = process.argv;
try {
  const device = await new SystemHost().openDevice(path, {
    access: access === 'write' ? 'write' : 'read',
  });
  process.stdout.write('held\n');
  process.stdin.resume();
  process.stdin.once('end', () => void device.close());
} catch (error) {
  process.stdout.write(`${error instanceof Error ? error.message : 'unknown'}\n`);
}
