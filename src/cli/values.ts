/**
 * Kinds of parameter values: how each is written, read and checked. A reader answers with the
 * value, 'EINVAL' for text that is no such value, or 'ERANGE' for one beyond its limits.
 */
import { isPowerOfTwo, MIB } from '../base/units.ts';
import { parseUuid } from '../base/bytes.ts';
import type { MediaClass } from '../pool/api.ts';
import { accountId, type AccountKind } from './accounts.ts';
import { parseSize } from './sizes.ts';
import { SCRUB_CURSOR } from '../pool/parameters.ts';
import { UsageError } from './usage-error.ts';

/** What a shell completes to: these words, or what it or the tool finds. */
export type Candidates = readonly string[] | 'file' | 'pool' | 'user' | 'group';

export interface Kind<T> {
  /** What stands for the value in the help: 'SIZE'. */
  readonly form: string;
  /** What values there are, for those who typed another. */
  readonly allowed?: string;
  readonly candidates?: Candidates;
  /** @throws UsageError when a sentence of its own tells more than the two codes */
  read(text: string, name: string): T | 'EINVAL' | 'ERANGE';
}

const SIZE_FORM = 'bytes, or with a suffix k, m, g, t, p or e (powers of 1024)';

/** Bytes of a device or file, in the limits of the library. */
export const deviceSizeKind: Kind<number> = limitedSizeKind(MIB, 2 ** 53 - 1, '1m to less than 8p');

/** Bytes that a log can take, in the limits of the library. */
export const logSizeKind: Kind<number> = limitedSizeKind(1, 2 ** 44, '1 to 16t');

function limitedSizeKind(min: number, max: number, range: string): Kind<number> {
  return {
    form: 'SIZE',
    allowed: `${range}: ${SIZE_FORM}`,
    read(text) {
      const bytes = checkedSize(parseSize(text));
      return typeof bytes === 'number' && (bytes < min || bytes > max) ? 'ERANGE' : bytes;
    },
  };
}

/** Bytes a second. */
export const rateKind: Kind<number> = limitedSizeKind(1, 2 ** 44, '1 to 16t');

/** Where a scrub goes on. */
export const cursorKind: Kind<string> = {
  form: 'CURSOR',
  allowed: 'what a scrub that ended early printed, as 0x1101+256',
  read: (text) => (SCRUB_CURSOR.test(text) ? text : 'EINVAL'),
};

/** Bytes, from none. */
export const offsetKind: Kind<number> = {
  form: 'SIZE',
  allowed: `0 to less than 8p: ${SIZE_FORM}`,
  read: (text) => (parseSize(text) === 0 ? 0 : checkedSize(parseSize(text))),
};

/** Bytes of a zone; plain numbers are MiB. */
export const zoneSizeKind: Kind<number> = {
  form: 'MIB',
  candidates: ['1', '2', '4', '8', '16', '32', '64'],
  read(text, name) {
    const bytes = parseSize(text, MIB) ?? 0;
    if (isPowerOfTwo(bytes) && bytes >= MIB && bytes <= 64 * MIB) return bytes;
    throw new UsageError(`${name} must be 1, 2, 4, 8, 16, 32 or 64 (MiB)`);
  },
};

export const textKind: Kind<string> = {
  form: 'TEXT',
  read: (text) => text,
};

export const pathKind: Kind<string> = {
  form: 'PATH',
  allowed: 'a path',
  candidates: 'file',
  read: (text) => (text === '' ? 'EINVAL' : text),
};

export const modeKind: Kind<number> = {
  form: 'OCTAL',
  allowed: 'octal permission bits, 0 to 0777',
  read(text) {
    if (!/^[0-7]{1,11}$/.test(text)) return 'EINVAL';
    const mode = Number.parseInt(text, 8);
    return mode <= 0o777 ? mode : 'ERANGE';
  },
};

const MEDIA_CLASSES: readonly MediaClass[] = ['capacity', 'staging'];

export const classKind: Kind<MediaClass> = {
  form: 'CLASS',
  allowed: 'capacity or staging',
  candidates: MEDIA_CLASSES,
  read(text) {
    const found = MEDIA_CLASSES.find((name) => name.startsWith(text));
    return text === '' ? 'EINVAL' : (found ?? 'EINVAL');
  },
};

export const uuidKind: Kind<string> = {
  form: 'UUID',
  allowed: '32 hexadecimal digits as 8-4-4-4-12',
  read: (text) => (parseUuid(text) === undefined ? 'EINVAL' : text.toLowerCase()),
};

export function integerKind(min: number, max: number): Kind<number> {
  return {
    form: 'N',
    allowed: `a whole number from ${min} to ${max}`,
    // More would not help anyone to choose.
    candidates:
      max - min < 8 ? Array.from({ length: max - min + 1 }, (_, i) => String(min + i)) : [],
    read(text) {
      if (!/^(0x[0-9a-f]+|\d+)$/i.test(text)) return 'EINVAL';
      const value = Number(text);
      return value >= min && value <= max ? value : 'ERANGE';
    },
  };
}

export const yesNoKind: Kind<boolean> = {
  form: 'YES|NO',
  allowed: 'yes or no',
  candidates: ['yes', 'no'],
  read(text) {
    if (text === '' || !['yes', 'no'].some((word) => word.startsWith(text))) return 'EINVAL';
    return text.startsWith('y');
  },
};

/** A name of the machine's, or a number. */
export function accountKind(kind: AccountKind): Kind<number> {
  return {
    form: kind === 'user' ? 'USER' : 'GROUP',
    candidates: kind,
    allowed: `a ${kind} of this machine, or a number below 4294967295`,
    read(text) {
      if (!/^\d+$/.test(text)) return accountId(kind, text) ?? 'EINVAL';
      // The highest number means 'no one' to chown(2).
      return Number(text) < 0xffff_ffff ? Number(text) : 'ERANGE';
    },
  };
}

function checkedSize(bytes: number | undefined): number | 'EINVAL' | 'ERANGE' {
  if (bytes === undefined || bytes === 0) return 'EINVAL';
  return Number.isNaN(bytes) ? 'ERANGE' : bytes;
}
