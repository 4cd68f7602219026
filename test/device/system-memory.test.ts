// Goal: the gauge tells the limits that hold for this process, and stays silent on what it cannot know.
// Method: trees of files as kernels write them, a simulated clock; this machine's own files; a child in a real group.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { GIB, KIB, MIB } from '../../src/base/units.ts';
import { memoryGroups } from '../../src/device/control-groups.ts';
import type { MemorySample } from '../../src/device/memory-gauge.ts';
import { SystemMemory } from '../../src/device/system-memory.ts';
import { isRoot, program, temporaryFolder } from './places.ts';

const MEMINFO = `MemTotal:       16777216 kB
MemFree:         4194304 kB
MemAvailable:    8388608 kB
Buffers:           10240 kB
Cached:          5242880 kB
SwapCached:            0 kB
Shmem:            524288 kB
SReclaimable:     204800 kB
`;
const VMSTAT = `nr_free_pages 1048576
workingset_refault_anon 5
workingset_refault_file 70
pgsteal_kswapd 100
pgsteal_direct 20
pgsteal_khugepaged 3
pgsteal_proactive 1000
pgscan_direct_throttle 9
`;
const V2_MOUNT = '31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate';
const V1_MOUNT = '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory';
const HYBRID_MOUNT = '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw';
const ROOT_MOUNT = '23 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw';
const NO_LIMIT_V1 = '9223372036854771712\n';

type Tree = Record<string, string>;

function plant(root: string, tree: Tree): void {
  for (const [path, text] of Object.entries(tree)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

/** A machine of files, and a gauge that reads it at a time that the test sets. */
function machine(t: TestContext, tree: Tree) {
  const root = temporaryFolder(t);
  const clock = { nowMs: 1000 };
  const gauge = new SystemMemory({ root, monotonicMs: () => clock.nowMs });
  t.after(() => gauge.release());
  plant(root, { '/proc/meminfo': MEMINFO, '/proc/vmstat': VMSTAT, ...tree });
  /** Read when all that is read seldom is due. */
  const later = (byMs = 1000): Promise<MemorySample> => {
    clock.nowMs += byMs;
    return gauge.read();
  };
  return { root, gauge, clock, later, plant: (more: Tree) => plant(root, more) };
}

function proc(cgroup: string, ...mounts: string[]): Tree {
  return {
    '/proc/self/cgroup': cgroup,
    '/proc/self/mountinfo': `${[ROOT_MOUNT, ...mounts].join('\n')}\n`,
  };
}

function v2Group(folder: string, files: { current: number; max: string; high?: string }): Tree {
  const cache = Math.floor(files.current / 2);
  return {
    [`${folder}/memory.current`]: `${files.current}\n`,
    [`${folder}/memory.max`]: `${files.max}\n`,
    [`${folder}/memory.high`]: `${files.high ?? 'max'}\n`,
    [`${folder}/memory.stat`]: [
      `anon ${files.current - cache}`,
      `file ${cache + 7}`,
      'shmem 7',
      `inactive_file ${cache - 100}`,
      'active_file 60',
      'slab_reclaimable 40',
      'workingset_refault_file 11',
      'pgscan 500',
      'pgsteal 321',
      'pgsteal_kswapd 300',
      '',
    ].join('\n'),
  };
}

function v1Group(folder: string, files: { usage: number; limit: string; hidden?: string }): Tree {
  return {
    [`${folder}/memory.usage_in_bytes`]: `${files.usage}\n`,
    [`${folder}/memory.limit_in_bytes`]: `${files.limit}\n`,
    [`${folder}/memory.failcnt`]: '4\n',
    [`${folder}/memory.use_hierarchy`]: '1\n',
    [`${folder}/memory.stat`]: [
      'cache 1',
      'inactive_file 1',
      'active_file 1',
      `hierarchical_memory_limit ${files.hidden ?? NO_LIMIT_V1.trim()}`,
      'total_cache 999999999',
      'total_workingset_refault_file 12',
      `total_inactive_file ${10 * MIB}`,
      `total_active_file ${5 * MIB}`,
      '',
    ].join('\n'),
  };
}

test('a machine without groups: what the kernel could give is cache, the rest is used', async (t) => {
  const { gauge } = machine(t, {});
  assert.deepEqual(await gauge.read(), {
    machine: {
      totalBytes: 16 * GIB,
      freeBytes: 4 * GIB,
      cacheBytes: 4 * GIB,
      otherBytes: 8 * GIB,
    },
    group: undefined,
    stalledShare: undefined,
    refaultCount: 70,
    // What was asked for (proactive) is nobody's need.
    reclaimedPages: 123,
  });
});

test('kernels before MemAvailable: file pages without tmpfs, and reclaimable slab', async (t) => {
  const old = MEMINFO.replace(/MemAvailable.*\n/, '');
  const { gauge } = machine(t, { '/proc/meminfo': old });
  const cacheKib = 5_242_880 + 10_240 - 524_288 + 204_800;
  assert.equal((await gauge.read()).machine.cacheBytes, cacheKib * KIB);
});

test('version 2: the tightest of max and high, of the own group and all above it', async (t) => {
  const {
    gauge,
    plant: change,
    later,
  } = machine(t, {
    ...proc('0::/pod/app\n', V2_MOUNT),
    ...v2Group('/sys/fs/cgroup/pod/app', { current: 100 * MIB, max: `${512 * MIB}` }),
    ...v2Group('/sys/fs/cgroup/pod', { current: 700 * MIB, max: 'max' }),
  });
  const level = { totalBytes: 512 * MIB, freeBytes: 412 * MIB };
  const first = await gauge.read();
  assert.deepEqual(first.group, {
    ...level,
    cacheBytes: 50 * MIB,
    otherBytes: 50 * MIB,
    path: '/pod/app',
    version: 2,
  });
  // Of the own group, not of the machine.
  assert.deepEqual([first.refaultCount, first.reclaimedPages], [11, 321]);

  change({ '/sys/fs/cgroup/pod/app/memory.high': `${128 * MIB}\n` });
  assert.equal((await gauge.read()).group!.totalBytes, 512 * MIB, 'limits are read seldom');
  assert.equal((await later()).group!.totalBytes, 128 * MIB);

  // The pod's limit is larger, but less of it is left.
  change({
    '/sys/fs/cgroup/pod/memory.max': `${720 * MIB}\n`,
    '/sys/fs/cgroup/pod/memory.stat': 'inactive_file 0\nactive_file 0\n',
  });
  const pod = (await later()).group!;
  assert.deepEqual([pod.path, pod.totalBytes, pod.freeBytes], ['/pod', 720 * MIB, 20 * MIB]);
  assert.equal((await gauge.read()).reclaimedPages, 321, 'still of the own group');
});

test('page cache of others gives way: the group whose limit only that fills is not the nearest', async (t) => {
  const { gauge, later } = machine(t, {
    ...proc('0::/pod/app\n', V2_MOUNT),
    ...v2Group('/sys/fs/cgroup/pod/app', { current: 480 * MIB, max: `${512 * MIB}` }),
    ...v2Group('/sys/fs/cgroup/pod', { current: 1024 * MIB, max: `${1024 * MIB}` }),
  });
  // Nothing is held: of both the cache counts as free, and the pod has 512 of 1024, the app 272 of 512 MiB.
  assert.equal((await gauge.read(0)).group!.path, '/pod');
  // All cache of the app is the caller's: it has 32 of 512 left, the pod's 272 of 1024.
  await later();
  assert.equal((await gauge.read(240 * MIB)).group!.path, '/pod/app');
});

test('version 1 on a host with both: its memory controller counts, stalls are version 2’s', async (t) => {
  const {
    gauge,
    later,
    plant: change,
  } = machine(t, {
    ...proc('9:name=systemd:/\n4:cpu,memory:/a/b\n0::/svc\n', V1_MOUNT, HYBRID_MOUNT),
    ...v1Group('/sys/fs/cgroup/memory/a/b', { usage: 80 * MIB, limit: `${128 * MIB}` }),
    ...v1Group('/sys/fs/cgroup/memory/a', { usage: 200 * MIB, limit: NO_LIMIT_V1 }),
    ...v1Group('/sys/fs/cgroup/memory', { usage: 900 * MIB, limit: NO_LIMIT_V1 }),
    '/sys/fs/cgroup/unified/svc/memory.pressure':
      'some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0 total=5\n',
    '/proc/pressure/memory': 'some avg10=0.00 avg60=0.00 avg300=0.00 total=77\n',
  });
  const first = await gauge.read();
  assert.deepEqual(first.group, {
    totalBytes: 128 * MIB,
    freeBytes: 48 * MIB,
    cacheBytes: 15 * MIB,
    otherBytes: 65 * MIB,
    path: '/a/b',
    version: 1,
  });
  assert.deepEqual(
    [first.refaultCount, first.reclaimedPages],
    [12, 12],
    'limits met, of all three',
  );
  assert.equal(first.stalledShare, undefined, 'nothing to compare with yet');
  assert.equal((await later(1999)).stalledShare, undefined, 'one stall is not many');
  change({ '/sys/fs/cgroup/unified/svc/memory.pressure': 'some avg10=1.00 total=1500000\n' });
  assert.equal((await later(501)).stalledShare, 0.2, 'half a second of two and a half');
  assert.equal((await later(1000)).stalledShare, 0.2, 'until it is measured again');
  assert.equal((await later(1000)).stalledShare, 0);
});

test('version 1: a group that does not count what is below it does not limit it either', async (t) => {
  const { gauge } = machine(t, {
    ...proc('4:memory:/a/b\n', V1_MOUNT),
    ...v1Group('/sys/fs/cgroup/memory/a/b', { usage: MIB, limit: `${64 * MIB}` }),
    ...v1Group('/sys/fs/cgroup/memory/a', { usage: 2 * MIB, limit: `${2 * MIB}` }),
    '/sys/fs/cgroup/memory/a/memory.use_hierarchy': '0\n',
  });
  assert.equal((await gauge.read()).group!.path, '/a/b');
});

test('version 1 in a container: the limit of a group that cannot be seen is told by the own one', async (t) => {
  // Docker without a namespace: the mount shows the container's own group.
  const mount = V1_MOUNT.replace(' / /sys', ' /docker/abc /sys');
  const { gauge } = machine(t, {
    ...proc('4:memory:/docker/abc\n', mount),
    ...v1Group('/sys/fs/cgroup/memory', {
      usage: 50 * MIB,
      limit: NO_LIMIT_V1,
      hidden: `${256 * MIB}`,
    }),
  });
  const group = (await gauge.read()).group!;
  assert.deepEqual([group.path, group.totalBytes], ['/docker/abc', 256 * MIB]);
});

test('namespaces: what mounts and paths say, and which groups that makes', () => {
  const at = (cgroup: string, ...mounts: string[]) =>
    memoryGroups(cgroup, mounts.join('\n'))?.steps.map(({ folder }) => folder);
  const inside = '31 23 0:28 / /sys/fs/cgroup ro - cgroup2 cgroup rw';
  assert.deepEqual(at('0::/\n', inside), ['/sys/fs/cgroup']);
  assert.deepEqual(at('0::/x/y', inside), [
    '/sys/fs/cgroup/x/y',
    '/sys/fs/cgroup/x',
    '/sys/fs/cgroup',
  ]);
  // Moved out of the namespace: the groups that limit it cannot be seen, and those seen do not limit it.
  assert.equal(at('0::/../other\n', inside), undefined);
  assert.equal(at('0::/..', inside), undefined);
  // Names that only begin like it.
  assert.deepEqual(at('0::/..data', inside), ['/sys/fs/cgroup/..data', '/sys/fs/cgroup']);
  // The host's tree mounted in a container, as its agents do: no telling where in it this is.
  const hosts = '31 23 0:28 /../.. /host/cgroup ro - cgroup2 cgroup rw';
  assert.equal(at('0::/\n', hosts), undefined);
  assert.deepEqual(at('0::/\n', hosts, inside), ['/sys/fs/cgroup']);
  assert.deepEqual(at('0::/../../a\n', hosts), ['/host/cgroup/a', '/host/cgroup']);
  // A container that knows its group by another name than its mount.
  const odd = '31 23 0:28 /kube/pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw';
  assert.deepEqual(at('0::/docker/x/kube/pod1\n', odd), ['/sys/fs/cgroup']);
  assert.deepEqual(at('0::/kube/pod1/c\n', odd), ['/sys/fs/cgroup/c', '/sys/fs/cgroup']);
  assert.deepEqual(at('0::/kube/pod10\n', odd), ['/sys/fs/cgroup'], 'no prefix of names');
  // Blanks are escaped; optional fields may be missing or many.
  const blank = '31 23 0:28 / /my\\040groups rw shared:1 master:2 - cgroup2 none rw';
  assert.deepEqual(at('0::/\n', blank), ['/my groups']);
  assert.equal(at('4:memory:/a\n', inside), undefined, 'no mount of version 1');
  assert.deepEqual(at('4:memory:/a\n0::/b\n', inside), ['/sys/fs/cgroup/b', '/sys/fs/cgroup']);
  assert.equal(at('', ''), undefined);
});

test('a process that is moved is followed', async (t) => {
  const {
    gauge,
    later,
    plant: change,
  } = machine(t, {
    ...proc('0::/a\n', V2_MOUNT),
    ...v2Group('/sys/fs/cgroup/a', { current: 10 * MIB, max: `${64 * MIB}` }),
    ...v2Group('/sys/fs/cgroup/b', { current: 20 * MIB, max: `${96 * MIB}` }),
  });
  assert.equal((await gauge.read()).group!.path, '/a');
  change({ '/proc/self/cgroup': '0::/b\n' });
  assert.deepEqual((await later()).group!.totalBytes, 96 * MIB);
});

test('limits of none, garbage and missing files are left out', async (t) => {
  const group = '/sys/fs/cgroup/g';
  const {
    root,
    gauge,
    later,
    plant: change,
  } = machine(t, {
    ...proc('0::/g\n', V2_MOUNT),
    ...v2Group(group, { current: 10 * MIB, max: `${64 * MIB}` }),
  });
  assert.ok((await gauge.read()).group !== undefined);
  for (const max of ['max', '9223372036854771712', `${17 * GIB}`, '', '-5', '12x', '\0\0', '0']) {
    change({ [`${group}/memory.max`]: `${max}\n` });
    // oxlint-disable-next-line no-await-in-loop -- one after another
    assert.equal((await later()).group, undefined, `a limit of '${max}'`);
  }
  change({
    [`${group}/memory.max`]: `${64 * MIB}`,
    [`${group}/memory.stat`]: 'file\nxyz\n\n anon 3',
  });
  assert.equal((await later()).group!.cacheBytes, 0, 'without a usable stat all is in use');
  change({ [`${group}/memory.current`]: 'lots' });
  assert.equal((await later()).group, undefined);
  change({ '/proc/meminfo': 'garbage\nMemTotal: much kB\n' });
  const { machine: level } = await later();
  assert.ok(level.totalBytes > 0 && level.freeBytes <= level.totalBytes, 'then by a system call');
  rmSync(join(root, 'proc'), { recursive: true });
  rmSync(join(root, 'sys'), { recursive: true });
  await gauge.release();
  const last = await later();
  assert.deepEqual(
    [last.group, last.refaultCount, last.stalledShare],
    [undefined, undefined, undefined],
  );
});

test('files that come later, long ones, and many readers at once', async (t) => {
  const { gauge, later, plant: change } = machine(t, proc('0::/late\n', V2_MOUNT));
  assert.equal((await gauge.read()).group, undefined);
  const stat = `inactive_file ${3 * MIB}\n${'filler 1\n'.repeat(5000)}active_file ${2 * MIB}\n`;
  change(v2Group('/sys/fs/cgroup/late', { current: 10 * MIB, max: `${64 * MIB}` }));
  change({ '/sys/fs/cgroup/late/memory.stat': stat });
  assert.equal((await later()).group!.cacheBytes, 5 * MIB);
  const samples = await Promise.all(Array.from({ length: 50 }, () => gauge.read()));
  assert.equal(new Set(samples).size, 1, 'they share one look');
  await Promise.all([gauge.read(), gauge.release(), gauge.read(), gauge.release()]);
  assert.equal((await later()).group!.cacheBytes, 5 * MIB, 'and files are opened again');
});

test('release() leaves no file open', async (t) => {
  const { gauge, root, later } = machine(t, {
    ...proc('0::/g\n', V2_MOUNT),
    ...v2Group('/sys/fs/cgroup/g', { current: 10 * MIB, max: `${64 * MIB}` }),
  });
  const openFiles = (): number =>
    readdirSync('/proc/self/fd').filter((fd) => targetOf(`/proc/self/fd/${fd}`).startsWith(root))
      .length;
  await gauge.read();
  await later();
  assert.ok(openFiles() > 0, 'they are kept in between');
  await gauge.release();
  assert.equal(openFiles(), 0);
});

function targetOf(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return '';
  }
}

test('this machine: its own files make sense', async (t) => {
  const gauge = new SystemMemory();
  t.after(() => gauge.release());
  const { machine: level, group } = await gauge.read();
  // A container's runtime may show another total in /proc than the kernel says.
  assert.ok(level.totalBytes <= 2 * totalmem() && level.totalBytes > 64 * MIB);
  for (const each of group === undefined ? [level] : [level, group]) {
    const { totalBytes, freeBytes, cacheBytes, otherBytes } = each;
    assert.ok(freeBytes >= 0 && cacheBytes >= 0 && otherBytes >= 0);
    if (each === level) assert.equal(freeBytes + cacheBytes + otherBytes, totalBytes);
  }
});

/** A folder in which groups with a memory limit can be made, or why there is none. */
function placeForGroups(): { folder: string; version: 1 | 2 } | string {
  if (!isRoot) return 'needs root to make a control group';
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  for (const line of mounts) {
    const [, , , , point = ''] = line.split(' ');
    if (/ - cgroup \S+ \S*\bmemory\b/.test(line)) return { folder: point, version: 1 };
  }
  for (const line of mounts) {
    const [, , , , point = ''] = line.split(' ');
    if (!line.includes(' - cgroup2 ')) continue;
    try {
      writeFileSync(join(point, 'cgroup.subtree_control'), '+memory');
      return { folder: point, version: 2 };
    } catch (error) {
      return `cannot limit memory below ${point}: ${String(error)}`;
    }
  }
  return 'no control groups are mounted';
}

test('a child in a fresh group sees its limit, what it uses of it, and when it has left it', async (t) => {
  const place = placeForGroups();
  if (typeof place === 'string') return t.skip(place);
  const folder = join(place.folder, `mpool-test-${process.pid}`);
  const child = spawn(process.execPath, [program('memory-child')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  t.after(async () => {
    if (existsSync(folder)) await removeGroup(folder);
  });
  t.after(() => child.kill('SIGKILL'));
  try {
    mkdirSync(folder);
    const limitFile = place.version === 1 ? 'memory.limit_in_bytes' : 'memory.max';
    writeFileSync(join(folder, limitFile), String(192 * MIB));
  } catch (error) {
    return t.skip(`cannot make a group here: ${String(error)}`);
  }
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (allocateMib: number): Promise<MemorySample> => {
    child.stdin.write(`${allocateMib}\n`);
    const { value, done } = await lines.next();
    assert.ok(done !== true, 'the child lives');
    return JSON.parse(value) as MemorySample;
  };
  const before = await ask(0);
  assert.notEqual(before.group?.totalBytes, 192 * MIB);
  writeFileSync(join(folder, 'cgroup.procs'), String(child.pid));
  const inGroup = await until(ask, (sample) => sample.group?.totalBytes === 192 * MIB);
  assert.equal(inGroup.group!.version, place.version);
  assert.match(inGroup.group!.path, /\/mpool-test-\d+$/);
  const first = inGroup.group!;
  const second = (await ask(64)).group!;
  const grown = second.otherBytes - first.otherBytes;
  assert.ok(grown > 60 * MIB && grown < 80 * MIB, `64 MiB of heap show as ${grown} bytes`);
  assert.ok(Math.abs(first.freeBytes - second.freeBytes - grown) < 8 * MIB);
  writeFileSync(join(place.folder, 'cgroup.procs'), String(child.pid));
  await removeGroup(folder);
  await until(ask, (sample) => sample.group?.totalBytes === before.group?.totalBytes);
});

/** The gauge looks for another group only now and then. */
async function until(
  ask: (allocateMib: number) => Promise<MemorySample>,
  isTrue: (sample: MemorySample) => boolean,
): Promise<MemorySample> {
  for (;;) {
    // oxlint-disable-next-line no-await-in-loop -- polls; the test's time limit ends it
    const sample = await ask(0);
    if (isTrue(sample)) return sample;
    // oxlint-disable-next-line no-await-in-loop -- as above
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The kernel takes a moment to let go of the last process. */
async function removeGroup(folder: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt++) {
    try {
      return rmdirSync(folder);
    } catch {
      // oxlint-disable-next-line no-await-in-loop -- polls
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  rmdirSync(folder);
}
