/** Says what its gauge reads whenever a line comes in, after it has allocated what the line says, in MiB. */
import { createInterface } from 'node:readline';
import { MIB } from '../../src/base/units.ts';
import { SystemMemory } from '../../src/device/system-memory.ts';

const gauge = new SystemMemory();
const heap: Uint8Array[] = [];
for await (const line of createInterface({ input: process.stdin })) {
  heap.push(new Uint8Array(Number(line) * MIB).fill(1));
  process.stdout.write(`${JSON.stringify(await gauge.read())}\n`);
}
await gauge.release();
