// What devices say of themselves, written by hand from the documents of each format and from what
// wipefs(8) goes by, and not from the table under test. Places from the end are those of a disk of
// ODD_BYTES.
import { crc32c } from '../../src/base/crc32c.ts';

/** 3 MiB, 200 KiB and 3 sectors: places counted from the end differ by what they are rounded to. */
export const ODD_BYTES = 3_352_064;
/** So small that both ends are one. */
export const SMALL_BYTES = 1_572_864;

export const hex = (digits: string): Buffer => Buffer.from(digits.replaceAll(' ', ''), 'hex');
export const text = (characters: string): Buffer => Buffer.from(characters, 'latin1');

/** What a made-up device says of itself: its magic, and other fields by their distance from it. */
export interface Sample {
  what: string;
  at: number[];
  magic: Buffer;
  fields?: [distance: number, bytes: Buffer][];
}

export const MD = hex('fc4e2ba9');
const MD_1: Sample['fields'] = [[4, hex('01000000')]];
const LVM2: Sample['fields'] = [[24, text('LVM2 001')]];
/** 256 inodes, two maps of one block, the first zone 12; of versions 1 and 2, then 3. */
export const MINIX = hex('00010002010001000c00000000fc0710');
const MINIX_BIG: Sample['fields'] = [[-16, hex('0100020000010001000c00001007fc00')]];
const MINIX_3 = hex('00010000000001000100 0c0000000000ffffff7f00020000');
const MINIX_3_BIG = hex('00000100000000010001 000c000000007fffffff00000200');
/** From a sector's end mark: a parameter block of 512-byte sectors, two tables, media f8. */
export const FAT = hex('eb3c906d6b66732e666174 00020401000200020050f8');
/** One active partition from sector 2048 on. */
export const PARTITION = hex('80202100 83aa2840 00080000 00f80700');
export const PROTECTIVE = hex('00000200 eeffffff 01000000 ffffffff');

export const MPOOL_IDENTITY = Buffer.alloc(62);
MPOOL_IDENTITY.write('mpoolDev');
MPOOL_IDENTITY.write('tank', 8);
MPOOL_IDENTITY.writeUInt16LE(2, 56);
const MPOOL_CRC = Buffer.alloc(4);
MPOOL_CRC.writeUInt32LE(crc32c(MPOOL_IDENTITY));

export const SAMPLES: Sample[] = [
  {
    what: 'the mpool "tank" (format 2)',
    at: [0, 8192, 65_536, 3_284_992, 3_346_432],
    magic: text('mpoolDev'),
    fields: [[0, Buffer.concat([MPOOL_IDENTITY, MPOOL_CRC])]],
  },
  { what: 'a LUKS1 volume', at: [0], magic: text('LUKS\xba\xbe'), fields: [[6, hex('0001')]] },
  { what: 'a LUKS2 volume', at: [0], magic: text('LUKS\xba\xbe'), fields: [[6, hex('0002')]] },
  {
    what: 'a LUKS2 volume',
    at: [16_384, 32_768, 65_536, 131_072, 262_144, 524_288],
    magic: text('SKUL\xba\xbe'),
  },
  { what: 'a BitLocker volume', at: [3], magic: text('-FVE-FS-') },
  {
    what: 'an LVM2 physical volume',
    at: [0, 512, 1024, 1536],
    magic: text('LABELONE'),
    fields: LVM2,
  },
  { what: 'a Linux RAID member (1.1)', at: [0], magic: MD, fields: MD_1 },
  { what: 'a Linux RAID member (1.2)', at: [4096], magic: MD, fields: MD_1 },
  { what: 'a Linux RAID member (1.0)', at: [3_342_336], magic: MD, fields: MD_1 },
  { what: 'a Linux RAID member (0.90)', at: [3_276_800], magic: MD },
  { what: 'a Linux RAID member (0.90)', at: [3_276_800], magic: hex('a92b4efc') },
  {
    what: 'an Intel RAID member',
    at: [3_351_040, 3_343_872],
    magic: text('Intel Raid ISM Cfg Sig. '),
  },
  { what: 'a DDF RAID member', at: [3_351_552, 3_220_480], magic: hex('de11de11') },
  { what: 'a DDF RAID member', at: [3_351_552, 3_220_480], magic: hex('11de11de') },
  { what: 'a DRBD volume', at: [3_346_492], magic: hex('8374026b') },
  { what: 'a DRBD volume', at: [3_346_492], magic: hex('8374026c') },
  { what: 'a DRBD volume', at: [3_346_492], magic: hex('8374026d') },
  { what: 'a Ceph BlueStore device', at: [0], magic: text('bluestore block device\n') },
  {
    what: 'a bcachefs filesystem',
    at: [4120],
    magic: hex('c68573f666ce90a9d96a60cf803df7ef'),
  },
  {
    what: 'a bcachefs filesystem',
    at: [4120],
    magic: hex('c68573f64e1a45ca8265f57f48ba6d81'),
    fields: [[-8, hex('0d000d0000000000')]],
  },
  {
    what: 'a bcache device',
    at: [4120],
    magic: hex('c68573f64e1a45ca8265f57f48ba6d81'),
    fields: [[-16, hex('0800000000000000')]],
  },
  { what: 'a VDO volume', at: [0], magic: text('dmvdo001') },
  {
    what: 'a ZFS pool member',
    at: [131_072, 135_168, 523_264, 2_752_512, 3_014_656, 3_144_704],
    magic: hex('0cb1ba0000000000'),
  },
  {
    what: 'a ZFS pool member',
    at: [131_072, 135_168, 523_264, 2_752_512, 3_014_656, 3_144_704],
    magic: hex('0000000000bab10c'),
  },
  { what: 'an XFS filesystem', at: [0], magic: text('XFSB') },
  { what: 'a btrfs filesystem', at: [65_600], magic: text('_BHRfS_M') },
  { what: 'an F2FS filesystem', at: [1024, 5120], magic: hex('1020f5f2') },
  { what: 'an EROFS filesystem', at: [1024], magic: hex('e2e1f5e0') },
  { what: 'an exFAT filesystem', at: [3], magic: text('EXFAT   ') },
  { what: 'an NTFS filesystem', at: [3], magic: text('NTFS    ') },
  { what: 'a ReFS filesystem', at: [3], magic: text('ReFS\0\0\0\0') },
  { what: 'an APFS container', at: [32], magic: text('NXSB') },
  { what: 'an OCFS2 filesystem', at: [1024, 2048, 4096, 8192], magic: text('OCFSV2') },
  {
    what: 'a GFS2 filesystem',
    at: [65_536],
    magic: hex('01161970'),
    fields: [
      [4, hex('00000001')],
      [24, hex('000007090000076c')],
    ],
  },
  {
    what: 'a GFS filesystem',
    at: [65_536],
    magic: hex('01161970'),
    fields: [
      [4, hex('00000001')],
      [24, hex('0000051d00000579')],
    ],
  },
  { what: 'a ReiserFS filesystem', at: [65_588, 8244, 8212], magic: text('ReIsErFs') },
  { what: 'a ReiserFS filesystem', at: [65_588], magic: text('ReIsEr2Fs') },
  { what: 'a ReiserFS filesystem', at: [65_588], magic: text('ReIsEr3Fs') },
  { what: 'a Reiser4 filesystem', at: [65_536], magic: text('ReIsEr4') },
  { what: 'a JFS filesystem', at: [32_768, 61_440], magic: text('JFS1') },
  { what: 'a squashfs filesystem', at: [0], magic: text('hsqs') },
  { what: 'a squashfs filesystem', at: [0], magic: text('sqsh') },
  { what: 'a cramfs filesystem', at: [0, 512], magic: hex('453dcd28') },
  { what: 'a cramfs filesystem', at: [0, 512], magic: hex('28cd3d45') },
  { what: 'a romfs filesystem', at: [0], magic: text('-rom1fs-') },
  { what: 'a UDF filesystem', at: [32_769, 34_817, 96_257], magic: text('NSR02') },
  { what: 'a UDF filesystem', at: [32_769, 36_865, 96_257], magic: text('NSR03') },
  { what: 'an ISO 9660 filesystem', at: [32_769], magic: text('CD001') },
  ...[
    ['an ext2 filesystem', '38000000 02000000 03000000'],
    ['an ext3 filesystem', '3c000000 02000000 03000000'],
    ['an ext3 filesystem', '3c000000 06000000 07000000'],
    ['an ext4 filesystem', '3c000000 42000000 03000000'],
    ['an ext4 filesystem', '38000000 02000000 0b000000'],
    ['an ext4 journal', '00000000 08000000 00000000'],
  ].map(([what, features]): Sample => {
    const fields: Sample['fields'] = [
      [-32, hex('02000000')],
      [36, hex(features!)],
    ];
    return { what: what!, at: [1080], magic: hex('53ef'), fields };
  }),
  { what: 'an HFS+ filesystem', at: [1024], magic: hex('482b0004') },
  { what: 'an HFS+ filesystem', at: [1024], magic: hex('48580005') },
  {
    what: 'a NILFS2 filesystem',
    at: [1030, 3_346_438],
    magic: hex('3434'),
    fields: [[-6, hex('02000000')]],
  },
  ...['7f13', '8f13', '6824', '7824'].map((magic): Sample => ({
    what: 'a minix filesystem',
    at: [1040],
    magic: hex(magic),
    fields: [[-16, MINIX]],
  })),
  ...['137f', '138f', '2468', '2478'].map((magic): Sample => ({
    what: 'a minix filesystem',
    at: [1040],
    magic: hex(magic),
    fields: MINIX_BIG,
  })),
  { what: 'a minix filesystem', at: [1048], magic: hex('5a4d'), fields: [[-24, MINIX_3]] },
  { what: 'a minix filesystem', at: [1048], magic: hex('4d5a'), fields: [[-24, MINIX_3_BIG]] },
  { what: 'a swap area', at: [4086, 8182, 16_374, 32_758, 65_526], magic: text('SWAPSPACE2') },
  { what: 'a swap area', at: [4086, 8182, 16_374, 32_758, 65_526], magic: text('SWAP-SPACE') },
  ...['S1SUSPEND', 'S2SUSPEND', 'ULSUSPEND', 'LINHIB0001'].map((magic): Sample => ({
    what: 'a hibernation image',
    at: [4086, 8182, 16_374, 32_758, 65_526],
    magic: text(magic),
  })),
  { what: 'a FAT filesystem', at: [510], magic: hex('55aa'), fields: [[-510, FAT]] },
  { what: 'a GPT partition table', at: [512, 4096], magic: text('EFI PART') },
  { what: 'a GPT partition table (its backup)', at: [3_351_552], magic: text('EFI PART') },
  { what: 'a GPT partition table (its backup)', at: [3_346_432], magic: text('EFI PART') },
  { what: 'an MBR partition table', at: [510], magic: hex('55aa'), fields: [[-64, PARTITION]] },
  { what: 'an MBR partition table', at: [510], magic: hex('55aa'), fields: [[-16, PARTITION]] },
  {
    what: 'a protective MBR (of a GPT partition table)',
    at: [510],
    magic: hex('55aa'),
    fields: [[-64, PROTECTIVE]],
  },
];
