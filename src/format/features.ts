/**
 * What an older program may do with a newer pool: three words of feature bits in the superblock.
 *
 *   incompatible, bit 0  witnesses: logs bear witness of each other's ends. Frame headers say up to where
 *                        another log was durable, and MDC 1 has log marks and losses
 */

export interface FeatureWords {
  /** A program that does not know a bit may ignore it. */
  compatible: number;
  /** A program that does not know a bit may only read. */
  readOnlyCompatible: number;
  /** A program that does not know a bit must refuse. */
  incompatible: number;
}

/** Incompatible: an older program would take a frame that bears witness for the end of its log. */
export const FEATURE_WITNESSES = 1;

/** The bits that this program knows. */
const KNOWN_FEATURES: Readonly<FeatureWords> = {
  compatible: 0,
  readOnlyCompatible: 0,
  incompatible: FEATURE_WITNESSES,
};

/** Of a pool made by this program. */
export const NEW_FEATURES: Readonly<FeatureWords> = {
  compatible: 0,
  readOnlyCompatible: 0,
  incompatible: FEATURE_WITNESSES,
};

export const NO_FEATURES: Readonly<FeatureWords> = {
  compatible: 0,
  readOnlyCompatible: 0,
  incompatible: 0,
};

export function hasWitnesses(words: FeatureWords): boolean {
  return (words.incompatible & FEATURE_WITNESSES) !== 0;
}

/** What this program may do with a pool that has these features. */
export function permittedAccess(words: FeatureWords): 'read-write' | 'read-only' | 'none' {
  if ((words.incompatible & ~KNOWN_FEATURES.incompatible) !== 0) return 'none';
  if ((words.readOnlyCompatible & ~KNOWN_FEATURES.readOnlyCompatible) !== 0) return 'read-only';
  return 'read-write';
}

/** True when any bit is unknown: reserved bytes may then mean something, and need not be zero. */
export function hasUnknownFeatures(words: FeatureWords): boolean {
  return (
    permittedAccess(words) !== 'read-write' || (words.compatible & ~KNOWN_FEATURES.compatible) !== 0
  );
}
