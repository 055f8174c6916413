import { expect, it } from 'vitest';
import { stateOf } from '../../../../dashboard/execution/execution-state.ts';
import type { ExecutionFacts } from '../../../../dashboard/execution/execution-facts.ts';
import type { ExecutionJobs } from '../../../../dashboard/execution/execution-jobs.ts';

const END = '2026-01-02T03:04:05.000Z';
const NONE: ExecutionJobs = { current: null, nextRunStored: false, failed: [] };
const FAILED: ExecutionJobs = {
  ...NONE,
  failed: [{ jobId: '1:A:x', failedAt: END, attempts: 5, error: 'boom' }],
};
const STORED_NEXT: ExecutionJobs = { ...NONE, nextRunStored: true };

type Pair = readonly [status: string | null, endTime: string | null];

function facts(stored: Pair, computed: Pair | null, rows = 0): ExecutionFacts {
  return {
    executionId: 1,
    vendor: 'A',
    trigger: 'MANUAL',
    startTime: null,
    stored: { status: stored[0], endTime: stored[1], revision: 1, updateTime: null },
    setByHand: false,
    computed: computed === null ? null : { status: computed[0] ?? '', endTime: computed[1] },
    tasks: [],
    outbox: { rows, unsent: rows, oldest: null, due: null, sources: [] },
    failure: null,
  };
}

const byHand = (what: ExecutionFacts): ExecutionFacts => ({ ...what, setByHand: true });

const RECORDED: ExecutionFacts = {
  ...facts(['Running', null], ['Success', END]),
  failure: {
    jobId: '1:A:x',
    firstFailedAt: END,
    failedAt: END,
    times: 1,
    attempts: 5,
    error: 'boom',
    sqlState: null,
  },
};

it.each([
  ['up to date', facts(['Success', END], ['Success', END]), NONE],
  ['up to date', facts(['Success', END], ['Success', END]), FAILED],
  ['behind', facts(['Running', null], ['Success', END]), NONE],
  ['behind', facts([null, null], ['Success', END]), NONE],
  ['behind', facts(['Success', null], ['Success', END]), NONE],
  ['behind', facts(['Running', null], ['Success', END]), null],
  ['failed', facts(['Running', null], ['Success', END]), FAILED],
  ['failed', RECORDED, NONE],
  ['failed', RECORDED, null],
  ['on its way', facts(['Running', null], ['Success', END], 1), FAILED],
  ['on its way', facts(['Running', null], ['Success', END], 1), null],
  ['on its way', facts(['Running', null], ['Success', END]), STORED_NEXT],
  ['set by hand', byHand(facts(['Stopped', END], ['Success', END])), NONE],
  ['set by hand', byHand(facts(['Success', END], ['Running', null])), NONE],
  ['set by hand', byHand(facts(['Success', END], null)), NONE],
  ['on its way', byHand(facts(['Stopped', END], ['Success', END], 1)), NONE],
  ['left as it is', facts(['Stopped', END], ['Success', END]), NONE],
  ['left as it is', facts(['Success', END], ['Running', null]), NONE],
  ['no known tasks', facts(['Running', null], null), NONE],
] as const)('%s', (state, what, jobs) => {
  expect(stateOf(what, jobs)).toBe(state);
});
