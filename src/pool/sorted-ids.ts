/** Merges sorted lists into one, in batches. Each id is compared with the heads of the others. */
export function* mergeSorted(
  lists: readonly BigUint64Array[],
  batchSize: number,
): Generator<BigUint64Array> {
  const heads = lists.filter((list) => list.length > 0).map((list) => ({ list, at: 0 }));
  while (heads.length > 0) {
    const batch = new BigUint64Array(batchSize);
    let length = 0;
    while (length < batchSize && heads.length > 0) {
      let least = 0;
      for (let i = 1; i < heads.length; i++) {
        if (idOf(heads[i]!) < idOf(heads[least]!)) least = i;
      }
      const head = heads[least]!;
      batch[length++] = idOf(head);
      if (++head.at === head.list.length) heads.splice(least, 1);
    }
    yield batch.subarray(0, length);
  }
}

function idOf(head: { list: BigUint64Array; at: number }): bigint {
  return head.list[head.at]!;
}
