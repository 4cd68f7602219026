/**
 * The end that answers. It reads no more than it can carry out:
 *
 *  1. At most `requestsInFlight` requests and `inlineBytes` bytes of them are being carried out (one
 *     request may go beyond the latter).
 *  2. While more than `backlogBytes` of answers wait for the peer, none of its requests is begun.
 *  3. At most `framesPerTurn` frames or TURN_BYTES are taken in a turn of the event loop, so that a peer
 *     that floods has its share and no more.
 *  4. Whoever still lets `backlogBytesMax` gather is cut off.
 */
import type { Socket } from 'node:net';
import { assert } from '../base/assert.ts';
import type { Timer } from '../base/clock.ts';
import type { MpoolError } from '../base/errors.ts';
import { AnswerRoom } from './answer-room.ts';
import { Channel, connectionLost } from './channel.ts';
import type { ChannelEnd, EndReason, Payload } from './channel.ts';
import { passDescriptors } from './descriptors.ts';
import { readHello } from './hello.ts';
import { Incoming } from './incoming.ts';
import { numberOfNotice, operationOfNumber } from './operations.ts';
import type { NoticeName } from './operations.ts';
import type { Hello, Notices, Welcome } from './protocol.ts';
import { errorToWire } from './wire-values.ts';
import {
  encodeFrame,
  FRAME_BYTES_MAX,
  HELLO_BYTES_MAX,
  KIND_DONE,
  KIND_ERROR,
  protocolError,
} from './wire.ts';
import type { Frame } from './wire.ts';

const TURN_BYTES = 2 ** 18;

export type { Incoming } from './incoming.ts';

export interface ChannelLimits {
  /** Requests being carried out at once: then the socket is not read. */
  requestsInFlight: number;
  /** Bytes of these requests: then the socket is not read. */
  inlineBytes: number;
  /** Answers and notices not yet taken by the peer: then the socket is not read. */
  backlogBytes: number;
  /** Then the connection ends: notices, and answers made without room(), can come so far. */
  backlogBytesMax: number;
  /** Frames carried out before other connections have their turn. */
  framesPerTurn: number;
  /** For the hello to come. */
  helloMs: number;
}

export const CHANNEL_LIMITS: Readonly<ChannelLimits> = {
  requestsInFlight: 4096,
  inlineBytes: 8 * 2 ** 20,
  backlogBytes: 2 * 2 ** 20,
  backlogBytesMax: 16 * 2 ** 20,
  framesPerTurn: 64,
  helloMs: 5000,
};

export interface Reply {
  body?: object | undefined;
  /** Handed over: unchanged from now on. */
  payload?: Payload | undefined;
}

/**
 * Called in the order in which requests came, many before the first is answered. What it throws is
 * the answer.
 */
export type RequestHandler = (request: Incoming) => Reply | Promise<Reply>;

export class ServerChannel extends Channel {
  #limits: ChannelLimits;
  #hello: Hello | undefined;
  #helloId = 0;
  #onHello: ((error?: MpoolError) => void) | undefined;
  #helloTimer: Timer | undefined;
  #onRequest: RequestHandler | undefined;
  #paused = false;
  #inFlight = 0;
  #inlineBytes = 0;
  #requestCount = 0;
  /** Of this turn of the loop. */
  #turnFrames = 0;
  #turnBytes = 0;
  #turnScheduled = false;
  readonly #room: AnswerRoom;
  #onDrained: (() => void)[] = [];

  private constructor(socket: Socket, limits: ChannelLimits) {
    super(socket, HELLO_BYTES_MAX);
    this.#limits = limits;
    this.#room = new AnswerRoom(limits.backlogBytes);
  }

  /**
   * Waits for the hello and checks it. Nothing is read beyond it before admit().
   * @throws ERR_MPOOL_CONNECTION_LOST when none comes that can be read; the peer was told, the socket is
   *   closed
   */
  static async accept(socket: Socket, limits: Partial<ChannelLimits> = {}): Promise<ServerChannel> {
    const channel = new ServerChannel(socket, { ...CHANNEL_LIMITS, ...limits });
    const { helloMs } = channel.#limits;
    channel.#helloTimer = channel.clock.after(helloMs, () =>
      channel.#farewell('timeout', connectionLost(`no hello within ${helloMs} ms`)),
    );
    await new Promise<void>((resolve, reject) => {
      channel.#onHello = (error) => (error === undefined ? resolve() : reject(error));
    });
    return channel;
  }

  get hello(): Hello {
    return this.#hello!;
  }

  get requestsInFlight(): number {
    return this.#inFlight;
  }

  get requestCount(): number {
    return this.#requestCount;
  }

  /** Answers the hello, and carries out requests from now on, within `limits` where they are given. */
  admit(welcome: Welcome, onRequest: RequestHandler, limits: Partial<ChannelLimits> = {}): void {
    if (!this.open) return;
    this.#limits = { ...this.#limits, ...limits };
    this.#room.limitBytes = this.#limits.backlogBytes;
    this.writer.frame(this.#helloId, KIND_DONE, welcome);
    this.#onRequest = onRequest;
    this.decoder.lengthMax = FRAME_BYTES_MAX;
    this.#continue();
  }

  /** Answers the hello with an error and closes. */
  refuse(error: unknown): void {
    if (!this.open) return;
    this.writer.frame(this.#helloId, KIND_ERROR, errorToWire(error));
    this.close();
  }

  /**
   * Instead of admit(), to a hello with `descriptorsFor`: answers {count} together with the descriptors,
   * which stay the caller's, and closes.
   * @throws ERR_MPOOL_CONNECTION_LOST
   */
  async sendDescriptors(fds: readonly number[]): Promise<void> {
    const answer = encodeFrame(this.#helloId, KIND_DONE, { count: fds.length });
    try {
      await passDescriptors(this.socket, answer, fds, this.clock, this.#limits.helloMs);
    } finally {
      this.close();
    }
  }

  notify<Name extends NoticeName>(name: Name, body: Notices[Name]): void {
    assert(this.#onRequest !== undefined, 'the answer to the hello comes first');
    if (!this.open) return;
    this.writer.frame(0, numberOfNotice(name), body);
    this.#checkBacklog();
  }

  /** @param why is told to the peer in a `closing` notice */
  override close(why?: { code: string; message: string }): void {
    if (why !== undefined && this.open) this.writer.frame(0, numberOfNotice('closing'), why);
    super.close();
  }

  /** No more requests are begun: they stay unread. */
  pause(): void {
    this.#paused = true;
  }

  /** Resolves when no request is being carried out. */
  drained(): Promise<void> {
    if (this.#inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onDrained.push(resolve));
  }

  protected override onFrames(): void {
    if (this.#hello === undefined) this.#takeHello();
    else this.#continue();
  }

  protected override onFlushed(): void {
    this.#room.grant(this.writer.backlogBytes);
    if (this.#hello !== undefined) this.#continue();
  }

  protected override onStop(end: ChannelEnd): void {
    this.#helloTimer?.cancel();
    this.#onHello?.(end.error);
    this.#room.fail(end.error);
  }

  protected override fail(reason: EndReason, error: MpoolError): void {
    this.#farewell(reason, error);
  }

  /** Tells why, then ends. */
  #farewell(reason: EndReason, error: MpoolError): void {
    if (!this.open) return;
    this.writer.frame(0, numberOfNotice('closing'), { code: error.code, message: error.message });
    super.fail(reason, error);
  }

  #takeHello(): void {
    const frame = this.decoder.next();
    if (frame === undefined) return;
    this.socket.pause();
    this.#helloTimer?.cancel();
    this.#helloId = frame.id;
    try {
      this.#hello = readHello(frame);
    } catch (error) {
      // In the answer as well: that is where a client of another version looks.
      this.writer.frame(frame.id, KIND_ERROR, errorToWire(error));
      throw error;
    }
    this.#onHello?.();
  }

  /** Carries out what was received, as far as the limits let it, and reads on when they do. */
  #continue(): void {
    try {
      while (this.open && this.#mayBegin()) {
        const frame = this.decoder.next();
        if (frame === undefined) {
          this.socket.resume();
          return;
        }
        this.#begin(frame);
      }
    } catch (error) {
      this.malformed(error);
      return;
    }
    if (this.open) this.socket.pause();
  }

  #mayBegin(): boolean {
    const { requestsInFlight, inlineBytes, backlogBytes, framesPerTurn } = this.#limits;
    return (
      this.#onRequest !== undefined &&
      !this.#paused &&
      this.#inFlight < requestsInFlight &&
      this.#inlineBytes < inlineBytes &&
      this.#turnFrames < framesPerTurn &&
      this.#turnBytes < TURN_BYTES &&
      this.writer.backlogBytes < backlogBytes
    );
  }

  #begin(frame: Frame): void {
    this.#countTurn(frame.lengthBytes);
    if (frame.id === 0) throw protocolError('a request with the id 0');
    this.#requestCount += 1;
    const operation = operationOfNumber(frame.kind);
    if (operation === undefined || operation === 'hello') {
      const error = protocolError(`operation ${frame.kind} is not known here`);
      this.writer.frame(frame.id, KIND_ERROR, errorToWire(error));
      return;
    }
    this.#inFlight += 1;
    this.#inlineBytes += frame.lengthBytes;
    const request = new Incoming(operation, frame, this.#reserve);
    let reply: Reply | Promise<Reply>;
    try {
      reply = this.#onRequest!(request);
    } catch (error) {
      this.#answerError(request, error);
      return;
    }
    if (reply instanceof Promise) {
      reply.then(
        (value) => this.#answer(request, value),
        (error: unknown) => this.#answerError(request, error),
      );
    } else {
      this.#answer(request, reply);
    }
  }

  readonly #reserve = (request: Incoming, bytes: number): Promise<void> => {
    if (!this.open) return Promise.reject(connectionLost('nobody waits for the answer'));
    return this.#room.reserve(request, bytes, this.writer.backlogBytes);
  };

  #countTurn(bytes: number): void {
    this.#turnFrames += 1;
    this.#turnBytes += bytes;
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    setImmediate(() => {
      this.#turnScheduled = false;
      this.#turnFrames = 0;
      this.#turnBytes = 0;
      if (this.open) this.#continue();
    });
  }

  #answer(request: Incoming, reply: Reply): void {
    if (this.open) {
      try {
        this.writer.frame(request.id, KIND_DONE, reply.body, reply.payload);
      } catch (error) {
        this.writer.frame(request.id, KIND_ERROR, errorToWire(error));
      }
    }
    this.#settled(request);
  }

  #answerError(request: Incoming, error: unknown): void {
    if (this.open) this.writer.frame(request.id, KIND_ERROR, errorToWire(error));
    this.#settled(request);
  }

  #settled(request: Incoming): void {
    this.#inFlight -= 1;
    this.#inlineBytes -= request.lengthBytes;
    this.#room.settle(request);
    this.#checkBacklog();
    if (this.#inFlight === 0) for (const resolve of this.#onDrained.splice(0)) resolve();
  }

  #checkBacklog(): void {
    if (!this.open || this.writer.backlogBytes <= this.#limits.backlogBytesMax) return;
    const detail = `${this.writer.backlogBytes} bytes wait to be read`;
    this.writer.end();
    super.fail('backlog', connectionLost(detail));
  }
}
