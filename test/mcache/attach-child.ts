import assert from 'node:assert/strict';
import { parentPort, workerData } from 'node:worker_threads';
import { attachMap, type SharedMap } from '../../src/index.ts';
import { pattern } from '../pool/pool-host.ts';

const { how, map: shared } = workerData as { how: string; map: SharedMap };
const PAGE = 4096;

if (how === 'late') {
  try {
    attachMap(shared);
    parentPort!.postMessage('attached');
  } catch (error) {
    parentPort!.postMessage((error as { code: string }).code);
  }
} else if (how === 'again and again') {
  parentPort!.on('message', (each: SharedMap) => {
    try {
      const view = attachMap(each).view(0);
      parentPort!.postMessage(view[0] === pattern(1, 1)[0] ? 'attached' : 'wrong');
    } catch (error) {
      parentPort!.postMessage((error as { code: string }).code);
    }
  });
} else {
  const map = attachMap(shared);
  if (how === 'compare') {
    for (let i = 0; i < map.objectCount; i++) {
      const want = pattern(700_000, i + 1);
      assert.ok(want.equals(await map.read(i, 0, 700_000)), `object ${i}, read`);
      assert.ok(want.equals(map.view(i)), `object ${i}, viewed`);
      const [page] = await map.getPages(i, [50 * PAGE]);
      assert.ok(want.subarray(50 * PAGE, 51 * PAGE).equals(page!), `object ${i}, by getPages`);
    }
    await map.unmap();
    parentPort!.postMessage('the same');
  } else if (how === 'hold') {
    const view = map.view(9);
    assert.equal(view[0], pattern(1, 10)[0]);
    parentPort!.postMessage('holding');
    // Recalled from outside, at any turn of the loop.
    while (map.mapped) await new Promise((resume) => setTimeout(resume, 5));
    parentPort!.postMessage(`views ended: ${view.length}`);
  } else if (how === 'spin') {
    parentPort!.postMessage('spinning');
    let sum = 0;
    for (;;) for (let i = 0; i < map.objectCount; i++) sum += map.view(i)[sum % 700_000]!;
  } else {
    assert.equal(map.view(0)[0], pattern(1, 1)[0]);
    process.exit(0);
  }
}
