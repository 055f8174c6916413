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

// Rows of one commit, and names in one removal: about a millisecond of Redis' time.
const PAGE = 1_000;
// What one step of a scan is asked for. It gives a few more, which should not make a page of their own.
const STEP = 900;
// Harbor marks an execution up to 30 s before the change is committed, and doesn't mark it again while its key stands. Rows
// that were committed longer than this before their markers were gone are written again, due later.
const REMOVED_LATE_MS = 1_000;

/** The lease of whoever moves Harbor's markers, in either direction. */
export const INTAKE_DUTY = "taking in Harbor's markers";

/** What became of one page. */
export interface MarkerPage {
  /** Markers whose refresh is recorded. */
  readonly taken: number;
  /** Markers that were dropped because they name no execution, as they stood there. */
  readonly malformed: readonly string[];
}

interface Source {
  readonly parse: (text: string) => Identity | undefined;
  readonly remove: (names: Buffer[]) => Promise<unknown>;
}

/**
 * Moves Harbor's markers into the outbox. At least once: for each page the rows are committed first, and only then
 * the markers are removed, so that whatever is killed in between, a marker stands in Redis or has its row. Only one
 * process at a time may do this; its caller holds the lease {@link INTAKE_DUTY}, under which the rows are written.
 */
export class MarkerTransfer {
  readonly #redis: Redis;
  readonly #delayMs: number;
  readonly #onPage: (page: MarkerPage) => void;
  /** Of a page whose removal Redis hasn't confirmed: it may still happen at any later moment. */
  #doubtful: Identity[] = [];

  /** @param delayMs from finding a marker to the moment its refresh is due, in milliseconds */
  constructor(redis: Redis, delayMs: number, onPage: (page: MarkerPage) => void) {
    this.#redis = redis;
    this.#delayMs = delayMs;
    this.#onPage = onPage;
  }

  /** Records again what Redis may have removed late; to be called before anything else is taken. */
  async settleDoubts(session: Database): Promise<void> {
    if (this.#doubtful.length === 0) return;
    // An answer means that it has done, or never will do, what it was sent before.
    await this.#redis.ping();
    await this.#record(session, this.#doubtful);
    this.#doubtful = [];
  }

  /**
   * Takes the whole set in. It is renamed, in one step, so that what Harbor adds from then on goes into a new set;
   * what a killed process has left of an earlier one comes first.
   * @param signal ends it after the page in hand
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
      // A core of Harbor that still drains the set may have emptied it since.
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
   * Takes in every marker key that stands in the database, walking over all of its keys and touching no other.
   * @param signal ends it after the page in hand
   * @param onStep called after each step, with about how many keys it went over
   * @returns how long Redis was kept busy with looking, in milliseconds
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

  // Where many names fall together, one step of a scan may give several pages.
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

  // Names stay bytes: one that is no text must be removed as it is, or it would come again for ever.
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
    // A process that was frozen meanwhile may have lost its lease: another one has taken this page then, and Harbor
    // may have set the same markers again, for newer changes.
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
