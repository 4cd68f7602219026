// Goal: a flush stands only for writes that were done before it began, is shared, and fails for ever.
// Method: a simulated device whose flushes are held or fail at will.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { writeAsync } from '../../src/device/device.ts';
import { FIRST_PAGE, logHost, openRig, type LogRig } from '../crash/log-rig.ts';

async function write(rig: LogRig, sector: number): Promise<void> {
  const buffer = rig.device.allocate(512).fill(sector);
  await writeAsync(rig.device, FIRST_PAGE * 4096 + sector * 512, buffer, 'volatile');
  rig.device.release(buffer);
}

test('all who ask in one tick share a flush; who asks during one waits for the next', async () => {
  const rig = await openRig(logHost());
  await Promise.all(Array.from({ length: 50 }, () => rig.gate.flush()));
  assert.equal(rig.gate.count, 1);
  const held = rig.host.addFault({ op: 'flush', effect: { kind: 'hold' } });
  const first = rig.gate.flush();
  await rig.host.clock.advance(1);
  const later = Array.from({ length: 50 }, () => rig.gate.flush());
  held.release();
  await Promise.all([first, ...later]);
  assert.equal(rig.gate.count, 3, 'one for the first, one for the fifty');
});

test('a write done during a flush is not covered by it', async () => {
  const rig = await openRig(logHost());
  await write(rig, 1);
  const held = rig.host.addFault({ op: 'flush', effect: { kind: 'hold' } });
  const first = rig.gate.flush();
  await rig.host.clock.advance(1);
  await write(rig, 2);
  let settled = false;
  const second = rig.gate.flush().then(() => (settled = true));
  held.release();
  await first;
  assert.equal(settled, false, 'the second asks for a flush of its own');
  await second;
  const after = rig.host
    .crash()
    .disk('/dev/log')
    .bytes(FIRST_PAGE * 4096, 1536);
  assert.deepEqual([after[512], after[1024]], [1, 2], 'both are durable when it is acknowledged');
});

test('a failed flush fails all it stood for, those waiting, and every later one', async () => {
  const rig = await openRig(logHost());
  rig.host.addFault({ op: 'flush', effect: { kind: 'error' } });
  await write(rig, 1);
  const first = [rig.gate.flush(), rig.gate.flush()];
  await Promise.resolve();
  await Promise.resolve();
  const waiting = rig.gate.flush();
  const results = await Promise.allSettled([...first, waiting]);
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  );
  rig.host.clearFaults();
  const [{ reason }] = results as [PromiseRejectedResult];
  await assert.rejects(rig.gate.flush(), (error) => error === reason);
  assert.equal(rig.gate.count, 1, 'the device is not asked again');
});
