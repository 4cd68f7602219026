// Goal: the simulated host keeps the Host contract, survives power cuts of files' names, and is the
// same for the same seed. Method: scripts by name; traces of whole runs compared.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvariantError } from '../../src/base/assert.ts';
import { isMpoolError } from '../../src/base/errors.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { flushAsync, readAsync } from '../../src/device/device.ts';
import { allSurvive, noneSurvive, SimHost } from '../../src/testing/index.ts';
import type { OperationEvent, SimHostOptions } from '../../src/testing/index.ts';
import { DISK, DISK_BYTES, hostWithDisk, openDisk, sectors, writeValue } from './disks.ts';

function code(expected: ErrorCode): (error: unknown) => boolean {
  return (error) => isMpoolError(error, expected);
}

test('a writer is alone, readers share', async () => {
  const host = hostWithDisk();
  const busy = code('ERR_MPOOL_BUSY');
  const writer = await openDisk(host);
  await assert.rejects(openDisk(host), busy);
  await assert.rejects(host.openDevice(DISK, { access: 'read' }), busy);
  await writer.close();
  const reader = await host.openDevice(DISK, { access: 'read' });
  const other = await host.openDevice(DISK, { access: 'read' });
  await assert.rejects(openDisk(host), busy);
  await reader.close();
  await reader.close();
  await assert.rejects(openDisk(host), busy, 'closing twice gives back one claim');
  await other.close();
  await (await openDisk(host)).close();
  await assert.rejects(host.openDevice('/none', { access: 'read' }), code('ERR_MPOOL_NOT_FOUND'));
});

test('files are made, looked at, grown and removed', async () => {
  const host = hostWithDisk();
  await host.createFile('/pools/a', 10_000);
  await assert.rejects(host.createFile('/pools/a', 1), code('ERR_MPOOL_EXISTS'));
  const info = { path: '/pools/a', kind: 'file', sizeBytes: 10_000 };
  assert.deepEqual(await host.stat('/pools/a'), info);
  assert.equal((await host.stat(DISK))?.kind, 'block');
  assert.equal(await host.stat('/none'), undefined);
  assert.equal((await host.peek('/pools/a', 9_000, 4096)).length, 1000);
  assert.equal((await host.peek('/pools/a', 20_000, 4096)).length, 0);
  const device = await host.openDevice('/pools/a', { access: 'write' });
  await host.growFile('/pools/a', 20_480);
  await host.growFile('/pools/a', 5_000);
  assert.equal(device.sizeBytes, 10_000);
  assert.equal(await device.refreshSize(), 20_480);
  assert.equal(device.sizeBytes, 20_480);
  await assert.rejects(host.growFile(DISK, 2 * DISK_BYTES), code('ERR_MPOOL_IO'));
  await host.createFile('/pools/b', 1);
  await host.createFile('/other/c', 1);
  assert.deepEqual(await host.candidates(['/pools'], false), ['/pools/a', '/pools/b']);
  assert.deepEqual(await host.candidates(['/other/c'], true), [DISK, '/other/c']);
  await host.removeFile('/pools/a');
  await assert.rejects(host.removeFile('/pools/a'), code('ERR_MPOOL_NOT_FOUND'));
  await assert.rejects(host.peek('/pools/a', 0, 1), code('ERR_MPOOL_NOT_FOUND'));
});

test('a file may be there or not after a cut, until it was acknowledged', async () => {
  const host = new SimHost();
  await host.createFile('/kept', 4096);
  host.cutPowerAfter(3);
  const pending = [
    host.createFile('/new', 4096),
    host.growFile('/kept', 8192),
    host.removeFile('/kept'),
  ];
  for (const each of await Promise.allSettled(pending)) {
    assert.match(each.status === 'rejected' ? String(each.reason) : 'done', /power cut/);
  }
  assert.deepEqual(
    host.volatileOperations().map(({ op }) => op),
    ['create', 'grow', 'remove'],
  );
  assert.deepEqual(host.crash({ survivors: noneSurvive }).paths, ['/kept']);
  assert.deepEqual(host.crash({ survivors: allSurvive }).paths, ['/new']);
  const grown = { name: 'grown', survives: ({ op }: { op: string }) => op === 'grow' };
  assert.equal((await host.crash({ survivors: grown }).stat('/kept'))?.sizeBytes, 8192);
});

test('disks are pulled, moved, copied, shrunk and grown', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  await writeValue(device, 0, 512, 1);
  await writeValue(device, DISK_BYTES - 512, 512, 2);
  host.copyDisk(DISK, '/dev/copy');
  host.moveDisk(DISK, '/dev/moved');
  assert.deepEqual(host.paths, ['/dev/copy', '/dev/moved']);
  await writeValue(device, 0, 512, 3);
  assert.equal(host.disk('/dev/copy').bytes(0, 1)[0], 1);
  assert.equal(host.disk('/dev/moved').bytes(0, 1)[0], 3);
  const disk = host.disk('/dev/moved');
  disk.resize(DISK_BYTES / 2);
  await assert.rejects(writeValue(device, DISK_BYTES - 512, 512, 2), /past the end/);
  disk.resize(2 * DISK_BYTES);
  assert.equal(disk.bytes(DISK_BYTES - 512, 1)[0], 0, 'what was beyond the end is lost');
  assert.equal(await device.refreshSize(), 2 * DISK_BYTES);
  host.pullDisk('/dev/moved');
  await assert.rejects(writeValue(device, 0, 512, 1), code('ERR_MPOOL_IO'));
  await assert.rejects(readAsync(device, 0, device.allocate(512)), code('ERR_MPOOL_IO'));
  await assert.rejects(flushAsync(device), code('ERR_MPOOL_IO'));
  await device.close();
});

test('a clone goes its own way, unflushed writes included', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  await writeValue(device, 0, 512, 1);
  const clone = host.clone();
  await writeValue(device, 0, 512, 2);
  const other = await openDisk(clone);
  await writeValue(other, 512, 512, 3);
  assert.deepEqual(sectors(host, 0, 2), [2, 0]);
  assert.deepEqual(sectors(clone, 0, 2), [1, 3]);
  assert.deepEqual(
    clone.volatileOperations().map(({ offsetBytes }) => offsetBytes),
    [0, 512],
  );
  assert.deepEqual(sectors(clone.crash(), 0, 2), [0, 0]);
  const pending = writeValue(device, 0, 512, 4);
  assert.throws(() => host.clone(), InvariantError, 'with I/O in flight');
  await pending;
});

test('poke changes any bytes, durably', async () => {
  const host = hostWithDisk();
  const device = await openDisk(host);
  await writeValue(device, 0, 512, 1);
  host.disk(DISK).poke(510, Uint8Array.of(7, 8, 9));
  assert.deepEqual([...host.disk(DISK).bytes(509, 5)], [1, 7, 8, 9, 0]);
  await flushAsync(device);
  assert.deepEqual([...host.crash().disk(DISK).bytes(509, 5)], [1, 7, 8, 9, 0]);
});

test('the store draws other random bits after each crash and clone', () => {
  const host = hostWithDisk();
  const hosts = [host, host.clone(), host.crash(), host.crash().crash()];
  const bits = hosts.map(({ prng }) => prng.u32());
  assert.equal(new Set(bits).size, 3, 'a clone and a crash are both one boot later');
  assert.equal(host.crash().prng.u32(), bits[2], 'and the same at the same place');
  assert.equal(host.environment.host, host);
  assert.equal(host.environment.clock, host.clock);
});

/** Something with many operations in flight whose course depends on the order of completions. */
async function busyRun(options: SimHostOptions): Promise<{ hash: number; order: string }> {
  const host = hostWithDisk(options);
  const device = await openDisk(host);
  const order: number[] = [];
  const chain = async (start: number): Promise<void> => {
    for (let i = 0; i < 10; i++) {
      await writeValue(device, (start * 16 + i) * 512, 512, order.length & 0xff);
      order.push(start);
      if (i % 4 === 3) await flushAsync(device);
    }
  };
  await Promise.all(Array.from({ length: 16 }, (_, i) => chain(i)));
  await device.close();
  return { hash: host.trace.hash, order: order.join(',') };
}

test('the same seed gives the same run, another seed another one', async () => {
  const first = await busyRun({ seed: 5 });
  assert.deepEqual(await busyRun({ seed: 5 }), first);
  assert.deepEqual(await busyRun({ seed: 5, keepTrace: false }), first);
  const second = await busyRun({ seed: 6 });
  assert.notEqual(second.hash, first.hash);
  assert.notEqual(second.order, first.order);
});

test('in order means in order', async () => {
  const host = hostWithDisk({ inOrder: true });
  const device = await openDisk(host);
  const order: number[] = [];
  const writes = Array.from({ length: 50 }, (_, i) =>
    writeValue(device, i * 512, 512, 1).then(() => order.push(i)),
  );
  await Promise.all(writes);
  assert.deepEqual(
    order,
    order.toSorted((a, b) => a - b),
  );
});

function numbers(events: readonly OperationEvent[]): number[] {
  return events.map(({ number }) => number).toSorted((a, b) => a - b);
}

test('each operation is seen once when submitted and once when done', async () => {
  const events: OperationEvent[] = [];
  const host = hostWithDisk({ onOperation: (event) => events.push(event) });
  const device = await openDisk(host);
  const writes = Array.from({ length: 20 }, (_, i) => writeValue(device, i * 512, 512, i));
  await Promise.all([...writes, flushAsync(device)]);
  await assert.rejects(writeValue(device, 3, 512, 1));
  await device.close();
  const submitted = events.filter(({ phase }) => phase === 'submit');
  const completed = events.filter(({ phase }) => phase === 'complete');
  assert.deepEqual(numbers(submitted), numbers(completed));
  assert.equal(new Set(numbers(submitted)).size, submitted.length);
  assert.equal(submitted.filter(({ op }) => op === 'write').length, 21);
  assert.deepEqual(
    completed.filter(({ error }) => error !== undefined).map(({ error }) => error),
    ['ERR_MPOOL_IO'],
  );
  assert.deepEqual(host.trace.events, events);
});

test('a large disk costs nothing until it is written', () => {
  const host = new SimHost();
  const disk = host.addDisk(DISK, { sizeBytes: 2 ** 50 });
  disk.poke(2 ** 49, Uint8Array.of(1));
  disk.poke(0, { fill: 0, lengthBytes: 2 ** 50 });
  assert.equal(disk.bytes(2 ** 49, 1)[0], 0);
});
