import { setImmediate as turn } from 'node:timers/promises';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Batcher } from '../../../workers/batcher.ts';
import type { RefreshResult, RefreshResults } from '../../../workers/refresh-batch.ts';
import type { RefreshReport } from '../../../workers/refresh-executions.ts';

type Outcome = RefreshReport['outcome'];

/** One statement as the batcher sent it, in flight until it is answered. */
class Statement {
  readonly ids: readonly number[];
  readonly wait: boolean;
  readonly results: Promise<RefreshResults>;
  #resolve: (results: RefreshResults) => void = () => undefined;

  constructor(ids: readonly number[], wait: boolean) {
    this.ids = ids;
    this.wait = wait;
    this.results = new Promise((resolve) => (this.#resolve = resolve));
  }

  /** @param busy executions that another transaction holds */
  answer(busy: readonly number[] = []): void {
    this.answerWith(
      new Map(this.ids.map((id) => [id, refreshed(id, busy.includes(id) ? 'busy' : 'changed')])),
    );
  }

  answerWith(results: RefreshResults): void {
    this.#resolve(results);
  }
}

function refreshed(executionId: number, outcome: Outcome): RefreshResult {
  return { kind: 'refreshed', report: { executionId, outcome, source: null, lagMs: null } };
}

let sent: Statement[];
let sizes: number[];

beforeEach(() => {
  sent = [];
  sizes = [];
});

function createBatcher({ maxBatchSize = 100, lanes = 2 } = {}): Batcher {
  return new Batcher({
    maxBatchSize,
    lanes,
    onBatch: (size) => sizes.push(size),
    refresh: (ids, wait) => {
      const statement = new Statement(ids, wait);
      sent.push(statement);
      return statement.results;
    },
  });
}

async function statement(index: number): Promise<Statement> {
  return vi.waitUntil(() => sent[index], { timeout: 5_000, interval: 1 });
}

/** Resolves later than any batch that began to gather before: another batcher has done ten rounds. */
async function longEnoughToGather(): Promise<void> {
  const other = new Batcher({
    maxBatchSize: 10,
    lanes: 1,
    onBatch: () => undefined,
    refresh: async (ids) => new Map(ids.map((id) => [id, refreshed(id, 'changed')])),
  });
  for (let round = 0; round < 10; round++) await other.refresh(round);
}

describe('gathering', () => {
  it('what is asked for at the same time is one statement', async () => {
    const batcher = createBatcher();
    const results = Promise.all([1, 2, 3].map((id) => batcher.refresh(id)));
    (await statement(0)).answer();
    expect(await results).toEqual([1, 2, 3].map((id) => refreshed(id, 'changed')));
    expect(sent.map(({ ids, wait }) => ({ ids, wait }))).toEqual([{ ids: [1, 2, 3], wait: false }]);
    expect(sizes).toEqual([3]);
  });

  it('an execution requested twice in one batch is refreshed once and settles both', async () => {
    const batcher = createBatcher();
    const results = Promise.all([7, 7].map((id) => batcher.refresh(id)));
    (await statement(0)).answer();
    expect(await results).toEqual([refreshed(7, 'changed'), refreshed(7, 'changed')]);
    expect(sent.map(({ ids }) => ids)).toEqual([[7]]);
  });

  it('no batch is larger than the largest size, and nothing is left out', async () => {
    const batcher = createBatcher({ maxBatchSize: 10 });
    const results = Promise.all(Array.from({ length: 25 }, (_, id) => batcher.refresh(id)));
    for (let index = 0; index < 3; index++) (await statement(index)).answer();
    expect(await results).toHaveLength(25);
    expect(sent.map(({ ids }) => ids.length)).toEqual([10, 10, 5]);
    expect(new Set(sent.flatMap(({ ids }) => ids)).size).toBe(25);
    expect(sizes).toEqual([10, 10, 5]);
  });

  it('after a pause a lone refresh is sent as well', async () => {
    const batcher = createBatcher();
    for (let round = 0; round < 3; round++) {
      const result = batcher.refresh(round);
      (await statement(round)).answer();
      expect(await result).toEqual(refreshed(round, 'changed'));
      await longEnoughToGather();
    }
  });
});

describe('one statement in flight', () => {
  it('what arrives meanwhile waits for it and goes into the next batch together', async () => {
    const batcher = createBatcher();
    const first = batcher.refresh(1);
    const inFlight = await statement(0);
    const second = batcher.refresh(2);
    await turn();
    const third = batcher.refresh(3);
    await longEnoughToGather();
    expect(sent).toHaveLength(1);
    inFlight.answer();
    await first;
    (await statement(1)).answer();
    await Promise.all([second, third]);
    expect(sent.map(({ ids }) => ids)).toEqual([[1], [2, 3]]);
  });

  it('an execution asked for again while in flight gets a result that begins after that', async () => {
    const batcher = createBatcher();
    const before = batcher.refresh(1);
    const inFlight = await statement(0);
    let isSettled = false;
    const after = batcher.refresh(1).finally(() => (isSettled = true));
    inFlight.answerWith(new Map([[1, refreshed(1, 'unchanged')]]));
    expect(await before).toEqual(refreshed(1, 'unchanged'));
    const next = await statement(1);
    expect(isSettled).toBe(false);
    expect(next.ids).toEqual([1]);
    next.answer();
    expect(await after).toEqual(refreshed(1, 'changed'));
  });

  it('a hundred waves of requests never have two statements at once', async () => {
    let inFlight = 0;
    let most = 0;
    const batcher = new Batcher({
      maxBatchSize: 7,
      lanes: 1,
      onBatch: () => undefined,
      refresh: async (ids) => {
        most = Math.max(most, ++inFlight);
        await turn();
        inFlight--;
        return new Map(ids.map((id) => [id, refreshed(id, 'changed')]));
      },
    });
    const all: Promise<RefreshResult>[] = [];
    for (let wave = 0; wave < 100; wave++) {
      all.push(batcher.refresh(wave), batcher.refresh(wave % 3));
      await turn();
    }
    expect(await Promise.all(all)).toHaveLength(200);
    expect(most).toBe(1);
  });
});

describe('executions that another transaction holds', () => {
  it('are refreshed again alone, waiting, and only then settled', async () => {
    const batcher = createBatcher();
    const free = batcher.refresh(1);
    const busy = batcher.refresh(2);
    let isSettled = false;
    void busy.finally(() => (isSettled = true));
    (await statement(0)).answer([2]);
    expect(await free).toEqual(refreshed(1, 'changed'));
    await turn();
    expect(isSettled).toBe(false);
    const lane = await statement(1);
    expect([lane.ids, lane.wait]).toEqual([[2], true]);
    lane.answer();
    expect(await busy).toEqual(refreshed(2, 'changed'));
    expect(sizes).toEqual([2, 1]);
  });

  it("don't hold up the next batch", async () => {
    const batcher = createBatcher();
    const busy = batcher.refresh(1);
    (await statement(0)).answer([1]);
    const lane = await statement(1);
    const free = batcher.refresh(2);
    (await statement(2)).answer();
    expect(await free).toEqual(refreshed(2, 'changed'));
    lane.answer();
    expect(await busy).toEqual(refreshed(1, 'changed'));
  });

  it('take no more than the given lanes, and all get their turn', async () => {
    const batcher = createBatcher({ lanes: 2 });
    const ids = [1, 2, 3, 4, 5];
    const results = Promise.all(ids.map((id) => batcher.refresh(id)));
    (await statement(0)).answer(ids);
    await statement(2);
    await longEnoughToGather();
    expect(sent).toHaveLength(3);
    for (let index = 1; index <= 5; index++) {
      (await statement(index)).answer();
      await turn();
      expect(sent.length).toBeLessThanOrEqual(index + 3);
    }
    expect(await results).toEqual(ids.map((id) => refreshed(id, 'changed')));
    expect(sent.slice(1).map((lane) => lane.ids)).toEqual([[1], [2], [3], [4], [5]]);
    expect(sent.slice(1).every(({ wait }) => wait)).toBe(true);
  });

  it('find free lanes again after earlier ones were done', async () => {
    const batcher = createBatcher({ lanes: 1 });
    for (let round = 0; round < 3; round++) {
      const result = batcher.refresh(round);
      (await statement(2 * round)).answer([round]);
      (await statement(2 * round + 1)).answer();
      expect(await result).toEqual(refreshed(round, 'changed'));
    }
  });

  it('settle everyone who asked for them', async () => {
    const batcher = createBatcher();
    const results = Promise.all([7, 7, 7].map((id) => batcher.refresh(id)));
    (await statement(0)).answer([7]);
    (await statement(1)).answer();
    expect(await results).toEqual(Array.from({ length: 3 }, () => refreshed(7, 'changed')));
  });
});

describe("what didn't go well", () => {
  it('an execution without a report has failed', async () => {
    const batcher = createBatcher();
    const reported = batcher.refresh(1);
    const missing = batcher.refresh(2);
    (await statement(0)).answerWith(new Map([[1, refreshed(1, 'changed')]]));
    expect(await reported).toEqual(refreshed(1, 'changed'));
    expect(await missing).toMatchObject({
      kind: 'failed',
      error: { message: expect.stringContaining('execution 2') },
    });
  });

  it.each(['failed', 'unavailable'] as const)(
    '%s is reported unchanged to whoever asked',
    async (kind) => {
      const batcher = createBatcher();
      const bad: RefreshResult = { kind, error: new Error('why') };
      const results = Promise.all([batcher.refresh(1), batcher.refresh(2)]);
      (await statement(0)).answerWith(
        new Map([
          [1, bad],
          [2, refreshed(2, 'changed')],
        ]),
      );
      expect(await results).toEqual([bad, refreshed(2, 'changed')]);
      expect(sent).toHaveLength(1);
    },
  );
});
