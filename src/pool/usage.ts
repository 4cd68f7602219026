import { PAGE_BYTES } from '../base/units.ts';
import type { Usage } from './api.ts';
import type { Media } from './media.ts';
import type { Store } from './store.ts';

/** Of one class; all zero for one whose device is missing. */
export function classUsage(store: Store, media: Media | undefined): Usage {
  if (media === undefined) return NOTHING;
  const pages = media.space.usage();
  const counts = store.counts[media.mediaClass];
  return {
    totalBytes: pages.totalPages * PAGE_BYTES,
    usableBytes: pages.usablePages * PAGE_BYTES,
    freeUsableBytes: pages.freeUsablePages * PAGE_BYTES,
    spareBytes: pages.sparePages * PAGE_BYTES,
    freeSpareBytes: pages.freeSparePages * PAGE_BYTES,
    usedBytes: pages.usedPages * PAGE_BYTES,
    reservedBytes: pages.reservedPages * PAGE_BYTES,
    mblockCount: counts.mblockCount,
    mblockAllocatedBytes: counts.mblockAllocatedBytes,
    mblockWrittenBytes: counts.mblockWrittenBytes,
    mlogCount: counts.mlogCount,
    mlogAllocatedBytes: counts.mlogAllocatedBytes,
    metadataBytes: media === store.capacity ? metadataPages(store) * PAGE_BYTES : 0,
  };
}

export function totalUsage(store: Store): Usage {
  const total = { ...NOTHING };
  for (const media of store.allMedia) {
    const usage = classUsage(store, media);
    for (const key of Object.keys(total) as (keyof Usage)[]) total[key] += usage[key];
  }
  return total;
}

function metadataPages(store: Store): number {
  const { logA, logB } = store.superblock.mdc0;
  let pages = logA.pageCount + logB.pageCount;
  for (const mdc of store.poolRecords.mdcs) pages += mdc.logA.pageCount + mdc.logB.pageCount;
  return pages;
}

const NOTHING: Usage = {
  totalBytes: 0,
  usableBytes: 0,
  freeUsableBytes: 0,
  spareBytes: 0,
  freeSpareBytes: 0,
  usedBytes: 0,
  reservedBytes: 0,
  mblockCount: 0,
  mblockAllocatedBytes: 0,
  mblockWrittenBytes: 0,
  mlogCount: 0,
  mlogAllocatedBytes: 0,
  metadataBytes: 0,
};
