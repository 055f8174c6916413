import { DatabaseError, type QueryResultRow } from 'pg';
import { beforeEach, describe, expect, it } from 'vitest';
import type { Database } from '../../../shared/postgres/database.ts';
import { NotConnectedError } from '../../../shared/postgres/error-kinds.ts';
import { refreshBatch, type RefreshResults } from '../../../workers/refresh-batch.ts';
import type { RefreshReport } from '../../../workers/refresh-executions.ts';

type Answer = (executionIds: readonly number[], statement: number) => void;

/** Reports every execution as changed, unless `answer` throws for the statement. */
class FakeDatabase implements Database {
  readonly statements: { readonly ids: readonly number[]; readonly wait: unknown }[] = [];
  answer: Answer = () => undefined;

  async query<Row extends QueryResultRow>(
    _sql: string,
    values: readonly unknown[] = [],
  ): Promise<Row[]> {
    const [ids, wait] = values;
    if (!isIds(ids)) throw new Error('the statement has no execution ids');
    this.statements.push({ ids, wait });
    this.answer(ids, this.statements.length);
    return ids.map(reportOf) as unknown as Row[];
  }

  async close(): Promise<void> {
    // Nothing is open.
  }
}

function isIds(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((id) => typeof id === 'number');
}

function reportOf(executionId: number): RefreshReport {
  return { executionId, outcome: 'changed', source: 'capture', lagMs: 12 };
}

function sqlError(state: string): DatabaseError {
  const error = new DatabaseError(`failed with ${state}`, 1, 'error');
  error.code = state;
  return error;
}

/** Fails as Postgres would when one execution makes every statement that has it fail. */
function poisonedBy(poison: readonly number[], error: Error): Answer {
  return (ids) => {
    if (ids.some((id) => poison.includes(id))) throw error;
  };
}

function idsOf(results: RefreshResults, kind: 'refreshed' | 'failed' | 'unavailable'): number[] {
  return [...results].filter(([, result]) => result.kind === kind).map(([id]) => id);
}

const IDS = Array.from({ length: 500 }, (_, index) => index + 1);
const CHECK = '23514';
const STARTING = '57P03';
const DEADLOCK = '40P01';
const reset = new Error('read ECONNRESET');

let database: FakeDatabase;
let probes: number;
let probeFails: boolean;

beforeEach(() => {
  database = new FakeDatabase();
  probes = 0;
  probeFails = false;
});

async function probe(): Promise<void> {
  probes++;
  if (probeFails) throw reset;
}

async function refresh(ids: readonly number[], wait = false): Promise<RefreshResults> {
  const results = await refreshBatch(database, probe, ids, wait);
  expect([...results.keys()].toSorted((a, b) => a - b)).toEqual(ids);
  return results;
}

it('a batch is one statement, and each execution gets its own report', async () => {
  const results = await refresh(IDS);
  expect(database.statements).toEqual([{ ids: IDS, wait: false }]);
  expect(results.get(137)).toEqual({ kind: 'refreshed', report: reportOf(137) });
  expect(idsOf(results, 'refreshed')).toHaveLength(500);
});

it('the database is told whether to wait for locks, in the halves of a split batch too', async () => {
  database.answer = poisonedBy([2], sqlError(CHECK));
  await refresh([1, 2, 3], true);
  expect(database.statements.length).toBeGreaterThan(1);
  expect(database.statements.every(({ wait }) => wait === true)).toBe(true);
});

describe('a bad execution', () => {
  it.each([1, 250, 251, 500])('among 500 fails alone: number %d', async (poison) => {
    const error = sqlError(CHECK);
    database.answer = poisonedBy([poison], error);
    const results = await refresh(IDS);
    expect(results.get(poison)).toEqual({ kind: 'failed', error });
    expect(idsOf(results, 'failed')).toEqual([poison]);
    expect(idsOf(results, 'refreshed')).toHaveLength(499);
    expect(database.statements.length).toBeLessThan(25);
    expect(probes).toBe(0);
  });

  it("doesn't harm the others when there are three of them", async () => {
    database.answer = poisonedBy([3, 77, 400], sqlError(CHECK));
    const results = await refresh(IDS);
    expect(idsOf(results, 'failed').toSorted((a, b) => a - b)).toEqual([3, 77, 400]);
    expect(idsOf(results, 'refreshed')).toHaveLength(497);
  });

  it('that is alone fails after one statement', async () => {
    database.answer = poisonedBy([9], sqlError(CHECK));
    const results = await refresh([9]);
    expect(idsOf(results, 'failed')).toEqual([9]);
    expect(database.statements).toHaveLength(1);
  });

  it('that ends its own backend is found, since a probe tells that the server is there', async () => {
    database.answer = poisonedBy([123], reset);
    const results = await refresh(IDS);
    expect(results.get(123)).toEqual({ kind: 'failed', error: reset });
    expect(idsOf(results, 'refreshed')).toHaveLength(499);
    expect(database.statements.length).toBeLessThan(25);
    expect(probes).toBeGreaterThan(0);
  });

  it('that ends every backend it runs in is given up after three of them', async () => {
    database.answer = poisonedBy([9], sqlError('57P01'));
    expect(idsOf(await refresh([9]), 'failed')).toEqual([9]);
    expect(database.statements).toHaveLength(3);
    expect(probes).toBe(3);
  });

  it.each(['55P03', '57014'])(
    'whose row is held by somebody else (%s) fails while the probe commits',
    async (state) => {
      database.answer = poisonedBy([9], sqlError(state));
      expect(idsOf(await refresh([9], true), 'failed')).toEqual([9]);
      expect(database.statements).toHaveLength(2);
    },
  );
});

describe('an unavailable database', () => {
  it("takes the whole batch with it, unsplit, and isn't asked again", async () => {
    const error = sqlError(STARTING);
    database.answer = () => {
      throw error;
    };
    const results = await refresh(IDS);
    expect(idsOf(results, 'unavailable')).toHaveLength(500);
    expect(results.get(1)).toEqual({ kind: 'unavailable', error });
    expect(database.statements).toHaveLength(1);
    expect(probes).toBe(0);
  });

  it('is noticed by a probe when the connection is lost', async () => {
    probeFails = true;
    database.answer = poisonedBy([1], reset);
    const results = await refresh(IDS);
    expect(idsOf(results, 'unavailable')).toHaveLength(500);
    expect(database.statements).toHaveLength(1);
    expect(probes).toBe(1);
  });

  it('costs no attempt of a single execution either', async () => {
    probeFails = true;
    database.answer = poisonedBy([9], sqlError('57P01'));
    expect(idsOf(await refresh([9]), 'unavailable')).toEqual([9]);
  });

  it.each(['57014', '55P03'])(
    'is noticed by a probe when the server gives up waiting (%s)',
    async (state) => {
      probeFails = true;
      database.answer = poisonedBy([1], sqlError(state));
      expect(idsOf(await refresh(IDS), 'unavailable')).toHaveLength(500);
      expect(database.statements).toHaveLength(1);
    },
  );

  it.each([
    ['a backend that was ended once', sqlError('57P01')],
    ['a table that was locked until just now', sqlError('57014')],
    ['a lock that was held until just now', sqlError('55P03')],
    ['a read timeout', new Error('Query read timeout')],
  ])('that serves again by the time of the probe costs no attempt: %s', async (_what, error) => {
    database.answer = (_ids, statement) => {
      if (statement === 1) throw error;
    };
    expect(idsOf(await refresh([9]), 'refreshed')).toEqual([9]);
    expect(probes).toBe(1);
  });

  it('is a pool with no free connection, without a probe', async () => {
    const error = new NotConnectedError(new Error('timeout exceeded when trying to connect'));
    database.answer = poisonedBy([9], error);
    expect(idsOf(await refresh([9]), 'unavailable')).toEqual([9]);
    expect(probes).toBe(0);
  });

  it('in the middle of a split leaves what was refreshed before', async () => {
    // The whole batch fails by its poison, the first half is refreshed, then the server goes.
    database.answer = (ids, statement) => {
      if (statement > 2) throw sqlError(STARTING);
      if (ids.includes(400)) throw sqlError(CHECK);
    };
    const results = await refresh(IDS);
    expect(idsOf(results, 'refreshed')).toEqual(IDS.slice(0, 250));
    expect(idsOf(results, 'unavailable')).toEqual(IDS.slice(250));
    expect(database.statements).toHaveLength(3);
  });
});

describe('contention', () => {
  it.each([DEADLOCK, '40001'])('%s is tried again with the whole batch', async (state) => {
    database.answer = (_ids, statement) => {
      if (statement < 3) throw sqlError(state);
    };
    const results = await refresh(IDS);
    expect(idsOf(results, 'refreshed')).toHaveLength(500);
    expect(database.statements.map(({ ids }) => ids.length)).toEqual([500, 500, 500]);
    expect(probes).toBe(0);
  });

  it("that doesn't end is given up after three more tries, and costs that one an attempt", async () => {
    database.answer = poisonedBy([2], sqlError(DEADLOCK));
    const results = await refresh([2]);
    expect(idsOf(results, 'failed')).toEqual([2]);
    expect(database.statements).toHaveLength(4);
  });

  it("that follows one execution around doesn't harm the others", async () => {
    database.answer = poisonedBy([2], sqlError(DEADLOCK));
    const results = await refresh([1, 2, 3, 4]);
    expect(idsOf(results, 'failed')).toEqual([2]);
    expect(idsOf(results, 'refreshed').toSorted((a, b) => a - b)).toEqual([1, 3, 4]);
  });

  it("that turns into another error isn't tried again for it", async () => {
    database.answer = (_ids, statement) => {
      throw sqlError(statement === 1 ? DEADLOCK : STARTING);
    };
    expect(idsOf(await refresh([1, 2]), 'unavailable')).toEqual([1, 2]);
    expect(database.statements).toHaveLength(2);
  });
});

it('something thrown that is no error becomes one', async () => {
  probeFails = true;
  database.answer = () => {
    // oxlint-disable-next-line typescript/only-throw-error -- that is what is tested
    throw 'only a text';
  };
  const result = (await refresh([1])).get(1);
  expect(result).toMatchObject({ kind: 'unavailable', error: { message: 'only a text' } });
});
