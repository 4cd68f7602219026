/**
 * Both ends of a connection have this: frames in, frames out, and an end with a reason. A ClientChannel asks,
 * a ServerChannel answers.
 *
 *   open ── close() ──► closing ── all was taken, or CLOSE_MS ──► ended
 *    └───── fail(), the peer, the socket ───────────────────────────┘
 *
 * Invariants
 *  1. `ended` settles once, and after it no handler is called.
 *  2. Once `open` is false, no frame is taken in and none is queued.
 */
import type { Socket } from 'node:net';
import { systemClock } from '../base/clock.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { isMpoolError, MpoolError } from '../base/errors.ts';
import { FrameWriter } from './frame-writer.ts';
import { FrameDecoder } from './wire.ts';

export type { Payload } from './frame-writer.ts';

/** What the peer does not read of a closing connection within this is dropped. */
const CLOSE_MS = 1000;

/**
 * Why a connection ended: 'local' this side closed it; 'peer' the other side closed it or its process is
 * gone; 'malformed' the other side sent what is no frame; 'timeout' no hello came in time; 'backlog' the
 * other side did not read what it was sent.
 */
export type EndReason = 'local' | 'peer' | 'malformed' | 'timeout' | 'backlog';

export interface ChannelEnd {
  reason: EndReason;
  /** What requests under way failed with; its `cause` is what the peer said, or the socket's error. */
  error: MpoolError;
}

/** ERR_MPOOL_CONNECTION_LOST */
export function connectionLost(detail: string, cause?: unknown): MpoolError {
  return new MpoolError('ERR_MPOOL_CONNECTION_LOST', detail, { cause });
}

export abstract class Channel {
  /** Resolves once, when no more frames will come or leave; never rejects. */
  readonly ended: Promise<ChannelEnd>;
  protected readonly socket: Socket;
  protected readonly decoder: FrameDecoder;
  protected readonly writer: FrameWriter;
  protected readonly clock: Clock;
  #open = true;
  #end: ChannelEnd | undefined;
  #resolveEnded!: (end: ChannelEnd) => void;
  #closeTimer: Timer | undefined;

  constructor(socket: Socket, lengthMax: number, clock: Clock = systemClock) {
    this.clock = clock;
    this.socket = socket;
    this.decoder = new FrameDecoder(lengthMax);
    this.writer = new FrameWriter(socket, () => {
      if (this.#open) this.onFlushed();
    });
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    socket.on('data', (chunk: Buffer) => this.#onData(chunk));
    socket.on('end', () => this.#onPeerEnd());
    socket.on('error', (error) => this.#stop('peer', connectionLost('the socket failed', error)));
    socket.on('close', () => this.#onClose());
  }

  /** False from the moment the connection ended or close() was called. */
  get open(): boolean {
    return this.#open;
  }

  /** Queued here: bytes that the peer's socket did not take yet. */
  get backlogBytes(): number {
    return this.writer.backlogBytes;
  }

  /** Sends what is queued, then ends; what the peer does not take within a second is dropped. */
  close(): void {
    this.#close('local', connectionLost('closed here'));
  }

  /** Ends at once; what is queued is dropped. */
  destroy(): void {
    this.#stop('local', connectionLost('closed here'));
    this.socket.destroy();
  }

  /** Whole frames may be in the decoder. */
  protected abstract onFrames(): void;
  /** The kernel took all of a write. */
  protected abstract onFlushed(): void;
  /** Nothing is taken in or sent from now on. Called once. */
  protected abstract onStop(end: ChannelEnd): void;
  /** What ends a connection from the peer's side, when it said so before. */
  protected farewell(): MpoolError | undefined {
    return undefined;
  }

  /** Ends for a reason of this side, after sending what is queued. */
  protected fail(reason: EndReason, error: MpoolError): void {
    this.#close(reason, error);
  }

  #close(reason: EndReason, error: MpoolError): void {
    if (!this.#open) return;
    this.writer.flush();
    this.#stop(reason, error);
    // What still comes is read and dropped: unread bytes would make the kernel reset the connection,
    // and the peer might lose the last frames.
    this.socket.resume();
    this.socket.end();
    this.#closeTimer = this.clock.after(CLOSE_MS, () => this.socket.destroy());
  }

  #onData(chunk: Buffer): void {
    if (!this.#open) return;
    this.decoder.push(chunk);
    try {
      this.onFrames();
    } catch (error) {
      this.malformed(error);
    }
  }

  /** Ends because the peer sent what is no frame; anything else is a bug and goes on. */
  protected malformed(error: unknown): void {
    if (!isMpoolError(error, 'ERR_MPOOL_PROTOCOL')) throw error;
    this.fail('malformed', error);
  }

  /** Half-open connections are of no use: who does not write any more is gone. */
  #onPeerEnd(): void {
    const said = this.farewell();
    this.#stop('peer', connectionLost(said?.message ?? 'closed by the other side', said));
    this.socket.destroy();
  }

  #stop(reason: EndReason, error: MpoolError): void {
    if (this.#end !== undefined) return;
    this.#open = false;
    const isLost = error.code === 'ERR_MPOOL_CONNECTION_LOST';
    this.#end = { reason, error: isLost ? error : connectionLost(error.message, error) };
    this.writer.end();
    this.onStop(this.#end);
  }

  #onClose(): void {
    this.#stop('peer', connectionLost('the socket closed'));
    this.#closeTimer?.cancel();
    this.#resolveEnded(this.#end!);
  }
}
