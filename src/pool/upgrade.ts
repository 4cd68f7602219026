import { formatUuid } from '../base/bytes.ts';
import { MpoolError } from '../base/errors.ts';
import {
  accessOf,
  type FeatureNames,
  featuresBeyond,
  type FeatureWords,
  hasUnknownFeatures,
  joinFeatures,
  knownFeatures,
  namesOfFeatures,
  unknownFeaturesText,
} from '../format/features.ts';
import { FORMAT_VERSION, type Superblock } from '../format/superblock.ts';
import { activate } from './activate.ts';
import type { Environment } from './environment.ts';
import { locatePool, type SearchPlaces } from './find-pools.ts';
import { readSuperblocks } from './superblocks.ts';

export interface UpgradeReport {
  name: string;
  uuid: string;
  formatVersion: number;
  /** What it had, by the word that they are in. */
  features: FeatureNames;
  /** What it has besides from now on; when it is nothing, nothing was written. */
  added: FeatureNames;
  /** What a version that knows only the features it had may do with it from now on. */
  olderVersions: 'read-write' | 'read-only' | 'none';
}

/**
 * Gives a pool that is open nowhere the features of this version that it lacks: nothing else ever does. One
 * update of the superblock decides. A pool that has them all is not written to.
 * @throws ERR_MPOOL_BUSY, ERR_MPOOL_VERSION when a newer version made it; as open for writing
 */
export async function upgradePool(
  environment: Environment,
  target: string,
  where: SearchPlaces,
): Promise<UpgradeReport> {
  const paths = await locatePool(environment.host, target, where);
  const found = await superblockAt(environment, paths.capacityPath);
  if (found !== undefined && isNothing(missingFrom(found))) return reportOf(found, found.features);
  const store = await activate(environment, {
    ...paths,
    readOnly: false,
    force: false,
    engine: undefined,
    discard: false,
    checksumCacheBytes: 0,
  });
  try {
    const { superblock } = store;
    refuseUnknown(superblock, paths.capacityPath);
    const features = joinFeatures(superblock.features, knownFeatures());
    await store.updateSuperblock({ features });
    return reportOf(superblock, features);
  } finally {
    await store.shutdown(true);
  }
}

/**
 * Claimed as for writing, so that what nobody may upgrade is refused whether or not there is something to do.
 * @returns undefined when there is no superblock to go on with: activation says best why
 */
async function superblockAt(
  environment: Environment,
  path: string,
): Promise<Superblock | undefined> {
  const device = await environment.host.openDevice(path, { access: 'write' });
  try {
    const { newest, problem } = await readSuperblocks(device);
    if (newest === undefined || problem !== undefined) return undefined;
    refuseUnknown(newest, path);
    return newest;
  } finally {
    await device.close();
  }
}

/** What a newer version's features mean together with those of this one, only that one knows. */
function refuseUnknown({ features }: Superblock, path: string): void {
  if (!hasUnknownFeatures(features)) return;
  throw new MpoolError('ERR_MPOOL_VERSION', `${path}: ${unknownFeaturesText(features)}`, { path });
}

function missingFrom({ features }: Superblock): FeatureWords {
  return featuresBeyond(knownFeatures(), features);
}

function isNothing({ compatible, readOnlyCompatible, incompatible }: FeatureWords): boolean {
  return compatible === 0 && readOnlyCompatible === 0 && incompatible === 0;
}

function reportOf({ name, poolUuid, features }: Superblock, after: FeatureWords): UpgradeReport {
  return {
    name,
    uuid: formatUuid(poolUuid),
    formatVersion: FORMAT_VERSION,
    features: namesOfFeatures(features),
    added: namesOfFeatures(featuresBeyond(after, features)),
    olderVersions: accessOf(after, features),
  };
}
