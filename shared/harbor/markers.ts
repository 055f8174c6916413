import type { Redis } from 'ioredis';
import { formatIdentity, parseIdentity, type Identity } from '../execution.ts';

/**
 * How Harbor marks an execution whose status is out of date. `keys`: one string key an execution
 * (2.8 to 2.15); `set`: one set for all (main of 2026, for 2.16). Read from `src/pkg/task` in its sources.
 */
export type MarkerFormat = 'set' | 'keys';

/** Harbor's set. */
export const MARKER_SET = 'execution:status_outdate';

/**
 * The set after it was taken from Harbor, and until all of it is in the outbox. There is one name only, so
 * that whatever a killed process has left is found.
 */
export const TAKEN_SET = 'tally:taken:execution:status_outdate';

/** Fits every key of the other format, and next to nothing else. */
export const MARKER_KEY_PATTERN = 'cache:execution:id:*:vendor:*:status_outdate';

const MARKER_KEY = /^cache:execution:id:([^:]*):vendor:(.*):status_outdate$/s;

// What Harbor stores in a marker key: its encoding of an empty text.
const MARKER_VALUE = Buffer.from([0xa0]);

/**
 * The key that marks an execution in the format `keys`. Harbor reads vendors of A-Z, 0-9 and _ only there and refreshes by
 * the id, so other characters are made these; otherwise it would never drain the key.
 */
export function formatMarkerKey({ executionId, vendor }: Identity): string {
  const name = vendor.toUpperCase().replaceAll(/[^A-Z0-9_]/gu, '_');
  return `cache:execution:id:${executionId}:vendor:${name}:status_outdate`;
}

/** The identity in a member of the set, or undefined when it is malformed. */
export function parseMarkerMember(member: string): Identity | undefined {
  try {
    return parseIdentity(member);
  } catch {
    return undefined;
  }
}

/** The identity in a marker's key, or undefined when it is malformed. */
export function parseMarkerKey(key: string): Identity | undefined {
  const [, id, vendor] = MARKER_KEY.exec(key) ?? [];
  return parseMarkerMember(`${id}:${vendor}`);
}

/**
 * Marks executions as Harbor itself would. When this resolves, Redis has all of them.
 * @param identities up to some 1,000, so that Redis isn't kept busy for long
 */
export async function writeMarkers(
  redis: Redis,
  format: MarkerFormat,
  identities: readonly Identity[],
): Promise<void> {
  if (identities.length === 0) return;
  if (format === 'set') {
    await redis.sadd(MARKER_SET, ...identities.map(formatIdentity));
    return;
  }
  const pipeline = redis.pipeline();
  for (const identity of identities) pipeline.set(formatMarkerKey(identity), MARKER_VALUE, 'NX');
  for (const [error] of (await pipeline.exec()) ?? []) if (error) throw error;
}

/** The formats of which there are markers now. Looks at all keys, 1,000 at a time. */
export async function findMarkerFormats(redis: Redis): Promise<MarkerFormat[]> {
  const formats: MarkerFormat[] = (await redis.exists(MARKER_SET, TAKEN_SET)) > 0 ? ['set'] : [];
  let cursor = '0';
  do {
    const [next, keys] = await redis.scan(cursor, 'MATCH', MARKER_KEY_PATTERN, 'COUNT', 1_000);
    if (keys.length > 0) return [...formats, 'keys'];
    cursor = next;
  } while (cursor !== '0');
  return formats;
}
