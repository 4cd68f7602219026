/** Where the memory control groups of this process are, by what the kernel says of it. Pure. */

export interface GroupChain {
  version: 1 | 2;
  /** The process's own group first, then all that can be seen above it, up to the mount. */
  steps: GroupStep[];
}

export interface GroupStep {
  /** As the kernel spells it. */
  path: string;
  folder: string;
}

interface Mount {
  version: 1 | 2;
  /** The group at the mount point; begins with '/..' above the namespace. */
  root: string;
  point: string;
}

/**
 * The groups that limit this process's memory: version 1 where it has the memory controller.
 * @param cgroup content of /proc/self/cgroup
 * @param mountinfo content of /proc/self/mountinfo
 */
export function memoryGroups(cgroup: string, mountinfo: string): GroupChain | undefined {
  const mounts = mountsOf(mountinfo);
  const legacy = pathOf(cgroup, 'memory');
  if (legacy !== undefined) {
    const found = climb(1, legacy, mounts);
    if (found !== undefined) return found;
  }
  const unified = pathOf(cgroup, '');
  return unified === undefined ? undefined : climb(2, unified, mounts);
}

/** The folder of the process's own group of version 2, which measures stalls even where 1 limits. */
export function pressureFolder(cgroup: string, mountinfo: string): string | undefined {
  const unified = pathOf(cgroup, '');
  return unified === undefined
    ? undefined
    : climb(2, unified, mountsOf(mountinfo))?.steps[0]?.folder;
}

/** The process's group in the hierarchy with that controller; '' is version 2's. */
function pathOf(cgroup: string, controller: string): string | undefined {
  for (const line of cgroup.split('\n')) {
    const [, controllers, path] = /^\d+:([^:]*):(\/.*)$/.exec(line) ?? [];
    if (controllers?.split(',').includes(controller)) return path;
  }
  return undefined;
}

/** Lines: id parent major:minor root point options … - type source options; see proc(5). */
function mountsOf(mountinfo: string): Mount[] {
  const mounts: Mount[] = [];
  for (const line of mountinfo.split('\n')) {
    const [mount = '', system = ''] = line.split(' - ');
    const [, , , root, point] = mount.split(' ').map(unescape);
    const [type, , options = ''] = system.split(' ');
    if (root === undefined || point === undefined) continue;
    if (type === 'cgroup2') mounts.push({ version: 2, root, point });
    if (type === 'cgroup' && options.split(',').includes('memory')) {
      mounts.push({ version: 1, root, point });
    }
  }
  return mounts;
}

/** Blanks and the like are written as \040. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function climb(version: 1 | 2, path: string, mounts: readonly Mount[]): GroupChain | undefined {
  const candidates = mounts.filter((each) => each.version === version);
  for (const { root, point } of candidates) {
    const below = relativeTo(root, path);
    if (below !== undefined) return { version, steps: stepsOf(point, below, root) };
  }
  // A container's mount of its own group, which this process knows by another name: it is there at the
  // mount point. Not so when one of both lies outside the namespace.
  const odd = isOutside(path) ? undefined : candidates.find(({ root }) => !isOutside(root));
  return odd && { version, steps: stepsOf(odd.point, '', odd.root) };
}

/** What of the path lies below the mount's root; undefined when the mount does not show it. */
function relativeTo(root: string, path: string): string | undefined {
  if (root === path) return '';
  if (root === '/') return isOutside(path) ? undefined : path;
  return path.startsWith(`${root}/`) ? path.slice(root.length) : undefined;
}

function isOutside(path: string): boolean {
  return path === '/..' || path.startsWith('/../');
}

function stepsOf(point: string, below: string, root: string): GroupStep[] {
  const names = below.split('/').filter((name) => name !== '');
  const steps: GroupStep[] = [];
  for (let count = names.length; count >= 0; count--) {
    const tail = names
      .slice(0, count)
      .map((name) => `/${name}`)
      .join('');
    steps.push({ path: (root === '/' ? '' : root) + tail || '/', folder: point + tail });
  }
  return steps;
}
