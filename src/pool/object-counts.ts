import { PAGE_BYTES } from '../base/units.ts';
import { OBJECT_TYPE_MBLOCK, typeOfLow } from '../format/object-id.ts';
import type { ObjectTable } from './object-table.ts';

/** Running counts of the committed objects of one media class. */
export class ObjectCounts {
  mblockCount = 0;
  mblockAllocatedBytes = 0;
  mblockWrittenBytes = 0;
  mlogCount = 0;
  mlogAllocatedBytes = 0;

  add(table: ObjectTable, index: number, sign: 1 | -1): void {
    const allocatedBytes = sign * table.pageCount(index) * PAGE_BYTES;
    if (typeOfLow(table.idLow(index)) === OBJECT_TYPE_MBLOCK) {
      this.mblockCount += sign;
      this.mblockAllocatedBytes += allocatedBytes;
      this.mblockWrittenBytes += sign * table.lengthBytes(index);
    } else {
      this.mlogCount += sign;
      this.mlogAllocatedBytes += allocatedBytes;
    }
  }
}
