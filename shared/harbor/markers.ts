import type { Redis } from 'ioredis';
import { formatIdentity, parseIdentity, type Identity } from '../execution.ts';

/**
 * How Harbor marks an execution whose status is out of date. `keys`: one string key per execution
 * (2.8 to 2.15). `set`: one set for all (its main branch in 2026, for 2.16). Source: `src/pkg/task`
 * in Harbor.
 */
export type MarkerFormat = 'set' | 'keys';

/** Harbor's set of markers. */
export const MARKER_SET = 'execution:status_outdate';

/**
 * The name of the set once it is taken from Harbor, until all of it is in the outbox. There is only
 * one such name, so that whatever a killed process left is found.
 */
export const TAKEN_SET = 'tally:taken:execution:status_outdate';

/** Matches every marker of the format `keys`, and hardly anything else. */
export const MARKER_KEY_PATTERN = 'cache:execution:id:*:vendor:*:status_outdate';

const MARKER_KEY = /^cache:execution:id:([^:]*):vendor:(.*):status_outdate$/s;

// Value of Harbor's marker keys: an empty text in its encoding.
const MARKER_VALUE = Buffer.from([0xa0]);

/**
 * The marker key of an execution in the format `keys`. Harbor's pattern accepts only A-Z, 0-9 and _
 * in the vendor, and it refreshes by id alone. Other characters are replaced by these, or Harbor
 * would never drain the key.
 */
export function formatMarkerKey({ executionId, vendor }: Identity): string {
  const name = vendor.toUpperCase().replaceAll(/[^A-Z0-9_]/gu, '_');
  return `cache:execution:id:${executionId}:vendor:${name}:status_outdate`;
}

/** The identity in a member of the set; undefined if it is malformed. */
export function parseMarkerMember(member: string): Identity | undefined {
  try {
    return parseIdentity(member);
  } catch {
    return undefined;
  }
}

/** The identity in a marker key; undefined if it is malformed. */
export function parseMarkerKey(key: string): Identity | undefined {
  const [, id, vendor] = MARKER_KEY.exec(key) ?? [];
  return parseMarkerMember(`${id}:${vendor}`);
}

/**
 * Marks executions exactly as Harbor does. When this resolves, Redis has all of the markers.
 * @param identities at most about 1,000, so that Redis isn't busy for long
 * @throws an error from `ioredis`; some markers may have been written then
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

/**
 * The formats in which there are markers now. Scans all keys, 1,000 at a time.
 * @throws an error from `ioredis`
 */
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
