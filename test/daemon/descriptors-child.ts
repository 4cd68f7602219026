// A client in a process of its own: fetches descriptors, reads and fills what they lead to, and says so.
import { readSync, writeSync } from 'node:fs';
import { receiveDescriptors } from '../../src/daemon/descriptors.ts';
import { ClientSlots } from '../../src/daemon/shared-slots.ts';
import { HELLO } from './sockets.ts';

const [path = '', token = ''] = process.argv.slice(2);
const [file, memory] = (await receiveDescriptors(path, { ...HELLO, descriptorsFor: token }, 2)) as [
  number,
  number,
];
const content = Buffer.alloc(100);
const length = readSync(file, content, 0, 100, 0);
let writable = true;
try {
  writeSync(file, 'x');
} catch {
  writable = false;
}
const slots = new ClientSlots(memory, { slotBytes: 4096, slotCount: 4 });
const taken = await slots.take(2);
for (const slot of taken) slots.bytes(slot).fill(100 + slot);
process.send!({ text: content.toString('latin1', 0, length), writable, taken });
process.on('message', () => process.disconnect());
