/**
 * What a program may do with a pool that a newer or an older one made: three words of feature bits in the
 * superblock. A feature that changes what is on media has a bit, and a line in FEATURES: all else (what new
 * pools get, what an upgrade adds, what is refused, how it is told) follows from that line.
 */

export interface FeatureWords {
  /** A program that does not know a bit may ignore it. */
  compatible: number;
  /** A program that does not know a bit may only read. */
  readOnlyCompatible: number;
  /** A program that does not know a bit must refuse. */
  incompatible: number;
}

export interface Feature {
  /** One word, for people; it never changes. */
  readonly name: string;
  readonly word: keyof FeatureWords;
  /** 0 … 31; never used again for something else. */
  readonly bit: number;
}

/**
 * Logs bear witness of each other's ends: frame headers say up to where another log was durable, and MDC 1
 * has log marks and losses. An older program would take a frame that bears witness for the end of its log.
 */
const WITNESSES: Feature = { name: 'witnesses', word: 'incompatible', bit: 0 };

/**
 * The features of this version. A pool without one of them is used as it is for ever; with `mpool upgrade`
 * it gets it by one update of the superblock, so no feature may ask for more than its bit to be right with
 * all that an older version wrote.
 */
export const FEATURES: readonly Feature[] = [WITNESSES];

export const NO_FEATURES: Readonly<FeatureWords> = {
  compatible: 0,
  readOnlyCompatible: 0,
  incompatible: 0,
};

export function hasWitnesses(words: FeatureWords): boolean {
  return ((words.incompatible >>> WITNESSES.bit) & 1) !== 0;
}

/** Names of features by word; a bit that is not known is 'bit 7'. */
export type FeatureNames = Record<keyof FeatureWords, string[]>;

const WORDS = ['compatible', 'readOnlyCompatible', 'incompatible'] as const;

let known: readonly Feature[] = FEATURES;

/** For tests of the rules: from now on this is a version that knows these. @returns undoes it */
export function playVersionThatKnows(features: readonly Feature[]): () => void {
  const before = known;
  known = features;
  return () => {
    known = before;
  };
}

/** All features that this program knows: those of pools that it makes. */
export function knownFeatures(): FeatureWords {
  const words = { ...NO_FEATURES };
  for (const { word, bit } of known) words[word] = (words[word] | (1 << bit)) >>> 0;
  return words;
}

/** What this program may do with a pool that has these features. */
export function permittedAccess(words: FeatureWords): 'read-write' | 'read-only' | 'none' {
  return accessOf(words, knownFeatures());
}

/** True when any bit is unknown: reserved bytes may then mean something, and need not be zero. */
export function hasUnknownFeatures(words: FeatureWords): boolean {
  const all = knownFeatures();
  return WORDS.some((word) => (words[word] & ~all[word]) !== 0);
}

/** What a program may do with a pool of features `words` that knows only those of `all`. */
export function accessOf(
  words: FeatureWords,
  all: FeatureWords,
): 'read-write' | 'read-only' | 'none' {
  if ((words.incompatible & ~all.incompatible) !== 0) return 'none';
  if ((words.readOnlyCompatible & ~all.readOnlyCompatible) !== 0) return 'read-only';
  return 'read-write';
}

/** Those of `words` that are not in `without`. */
export function featuresBeyond(words: FeatureWords, without: FeatureWords): FeatureWords {
  const beyond = { ...NO_FEATURES };
  for (const word of WORDS) beyond[word] = (words[word] & ~without[word]) >>> 0;
  return beyond;
}

export function joinFeatures(a: FeatureWords, b: FeatureWords): FeatureWords {
  const joined = { ...NO_FEATURES };
  for (const word of WORDS) joined[word] = (a[word] | b[word]) >>> 0;
  return joined;
}

export function namesOfFeatures(words: FeatureWords): FeatureNames {
  const names: FeatureNames = { compatible: [], readOnlyCompatible: [], incompatible: [] };
  for (const word of WORDS) {
    for (let bit = 0; bit < 32; bit++) {
      if (((words[word] >>> bit) & 1) === 0) continue;
      const feature = known.find((each) => each.word === word && each.bit === bit);
      names[word].push(feature?.name ?? `bit ${bit}`);
    }
  }
  return names;
}

/** 'witnesses, bit 3 (compatible)'; '' for none. Without remark those that an older version must refuse. */
export function featuresText(words: FeatureWords): string {
  const { compatible, readOnlyCompatible, incompatible } = namesOfFeatures(words);
  return [
    ...incompatible,
    ...readOnlyCompatible.map((name) => `${name} (read-only compatible)`),
    ...compatible.map((name) => `${name} (compatible)`),
  ].join(', ');
}

/** Which bits are not known, and what to do: for a refusal. */
export function unknownFeaturesText(words: FeatureWords): string {
  const unknown = featuresText(featuresBeyond(words, knownFeatures()));
  return `it has features unknown here: ${unknown}: use a newer version of mpool`;
}
