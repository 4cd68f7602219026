/**
 * Lines of a byte stream without their newlines; what follows the last newline is a line, too,
 * unless empty. Bytes are kept as they are, in whatever encoding.
 */
export async function* splitLines(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let begun: Uint8Array[] = [];
  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      if (end === -1) break;
      const tail = chunk.subarray(start, end);
      yield begun.length === 0 ? tail : Buffer.concat([...begun, tail]);
      begun = [];
      start = end + 1;
    }
    if (start < chunk.length) begun.push(Buffer.from(chunk.subarray(start)));
  }
  if (begun.length > 0) yield Buffer.concat(begun);
}

/** All bytes of a stream as one. */
export async function gather(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const all: Uint8Array[] = [];
  for await (const chunk of chunks) all.push(Buffer.from(chunk));
  return Buffer.concat(all);
}

/** Chunks of something that fills buffers. */
export async function* chunksOf(input: {
  read(buffer: Uint8Array): Promise<number>;
}): AsyncGenerator<Uint8Array> {
  for (;;) {
    const buffer = new Uint8Array(65_536);
    const length = await input.read(buffer);
    if (length > 0) yield buffer.subarray(0, length);
    if (length < buffer.length) return;
  }
}
