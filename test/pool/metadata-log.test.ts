// Goal: changes are applied only when durable, share frames, survive compactions that fail, and freeing
// works when nothing else has room.
// Method: a MetadataLog over a set of names, on a simulated disk.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMpoolError } from '../../src/base/errors.ts';
import { MetadataLog } from '../../src/pool/metadata-log.ts';
import type { LogPair } from '../../src/pool/log-pair.ts';
import { logHost, newPair, openRig, reopenPair, type LogRig } from '../crash/log-rig.ts';

const PAGES = 4;
const NAME_BYTES = 40;

/** A set of names whose changes are 'name+' and 'name-', padded. */
class Names {
  readonly names = new Set<string>();
  readonly log: MetadataLog;

  constructor(pair: LogPair, texts: readonly string[] = []) {
    for (const text of texts) this.#apply(text.trim());
    this.log = new MetadataLog(pair, {
      snapshot: () => [...this.names].map((name) => Buffer.from(`${name}+`.padEnd(NAME_BYTES))),
      liveBytes: () => this.names.size * (NAME_BYTES + 4),
    });
  }

  async add(name: string): Promise<void> {
    const record = Buffer.from(`${name}+`.padEnd(NAME_BYTES));
    await this.log.append(record, 'adds', () => void this.names.add(name));
  }

  async remove(name: string): Promise<void> {
    const record = Buffer.from(`${name}-`.padEnd(16));
    await this.log.append(record, 'frees', () => void this.names.delete(name));
  }

  #apply(text: string): void {
    if (text.endsWith('+')) this.names.add(text.slice(0, -1));
    else this.names.delete(text.slice(0, -1));
  }
}

async function opened(rig: LogRig): Promise<Names> {
  const { pair, texts } = await reopenPair(rig, PAGES);
  return new Names(pair, texts);
}

async function fresh(sectorBytes: 512 | 4096 = 512): Promise<{ rig: LogRig; names: Names }> {
  const rig = await openRig(logHost({ sectorBytes }));
  return { rig, names: new Names(await newPair(rig, PAGES)) };
}

test('a change is applied when it is durable, not before', async () => {
  const { rig, names } = await fresh();
  const held = rig.host.addFault({ op: 'write', effect: { kind: 'hold' } });
  const adding = names.add('a');
  await rig.host.clock.advance(5);
  assert.equal(names.names.size, 0);
  held.release();
  await adding;
  const image = await openRig(rig.host.crash());
  assert.deepEqual([...(await opened(image)).names], ['a']);
});

test('changes in flight share frames; the group is durable as one', async () => {
  const { rig, names } = await fresh();
  await Promise.all(Array.from({ length: 50 }, (_, i) => names.add(`n${i}`)));
  assert.ok(names.log.frameCount <= 2, `${names.log.frameCount} frames for 50 changes`);
  assert.equal((await opened(await openRig(rig.host.crash()))).names.size, 50);
});

test('a full log takes no more additions, and any number of removals and re-additions', async () => {
  for (const sectorBytes of [512, 4096] as const) {
    const { rig, names } = await fresh(sectorBytes);
    let count = 0;
    for (;;) {
      const error = await names.add(`n${count}`).catch((each: unknown) => each);
      if (error !== undefined) {
        assert.ok(isMpoolError(error, 'ERR_MPOOL_NO_SPACE'));
        break;
      }
      count += 1;
    }
    const capacity = names.log.pair.active.capacityBytes;
    assert.ok(count * (NAME_BYTES + 4) <= capacity * 0.6 && count > 50, `${count} names`);
    assert.equal(names.names.size, count, 'what was refused is not there');
    for (let i = 0; i < 200; i++) {
      const [name] = names.names;
      await names.remove(name!);
      await names.add(`again ${i}`);
    }
    await Promise.all([...names.names].map((name) => names.remove(name)));
    assert.equal(names.names.size, 0);
    assert.ok(names.log.compactionCount > 0);
    assert.equal((await opened(await openRig(rig.host.crash()))).names.size, 0);
  }
});

test('a compaction whose frames cannot be written leaves the old content, and the log in use', async () => {
  const { rig, names } = await fresh();
  await names.add('a');
  rig.host.addFault({ op: 'write', effect: { kind: 'error' } });
  await assert.rejects(names.log.compact());
  rig.host.clearFaults();
  await names.add('b');
  await names.log.compact();
  await names.add('c');
  assert.equal(rig.host.liveBufferCount, 0);
  assert.deepEqual([...(await opened(await openRig(rig.host.crash()))).names], ['a', 'b', 'c']);
});

test('changes that wait behind a compaction come after it, in its log', async () => {
  const { rig, names } = await fresh();
  await names.add('a');
  const compacting = names.log.compact();
  const adding = Promise.all(['b', 'c', 'd'].map((name) => names.add(name)));
  await compacting;
  await adding;
  assert.equal(names.log.pair.active.recordCount, 4);
  assert.deepEqual(
    [...(await opened(await openRig(rig.host.crash()))).names],
    ['a', 'b', 'c', 'd'],
  );
});

test('after a failed write nothing more is acknowledged, and the owner is told', async () => {
  const { rig, names } = await fresh();
  const told: string[] = [];
  names.log.onFailure = (error) => told.push(error.code);
  rig.host.addFault({ op: 'write', effect: { kind: 'error' } });
  await assert.rejects(names.add('a'), { code: 'ERR_MPOOL_FAILED' });
  rig.host.clearFaults();
  await assert.rejects(names.add('b'), { code: 'ERR_MPOOL_FAILED' });
  await assert.rejects(names.remove('a'), { code: 'ERR_MPOOL_FAILED' });
  await assert.rejects(names.log.compact(), { code: 'ERR_MPOOL_FAILED' });
  assert.deepEqual(told, ['ERR_MPOOL_IO']);
  assert.equal(names.names.size, 0);
});
