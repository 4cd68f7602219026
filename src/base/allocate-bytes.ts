import { constants } from 'node:os';
import { MpoolError } from './errors.ts';

/** Memory for what is read, its content unspecified. @throws ERR_MPOOL_IO, ENOMEM, when there is none */
export function allocateBytes(lengthBytes: number): Buffer<ArrayBuffer> {
  try {
    return Buffer.allocUnsafeSlow(lengthBytes);
  } catch (error) {
    throw new MpoolError('ERR_MPOOL_IO', `no memory for ${lengthBytes} bytes`, {
      errno: -constants.errno.ENOMEM,
      cause: error,
    });
  }
}
