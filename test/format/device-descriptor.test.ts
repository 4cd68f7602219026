// Goal: a device's sizes are bounded, and an extent lies where one may: at each border of zones and reserved pages.
// Method: descriptors and extents at, just inside and just outside each border.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { viewOf } from '../../src/base/bytes.ts';
import {
  decodeDescriptor,
  encodeDescriptor,
  extentProblem,
  ZONE_COUNT_MAX,
} from '../../src/format/device-descriptor.ts';
import { setU64 } from '../../src/format/u64.ts';
import { descriptor } from './samples.ts';

const MIB = 2 ** 20;

test('a device has so many zones that a reader can hold a map of them, and no more', () => {
  const decoded = (zoneCount: number): unknown => {
    const bytes = new Uint8Array(64);
    const view = viewOf(bytes);
    encodeDescriptor(bytes, view, 0, descriptor());
    setU64(view, 24, zoneCount * MIB);
    view.setUint32(32, zoneCount, true);
    return decodeDescriptor(bytes, view, 0);
  };
  assert.equal(typeof decoded(ZONE_COUNT_MAX), 'object');
  assert.match(String(decoded(ZONE_COUNT_MAX + 1)), /zones/);
});

/** 16 zones of 256 pages: the last one ends where the device does. */
const WHOLE = descriptor({ sizeBytes: 16 * MIB });
/** The reserved tail lies behind the zones. */
const LONGER = descriptor({ sizeBytes: 16 * MIB + 16 * 4096 });

const CASES: readonly [pageAddress: number, pageCount: number, whole: boolean, longer: boolean][] =
  [
    [0, 16, false, false],
    [31, 2, false, false],
    [32, 16, true, true],
    [32, 224, true, true],
    [32, 225, false, false],
    [0, 256, false, false],
    [256, 256, true, true],
    [256, 512, true, true],
    [257, 256, false, false],
    [256, 300, false, false],
    [4096 - 16, 16, false, true],
    [4096 - 17, 1, true, true],
    [4096 - 17, 2, false, true],
    [4096 - 256, 256, false, true],
    [4096, 16, false, false],
    [2 ** 40, 16, false, false],
    [256, 0, false, false],
  ];

test('an extent lies in the zones, off the superblocks, and crosses no border of a zone', () => {
  for (const [pageAddress, pageCount, whole, longer] of CASES) {
    const extent = { pageAddress, pageCount };
    const name = `${pageCount} pages at ${pageAddress}`;
    assert.equal(extentProblem(WHOLE, extent) === undefined, whole, name);
    assert.equal(extentProblem(LONGER, extent) === undefined, longer, `${name}, longer device`);
  }
  assert.equal(
    extentProblem(WHOLE, { pageAddress: 256, pageCount: 256 }, { whole: true }),
    undefined,
  );
  for (const pageCount of [16, 512]) {
    const extent = { pageAddress: 256, pageCount };
    assert.match(extentProblem(WHOLE, extent, { whole: true })!, /not one zone/);
  }
});
