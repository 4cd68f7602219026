// Goal: a power cut at any moment of an upgrade leaves the pool with the features from before or from after, never
//   with some of them, and with all it held; the next upgrade finishes.
// Method: the power is cut at each operation of an upgrade that adds a feature to each word; what survives is
//   opened as the old version and as the new one, and upgraded again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { type Feature, playVersionThatKnows } from '../../src/format/features.ts';
import { upgradePool } from '../../src/pool/upgrade.ts';
import { A, HERE, NAME, openHere } from '../pool/pool-host.ts';
import { contentPool, imageOf, readsBack } from '../pool/repair-pool.ts';
import { SEED, sweepTest } from './sweep.ts';

const ADDED: readonly Feature[] = [
  { name: 'red', word: 'incompatible', bit: 30 },
  { name: 'blue', word: 'readOnlyCompatible', bit: 31 },
  { name: 'green', word: 'compatible', bit: 0 },
];
const NONE = { compatible: [], readOnlyCompatible: [], incompatible: [] };
const ALL = { compatible: ['green'], readOnlyCompatible: ['blue'], incompatible: ['red'] };

test('an upgrade', async (t) => {
  const toOldest = playVersionThatKnows([]);
  const { host, content } = await contentPool();
  toOldest();
  const undo = playVersionThatKnows(ADDED);
  t.after(undo);
  let [before, after] = [0, 0];
  await sweepTest<{ upgraded: boolean }>(t.name, {
    seed: SEED,
    prepare: async () => host.clone(),
    context: () => ({ upgraded: false }),
    async scenario(machine, context) {
      await upgradePool(machine.environment, NAME, HERE);
      context.upgraded = true;
    },
    async verify(image, { upgraded }) {
      const older = playVersionThatKnows([]);
      const asOlder = image.clone();
      const error: unknown = await openHere(asOlder, A).then(
        (pool) => pool.close(),
        (reason: unknown) => reason,
      );
      older();
      const isNew = error !== undefined;
      if (isNew) assert.ok(isMpoolError(error, 'ERR_MPOOL_VERSION'));
      assert.ok(isNew || !upgraded, 'what was acknowledged is there');
      if (isNew) after += 1;
      else before += 1;
      const { features, added } = await upgradePool(image.environment, NAME, HERE);
      assert.deepEqual([features, added], isNew ? [ALL, NONE] : [NONE, ALL]);
      const done = imageOf(image);
      assert.deepEqual((await upgradePool(image.environment, NAME, HERE)).features, ALL);
      assert.equal(imageOf(image), done);
      await readsBack(image, content);
      assert.equal(image.liveBufferCount, 0);
    },
  });
  assert.ok(before > 0 && after > 0, `${before} images from before, ${after} from after`);
});
