import { numberOfOperation } from './operations.ts';
import { PROTOCOL_VERSION } from './protocol.ts';
import type { Hello } from './protocol.ts';
import { protocolError } from './wire.ts';
import type { Frame } from './wire.ts';

const CLIENT_LENGTH_MAX = 255;
const TOKEN_LENGTH_MAX = 255;

/**
 * What a first frame says.
 * @throws ERR_MPOOL_PROTOCOL when it is none, or of another version
 */
export function readHello({ id, kind, body, payload }: Frame): Hello {
  if (id === 0 || kind !== numberOfOperation('hello') || payload.length > 0) {
    throw protocolError('the first frame is no hello');
  }
  const { protocol, client, pid, access, exclusive, descriptorsFor } = body;
  if (protocol !== PROTOCOL_VERSION) {
    const theirs = typeof protocol === 'number' ? protocol : 'none';
    throw protocolError(`the client speaks protocol ${theirs}, this daemon ${PROTOCOL_VERSION}`);
  }
  check(isText(client, CLIENT_LENGTH_MAX), 'client');
  check(Number.isSafeInteger(pid), 'pid');
  check(access === undefined || access === 'read' || access === 'write', 'access');
  check(exclusive === undefined || typeof exclusive === 'boolean', 'exclusive');
  check(descriptorsFor === undefined || isText(descriptorsFor, TOKEN_LENGTH_MAX), 'descriptorsFor');
  return { protocol, client, pid, access, exclusive, descriptorsFor } as Hello;
}

function check(fits: boolean, field: keyof Hello): void {
  if (!fits) throw protocolError(`the hello's ${field} is wrong`);
}

function isText(value: unknown, lengthMax: number): boolean {
  return typeof value === 'string' && value.length <= lengthMax;
}
