// Goal: a promise of descriptors is good once, for a while, and only for the process to which it was made.
// Method: tickets under a simulated clock; sessions that are no more than their peer and whether they are open.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededPrng } from '../../src/base/prng.ts';
import type { PeerCredentials } from '../../src/daemon/peer.ts';
import { DescriptorTickets } from '../../src/daemon/server/descriptor-tickets.ts';
import type { Session } from '../../src/daemon/server/session.ts';
import { SimClock } from '../../src/testing/index.ts';

const GOOD_MS = 1000;
const PEER: PeerCredentials = { pid: 10, uid: 20, gid: 30, groups: [], startTicks: 1 };
const REFUSED = { code: 'ERR_MPOOL_ACCESS' };

function setup() {
  const clock = new SimClock();
  const tickets = new DescriptorTickets(clock, new SeededPrng(1), GOOD_MS);
  const channel = { open: true };
  const session = { peer: PEER, channel } as unknown as Session;
  return { clock, tickets, session, channel };
}

test('a token is good once', () => {
  const { tickets, session } = setup();
  const token = tickets.issue(session);
  assert.equal(tickets.take(token, PEER), session);
  assert.throws(() => tickets.take(token, PEER), REFUSED);
  assert.throws(() => tickets.take('0'.repeat(32), PEER), REFUSED);
});

test('a token is good for its time, and not a moment longer', async () => {
  const { clock, tickets, session } = setup();
  const [first, second] = [tickets.issue(session), tickets.issue(session)];
  await clock.advance(GOOD_MS);
  assert.equal(tickets.take(first, PEER), session);
  await clock.advance(1);
  assert.throws(() => tickets.take(second, PEER), REFUSED);
});

test('a token that leaked is of no use to another process, and stays good for its own', () => {
  const { tickets, session } = setup();
  const token = tickets.issue(session);
  for (const other of [{ pid: 11 }, { uid: 21 }, { uid: 0 }]) {
    assert.throws(() => tickets.take(token, { ...PEER, ...other }), REFUSED);
  }
  assert.equal(tickets.take(token, PEER), session);
});

test('a session that ended, and tokens beyond its last four, are good no more', () => {
  const { tickets, session, channel } = setup();
  const tokens = Array.from({ length: 6 }, () => tickets.issue(session));
  assert.equal(new Set(tokens).size, 6);
  for (const token of tokens.slice(0, 2)) assert.throws(() => tickets.take(token, PEER), REFUSED);
  assert.equal(tickets.take(tokens[2]!, PEER), session);
  channel.open = false;
  assert.throws(() => tickets.take(tokens[3]!, PEER), REFUSED);
  channel.open = true;
  tickets.forget(session);
  assert.throws(() => tickets.take(tokens[4]!, PEER), REFUSED);
});
