// Goal: what writers send is what they were given, whenever the kernel takes it; memory is used again, and never
//   before.
// Method: several writers share sockets' worth of memory; what a socket was handed is looked at only when the
//   kernel is said to take it, at random moments, and must still be the frames that were made.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { below, chance, SeededPrng } from '../../src/base/prng.ts';
import { COPIED_BYTES_MAX, FrameWriter } from '../../src/daemon/frame-writer.ts';
import { FrameDecoder } from '../../src/daemon/wire.ts';

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 1e6));
const STEPS = 20_000;

interface Sent {
  id: number;
  text: string;
  payload: Buffer;
}

/** Takes what it is handed when it likes. */
class LateSocket {
  writableLength = 0;
  destroyed = false;
  readonly taken = new FrameDecoder();
  /** Memory that it was handed bytes of. */
  readonly seen = new Set<ArrayBufferLike>();
  readonly #waiting: { piece: Uint8Array; done: (() => void) | undefined }[] = [];

  write(piece: Uint8Array, done?: () => void): void {
    this.#waiting.push({ piece, done });
    this.writableLength += piece.length;
    this.seen.add(piece.buffer);
  }
  cork(): void {}
  uncork(): void {}

  take(): void {
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.writableLength -= next.piece.length;
    this.taken.push(Buffer.from(next.piece));
    next.done?.();
  }
}

test('a batch is used again, after the kernel took it', (t) => {
  t.diagnostic(`SEED=${SEED}`);
  const prng = new SeededPrng(SEED);
  const pairs = Array.from({ length: 4 }, () => {
    const socket = new LateSocket();
    return { socket, writer: new FrameWriter(socket as never, () => {}), expected: [] as Sent[] };
  });
  const bytes = Buffer.alloc(2 * COPIED_BYTES_MAX);
  for (let id = 1; id <= STEPS; id++) {
    const { socket, writer, expected } = pairs[below(prng, pairs.length)]!;
    if (chance(prng, 0.5)) {
      const payload = bytes.subarray(0, below(prng, COPIED_BYTES_MAX + 1)).fill(id);
      const text = 'x'.repeat(below(prng, 200));
      expected.push({ id, text, payload: Buffer.from(payload) });
      writer.frame(id, 1, { text }, payload);
      // It was copied: it is the caller's again.
      payload.fill(0);
    } else if (chance(prng, 0.4)) writer.flush();
    else socket.take();
    check(socket, expected);
  }
  for (const { socket, writer, expected } of pairs) {
    writer.flush();
    while (socket.writableLength > 0) socket.take();
    check(socket, expected);
    assert.equal(expected.length, 0);
    assert.equal(writer.backlogBytes, 0);
  }
  const buffers = new Set(pairs.flatMap(({ socket }) => [...socket.seen]));
  // 40 MiB went out, 64 KiB in a batch.
  assert.ok(buffers.size < 200, `${buffers.size} batches`);
});

function check(socket: LateSocket, expected: Sent[]): void {
  for (let frame = socket.taken.next(); frame !== undefined; frame = socket.taken.next()) {
    const { id, text, payload } = expected.shift()!;
    assert.equal(frame.id, id);
    assert.equal(frame.body['text'], text);
    assert.ok(payload.equals(frame.payload));
  }
}

test('what a connection that is cut off was still sending is nobody else’s', () => {
  const cut = new LateSocket();
  const writer = new FrameWriter(cut as never, () => {});
  writer.frame(1, 1, {}, Buffer.alloc(100, 'a'));
  writer.flush();
  writer.end();
  cut.destroyed = true;
  cut.take();
  const socket = new LateSocket();
  const other = new FrameWriter(socket as never, () => {});
  other.frame(2, 1, {}, Buffer.alloc(100, 'b'));
  other.flush();
  assert.deepEqual(
    [...socket.seen].filter((memory) => cut.seen.has(memory)),
    [],
  );
});
