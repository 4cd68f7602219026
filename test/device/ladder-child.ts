/** Prints which engine a device gets and what the doctor says, as JSON. Usage: child PATH */
import { readAsync, writeAsync } from '../../src/device/device.ts';
import { diagnose } from '../../src/device/doctor.ts';
import { SystemHost } from '../../src/device/system-host.ts';

const device = await new SystemHost().openDevice(process.argv[2]!, { access: 'write' });
const buffer = device.allocate(8192);
buffer.fill(0x33);
await writeAsync(device, 4096, buffer, 'durable');
buffer.fill(0);
await readAsync(device, 4096, buffer);
const { engine, sectorBytes } = device;
const sound = buffer.every((byte) => byte === 0x33);
await device.close();
process.stdout.write(JSON.stringify({ engine, sectorBytes, sound, report: await diagnose() }));
