// Goal: an owner learns who still uses what it shares, whatever becomes of the threads.
// Method: attach, recall and close in this thread and in workers that end in the middle.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import {
  attachedCount,
  attachShare,
  closeShare,
  detachShare,
  isClosing,
  markClosing,
  openShare,
} from '../../src/device/thread-share.ts';

/** A worker that attaches `count` times, says so, and waits. */
async function attacher(share: number, count: number): Promise<Worker> {
  const module = import.meta.resolve('../../src/device/thread-share.js');
  const program = `
    import { parentPort } from 'node:worker_threads';
    const { attachShare } = await import(${JSON.stringify(module)});
    const done = [];
    for (let i = 0; i < ${count}; i++) done.push(attachShare(${share}));
    parentPort.postMessage(done);
    setInterval(() => {}, 1000);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`));
  const done = await new Promise<boolean[]>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  assert.deepEqual(
    done,
    Array.from({ length: count }, () => !isClosing(share)),
  );
  return worker;
}

test('a share counts attachments until it is closed', () => {
  const share = openShare();
  assert.ok(attachShare(share));
  assert.ok(attachShare(share));
  assert.equal(attachedCount(share), 2);
  assert.ok(!isClosing(share));
  markClosing(share);
  assert.ok(isClosing(share));
  assert.ok(!attachShare(share), 'too late');
  detachShare(share);
  assert.equal(attachedCount(share), 1);
  detachShare(share);
  detachShare(share);
  assert.equal(attachedCount(share), 0);
  closeShare(share);
  assert.ok(isClosing(share) && !attachShare(share) && attachedCount(share) === 0);
  assert.throws(() => closeShare(share), /closed by its owner, once/);
  assert.throws(() => markClosing(share), /closed by its owner, once/);
});

test('a thread that is terminated lets go of what it had attached, and of nothing else', async () => {
  const share = openShare();
  const other = openShare();
  assert.ok(attachShare(share));
  const workers = await Promise.all([attacher(share, 3), attacher(share, 2), attacher(other, 1)]);
  assert.equal(attachedCount(share), 6);
  await workers[0].terminate();
  assert.equal(attachedCount(share), 3);
  markClosing(share);
  const late = await attacher(share, 2);
  assert.equal(attachedCount(share), 3);
  await Promise.all([workers[1].terminate(), late.terminate()]);
  assert.equal(attachedCount(share), 1);
  closeShare(share);
  // Its slot, with another generation: nothing of before counts.
  const next = openShare();
  assert.equal(attachedCount(next), 0);
  assert.equal(attachedCount(other), 1);
  await workers[2].terminate();
  assert.equal(attachedCount(other), 0);
  closeShare(next);
  closeShare(other);
});
