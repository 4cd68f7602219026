/** What an image holds, decoded and encoded again by src/format, and which kinds of things it is. */
import { viewOf } from '../../src/base/bytes.ts';
import { roundUp } from '../../src/base/units.ts';
import { hasWitnesses } from '../../src/format/features.ts';
import {
  CHUNK_HEADER_BYTES,
  chunkKind,
  chunkLengthBytes,
  chunkWord,
  decodeFrameHeader,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  frameSeed,
  NO_WITNESS,
  payloadIsRight,
} from '../../src/format/log-frame.ts';
import {
  decodeLogHeader,
  encodeLogHeader,
  type LogHeader,
  logIdentity,
} from '../../src/format/log-header.ts';
import { slotOfLow, uniquifierOfHalves } from '../../src/format/object-id.ts';
import {
  decodeSuperblock,
  encodeSuperblock,
  ownDescriptor,
  type Superblock,
  superblockOffsetBytes,
} from '../../src/format/superblock.ts';
import { rewrittenRecords } from './rewrite-records.ts';

const PAGE = 4096;
const LOG_HEADER_MAGIC = 0x484c706d;

export interface Rewritten {
  bytes: Uint8Array;
  again: Uint8Array;
}

/** Both of any length. */
export interface Rewriting {
  superblocks: Rewritten[];
  logHeaders: Rewritten[];
  frames: Rewritten[];
  records: Rewritten[];
  /** Kinds by number, as they lie on media: 'chunk 2', 'record 7'. */
  met: Set<string>;
}

export function rewriteAll(images: { capacity: Buffer; staging: Buffer }): Rewriting {
  const all: Rewriting = {
    superblocks: [],
    logHeaders: [],
    frames: [],
    records: [],
    met: new Set(),
  };
  for (const image of [images.capacity, images.staging]) {
    const first = decodeSuperblock(image.subarray(0, PAGE), 0);
    if (!first.ok) throw new Error(first.detail);
    rewriteSuperblocks(all, image, first.superblock);
    rewriteLogs(all, image, first.superblock);
  }
  return all;
}

function rewriteSuperblocks(all: Rewriting, image: Buffer, superblock: Superblock): void {
  const own = ownDescriptor(superblock);
  for (const copy of [0, 1, 2, 3]) {
    const at = superblockOffsetBytes(copy, own.sizeBytes);
    const bytes = image.subarray(at, at + PAGE);
    all.superblocks.push({ bytes, again: encodeSuperblock(superblock, copy) });
  }
  const { generation, features } = superblock;
  all.met.add(generation === 1 ? 'superblock, the first' : 'superblock, updated');
  all.met.add(hasWitnesses(features) ? 'with witnesses' : 'without witnesses');
  meetDevice(all, image);
}

/** The bytes themselves: what both directions had wrong would be found right. */
function meetDevice(all: Rewriting, image: Buffer): void {
  const at = image.subarray(104, 120).equals(image.subarray(128, 144)) ? 128 : 192;
  all.met.add(`media class ${image[at + 16]}`);
  all.met.add(`device kind ${image[at + 17]}`);
  all.met.add(`sectorShift ${image[at + 18]}`);
}

/** Every page that begins as a log's header does: of logs that were deleted, too. */
function rewriteLogs(all: Rewriting, image: Buffer, superblock: Superblock): void {
  const { sectorBytes } = ownDescriptor(superblock);
  for (let at = 0; at < image.length; at += PAGE) {
    if (image.readUInt32LE(at) !== LOG_HEADER_MAGIC) continue;
    const bytes = image.subarray(at, at + 512);
    const view = viewOf(bytes);
    const id = { low: view.getUint32(32, true), high: view.getUint32(36, true) };
    const identity = logIdentity(superblock.poolUuid, id);
    const extentBytes = Number.MAX_SAFE_INTEGER;
    const decoded = decodeLogHeader(bytes, { identity, sectorBytes, extentBytes });
    if (!decoded.ok) throw new Error(`the header at ${at}: ${decoded.detail}`);
    const { header } = decoded;
    all.logHeaders.push({
      bytes,
      again: encodeLogHeader(header, identity).subarray(0, 512),
    });
    all.met.add(`log state ${bytes[9]}`);
    if (header.committedBytes > PAGE) all.met.add('log header with frames that were committed');
    const seed = frameSeed(identity, header.salt);
    new FrameRewriter(all, image.subarray(at), header, seed, superblock).all();
  }
}

/** The frames of a log, up to the first that does not follow. */
class FrameRewriter {
  readonly #all: Rewriting;
  readonly #log: Buffer;
  readonly #header: LogHeader;
  readonly #seed: number;
  readonly #witnesses: boolean;
  #pieces: Buffer[] = [];

  /** @param log from its header on, to the end of the image */
  constructor(
    all: Rewriting,
    log: Buffer,
    header: LogHeader,
    seed: number,
    superblock: Superblock,
  ) {
    this.#all = all;
    this.#log = log;
    this.#header = header;
    this.#seed = seed;
    this.#witnesses = hasWitnesses(superblock.features);
  }

  all(): void {
    const { objectId, sectorBytes, generation } = this.#header;
    let previousCrc = 0;
    for (let at = PAGE; at < this.#log.length;) {
      const found = decodeFrameHeader(this.#log, viewOf(this.#log), at, {
        seed: this.#seed,
        offsetBytes: at,
        extentBytes: this.#log.length,
        generation,
        sectorBytes,
        witnesses: this.#witnesses,
      });
      if (typeof found === 'string' || found.previousCrc !== previousCrc) return;
      this.#meetFrame(found, at);
      if (!payloadIsRight(this.#log, at, found, sectorBytes)) {
        this.#all.met.add('frame that is torn');
        return;
      }
      const start = at + FRAME_HEADER_BYTES;
      this.#chunks(this.#log.subarray(start, start + found.payloadBytes), objectId);
      at = roundUp(start + found.payloadBytes, sectorBytes);
      previousCrc = found.crc;
    }
  }

  #meetFrame(frame: FrameHeader, at: number): void {
    const again = new Uint8Array(FRAME_HEADER_BYTES);
    encodeFrameHeader(again, frame, this.#seed, at);
    const bytes = this.#log.subarray(at, at + FRAME_HEADER_BYTES);
    this.#all.frames.push({ bytes, again });
    this.#all.met.add(`frame flags ${bytes.readUInt32LE(36)}`);
    const { objectId } = this.#header;
    if (frame.witness === NO_WITNESS) return;
    if (slotOfLow(objectId.low) !== 0) this.#all.met.add('witness of a log of users');
    else {
      const mdc = Math.floor(uniquifierOfHalves(objectId.low, objectId.high) / 2);
      this.#all.met.add(`witness of MDC ${mdc}`);
    }
  }

  #chunks(payload: Buffer, objectId: LogHeader['objectId']): void {
    const isOfUsers = slotOfLow(objectId.low) !== 0;
    for (let at = 0; at < payload.length;) {
      const word = payload.readUInt32LE(at);
      const [kind, length] = [chunkKind(word), chunkLengthBytes(word)];
      const again = Buffer.alloc(CHUNK_HEADER_BYTES);
      again.writeUInt32LE(chunkWord(kind, length));
      const start = at + CHUNK_HEADER_BYTES;
      this.#all.frames.push({ bytes: payload.subarray(at, start), again });
      this.#all.met.add(`chunk ${Math.floor(word / 2 ** 29)}`);
      at = start + length;
      if (!isOfUsers) this.#piece(Math.floor(word / 2 ** 29), payload.subarray(start, at));
    }
  }

  /** Records of the pool's own MDCs; kinds by the numbers of docs/format.md. */
  #piece(kind: number, bytes: Buffer): void {
    if (kind <= 1) this.#pieces = [];
    if (kind <= 3) this.#pieces.push(bytes);
    if (kind !== 0 && kind !== 3) return;
    const record = Buffer.concat(this.#pieces);
    const { records, met } = this.#all;
    for (const { structure, kinds } of rewrittenRecords(record)) {
      records.push(structure);
      for (const each of kinds) met.add(each);
    }
  }
}
