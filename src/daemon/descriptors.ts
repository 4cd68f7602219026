/**
 * Open files from the daemon to a client. libuv drops descriptors that come with bytes, so the client
 * fetches them on a connection of its own, on the thread pool, and the daemon sends them with one sendmsg().
 */
import { close } from 'node:fs';
import type { Socket } from 'node:net';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Clock } from '../base/clock.ts';
import { errnoName, MpoolError } from '../base/errors.ts';
import { binding } from '../native/binding.ts';
import { connectionLost } from './channel.ts';
import { numberOfOperation } from './operations.ts';
import type { Hello } from './protocol.ts';
import { errorFromWire } from './wire-values.ts';
import { encodeFrame, FrameDecoder, KIND_DONE, protocolError } from './wire.ts';

const { errno: E } = constants;
const RETRY_MS = 5;
const TIMEOUT_MS = 5000;

/** The socket's descriptor; -1 when it is closed. Node tells it of nothing but its own handles. */
export function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle?: { fd?: number } | null };
  return handle?.fd ?? -1;
}

/**
 * Sends `bytes`, and with the first of them the descriptors, past all that the socket has queued.
 * @throws ERR_MPOOL_CONNECTION_LOST when the peer is gone or does not read for `timeoutMs`
 */
export async function passDescriptors(
  socket: Socket,
  bytes: Uint8Array,
  fds: readonly number[],
  clock: Clock,
  timeoutMs: number,
): Promise<void> {
  const giveUpMs = clock.monotonicMs() + timeoutMs;
  for (;;) {
    const sent = binding.sendDescriptors(descriptorOf(socket), bytes, Int32Array.from(fds));
    if (sent >= 0) {
      if (sent < bytes.length) socket.write(bytes.subarray(sent));
      return;
    }
    if (sent !== -E.EAGAIN || clock.monotonicMs() >= giveUpMs) {
      throw connectionLost(`sendmsg: ${errnoName(sent)}`);
    }
    await sleep(RETRY_MS);
  }
}

/**
 * Fetches the descriptors that a welcome promised. They are the caller's, who closes them.
 * @param hello with `descriptorsFor`
 * @param count how many there must be
 * @throws what the daemon refuses with; ERR_MPOOL_CONNECTION_LOST; ERR_MPOOL_PROTOCOL when another number
 *   came, and then none is kept
 */
export async function receiveDescriptors(
  path: string,
  hello: Hello,
  count: number,
  timeoutMs = TIMEOUT_MS,
): Promise<number[]> {
  const { fds, answer } = await fetchDescriptors(path, hello, timeoutMs);
  try {
    const decoder = new FrameDecoder();
    decoder.push(answer);
    const frame = decoder.next();
    if (frame === undefined) throw connectionLost(`${path}: no answer`);
    if (frame.kind !== KIND_DONE) throw errorFromWire(frame.body);
    if (fds.length !== count) {
      throw protocolError(`${path}: ${fds.length} descriptors came instead of ${count}`);
    }
    return fds;
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}

function fetchDescriptors(
  path: string,
  hello: Hello,
  timeoutMs: number,
): Promise<{ fds: number[]; answer: Buffer }> {
  const request = encodeFrame(1, numberOfOperation('hello'), hello);
  return new Promise((resolve, reject) => {
    const fail = (errno: number): void => reject(fetchError(errno, path));
    const queued = binding.receiveDescriptors(
      Buffer.from(path),
      request,
      timeoutMs,
      (result, answer, fds) => {
        if (result < 0) fail(result);
        else resolve({ fds: [...fds!], answer: Buffer.from(answer!.buffer) });
      },
    );
    if (queued < 0) fail(queued);
  });
}

function fetchError(errno: number, path: string): MpoolError {
  const denied = errno === -E.EACCES || errno === -E.EPERM;
  return new MpoolError(
    denied ? 'ERR_MPOOL_ACCESS' : 'ERR_MPOOL_CONNECTION_LOST',
    `${path}: ${errnoName(errno)}`,
    { errno, syscall: 'recvmsg', path },
  );
}
