// Goal: an object is read by a lease of the connection there is, and the end of a connection is not the end of a read.
// Method: sessions and attachments made up here, whose reads and connections fail at chosen moments.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MpoolError } from '../../src/base/errors.ts';
import { makeObjectId } from '../../src/format/object-id.ts';
import type { Attachment } from '../../src/daemon/client/attachment.ts';
import { LeasedObject } from '../../src/daemon/client/leased-object.ts';
import type { Session } from '../../src/daemon/client/session.ts';

const ID = makeObjectId(7, 1, 1);

/** One connection, and what reading by it does. */
class MadeUpConnection {
  readonly name: number;
  readonly channel = { open: true };
  leaseCount = 0;
  /** Called in place of a read. */
  onRead: () => void = () => {};
  #leased = false;

  constructor(name: number) {
    this.name = name;
  }

  get attachment(): Attachment {
    return this.#attachment as unknown as Attachment;
  }

  readonly #attachment = {
    channel: this.channel,
    opening: undefined,
    leases: {
      table: { touch: () => {}, lengthBytes: () => 100 },
      find: () => (this.#leased ? 0 : -1),
      isLive: () => this.#leased,
      lease: async () => {
        this.#leased = true;
        this.leaseCount += 1;
      },
      reader: {
        readInto: async (_index: number, _offsetBytes: number, into: Uint8Array) => {
          this.onRead();
          into.fill(this.name);
        },
      },
    },
  };
}

function setup() {
  const [first, second] = [new MadeUpConnection(1), new MadeUpConnection(2)];
  let current = first;
  const session = {
    get attachment() {
      return current.channel.open ? current.attachment : null;
    },
    attached: () => Promise.resolve(current.attachment),
    during: <T>(work: Promise<T>) => work,
  };
  const object = new LeasedObject(session as unknown as Session, ID);
  /** The daemon went and another came. */
  const reconnect = (): void => {
    first.channel.open = false;
    current = second;
  };
  const read = async (): Promise<number> => {
    const into = new Uint8Array(4);
    await object.read(0, into);
    return into[0]!;
  };
  return { first, second, reconnect, read, object };
}

test('a lease is asked for once, and kept', async () => {
  const { first, read, object } = setup();
  assert.equal(object.isLeased, false);
  assert.deepEqual([await read(), await read(), first.leaseCount], [1, 1, 1]);
  assert.equal(object.lengthBytes, 100);
});

test('the lease of a connection that is gone is not read by: its space may be another’s', async () => {
  const { first, second, reconnect, read, object } = setup();
  await read();
  reconnect();
  first.onRead = () => assert.fail('read by the connection that is gone');
  assert.equal(object.isLeased, false);
  assert.equal(object.lengthBytes, undefined);
  assert.deepEqual([await read(), second.leaseCount], [2, 1]);
});

test('a read under which its connection ends is done again on the next one', async () => {
  const { first, reconnect, read } = setup();
  await read();
  first.onRead = () => {
    reconnect();
    throw new MpoolError('ERR_MPOOL_CHECKSUM', 'another object is there by now');
  };
  assert.equal(await read(), 2);
});

test('a read that fails while its connection is there fails', async () => {
  const { first, read } = setup();
  await read();
  first.onRead = () => {
    throw new MpoolError('ERR_MPOOL_CHECKSUM', 'page 0');
  };
  await assert.rejects(read(), { code: 'ERR_MPOOL_CHECKSUM' });
});
