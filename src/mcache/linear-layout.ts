import { MpoolError } from '../base/errors.ts';
import { PAGE_BYTES } from '../base/units.ts';
import type { MappedObject } from './mapped-object.ts';

/** Objects laid out in one region: object i begins at i × bucketBytes. */
export interface LinearLayout {
  readonly bucketBytes: number;
  readonly buffer: ArrayBuffer;
  /** All that looks at it has length 0 from now on. */
  end(): void;
}

/**
 * Every object has a bucket: the least power of two that holds the pages of the largest.
 * Source: the layout of the mpool kernel driver's maps.
 * @throws ERR_MPOOL_MAP_TOO_LARGE when the buckets need more than `regionBytesMax`
 */
export function layOut(objects: readonly MappedObject[], regionBytesMax: number): LinearLayout {
  const largest = objects.reduce((most, object) => Math.max(most, object.pageCount), 1);
  const bucketBytes = 2 ** Math.ceil(Math.log2(largest)) * PAGE_BYTES;
  const lengthBytes = bucketBytes * objects.length;
  if (lengthBytes > regionBytesMax) {
    throw new MpoolError(
      'ERR_MPOOL_MAP_TOO_LARGE',
      `${objects.length} objects of up to ${largest} pages need ${lengthBytes} bytes, more than ` +
        `${regionBytesMax}: map fewer, or raise the pool's mappedRegionLog2`,
    );
  }
  const parts = objects.flatMap((object, i) =>
    object.pageCount === 0
      ? []
      : [
          {
            mapping: object.mapping,
            offsetBytes: object.offsetBytes,
            lengthBytes: object.pageCount * PAGE_BYTES,
            regionOffsetBytes: i * bucketBytes,
          },
        ],
  );
  const mapping = objects[0]?.mapping;
  const buffer = mapping?.stitch(parts, lengthBytes) ?? new ArrayBuffer(0);
  return { bucketBytes, buffer, end: () => mapping?.detach(buffer) };
}
