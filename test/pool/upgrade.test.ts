// Goal: a pool gets features only by an upgrade, all or none of those that this version knows and it lacks; what
//   is open, read-only, or made by a newer version is refused and not written to.
// Method: versions of this program that know invented features, on pools of one that knows none; whole images
//   before and after.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FEATURES, type Feature, playVersionThatKnows } from '../../src/format/features.ts';
import { readSuperblocks } from '../../src/pool/superblocks.ts';
import { upgradePool, type UpgradeReport } from '../../src/pool/upgrade.ts';
import { OverlayHost } from '../../src/device/overlay-host.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, B, HERE, NAME, openHere, refuses } from './pool-host.ts';
import { contentPool, imageOf, readsBack, type RepairPool } from './repair-pool.ts';

const RED: Feature = { name: 'red', word: 'incompatible', bit: 30 };
const BLUE: Feature = { name: 'blue', word: 'readOnlyCompatible', bit: 31 };
const GREEN: Feature = { name: 'green', word: 'compatible', bit: 29 };
const NONE = { compatible: [], readOnlyCompatible: [], incompatible: [] };

/** As a version that knows just these. */
async function as<T>(features: readonly Feature[], work: () => Promise<T>): Promise<T> {
  const undo = playVersionThatKnows(features);
  try {
    return await work();
  } finally {
    undo();
  }
}

const oldPool = (): Promise<RepairPool> => as([], contentPool);

function upgrade(host: SimHost, target = NAME): Promise<UpgradeReport> {
  return upgradePool(host.environment, target, HERE);
}

async function featuresOn(host: SimHost, path: string): Promise<unknown> {
  const device = await host.openDevice(path, { access: 'read' });
  const { copies } = await readSuperblocks(device);
  await device.close();
  const [first] = copies;
  for (const { superblock } of copies) {
    assert.deepEqual(superblock?.features, first?.superblock?.features, 'all copies say the same');
  }
  return first!.superblock!.features;
}

test('the bits of features and their names are of one feature each', () => {
  for (const key of [({ name }: Feature) => name, ({ word, bit }: Feature) => `${word} ${bit}`]) {
    assert.equal(new Set(FEATURES.map(key)).size, FEATURES.length);
  }
  for (const { bit } of FEATURES) assert.ok(Number.isInteger(bit) && bit >= 0 && bit < 32);
});

test('opening, using and changing a pool never gives it a feature', async () => {
  const { host, content } = await oldPool();
  await as([RED, BLUE, GREEN], async () => {
    await readsBack(host, content);
    const pool = await openHere(host);
    await pool.setParameters({ label: 'changed' });
    assert.deepEqual((await pool.info()).features, NONE);
    await pool.close();
    for (const path of [A, B]) {
      const words = { compatible: 0, readOnlyCompatible: 0, incompatible: 0 };
      assert.deepEqual(await featuresOn(host, path), words, path);
    }
  });
  // The version that made it still uses it.
  await as([], async () => (await openHere(host)).close());
});

test('an upgrade adds what is missing, once, and tells what older versions may do', async () => {
  const cases: [features: Feature[], access: 'read-write' | 'read-only' | 'none'][] = [
    [[GREEN], 'read-write'],
    [[GREEN, BLUE], 'read-only'],
    [[GREEN, BLUE, RED], 'none'],
  ];
  for (const [features, olderVersions] of cases) {
    const { host, content } = await oldPool();
    await as(features, async () => {
      const report = await upgrade(host);
      const names = {
        compatible: ['green'],
        readOnlyCompatible: features.includes(BLUE) ? ['blue'] : [],
        incompatible: features.includes(RED) ? ['red'] : [],
      };
      assert.deepEqual([report.features, report.added], [NONE, names]);
      assert.deepEqual([report.name, report.olderVersions], [NAME, olderVersions]);
      const words = {
        compatible: 2 ** 29,
        readOnlyCompatible: features.includes(BLUE) ? 2 ** 31 : 0,
        incompatible: features.includes(RED) ? 2 ** 30 : 0,
      };
      for (const path of [A, B]) assert.deepEqual(await featuresOn(host, path), words, path);
      const image = imageOf(host);
      const again = await upgrade(host, A);
      assert.deepEqual([again.features, again.added], [names, NONE]);
      assert.equal(again.olderVersions, 'read-write', 'nothing changed');
      assert.equal(imageOf(host), image, 'nor was anything written');
      await readsBack(host, content);
    });
    await as([], async () => {
      const open = (readOnly: boolean) => () => openHere(host, NAME, { readOnly });
      if (olderVersions === 'read-write') await (await open(false)()).close();
      else await refuses(open(false), 'ERR_MPOOL_VERSION', /use a newer version/);
      if (olderVersions !== 'none') await (await open(true)()).close();
      else await refuses(open(true), 'ERR_MPOOL_VERSION', /bit 30/);
    });
  }
});

test('one feature more: those that the pool has stay', async () => {
  const { host, content } = await as([GREEN], contentPool);
  await as([GREEN, RED], async () => {
    const { features, added } = await upgrade(host);
    assert.deepEqual(features, { ...NONE, compatible: ['green'] }, 'of a pool that was created');
    assert.deepEqual(added, { ...NONE, incompatible: ['red'] });
    const words = { compatible: 2 ** 29, readOnlyCompatible: 0, incompatible: 2 ** 30 };
    assert.deepEqual(await featuresOn(host, A), words);
    await readsBack(host, content);
  });
});

test('what is open, or a newer version made, is refused and not written to', async () => {
  for (const feature of [GREEN, BLUE, RED]) {
    const { host } = await as([feature], contentPool);
    await as([{ ...feature, name: 'other', bit: 3 }], async () => {
      const image = imageOf(host);
      await refuses(() => upgrade(host, A), 'ERR_MPOOL_VERSION', new RegExp(`bit ${feature.bit}`));
      assert.equal(imageOf(host), image, feature.word);
      assert.equal(host.liveBufferCount, 0);
    });
  }
  const { host } = await oldPool();
  for (const known of [[], [RED]]) {
    for (const readOnly of [true, false]) {
      const pool = await openHere(host, NAME, { readOnly });
      const image = imageOf(host);
      await as(known, () => refuses(() => upgrade(host), 'ERR_MPOOL_BUSY'));
      assert.equal(imageOf(host), image);
      await pool.close();
    }
  }
});

test('a damaged pool, and one without its staging device, are not upgraded', async () => {
  const { host, places } = await oldPool();
  const damaged = host.clone();
  damaged.disk(A).flipBit(places.mdc1.active + 17);
  const alone = host.clone();
  alone.disk(B).poke(0, { fill: 0, lengthBytes: alone.disk(B).sizeBytes });
  for (const [image, code] of [
    [damaged, 'ERR_MPOOL_CORRUPT'],
    [alone, 'ERR_MPOOL_NO_DEVICE'],
  ] as const) {
    await as([RED], () => refuses(() => upgrade(image), code));
    await as([], async () => {
      const words = { compatible: 0, readOnlyCompatible: 0, incompatible: 0 };
      assert.deepEqual(await featuresOn(image, A), words);
    });
  }
});

test('a dry run tells the same, and writes nothing', async () => {
  const { host } = await oldPool();
  await as([RED, GREEN], async () => {
    const image = imageOf(host);
    const overlay = new OverlayHost(host, () => Promise.reject(new Error('no file is made')));
    const would = await upgradePool({ ...host.environment, host: overlay }, NAME, HERE);
    assert.equal(imageOf(host), image);
    assert.deepEqual(would, await upgrade(host));
  });
});
