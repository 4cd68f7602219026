/**
 * A log's salt is in its header alone, but every frame header's checksum covers it: four unknown bytes in a
 * message of which all else and the CRC are known have just one value.
 */
import { assert } from '../base/assert.ts';
import { viewOf } from '../base/bytes.ts';
import { FRAME_HEADER_BYTES } from './log-frame.ts';
import { LOG_IDENTITY_BYTES } from './log-header.ts';
import { setU64 } from './u64.ts';

const POLYNOMIAL = 0x82f63b78;
const TABLE = new Uint32Array(256);
/** Of the top byte of an entry, where in the table it is: no two are the same. */
const PLACE = new Uint8Array(256);
for (let i = 0; i < 256; i++) {
  let crc = i;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  TABLE[i] = crc;
  PLACE[TABLE[i]! >>> 24] = i;
}

/**
 * The salt with which the header's checksum is right. Of any 64 bytes there is one: whether it is the log's
 * must be told by what the checksum does not cover, the payload's.
 * @param header the 64 bytes of a frame header
 * @param offsetBytes of the frame in the extent of the log
 */
export function saltOfFrame(identity: Uint8Array, header: Uint8Array, offsetBytes: number): number {
  assert(identity.length === LOG_IDENTITY_BYTES, 'an identity has 24 bytes');
  const offset = new Uint8Array(8);
  setU64(viewOf(offset), 0, offsetBytes);
  let after = viewOf(header).getUint32(4, true) ^ 0xffffffff;
  for (let i = FRAME_HEADER_BYTES - 1; i >= 8; i--) after = stepBack(after, header[i]!);
  for (let i = offset.length - 1; i >= 0; i--) after = stepBack(after, offset[i]!);
  // The four bytes of the salt work as if they were added to the state, and zeros then followed.
  for (let i = 0; i < 4; i++) after = stepBack(after, 0);
  let before = 0xffffffff;
  for (const byte of identity) before = TABLE[(before ^ byte) & 0xff]! ^ (before >>> 8);
  return (after ^ before) >>> 0;
}

/** The state from which that byte led to this one. */
function stepBack(state: number, byte: number): number {
  const place = PLACE[state >>> 24]!;
  return (((state ^ TABLE[place]!) << 8) | (place ^ byte)) >>> 0;
}
