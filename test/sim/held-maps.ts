// Maps that users keep while others delete what is in them, close their handles and take the memory away: I11, I12.
import { below, chance, type SeededPrng } from '../../src/base/prng.ts';
import { PAGE_BYTES, pagesOf } from '../../src/base/units.ts';
import type { MblockId, MblockMap, Temperature } from '../../src/pool/api.ts';
import type { StorePool } from '../../src/pool/pool.ts';
import { MIB, type Rig } from '../crash/rig.ts';
import { sameBytes, take } from './choices.ts';
import type { World } from './world.ts';

const MAPS_MAX = 4;
const TEMPERATURES: readonly Temperature[] = ['cold', 'warm', 'hot', 'pinned'];

export interface HeldMap {
  map: MblockMap;
  holder: StorePool;
  /** What is in its objects, whatever becomes of them. */
  wanted: Uint8Array[];
  views: Uint8Array[];
  /** Of a map that is pinned for good: where its objects are. */
  pinned: { path: string; offsetBytes: number; lengthBytes: number }[];
  pinnedMs: number;
}

export async function openMap(
  rig: Rig,
  ids: readonly bigint[],
  prng: SeededPrng,
  wish?: Temperature,
): Promise<HeldMap> {
  const wanted = ids.map((id) => rig.model.objects.get(id)!.bytes!);
  const temperature = wish ?? TEMPERATURES[below(prng, TEMPERATURES.length)]!;
  const holder = rig.pool;
  const linear = chance(prng, 0.2);
  const map = await holder.map(ids as MblockId[], { temperature, linear });
  const held: HeldMap = { map, holder, wanted, views: [], pinned: [], pinnedMs: 0 };
  if (chance(prng, 0.3)) held.views = wanted.map((_, index) => map.view(index));
  return held;
}

export async function keepMap(
  rig: Rig,
  world: World,
  ids: bigint[],
  prng: SeededPrng,
  wish?: Temperature,
): Promise<void> {
  const held = await openMap(rig, ids, prng, wish);
  // Its handle was closed meanwhile.
  if (!held.map.mapped) return checkGone(held);
  world.maps.push(held);
  if (world.maps.length > MAPS_MAX) await endMap(world.maps.shift()!);
  await pin(rig, held);
}

/** All pages of a pinned map come in, and from then on nobody may evict them. */
async function pin(rig: Rig, held: HeldMap): Promise<void> {
  const { map, wanted } = held;
  if (map.temperature !== 'pinned') return;
  for (const [index, bytes] of wanted.entries()) {
    // No pages of it are shown: what is in view is not so soon evicted anyway.
    sameBytes(await map.read(index, 0, bytes.length), bytes, `I11: ${map.ids[index]}`);
  }
  held.pinnedMs = rig.host.clock.monotonicMs();
  held.pinned = map.ids.flatMap((id) => extentOf(rig, id) ?? []);
}

/** What was chosen before it was pinned may be evicted after. */
const PINNED_FOR_MS = 50;

/** I12: called for whatever is evicted; the reaper chooses nothing that is pinned. */
export function watchEvictions({ host }: Rig, world: World): void {
  host.memory.onEvict = (path, offsetBytes, lengthBytes) => {
    if (world.evictionsAsked > 0) return;
    const nowMs = host.clock.monotonicMs();
    for (const { map, pinned, pinnedMs } of world.maps) {
      if (!map.mapped || map.temperature !== 'pinned') continue;
      if (nowMs < pinnedMs + PINNED_FOR_MS) continue;
      for (const extent of pinned) {
        const isApart =
          extent.path !== path ||
          extent.offsetBytes >= offsetBytes + lengthBytes ||
          offsetBytes >= extent.offsetBytes + extent.lengthBytes;
        if (!isApart) world.breaks(new Error(`I12: pages of a pinned object are evicted`));
      }
    }
  };
}

export async function useMap(world: World, prng: SeededPrng): Promise<void> {
  if (world.maps.length === 0) return;
  const held = world.maps[below(prng, world.maps.length)]!;
  const { map, wanted } = held;
  for (let uses = 1 + below(prng, 4); uses > 0; uses--) {
    const index = below(prng, wanted.length);
    const bytes = wanted[index]!;
    const from = below(prng, bytes.length + 1);
    const length = below(prng, bytes.length - from + 1);
    const what = `I11: ${map.ids[index]}`;
    const part = bytes.subarray(from, from + length);
    switch (below(prng, 9)) {
      case 0:
        await world.evicting(() => map.advise(index, 0, length, 'dontneed'));
        break;
      case 1:
        await map.advise(index, 0, length, 'willneed');
        break;
      case 2:
        held.pinned = [];
        map.setTemperature(TEMPERATURES[below(prng, TEMPERATURES.length)]!);
        break;
      case 3:
      case 4:
        if (bytes.length === 0) break;
        await checkPages(map, index, bytes, prng);
        break;
      case 5:
        // What is ready is what was written, without a look at the device.
        if (!map.mapped || !map.ready(index, from, length)) break;
        sameBytes(map.view(index).subarray(from, from + length), part, `${what}, ready`);
        break;
      default:
        sameBytes(await map.read(index, from, length), part, what);
    }
  }
}

async function checkPages(map: MblockMap, index: number, bytes: Uint8Array, prng: SeededPrng) {
  const chosen = Array.from({ length: 1 + below(prng, 3) }, () => below(prng, bytes.length));
  const pages = await map.getPages(index, chosen);
  for (const [i, offset] of chosen.entries()) {
    // The pool may have been closed since, and then there is no view any more.
    if (!map.mapped) return;
    const start = offset - (offset % PAGE_BYTES);
    const page = bytes.subarray(start, start + PAGE_BYTES);
    sameBytes(pages[i]!, page, `I11: page of ${map.ids[index]}`);
  }
}

export async function endMap(held: HeldMap): Promise<void> {
  const unmapping = held.map.unmap();
  checkGone(held);
  await unmapping;
}

/** I11: no view outlives its map. */
export function checkGone({ map, views }: HeldMap): void {
  if (map.mapped) throw new Error('I11: a map is still mapped');
  for (const view of views) if (view.length > 0) throw new Error('I11: a view outlives its map');
}

/** A handle was closed: its maps, and only these, are gone. */
export function checkClosed(world: World, holder: StorePool): void {
  for (const held of world.maps.splice(0)) {
    if (held.holder === holder) checkGone(held);
    else world.maps.push(held);
  }
}

/** Nobody does anything: what maps count is what is in the page cache. */
export async function checkMaps(rig: Rig, world: World): Promise<void> {
  for (const held of world.maps) {
    const before = recount(rig, held.map);
    const { objects } = await held.map.residency();
    const after = recount(rig, held.map);
    for (const [i, count] of after.entries()) {
      const found = objects[i]!.residentPages;
      if (count === undefined || before[i] !== count || found === count) continue;
      throw new Error(`I12: ${found} pages resident of ${held.map.ids[i]}, ${count} recounted`);
    }
  }
}

/** Of each object how many pages are cached; undefined of what was deleted. */
function recount(rig: Rig, { ids }: MblockMap): (number | undefined)[] {
  return ids.map((id) => {
    const extent = extentOf(rig, id);
    if (extent === undefined) return undefined;
    return rig.host.cachedPages(extent.path, extent.offsetBytes, extent.lengthBytes);
  });
}

/** Where an object is; undefined of what was deleted. */
function extentOf({ store, model }: Rig, id: bigint) {
  if (model.objects.get(id)?.there !== 'yes') return undefined;
  const index = store.indexOf(id);
  const media = store.media(store.table.mediaClass(index));
  if (media === undefined) return undefined;
  return {
    path: media.device.path,
    offsetBytes: store.table.pageAddress(index) * PAGE_BYTES,
    lengthBytes: pagesOf(store.table.lengthBytes(index)) * PAGE_BYTES,
  };
}

/** Takes memory away, or gives it back, or sets the reaper otherwise. */
export function press({ host }: Rig, prng: SeededPrng): void {
  const { memory } = host;
  const { reaper } = host.environment.mcache;
  const bytes = below(prng, 64) * PAGE_BYTES;
  switch (below(prng, 8)) {
    case 0:
    case 1:
      return memory.leaveFree(bytes);
    case 2:
      return memory.leaveFree(2 ** 33);
    case 3:
      memory.group = {
        totalBytes: memory.cachedBytes + bytes,
        otherBytes: 0,
        foreignCacheBytes: 0,
        path: '/group',
        version: 2,
      };
      return;
    case 4:
      memory.group = undefined;
      return;
    case 5:
      memory.stalledShare = chance(prng, 0.5) ? undefined : below(prng, 100) / 100;
      return;
    case 6:
      reaper.configure({ budgetBytes: chance(prng, 0.3) ? undefined : MIB + bytes });
      return;
    default:
      reaper.configure({ enabled: chance(prng, 0.8), ttlMs: 1 + below(prng, 5000) });
  }
}

/** Up to three of them. */
export function some(ids: bigint[], prng: SeededPrng): bigint[] {
  const chosen: bigint[] = [];
  while (chosen.length < 1 + below(prng, 3) && ids.length > 0) chosen.push(take(ids, prng));
  return chosen;
}
