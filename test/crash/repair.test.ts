// Goal: a power cut at any moment of a repair loses nothing more: the next repair finishes, and ends with what
// the first would have ended with.
// Method: pools damaged in ways that a repair mends by every kind of its steps; the power is cut at each of its
// operations, with several choices of what survives, and after each the repair is run again.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../src/base/units.ts';
import { superblockOffsetBytes } from '../../src/format/superblock.ts';
import type { RepairStep } from '../../src/pool/repair.ts';
import { checkPoolAt } from '../../src/pool/inspect.ts';
import type { SimHost } from '../../src/testing/index.ts';
import { A, B, HERE, MIB, NAME } from '../pool/pool-host.ts';
import {
  contentPool,
  imageOf,
  readsBack,
  repair,
  type Content,
  type Places,
} from '../pool/repair-pool.ts';
import { SEED, sweepTest } from './sweep.ts';

interface Case {
  name: string;
  force?: boolean;
  damage: (host: SimHost, places: Places) => void;
  /** What is given up, of what was there. */
  after?: (content: Content) => void;
}

/** In the first frame of a log. */
const FIRST = PAGE_BYTES + 80;

const CASES: Case[] = [
  {
    name: 'superblocks of both devices, and reserved pages',
    damage(host) {
      for (const copy of [0, 1, 3]) {
        host.disk(A).flipBit(superblockOffsetBytes(copy, 24 * MIB) + 99);
        host.disk(B).flipBit(superblockOffsetBytes(copy, 8 * MIB) + 99);
      }
      host.disk(A).flipBit(7 * PAGE_BYTES);
    },
  },
  {
    name: 'the first content of MDC 0 and of MDC 1, from the logs before',
    damage(host, { mdc0, mdc1 }) {
      host.disk(A).flipBit(mdc0.active + FIRST);
      host.disk(A).flipBit(mdc1.active + FIRST);
    },
  },
  {
    name: 'the headers that count of MDC 0 and of MDC 1',
    damage(host, { mdc0, mdc1 }) {
      host.disk(A).flipBit(mdc0.active + 17);
      host.disk(A).flipBit(mdc1.active + 17);
    },
  },
  {
    name: 'the headers that do not count, and checksums',
    damage(host, { mdc0, mdc1, root, mblocks }) {
      for (const { other } of [mdc0, mdc1, root]) host.disk(A).flipBit(other + 17);
      for (const { device, offsetBytes, dataPages } of mblocks.values()) {
        if (dataPages < 2) continue;
        host.disk(device).flipBit(offsetBytes + dataPages * PAGE_BYTES + 6);
        host.disk(device).flipBit(offsetBytes + dataPages * PAGE_BYTES + 4000);
      }
    },
  },
  {
    name: 'headers of logs, of which something is left',
    damage(host, { mdc0, mdc1, root, mlogs }) {
      const all = [mdc0, mdc1, root].flatMap(({ active, other }) => [active, other]);
      for (const at of [...all, ...mlogs.values()]) host.disk(A).flipBit(at + 17);
    },
  },
  {
    name: 'logs without a header, and the staging device without superblocks',
    force: true,
    damage(host, { root, mlogs }) {
      for (const at of [root.active, root.other, ...mlogs.values()]) {
        host.disk(A).poke(at, { fill: 0, lengthBytes: 512 });
      }
      for (let copy = 0; copy < 4; copy++) {
        const at = superblockOffsetBytes(copy, 8 * MIB);
        host.disk(B).poke(at, { fill: 0, lengthBytes: PAGE_BYTES });
      }
    },
  },
  {
    name: 'a log that is cut, and a superblock',
    force: true,
    damage(host, { mlogs }) {
      const [at] = mlogs.values();
      host.disk(A).flipBit(at! + PAGE_BYTES + 3 * 512 + 70);
      host.disk(A).flipBit(0);
    },
    after(content) {
      const [id, records] = [...content.mlogs][0]!;
      content.mlogs.set(id, records.slice(0, 3));
    },
  },
];

/** A cut may tear a superblock copy that was whole: its repair is no step that was done before. */
function isLasting({ structure }: RepairStep): boolean {
  return structure !== 'superblock';
}

for (const { name, force = false, damage, after } of CASES) {
  test(`repair of ${name}`, async (t) => {
    const { host, content, places } = await contentPool({ compacted: true });
    damage(host, places);
    const mended = structuredClone(content);
    after?.(mended);
    const { steps } = await repair(host, { force, dryRun: true });
    const stepCount = steps.filter(isLasting).length;
    await sweepTest<{ acknowledged: number }>(t.name, {
      seed: SEED,
      prepare: async () => host.clone(),
      context: () => ({ acknowledged: 0 }),
      async scenario(machine, context) {
        const onStep = (step: RepairStep): void => {
          if (isLasting(step)) context.acknowledged += 1;
        };
        const report = await repair(machine, { force, onStep });
        assert.deepEqual([report.clean, report.withheld, report.left], [true, [], []]);
        assert.ok(report.steps.length > 1, 'there is something to cut');
      },
      async verify(image, { acknowledged }) {
        const rest = await repair(image, { force, data: true });
        assert.deepEqual([rest.clean, rest.withheld, rest.left], [true, [], []]);
        assert.ok(rest.steps.filter(isLasting).length <= stepCount - acknowledged);
        const mendedImage = imageOf(image);
        assert.deepEqual((await repair(image, { force })).steps, [], 'nothing is left to do');
        assert.equal(imageOf(image), mendedImage);
        assert.equal(image.liveBufferCount, 0);
        await readsBack(image, mended);
        assert.equal((await checkPoolAt(image, NAME, HERE, { data: true })).clean, true);
      },
    });
  });
}
