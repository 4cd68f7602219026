// Goal: what real programs make is seen and named, in files and on block devices. Method: the
// programs that there are; each test of another says which is missing.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { test } from 'node:test';
import { MIB } from '../../src/base/units.ts';
import { probeContent } from '../../src/device/probe-content.ts';
import { SystemHost } from '../../src/device/system-host.ts';
import { text } from './content-samples.ts';
import { loopDevice, noLoopDevices, temporaryFolder } from './places.ts';

const system = new SystemHost();

/** Programs that make something of the file that comes last, or is fed to them. */
interface Tool {
  command: string[];
  what: string;
  offsetBytes: number;
  sizeBytes?: number;
  input?: string;
  /** What is then left, and where, when so many bytes at the start are zeroed. */
  second?: { zeroedBytes: number; what: string; offsetBytes: number };
}

const TOOLS: Tool[] = [
  { command: ['mkfs.ext2', '-qF'], what: 'an ext2 filesystem', offsetBytes: 1080 },
  { command: ['mkfs.ext3', '-qF'], what: 'an ext3 filesystem', offsetBytes: 1080 },
  { command: ['mkfs.ext4', '-qF'], what: 'an ext4 filesystem', offsetBytes: 1080 },
  { command: ['mkswap'], what: 'a swap area', offsetBytes: 4086 },
  { command: ['mkfs.minix', '-1'], what: 'a minix filesystem', offsetBytes: 1040 },
  { command: ['mkfs.minix', '-2'], what: 'a minix filesystem', offsetBytes: 1040 },
  { command: ['mkfs.minix', '-3'], what: 'a minix filesystem', offsetBytes: 1048 },
  // Not in the table: seen all the same.
  { command: ['mkfs.bfs'], what: 'data', offsetBytes: 0 },
  { command: ['mkfs.vfat', '-F16'], what: 'a FAT filesystem', offsetBytes: 510 },
  { command: ['mkfs.vfat', '-F32'], what: 'a FAT filesystem', offsetBytes: 510 },
  { command: ['mkfs.exfat'], what: 'an exFAT filesystem', offsetBytes: 3 },
  { command: ['mkfs.xfs', '-q'], what: 'an XFS filesystem', offsetBytes: 0, sizeBytes: 320 * MIB },
  { command: ['mkfs.btrfs', '-q'], what: 'a btrfs filesystem', offsetBytes: 65_600 },
  { command: ['mkfs.f2fs', '-q'], what: 'an F2FS filesystem', offsetBytes: 1024 },
  {
    command: ['mkfs.nilfs2', '-q'],
    sizeBytes: 256 * MIB + 1536,
    what: 'a NILFS2 filesystem',
    offsetBytes: 1030,
    second: { zeroedBytes: MIB, what: 'a NILFS2 filesystem', offsetBytes: 268_431_366 },
  },
  { command: ['mkfs.jfs', '-q'], what: 'a JFS filesystem', offsetBytes: 32_768 },
  { command: ['mkfs.reiserfs', '-qf'], what: 'a ReiserFS filesystem', offsetBytes: 65_588 },
  {
    command: ['mkfs.gfs2', '-Oq', '-p', 'lock_nolock', '-J', '8'],
    what: 'a GFS2 filesystem',
    offsetBytes: 65_536,
  },
  {
    command: ['sfdisk', '-q'],
    input: 'label: gpt\n,\n',
    what: 'a GPT partition table',
    offsetBytes: 512,
    second: {
      zeroedBytes: MIB,
      what: 'a GPT partition table (its backup)',
      offsetBytes: 134_217_216,
    },
  },
  {
    command: ['sfdisk', '-q'],
    input: 'label: dos\n,\n',
    what: 'an MBR partition table',
    offsetBytes: 510,
  },
  {
    command: luksFormat('luks1'),
    input: 'key',
    what: 'a LUKS1 volume',
    offsetBytes: 0,
  },
  {
    command: luksFormat('luks2'),
    input: 'key',
    what: 'a LUKS2 volume',
    offsetBytes: 0,
    second: { zeroedBytes: 4096, what: 'a LUKS2 volume', offsetBytes: 16_384 },
  },
];

/** With as little work for the key as it allows. */
function luksFormat(type: string): string[] {
  const easy = ['--pbkdf', 'pbkdf2', '--pbkdf-force-iterations', '1000'];
  return ['cryptsetup', 'luksFormat', '-q', '--type', type, ...easy, '--key-file', '-'];
}

const PATH = [process.env['PATH'], '/usr/sbin', '/sbin'].join(delimiter);

function noTool(name: string): string | undefined {
  const found = PATH.split(delimiter).some((folder) => existsSync(join(folder, name)));
  return found ? undefined : `no ${name} on this machine`;
}

function runTool(command: string[], input = ''): void {
  const [name, ...args] = command;
  execFileSync(name!, args, { input, stdio: 'pipe', env: { ...process.env, PATH } });
}

for (const { command, what, offsetBytes, sizeBytes = 128 * MIB, input, second } of TOOLS) {
  const skip = noTool(command[0]!);
  const name = `${command.slice(0, 2).join(' ')} makes ${what}`;
  test(name, skip === undefined ? {} : { skip }, async (t) => {
    const path = join(temporaryFolder(t), 'made');
    writeFileSync(path, '');
    truncateSync(path, sizeBytes);
    runTool([...command, path], input);
    assert.deepEqual(await probeContent(system, path), { what, offsetBytes });
    if (second === undefined) return;
    const { zeroedBytes, ...left } = second;
    writeAt(path, 0, new Uint8Array(zeroedBytes));
    assert.deepEqual(await probeContent(system, path), left);
  });
}

for (const [tool, what] of [
  ['mkfs.cramfs', 'a cramfs filesystem'],
  ['mksquashfs', 'a squashfs filesystem'],
] as const) {
  const skip = noTool(tool);
  test(`${tool} makes ${what}`, skip === undefined ? {} : { skip }, async (t) => {
    const folder = temporaryFolder(t);
    const path = join(folder, 'made');
    mkdirSync(join(folder, 'in'));
    writeFileSync(join(folder, 'in', 'file'), 'content');
    runTool([tool, join(folder, 'in'), path]);
    assert.deepEqual(await probeContent(system, path), { what, offsetBytes: 0 });
  });
}

for (const sectorBytes of [512, 4096]) {
  const skip = noLoopDevices();
  const name = `a block device with sectors of ${sectorBytes} bytes`;
  test(name, skip === undefined ? {} : { skip }, async (t) => {
    const file = join(temporaryFolder(t), 'disk.img');
    writeFileSync(file, '');
    truncateSync(file, 8 * MIB);
    const path = loopDevice(t, file, sectorBytes);
    assert.equal((await system.stat(path))?.kind, 'block');
    assert.equal(await probeContent(system, path), undefined);
    const backup = 8 * MIB - sectorBytes;
    writeAt(path, backup, text('EFI PART'));
    const gpt = { what: 'a GPT partition table (its backup)', offsetBytes: backup };
    assert.deepEqual(await probeContent(system, path), gpt);
    const device = await system.openDevice(path, { access: 'write' });
    try {
      assert.deepEqual(await probeContent(system, path), gpt, 'claimed, as for a new pool');
    } finally {
      await device.close();
    }
    const noSwap = noTool('mkswap');
    if (noSwap !== undefined) return t.diagnostic(noSwap);
    runTool(['mkswap', path]);
    assert.deepEqual(await probeContent(system, path), { what: 'a swap area', offsetBytes: 4086 });
  });
}

test('pvcreate makes an LVM2 physical volume', pvcreateSkip(), async (t) => {
  const file = join(temporaryFolder(t), 'disk.img');
  writeFileSync(file, '');
  truncateSync(file, 8 * MIB);
  const path = loopDevice(t, file, 512);
  runTool(['pvcreate', '-q', '--config', 'devices { use_devicesfile = 0 }', path]);
  const what = 'an LVM2 physical volume';
  assert.deepEqual(await probeContent(system, path), { what, offsetBytes: 512 });
});

function pvcreateSkip(): { skip?: string } {
  const skip = noTool('pvcreate') ?? noLoopDevices();
  return skip === undefined ? {} : { skip };
}

function writeAt(path: string, offsetBytes: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  try {
    writeSync(file, bytes, 0, bytes.length, offsetBytes);
  } finally {
    closeSync(file);
  }
}
