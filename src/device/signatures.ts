/**
 * How media say what they hold: magic bytes at known places, all within a mebibyte of either end.
 * The places and values are those that the makers of each format document and that wipefs(8) and
 * file(1) go by. Rows are tried in order: what makes other devices of a device before file systems;
 * these before partition tables, because boot sectors of file systems look like partition tables
 * and not the other way round; and second copies last, because a later owner of the device may have
 * left them standing.
 */
import { equalBytes, viewOf } from '../base/bytes.ts';
import { crc32c } from '../base/crc32c.ts';
import { isPowerOfTwo, KIB, roundDown } from '../base/units.ts';

export interface Signature {
  /** For people, with its article. */
  what: string;
  /** Where the magic may lie; negative ones count from the end, rounded down to `endAlignBytes`. */
  offsetsBytes: readonly number[];
  /** 512 by default. */
  endAlignBytes?: number;
  magic: Uint8Array;
  /**
   * For magics that are short or shared: looks at the fields around.
   * @returns what it is then; undefined when the magic was chance
   */
  judge?: (media: MediaEnds, offsetBytes: number) => string | undefined;
}

/** The parts of a device or file in which signatures lie. */
export interface MediaEnds {
  readonly sizeBytes: number;
  /** A view of bytes; undefined where they are not within those parts, or past the end. */
  bytesAt(offsetBytes: number, lengthBytes: number): Uint8Array | undefined;
}

const ZFS_LABEL_BYTES = 256 * KIB;
/** Volume recognition descriptors begin at 32 KiB, in sectors of 2048 or 4096 bytes. */
const UDF_DESCRIPTORS = steps(32 * KIB + 1, 2048, 32);
const SWAP_PAGES = [4, 8, 16, 32, 64].map((kib) => kib * KIB - 10);
/** Two sectors from the end: of 512 or of 4096 bytes. */
const INTEL_PLACES = [-1024, -8 * KIB];
/** The last sector, and one further in, in either byte order. */
const DDF_PLACES = [-512, -257 * 512];
const LUKS2_COPIES = [16, 32, 64, 128, 256, 512].map((kib) => kib * KIB);
const MPOOL_COPIES = [64 * KIB, -64 * KIB, -4 * KIB, 8 * KIB];
const MPOOL_MAGIC = ascii('mpoolDev');

export const SIGNATURES: readonly Signature[] = [
  { what: 'an mpool', offsetsBytes: [0], magic: MPOOL_MAGIC, judge: mpool },

  // What takes devices and makes others of them.
  { what: 'a LUKS volume', offsetsBytes: [0], magic: ascii('LUKS\xba\xbe'), judge: luks },
  { what: 'a BitLocker volume', offsetsBytes: [3], magic: ascii('-FVE-FS-') },
  {
    what: 'an LVM2 physical volume',
    offsetsBytes: [0, 512, 1024, 1536],
    magic: ascii('LABELONE'),
    judge: (media, at) => when(textAt(media, at + 24, 8) === 'LVM2 001', 'an LVM2 physical volume'),
  },
  raid('1.1', 0),
  raid('1.2', 4 * KIB),
  raid('1.0', -8 * KIB),
  raid('0.90', -64 * KIB),
  raid('0.90', -64 * KIB, 'a92b4efc'),
  {
    what: 'an Intel RAID member',
    offsetsBytes: INTEL_PLACES,
    magic: ascii('Intel Raid ISM Cfg Sig. '),
  },
  { what: 'a DDF RAID member', offsetsBytes: DDF_PLACES, magic: hex('de11de11') },
  { what: 'a DDF RAID member', offsetsBytes: DDF_PLACES, magic: hex('11de11de') },
  ...['8374026b', '8374026c', '8374026d'].map((magic) => ({
    what: 'a DRBD volume',
    offsetsBytes: [60 - 4 * KIB],
    endAlignBytes: 4 * KIB,
    magic: hex(magic),
  })),
  { what: 'a Ceph BlueStore device', offsetsBytes: [0], magic: ascii('bluestore block device') },
  {
    what: 'a bcachefs filesystem',
    offsetsBytes: [4 * KIB + 24],
    magic: hex('c68573f666ce90a9d96a60cf803df7ef'),
  },
  {
    what: 'a bcache device',
    offsetsBytes: [4 * KIB + 24],
    magic: hex('c68573f64e1a45ca8265f57f48ba6d81'),
    judge: bcache,
  },
  { what: 'a VDO volume', offsetsBytes: [0], magic: ascii('dmvdo001') },
  ...zfs([0, ZFS_LABEL_BYTES]),

  // File systems with long magics.
  { what: 'an XFS filesystem', offsetsBytes: [0], magic: ascii('XFSB') },
  { what: 'a btrfs filesystem', offsetsBytes: [64 * KIB + 64], magic: ascii('_BHRfS_M') },
  { what: 'an F2FS filesystem', offsetsBytes: [1024], magic: hex('1020f5f2') },
  { what: 'an EROFS filesystem', offsetsBytes: [1024], magic: hex('e2e1f5e0') },
  { what: 'an exFAT filesystem', offsetsBytes: [3], magic: ascii('EXFAT   ') },
  { what: 'an NTFS filesystem', offsetsBytes: [3], magic: ascii('NTFS    ') },
  { what: 'a ReFS filesystem', offsetsBytes: [3], magic: ascii('ReFS\0\0\0\0') },
  { what: 'an APFS container', offsetsBytes: [32], magic: ascii('NXSB') },
  {
    what: 'an OCFS2 filesystem',
    offsetsBytes: [1024, 2048, 4096, 8192],
    magic: ascii('OCFSV2'),
  },
  { what: 'a GFS2 filesystem', offsetsBytes: [64 * KIB], magic: hex('01161970'), judge: gfs },
  {
    what: 'a ReiserFS filesystem',
    offsetsBytes: [64 * KIB + 52, 8 * KIB + 52, 8 * KIB + 20],
    magic: ascii('ReIsEr'),
  },
  { what: 'a Reiser4 filesystem', offsetsBytes: [64 * KIB], magic: ascii('ReIsEr4') },
  { what: 'a JFS filesystem', offsetsBytes: [32 * KIB], magic: ascii('JFS1') },
  { what: 'a squashfs filesystem', offsetsBytes: [0], magic: ascii('hsqs') },
  { what: 'a squashfs filesystem', offsetsBytes: [0], magic: ascii('sqsh') },
  { what: 'a cramfs filesystem', offsetsBytes: [0, 512], magic: hex('453dcd28') },
  { what: 'a cramfs filesystem', offsetsBytes: [0, 512], magic: hex('28cd3d45') },
  { what: 'a romfs filesystem', offsetsBytes: [0], magic: ascii('-rom1fs-') },
  { what: 'a UDF filesystem', offsetsBytes: UDF_DESCRIPTORS, magic: ascii('NSR02') },
  { what: 'a UDF filesystem', offsetsBytes: UDF_DESCRIPTORS, magic: ascii('NSR03') },
  { what: 'an ISO 9660 filesystem', offsetsBytes: [32 * KIB + 1], magic: ascii('CD001') },

  // File systems with magics of two bytes.
  { what: 'an ext filesystem', offsetsBytes: [1080], magic: hex('53ef'), judge: ext },
  { what: 'an HFS+ filesystem', offsetsBytes: [1024], magic: hex('482b0004') },
  { what: 'an HFS+ filesystem', offsetsBytes: [1024], magic: hex('48580005') },
  nilfs2(1030),
  ...['7f13', '8f13', '6824', '7824'].flatMap((magic) => [
    minix(1040, magic, true),
    minix(1040, reversed(magic), false),
  ]),
  minix(1048, '5a4d', true),
  minix(1048, '4d5a', false),

  // Swap.
  { what: 'a swap area', offsetsBytes: SWAP_PAGES, magic: ascii('SWAPSPACE2') },
  { what: 'a swap area', offsetsBytes: SWAP_PAGES, magic: ascii('SWAP-SPACE') },
  ...['S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', 'LINHIB0001'].map((magic) => ({
    what: 'a hibernation image',
    offsetsBytes: SWAP_PAGES,
    magic: ascii(magic),
  })),

  // Boot sectors and partition tables.
  { what: 'a FAT filesystem', offsetsBytes: [510], magic: hex('55aa'), judge: fat },
  { what: 'a GPT partition table', offsetsBytes: [512, 4 * KIB], magic: ascii('EFI PART') },
  { what: 'an MBR partition table', offsetsBytes: [510], magic: hex('55aa'), judge: mbr },

  // Second copies: what is left where the first was overwritten.
  {
    what: 'an mpool',
    offsetsBytes: MPOOL_COPIES,
    endAlignBytes: 4 * KIB,
    magic: MPOOL_MAGIC,
    judge: mpool,
  },
  { what: 'a LUKS2 volume', offsetsBytes: LUKS2_COPIES, magic: ascii('SKUL\xba\xbe') },
  ...zfs([-2 * ZFS_LABEL_BYTES, -ZFS_LABEL_BYTES]),
  { what: 'an F2FS filesystem', offsetsBytes: [5 * KIB], magic: hex('1020f5f2') },
  { what: 'a JFS filesystem', offsetsBytes: [60 * KIB], magic: ascii('JFS1') },
  nilfs2(6 - 4 * KIB),
  ...[512, 4 * KIB].map((sectorBytes) => ({
    what: 'a GPT partition table (its backup)',
    offsetsBytes: [-sectorBytes],
    endAlignBytes: sectorBytes,
    magic: ascii('EFI PART'),
  })),
];

/** The name, of another copy when this one is damaged. */
function mpool(media: MediaEnds, at: number): string {
  for (const copy of [at, ...MPOOL_COPIES]) {
    const place = placeOf(copy, 4 * KIB, media);
    const name = mpoolName(media.bytesAt(place, 66));
    if (name !== undefined) return `the mpool ${name}`;
  }
  return 'a damaged mpool';
}

/** The first 62 bytes are the same in all formats, and have a checksum of their own. */
function mpoolName(head: Uint8Array | undefined): string | undefined {
  if (head === undefined || !equalBytes(head.subarray(0, 8), MPOOL_MAGIC)) return undefined;
  const view = viewOf(head);
  if (view.getUint32(62, true) !== crc32c(head.subarray(0, 62))) return undefined;
  const name = latin1(head.subarray(8, 40)).replace(/\0.*$/s, '');
  // Anything else must not reach a terminal.
  if (!/^[A-Za-z0-9._-]+$/.test(name)) return undefined;
  return `"${name}" (format ${view.getUint16(56, true)})`;
}

function luks(media: MediaEnds, at: number): string | undefined {
  const version = media.bytesAt(at + 6, 2);
  return version && `a LUKS${viewOf(version).getUint16(0) === 1 ? 1 : 2} volume`;
}

/** The major version stands behind the magic; 0.90 is written in the order of its machine. */
function raid(version: string, offsetBytes: number, magic = 'fc4e2ba9'): Signature {
  const what = `a Linux RAID member (${version})`;
  return {
    what,
    offsetsBytes: [offsetBytes],
    endAlignBytes: version === '0.90' ? 64 * KIB : 4 * KIB,
    magic: hex(magic),
    judge: (media, at) => when(u32(media, at + 4) === Number(version[0]), what),
  };
}

/** Labels of 256 KiB, whose second half is a ring of uberblocks of at least 1 KiB each. */
function zfs(labels: number[]): Signature[] {
  const offsetsBytes = labels.flatMap((label) => steps(label + 128 * KIB, KIB, 128));
  return ['0cb1ba0000000000', '0000000000bab10c'].map((magic) => ({
    what: 'a ZFS pool member',
    offsetsBytes,
    endAlignBytes: ZFS_LABEL_BYTES,
    magic: hex(magic),
  }));
}

function nilfs2(offsetBytes: number): Signature {
  const what = 'a NILFS2 filesystem';
  return {
    what,
    offsetsBytes: [offsetBytes],
    endAlignBytes: 4 * KIB,
    magic: hex('3434'),
    judge: (media, at) => when(u32(media, at - 6) === 2, what),
  };
}

/** Early bcachefs had the magic of bcache; bcache says there that its superblock is in sector 8. */
function bcache(media: MediaEnds, at: number): string {
  const sector = media.bytesAt(at - 16, 8);
  const own = sector !== undefined && viewOf(sector).getBigUint64(0, true) === 8n;
  return own ? 'a bcache device' : 'a bcachefs filesystem';
}

function gfs(media: MediaEnds, at: number): string | undefined {
  const header = media.bytesAt(at, 28);
  if (header === undefined || viewOf(header).getUint32(4) !== 1) return undefined;
  return viewOf(header).getUint32(24) >= 1800 ? 'a GFS2 filesystem' : 'a GFS filesystem';
}

/** ext2, ext3 and ext4 are one format: what a kernel must know to mount it tells them apart. */
function ext(media: MediaEnds, at: number): string | undefined {
  const superblock = media.bytesAt(at - 56, 104);
  if (superblock === undefined) return undefined;
  const view = viewOf(superblock);
  const blockSizeLog = view.getUint32(24, true);
  if (blockSizeLog > 6) return undefined;
  const [compatible, incompatible, readOnly] = [92, 96, 100].map((o) => view.getUint32(o, true));
  const journalDevice = 0x8;
  const ext3Incompatible = 0x2 | 0x4 | 0x10;
  const ext3ReadOnly = 0x1 | 0x2 | 0x4;
  const hasJournal = 0x4;
  if ((incompatible! & journalDevice) !== 0) return 'an ext4 journal';
  if ((incompatible! & ~ext3Incompatible) !== 0 || (readOnly! & ~ext3ReadOnly) !== 0) {
    return 'an ext4 filesystem';
  }
  return (compatible! & hasJournal) !== 0 ? 'an ext3 filesystem' : 'an ext2 filesystem';
}

/** Versions 1 and 2 have the magic at 16 of the superblock, 3 at 24, in either byte order. */
function minix(offsetBytes: 1040 | 1048, magic: string, little: boolean): Signature {
  const what = 'a minix filesystem';
  const judge = (media: MediaEnds): string | undefined => {
    const superblock = media.bytesAt(1024, 32);
    if (superblock === undefined) return undefined;
    const view = viewOf(superblock);
    const maps = offsetBytes === 1040 ? 4 : 6;
    const [inodeMapBlocks, zoneMapBlocks, firstZone, zoneSizeLog] = [0, 2, 4, 6].map((field) =>
      view.getUint16(maps + field, little),
    );
    const plausible =
      (offsetBytes === 1040 ? view.getUint16(0, little) : view.getUint32(0, little)) > 0 &&
      inodeMapBlocks! > 0 &&
      zoneMapBlocks! > 0 &&
      firstZone! >= 2 + inodeMapBlocks! + zoneMapBlocks! &&
      zoneSizeLog === 0;
    return when(plausible, what);
  };
  return { what, offsetsBytes: [offsetBytes], magic: hex(magic), judge };
}

/** A parameter block that could be mounted: a boot loader's code in its place is not one. */
function fat(media: MediaEnds): string | undefined {
  const sector = media.bytesAt(0, 512);
  if (sector === undefined) return undefined;
  const view = viewOf(sector);
  const sectorBytes = view.getUint16(11, true);
  const fatCount = sector[16]!;
  const mediaByte = sector[21]!;
  const plausible =
    (sector[0] === 0xeb || sector[0] === 0xe9) &&
    isPowerOfTwo(sectorBytes) &&
    sectorBytes >= 512 &&
    sectorBytes <= 4096 &&
    isPowerOfTwo(sector[13]!) &&
    view.getUint16(14, true) > 0 &&
    (fatCount === 1 || fatCount === 2) &&
    (mediaByte === 0xf0 || mediaByte >= 0xf8);
  return when(plausible, 'a FAT filesystem');
}

/** Four entries of 16 bytes at 446, at least one of them used and none impossible. */
function mbr(media: MediaEnds): string | undefined {
  const sector = media.bytesAt(0, 512);
  if (sector === undefined) return undefined;
  let used = 0;
  let protective = false;
  for (let at = 446; at < 510; at += 16) {
    const view = viewOf(sector.subarray(at, at + 16));
    if (view.getUint8(0) !== 0 && view.getUint8(0) !== 0x80) return undefined;
    const type = view.getUint8(4);
    if (type === 0) continue;
    if (view.getUint32(12, true) === 0) return undefined;
    protective ||= type === 0xee;
    used++;
  }
  if (used === 0) return undefined;
  return protective ? 'a protective MBR (of a GPT partition table)' : 'an MBR partition table';
}

function when(holds: boolean, what: string): string | undefined {
  return holds ? what : undefined;
}

function u32(media: MediaEnds, offsetBytes: number): number | undefined {
  const bytes = media.bytesAt(offsetBytes, 4);
  return bytes && viewOf(bytes).getUint32(0, true);
}

function textAt(media: MediaEnds, offsetBytes: number, lengthBytes: number): string | undefined {
  const bytes = media.bytesAt(offsetBytes, lengthBytes);
  return bytes && latin1(bytes);
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function hex(digits: string): Uint8Array {
  return Uint8Array.from(Buffer.from(digits, 'hex'));
}

function reversed(digits: string): string {
  return Buffer.from(hex(digits).toReversed()).toString('hex');
}

function steps(first: number, step: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index * step);
}

function placeOf(offsetBytes: number, endAlignBytes: number, media: MediaEnds): number {
  if (offsetBytes >= 0) return offsetBytes;
  return roundDown(media.sizeBytes, endAlignBytes) + offsetBytes;
}

/** What the bytes at one place of a row say; undefined when it is not there. */
export function matchSignature(
  row: Signature,
  offsetBytes: number,
  media: MediaEnds,
): { what: string; offsetBytes: number } | undefined {
  const at = placeOf(offsetBytes, row.endAlignBytes ?? 512, media);
  const bytes = media.bytesAt(at, row.magic.length);
  if (bytes === undefined || !equalBytes(bytes, row.magic)) return undefined;
  const what = row.judge === undefined ? row.what : row.judge(media, at);
  return what === undefined ? undefined : { what, offsetBytes: at };
}
