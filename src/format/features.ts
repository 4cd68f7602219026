/**
 * What an older program may do with a newer pool: three words of feature bits in the superblock.
 * No feature has been invented yet, so every set bit is unknown.
 */

export interface FeatureWords {
  /** A program that does not know a bit may ignore it. */
  compatible: number;
  /** A program that does not know a bit may only read. */
  readOnlyCompatible: number;
  /** A program that does not know a bit must refuse. */
  incompatible: number;
}

/** The bits that this program knows. */
const KNOWN_FEATURES: Readonly<FeatureWords> = {
  compatible: 0,
  readOnlyCompatible: 0,
  incompatible: 0,
};

export const NO_FEATURES: Readonly<FeatureWords> = {
  compatible: 0,
  readOnlyCompatible: 0,
  incompatible: 0,
};

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
