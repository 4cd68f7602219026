// Goal: every request of the protocol does over a real socket what its embedded counterpart does, and nothing but
//   a well-formed answer or a typed error ever comes back.
// Method: a daemon in this process on a real file; raw requests; what was written is read back from the file by
//   the lease's own numbers; seeded garbage for every operation, in every session.
import assert from 'node:assert/strict';
import { openSync, readSync, closeSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { below, SeededPrng } from '../../src/base/prng.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import type { Operation } from '../../src/daemon/operations.ts';
import type { Lease } from '../../src/daemon/protocol.ts';
import { controlHandlers, poolHandlers } from '../../src/daemon/server/handlers.ts';
import { numberOfOperation, operationOfNumber } from '../../src/daemon/operations.ts';
import { type Asker, MIB, PAGE, pattern, type Rig, startRig } from './server-rig.ts';
import { until } from './sockets.ts';

const SEED = Number(process.env['SEED'] ?? Date.now() % 1e6);

async function refuses(answer: Promise<unknown>, code: ErrorCode, message?: RegExp): Promise<void> {
  await assert.rejects(answer, (error: NodeJS.ErrnoException) => {
    assert.equal(error.code, code, error.stack);
    if (message !== undefined) assert.match(error.message, message);
    return true;
  });
}

/** What the lease says is there. */
function contentOf(rig: Rig, { pageAddress, lengthBytes }: Lease): Buffer {
  const fd = openSync(join(rig.folder, 'files/p1'), 'r');
  const bytes = Buffer.alloc(lengthBytes);
  readSync(fd, bytes, 0, lengthBytes, pageAddress * PAGE);
  closeSync(fd);
  return bytes;
}

test('every operation of the protocol has one handler, on the right kind of connection', () => {
  const all: Operation[] = [];
  for (let number = 0; number < 65_536; number++) {
    const operation = operationOfNumber(number);
    if (operation !== undefined && operation !== 'hello') all.push(operation);
  }
  assert.ok(all.length > 50);
  for (const operation of all) {
    const isControl = numberOfOperation(operation) >= 128;
    assert.equal(poolHandlers.has(operation), !isControl, operation);
    assert.equal(controlHandlers.has(operation), isControl, operation);
  }
  assert.equal(poolHandlers.size + controlHandlers.size, all.length);
});

test('mblocks: alloc, writes inline and from slots, commit of several, lease, list in pages, delete', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const { mblocks } = await client.ask('mblock.alloc', { count: 3 });
  const ids = mblocks.map(({ id }) => id);
  const [first, second, third] = ids as [string, string, string];
  assert.equal(mblocks[0]!.capacityBytes, MIB - PAGE);
  assert.equal(rig.service.store.held.size, 3);

  const inline = pattern(2 * PAGE, 1);
  assert.deepEqual(await client.ask('mblock.write', { id: first }, inline), { writtenBytes: 8192 });
  const slots = await rig.slotsOf(client);
  const big = pattern(600_000, 2);
  const taken = await slots.take(3);
  const ranges = taken.map((slot, i) => {
    const part = big.subarray(i * slots.slotBytes, (i + 1) * slots.slotBytes);
    slots.bytes(slot).set(part);
    return { slot, lengthBytes: part.length };
  });
  const { writtenBytes } = await client.ask('mblock.write', { id: second, slots: ranges });
  assert.equal(writtenBytes, 600_000);
  slots.release(taken);

  const { leases } = await client.ask('mblock.commit', { ids });
  assert.deepEqual(contentOf(rig, leases[0]!), inline);
  assert.deepEqual(contentOf(rig, leases[1]!), big);
  assert.equal(leases[2]!.lengthBytes, 0);
  assert.equal(rig.service.store.held.size, 0);
  assert.equal(rig.service.leases.count, 3);
  await refuses(client.ask('mblock.write', { id: third }, inline), 'ERR_MPOOL_COMMITTED');
  await refuses(client.ask('mblock.abort', { ids: [third] }), 'ERR_MPOOL_COMMITTED');
  assert.equal((await client.ask('mblock.commit', { ids: [third] })).leases.length, 1, 'again');

  const reader = await rig.client({ access: 'read' });
  const again = await reader.ask('mblock.lease', { ids });
  assert.deepEqual(again.leases, leases, 'the same for everyone');
  const pages = [
    await reader.ask('mblock.list', { count: 2 }),
    await reader.ask('mblock.list', { count: 2, after: second }),
  ];
  assert.deepEqual(
    pages.flatMap((page) => page.mblocks.map(({ id }) => id)),
    ids,
  );
  assert.deepEqual([pages[0]!.done, pages[1]!.done], [false, true]);
  await refuses(client.ask('mblock.delete', { ids: [first, '0xfff101'] }), 'ERR_MPOOL_NOT_FOUND');
  assert.equal(rig.service.store.table.count, 2 + 3, 'all are checked first');
  await client.ask('mblock.delete', { ids });
  assert.equal(rig.service.store.table.count, 2, 'but for the root MDC');
});

test('a commit says how much there must be, and is refused when one of its writes was', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const { mblocks } = await client.ask('mblock.alloc', { count: 2 });
  const [whole, short] = mblocks.map(({ id }) => id) as [string, string];
  const refused = (ids: string[], lengths: number[]): Promise<void> =>
    refuses(
      client.ask('mblock.commit', { ids, lengths }),
      'ERR_MPOOL_FAILED',
      /has 4096 bytes, not/,
    );
  // Without waiting for one answer.
  const asked = [
    client.ask('mblock.write', { id: whole }, pattern(PAGE, 1)),
    client.ask('mblock.write', { id: short }, pattern(PAGE, 2)),
    refuses(client.ask('mblock.write', { id: short }, pattern(MIB, 3)), 'ERR_MPOOL_INVALID_ARG'),
    refused([whole, short], [PAGE, PAGE + MIB]),
    refused([short], [0]),
    client.ask('mblock.commit', { ids: [whole], lengths: [PAGE] }),
  ];
  await Promise.all(asked);
  assert.equal(rig.service.store.held.size, 1, 'the short one is not committed');
  await client.ask('mblock.abort', { ids: [short] });
});

test('a write from slots checksums what it copied, whatever the client does to the slot meanwhile', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const slots = await rig.slotsOf(client);
  const taken = await slots.take(3);
  const ids: string[] = [];
  for (let round = 0; round < 8; round++) {
    const { mblocks } = await client.ask('mblock.alloc', {});
    const { id } = mblocks[0]!;
    ids.push(id);
    for (const slot of taken) slots.bytes(slot).fill(round);
    const ranges = taken.map((slot) => ({ slot, lengthBytes: slots.slotBytes }));
    const writing = client.ask('mblock.write', { id, slots: ranges });
    // In the same process, so between the turns of the daemon: as a client in another would at any time.
    let done = false;
    const tamper = (): void => {
      for (const slot of taken)
        slots.bytes(slot).fill(0x80 + below(new SeededPrng(SEED + round), 100));
      if (!done) setImmediate(tamper);
    };
    tamper();
    await writing;
    done = true;
  }
  await client.ask('mblock.commit', { ids });
  for (const id of ids) {
    // Verified against the checksums: a torn mixture is fine, a wrong checksum is not.
    await rig.service.pool.mblocks.read(BigInt(id) as never, 0, 3 * slots.slotBytes);
  }
});

test('a slot is one request’s at a time', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const { mblocks } = await client.ask('mblock.alloc', { count: 2 });
  const [first, second] = mblocks.map(({ id }) => id) as [string, string];
  const early = client.ask('mblock.write', { id: first, slots: [{ slot: 0, lengthBytes: 1 }] });
  await refuses(early, 'ERR_MPOOL_INVALID_ARG', /no shared memory/);
  await rig.slotsOf(client);
  const lengthBytes = PAGE;
  const writes = [
    client.ask('mblock.write', { id: first, slots: [{ slot: 3, lengthBytes }] }),
    client.ask('mblock.write', {
      id: second,
      slots: [
        { slot: 2, lengthBytes },
        { slot: 3, lengthBytes },
      ],
    }),
  ] as const;
  await refuses(writes[1], 'ERR_MPOOL_INVALID_ARG', /slot 3 is another request's/);
  await writes[0];
  const twice = [2, 2].map((slot) => ({ slot, lengthBytes }));
  const doubled = client.ask('mblock.write', { id: second, slots: twice });
  await refuses(doubled, 'ERR_MPOOL_INVALID_ARG', /named twice/);
  const both = client.ask('mblock.write', { id: second, slots: [] }, pattern(PAGE));
  await refuses(both, 'ERR_MPOOL_INVALID_ARG');
  for (const slots of [[{ slot: 64, lengthBytes }], [{ slot: 0, lengthBytes: 2 ** 18 + 1 }], [7]]) {
    await refuses(
      client.ask('mblock.write', { id: second, slots: slots as never }),
      'ERR_MPOOL_PROTOCOL',
    );
  }
  await client.ask('mblock.write', { id: second, slots: [{ slot: 3, lengthBytes }] });
});

test('requests for one mblock are carried out in the order they came, without waiting for answers', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const { mblocks } = await client.ask('mblock.alloc', {});
  const { id } = mblocks[0]!;
  const parts = Array.from({ length: 40 }, (_, i) => pattern(PAGE, i));
  const writes = parts.map((part) => client.ask('mblock.write', { id }, part));
  const commit = client.ask('mblock.commit', { ids: [id] });
  const lease = client.ask('mblock.lease', { ids: [id] });
  const deleted = client.ask('mblock.delete', { ids: [id] });
  await Promise.all(writes);
  assert.deepEqual(contentOf(rig, (await commit).leases[0]!), Buffer.concat(parts));
  assert.equal((await lease).leases[0]!.lengthBytes, 40 * PAGE);
  await deleted;
});

test('mlogs: alloc, commit, open, appends of several records, reads in batches, erase, delete', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const { id, capacityBytes } = await client.ask('mlog.alloc', { capacityBytes: 4 * MIB });
  assert.ok(capacityBytes >= 4 * MIB - PAGE);
  await refuses(client.ask('mlog.open', { id }), 'ERR_MPOOL_UNCOMMITTED');
  await client.ask('mlog.commit', { id });
  await client.ask('mlog.commit', { id });
  const { log, recordCount } = await client.ask('mlog.open', { id });
  assert.equal(recordCount, 0);
  const records = Array.from({ length: 300 }, (_, i) => pattern((i * 37) % 5000, i));
  const lengths = records.map(({ length }) => length);
  const state = await client.ask(
    'log.append',
    { log, lengths, sync: true },
    Buffer.concat(records),
  );
  assert.equal(state.recordCount, 300);
  assert.equal(state.refused, undefined);

  const found: Buffer[] = [];
  for (;;) {
    const { body, payload } = await client.channel.request('log.read', {
      log,
      reader: 7,
      maxBytes: 20_000,
    });
    if (body.lengths.length === 0) break;
    let at = 0;
    for (const length of body.lengths)
      found.push(Buffer.from(payload.subarray(at, (at += length))));
    assert.equal(at, payload.length);
    assert.ok(at <= 20_000);
  }
  assert.deepEqual(found, records);
  await client.ask('log.rewind', { log, reader: 7 });
  await client.ask('log.skip', { log, reader: 7, lengthBytes: 0 });
  await refuses(client.ask('log.skip', { log, reader: 7, lengthBytes: 36 }), 'ERR_MPOOL_TOO_LARGE');
  const limited = client.ask('log.read', { log, reader: 7, maxRecordBytes: 36 });
  await refuses(limited, 'ERR_MPOOL_TOO_LARGE');
  const next = await client.ask('log.read', { log, reader: 7, maxBytes: 1000 });
  assert.deepEqual(next.lengths.slice(0, 3), [37, 74, 111]);

  await refuses(client.ask('mlog.delete', { ids: [id] }), 'ERR_MPOOL_BUSY');
  assert.equal((await client.ask('mlog.properties', { id })).generation, '0x1');
  const erased = await client.ask('log.erase', { log, minGeneration: '0x10' });
  assert.deepEqual([erased.generation, erased.recordCount], ['0x10', 0]);
  assert.deepEqual((await client.ask('log.read', { log, reader: 7 })).lengths, []);
  await client.ask('log.close', { log });
  await refuses(client.ask('log.state', { log }), 'ERR_MPOOL_CLOSED');
  assert.deepEqual(
    (await client.ask('mlog.list', {})).mlogs.map((each) => each.id),
    [id],
  );
  await client.ask('mlog.delete', { ids: [id] });
});

test('records larger than a frame: appended from slots, read in parts', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const { id } = await client.ask('mlog.alloc', { capacityBytes: 16 * MIB });
  await client.ask('mlog.commit', { id });
  const { log } = await client.ask('mlog.open', { id });
  const slots = await rig.slotsOf(client);
  const record = pattern(3 * MIB + 12_345, 5);
  const taken = await slots.take(Math.ceil(record.length / slots.slotBytes));
  const ranges = taken.map((slot, i) => {
    const part = record.subarray(i * slots.slotBytes, (i + 1) * slots.slotBytes);
    slots.bytes(slot).set(part);
    return { slot, lengthBytes: part.length };
  });
  await client.ask('log.append', { log, lengths: [record.length], slots: ranges, sync: true });
  await client.ask('log.append', { log, lengths: [4] }, Buffer.from('tail'));
  // Asked for all at once: they are still in order.
  const answers = await Promise.all(
    Array.from({ length: 6 }, () =>
      client.channel.request('log.read', { log, reader: 1, maxBytes: MIB }),
    ),
  );
  const parts = answers.map(({ payload }) => Buffer.from(payload));
  assert.deepEqual(Buffer.concat(parts.slice(0, 4)), record);
  assert.deepEqual(
    answers.map(({ body }) => body.restBytes ?? 0),
    [2 * MIB + 12_345, MIB + 12_345, 12_345, 0, 0, 0],
  );
  assert.equal(parts[4]!.toString(), 'tail');
  assert.equal(parts[5]!.length, 0);
});

test('records that do not fit are refused one by one; the others of the frame are appended', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const { id } = await client.ask('mlog.alloc', { capacityBytes: 64 * 1024 });
  await client.ask('mlog.commit', { id });
  const { log } = await client.ask('mlog.open', { id });
  const lengths = [100, 500_000, 200];
  const state = await client.ask(
    'log.append',
    { log, lengths, sync: true },
    Buffer.alloc(500_300, 1),
  );
  assert.equal(state.recordCount, 2);
  assert.deepEqual(
    state.refused?.map(({ index, error }) => [index, error.code]),
    [[1, 'ERR_MPOOL_LOG_FULL']],
  );
  const only = client.ask('log.append', { log, lengths: [70_000] }, Buffer.alloc(70_000));
  await refuses(only, 'ERR_MPOOL_LOG_FULL');
  await refuses(
    client.ask('log.append', { log, lengths: [5] }, Buffer.alloc(4)),
    'ERR_MPOOL_INVALID_ARG',
  );
});

test('MDCs: alloc, compaction and its end, the root MDC, list, delete', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const id = await client.ask('mdc.alloc', { capacityBytes: MIB });
  const wrong = client.ask('mdc.commit', { logA: id.logA, logB: id.logA });
  await refuses(wrong, 'ERR_MPOOL_INVALID_ARG');
  await client.ask('mdc.commit', id);
  const { log, logA } = await client.ask('mdc.open', id);
  assert.equal(logA, id.logA);
  await client.ask('log.append', { log, lengths: [3, 3], sync: true }, Buffer.from('oneTWO'));
  await client.ask('log.startCompaction', { log });
  await client.ask('log.append', { log, lengths: [3] }, Buffer.from('new'));
  const before = await client.channel.request('log.read', { log, reader: 1 });
  assert.equal(
    Buffer.from(before.payload).toString(),
    'oneTWO',
    'the old content counts until the end',
  );
  const ended = await client.ask('log.endCompaction', { log });
  const after = await client.channel.request('log.read', { log, reader: 1 });
  assert.equal(Buffer.from(after.payload).toString(), 'new');
  assert.equal(after.body.generation, ended.generation);
  assert.notEqual(after.body.generation, before.body.generation);
  await client.ask('log.startCompaction', { log });
  await client.ask('log.append', { log, lengths: [3] }, Buffer.from('xyz'));
  await client.ask('log.cancelCompaction', { log });
  assert.equal((await client.ask('log.state', { log })).recordCount, 1);
  await refuses(client.ask('log.erase', { log }), 'ERR_MPOOL_INVALID_ARG', /cannot be erased/);

  const root = await client.ask('mdc.open', {});
  const { rootMdc } = await client.ask('info', {});
  assert.deepEqual({ logA: root.logA, logB: root.logB }, rootMdc);
  const { mdcs } = await client.ask('mdc.list', {});
  assert.deepEqual(
    mdcs.map((mdc) => [mdc.id.logA, mdc.root]),
    [
      [rootMdc.logA, true],
      [id.logA, false],
    ],
  );
  await client.ask('log.close', { log });
  await client.ask('mdc.delete', id);
  await refuses(client.ask('mdc.delete', rootMdc), 'ERR_MPOOL_PERMISSION');
});

test('of a pool: what it is, its parameters, its usage, its growth', async (t) => {
  const rig = await startRig(t);
  const client = await rig.client();
  const other = await rig.client({ access: 'read' });
  const info = await client.ask('info', {});
  assert.deepEqual([info.name, info.health, info.uuid], ['p1', 'optimal', rig.service.uuid]);
  assert.deepEqual(await client.ask('parameters', {}), client.channel.welcome.pool!.parameters);
  await client.ask('setParameters', { changes: { label: 'new', readAheadPages: 8 } });
  assert.equal((await other.ask('parameters', {})).label, 'new');
  await until(() => other.notices.length > 0);
  const [notice] = other.notices;
  assert.deepEqual(notice, { name: 'parameters', body: await client.ask('parameters', {}) });
  await refuses(
    client.ask('setParameters', { changes: { readAheadPages: 99 } }),
    'ERR_MPOOL_INVALID_ARG',
  );
  const total = await client.ask('usage', {});
  assert.deepEqual(await client.ask('usage', { mediaClass: 'capacity' }), total);
  await refuses(client.ask('usage', { mediaClass: 'staging' }), 'ERR_MPOOL_NOT_FOUND');

  const { truncate } = await import('node:fs/promises');
  await truncate(join(rig.folder, 'files/p1'), 96 * MIB);
  assert.equal((await client.ask('grow', {})).gainedBytes, 32 * MIB);
  await until(() => other.notices.some(({ name }) => name === 'devices'));
  const options = {
    path: join(rig.folder, 'files/staging'),
    sizeBytes: 32 * MIB,
    mblockSizeBytes: MIB,
  };
  await client.ask('addMediaClass', { mediaClass: 'staging', options });
  const { devices } = await client.ask('devices', {});
  assert.deepEqual(
    devices.map(({ mediaClass, status }) => [mediaClass, status]),
    [
      ['capacity', 'online'],
      ['staging', 'online'],
    ],
  );
  const { mblocks } = await client.ask('mblock.alloc', { mediaClass: 'staging' });
  assert.equal(mblocks[0]!.mediaClass, 'staging');
  await client.ask('sync', {});
  assert.ok((await client.ask('stats', {})).flushes > 0);
});

test('whatever fields hold, the answer is a typed refusal or a deed, and others do not notice', async (t) => {
  console.log(`SEED=${SEED}`);
  const rig = await startRig(t);
  const prng = new SeededPrng(SEED);
  const bystander = await rig.client();
  const content = pattern(PAGE, 9);
  const kept = await bystander.mblock(content);
  // oxfmt-ignore
  const values = [
    undefined, null, true, false, 0, 1, -1, 1.5, 1e300, 2 ** 31, 2 ** 53, '', 'x', '0x1201', '0x1001101', kept,
    [], [1], ['0x1001101'], [null], [{ slot: 0, lengthBytes: 1 }], {}, { path: '/x' }, { uid: 5 }, 'capacity',
  ];
  const any = (): unknown => values[below(prng, values.length)];
  const codes = new Set<string>();
  let succeeded = 0;
  let fresh: string[] = [];
  let logs: string[] = [];
  let client: Asker = await rig.client();
  for (let round = 0; round < 60; round++) {
    const answers = Array.from({ length: 64 }, async () => {
      const id = fresh[below(prng, fresh.length)] ?? kept;
      const mlog = logs[below(prng, logs.length)] ?? '0x1201';
      const sound = Object.entries(soundRequests(id, mlog));
      const [operation, body] = sound[below(prng, sound.length)]!;
      const fields = Object.keys(body);
      if (below(prng, 2) === 0) body[fields[below(prng, fields.length)] ?? 'x'] = any();
      const payload = below(prng, 3) === 0 ? pattern(below(prng, 9000), round) : undefined;
      try {
        const answer = await client.ask(operation as Operation, body, payload);
        succeeded += 1;
        if ('mblocks' in answer && operation === 'mblock.alloc') {
          fresh = (answer.mblocks as { id: string }[]).map((each) => each.id);
        }
        if (operation === 'mlog.alloc') logs = [(answer as { id: string }).id];
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        assert.match(String(code), /^ERR_MPOOL_/, `${operation} ${JSON.stringify(body)}`);
        codes.add(code!);
      }
    });
    await Promise.all(answers);
    assert.ok(client.channel.open, 'a wrong argument ends no connection');
    if (below(prng, 10) === 0) {
      client.channel.destroy();
      client = await rig.client();
    }
  }
  console.log(`${succeeded} done, refused with ${[...codes].join(' ')}`);
  assert.ok(codes.size > 5 && succeeded > 500);
  const { leases } = await bystander.ask('mblock.lease', { ids: [kept] });
  assert.deepEqual(contentOf(rig, leases[0]!), content);
  await client.close();
  await bystander.close();
  await until(() => rig.service.sessions.length === 0);
  assert.equal(rig.service.store.held.size, 0, 'nothing is held for nobody');
  const bugs = rig.events.filter((line) => / error /.test(line));
  assert.deepEqual(bugs, []);
});

/** A request of each kind that could be right; deleting, and what only an operator may do, is left out. */
function soundRequests(id: string, mlog: string): Record<string, Record<string, unknown>> {
  const log = { log: 1 };
  const reader = { log: 1, reader: 1 };
  const logs = { logA: '0x1201', logB: '0x2201' };
  return {
    info: {},
    usage: { mediaClass: 'capacity' },
    devices: {},
    sync: {},
    stats: {},
    'mblock.alloc': { count: 3, spare: true, mediaClass: 'capacity' },
    'mblock.write': { id, slots: undefined },
    'mblock.commit': { ids: [id] },
    'mblock.abort': { ids: [id] },
    'mblock.lease': { ids: [id], mapped: true },
    'mblock.release': { ids: [id], mapped: true },
    'mblock.list': { after: id, count: 5, mediaClass: 'capacity' },
    'mlog.alloc': { capacityBytes: 65_536, mediaClass: 'capacity', spare: false },
    'mlog.commit': { id: mlog },
    'mlog.abort': { id: mlog },
    'mlog.open': { id: mlog, compactionSemantics: false },
    'mlog.properties': { id: mlog },
    'mlog.list': { after: mlog, count: 1 },
    'log.append': { ...log, lengths: [0], sync: true, slots: undefined },
    'log.sync': log,
    'log.read': { ...reader, maxBytes: 100, maxRecordBytes: 50 },
    'log.skip': { ...reader, lengthBytes: 0 },
    'log.rewind': { ...reader },
    'log.closeReader': { ...reader },
    'log.erase': { ...log, minGeneration: '0x1' },
    'log.startCompaction': { ...log },
    'log.endCompaction': { ...log },
    'log.cancelCompaction': { ...log },
    'log.state': { ...log },
    'log.close': { log: 3 },
    'mdc.alloc': { capacityBytes: 65_536 },
    'mdc.open': { ...logs },
    'mdc.commit': { ...logs },
    'mdc.abort': { ...logs },
    'mdc.list': { after: mlog, count: 2 },
    'reaper.report': { stats: {} },
  };
}
