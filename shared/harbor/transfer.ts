import type { Redis } from 'ioredis';
import type { Database } from '../postgres/database.ts';
import { TallyError } from '../errors.ts';
import { formatIdentity, type Identity } from '../execution.ts';
import {
  MARKER_KEY_PATTERN,
  MARKER_SET,
  parseMarkerKey,
  parseMarkerMember,
  TAKEN_SET,
} from './markers.ts';
import { recordRefreshes } from '../postgres/outbox.ts';

// Rows per commit and names per removal, which takes Redis about a millisecond.
const PAGE = 1_000;
// COUNT of each scan step. A step may return a few more, which mustn't need a second page.
const STEP = 900;
// Harbor marks an execution up to 30 s before it commits the change, and doesn't mark it again
// while its key exists. If the markers were removed later than this after their rows were
// committed, the rows are written once more, due later.
const REMOVED_LATE_MS = 1_000;

/** Name of the lease for moving Harbor's markers, in either direction. */
export const INTAKE_DUTY = "taking in Harbor's markers";

/** The result of one page. */
export interface MarkerPage {
  /** Markers whose refreshes were recorded. */
  readonly taken: number;
  /** Markers that were dropped because they name no execution, as they were written. */
  readonly malformed: readonly string[];
}

interface Source {
  readonly parse: (text: string) => Identity | undefined;
  readonly remove: (names: Buffer[]) => Promise<unknown>;
}

/**
 * Moves Harbor's markers into the outbox. At least once: for each page the rows are committed
 * before the markers are removed, so after a crash each change still has its marker or its row.
 * Only one process may do this at a time; the caller holds the lease {@link INTAKE_DUTY}, under
 * which the rows are written.
 */
export class MarkerTransfer {
  readonly #redis: Redis;
  readonly #delayMs: number;
  readonly #onPage: (page: MarkerPage) => void;
  /** Identities of a page whose removal Redis hasn't confirmed. It may still happen at any time. */
  #doubtful: Identity[] = [];

  /**
   * @param delayMs milliseconds from finding a marker until its refresh is due
   * @param onPage called after each page
   */
  constructor(redis: Redis, delayMs: number, onPage: (page: MarkerPage) => void) {
    this.#redis = redis;
    this.#delayMs = delayMs;
    this.#onPage = onPage;
  }

  /**
   * Records again what Redis may have removed late. Call it before anything else is taken.
   * @throws an error from `pg` or `ioredis`
   */
  async settleDoubts(session: Database): Promise<void> {
    if (this.#doubtful.length === 0) return;
    // Redis answers in order: what it was sent before is done by now, or never will be.
    await this.#redis.ping();
    await this.#record(session, this.#doubtful);
    this.#doubtful = [];
  }

  /**
   * Takes in the whole set. The set is renamed in one step, so that Harbor's further markers go
   * into a new one. What a killed process left of an earlier set comes first.
   * @param signal stops it after the page in hand
   * @throws TallyError NOT_HARBORS_SET if the key holds something else
   * @throws an error from `pg` or `ioredis`
   */
  async takeSet(session: Database, signal: AbortSignal): Promise<void> {
    const redis = this.#redis;
    if ((await redis.exists(TAKEN_SET)) === 0) {
      const type = await redis.type(MARKER_SET);
      if (type === 'none') return;
      if (type !== 'set') {
        throw new TallyError(
          'NOT_HARBORS_SET',
          `${MARKER_SET} in Harbor's Redis is a ${type}, not a set; check HARBOR_REDIS_URL`,
        );
      }
      // A Harbor core that still drains the set may have emptied it meanwhile.
      await redis.renamenx(MARKER_SET, TAKEN_SET).catch(unlessMissing);
    }
    const source: Source = {
      parse: parseMarkerMember,
      remove: (members) => redis.srem(TAKEN_SET, ...members),
    };
    let cursor = '0';
    do {
      const [next, members] = await redis.sscanBuffer(TAKEN_SET, cursor, 'COUNT', STEP);
      await this.#takePages(session, signal, members, source);
      cursor = next.toString();
    } while (cursor !== '0' && !signal.aborted);
  }

  /**
   * Takes in every marker key by scanning all keys of the database; it touches no other key.
   * @param signal stops it after the page in hand
   * @param onStep called after each step with about how many keys it covered
   * @returns milliseconds that the scan kept Redis busy
   * @throws an error from `pg` or `ioredis`
   */
  async takeKeys(
    session: Database,
    signal: AbortSignal,
    onStep: (keys: number) => void = () => undefined,
  ): Promise<number> {
    const redis = this.#redis;
    const source: Source = {
      parse: parseMarkerKey,
      remove: (keys) => redis.unlink(...keys),
    };
    let lookedMs = 0;
    let cursor = '0';
    do {
      const beginMs = performance.now();
      const [next, keys] = await redis.scanBuffer(
        cursor,
        'MATCH',
        MARKER_KEY_PATTERN,
        'COUNT',
        STEP,
      );
      lookedMs += performance.now() - beginMs;
      await this.#takePages(session, signal, keys, source);
      onStep(STEP);
      cursor = next.toString();
    } while (cursor !== '0' && !signal.aborted);
    return lookedMs;
  }

  // One step of a scan may return several pages if many names fall into one bucket.
  async #takePages(
    session: Database,
    signal: AbortSignal,
    names: readonly Buffer[],
    source: Source,
  ): Promise<void> {
    for (let from = 0; from < names.length && !signal.aborted; from += PAGE) {
      await this.#takePage(session, names.slice(from, from + PAGE), source);
    }
  }

  // Names stay bytes: one that isn't valid UTF-8 must be removed unchanged, or it would return for
  // ever.
  async #takePage(session: Database, names: Buffer[], { parse, remove }: Source): Promise<void> {
    const wanted = new Map<string, Identity>();
    const malformed: string[] = [];
    for (const name of names) {
      const text = name.toString();
      const identity = parse(text);
      if (identity === undefined) malformed.push(text);
      else wanted.set(formatIdentity(identity), identity);
    }
    const identities = [...wanted.values()];
    const beginMs = performance.now();
    await this.#record(session, identities);
    // A process that was frozen meanwhile may have lost its lease. Then another one has taken this
    // page, and Harbor may have set the same markers again for newer changes. This statement fails
    // without the lease.
    if (performance.now() - beginMs > REMOVED_LATE_MS) await session.query('SELECT');
    try {
      await remove(names);
    } catch (error) {
      this.#doubtful = identities;
      throw error;
    }
    if (performance.now() - beginMs > REMOVED_LATE_MS) {
      this.#doubtful = identities;
      await this.settleDoubts(session);
    }
    this.#onPage({ taken: identities.length, malformed });
  }

  async #record(session: Database, identities: readonly Identity[]): Promise<void> {
    if (identities.length > 0) {
      await recordRefreshes(session, identities, 'marker', this.#delayMs);
    }
  }
}

function unlessMissing(error: unknown): void {
  if (!(error instanceof Error && error.message.includes('no such key'))) throw error;
}
