// Goal: the leases that a client keeps are those that the daemon counts: none of what is deleted, none given up that is
//   in use, and nothing known of an object outlives its row.
// Method: the client's leases above a channel made up here, which answers when the test says so.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { makeObjectId, type MblockId } from '../../src/format/object-id.ts';
import type { ClientChannel } from '../../src/daemon/client-channel.ts';
import { DeletedIds } from '../../src/daemon/client/deleted-ids.ts';
import { Leases } from '../../src/daemon/client/leases.ts';
import type { Lease } from '../../src/daemon/protocol.ts';
import { idToWire } from '../../src/daemon/wire-values.ts';

interface Asked {
  operation: string;
  ids: string[];
  mapped: boolean;
  answer: () => void;
}

function idOf(uniquifier: number): MblockId {
  return makeObjectId(uniquifier, 1, 1);
}

function leaseOf(id: string): Lease {
  return {
    id,
    mediaClass: 'capacity',
    pageAddress: 256,
    pageCount: 256,
    lengthBytes: 9000,
    digest: 7,
  };
}

function setup() {
  const asked: Asked[] = [];
  const channel = {
    request: (operation: string, body: { ids: string[]; mapped?: boolean }) =>
      new Promise((resolve) => {
        const { ids, mapped = false } = body;
        const answer = (): void => resolve({ body: { leases: ids.map(leaseOf) } });
        asked.push({ operation, ids, mapped, answer });
      }),
  };
  const leases = new Leases({
    channel: channel as unknown as ClientChannel,
    device: () => undefined,
    checksumCacheBytes: undefined,
    deleted: new DeletedIds(),
  });
  const released = (): string[] =>
    asked.flatMap(({ operation, ids }) => (operation === 'mblock.release' ? ids : []));
  return { asked, leases, released };
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('a lease that was revoked before it came is given up again, and not kept', async () => {
  const { asked, leases, released } = setup();
  const id = idOf(5);
  const leasing = leases.lease(id);
  assert.deepEqual(
    asked.map(({ operation }) => operation),
    ['mblock.lease'],
  );
  leases.revokeTold([idToWire(id)]);
  asked[0]!.answer();
  await leasing;
  await turn();
  assert.equal(leases.find(id), -1, 'it is deleted');
  assert.deepEqual(released(), [idToWire(id)], 'and the daemon counts no lease of it any more');
});

test('what is being read is not given up, however many come after it', async () => {
  const { leases, released } = setup();
  const ids = Array.from({ length: 20_000 }, (_, i) => idOf(i + 1));
  const adopt = (some: readonly MblockId[]): number[] =>
    leases.adopt(
      some,
      some.map((id) => leaseOf(idToWire(id))),
    );
  const used = ids.slice(0, 50);
  for (const index of adopt(used)) leases.table.ref(index);
  adopt(ids.slice(50));
  await turn();
  const gone = new Set(released());
  assert.ok(gone.size > 10_000, `${gone.size} of those that nothing used were given up`);
  for (const id of used) {
    assert.ok(leases.find(id) >= 0, 'it is still leased');
    assert.ok(!gone.has(idToWire(id)));
  }
  for (const id of ids) assert.equal(leases.find(id) < 0, gone.has(idToWire(id)));
});

test('nothing known of an object outlives its row', async () => {
  const { leases, released } = setup();
  const id = idOf(5);
  const [index] = leases.adopt([id], [leaseOf(idToWire(id))]);
  leases.cache.set(index!, Uint32Array.of(1, 2, 3));
  leases.revoke([id]);
  await turn();
  assert.deepEqual(released(), [idToWire(id)]);
  const other = idOf(6);
  assert.deepEqual(
    leases.adopt([other], [leaseOf(idToWire(other))]),
    [index],
    'the row is used again',
  );
  assert.equal(leases.cache.get(index!), undefined, 'and has no checksums of another');
});
