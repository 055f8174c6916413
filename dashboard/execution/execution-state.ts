import type { ExecutionFacts } from './execution-facts.ts';
import type { ExecutionJobs } from './execution-jobs.ts';

/** Where an execution stands; `explain` says what each state means. */
export type ExecutionState =
  | 'up to date'
  | 'on its way'
  | 'failed'
  | 'behind'
  | 'set by hand'
  | 'left as it is'
  | 'no known tasks';

const FINAL = ['Success', 'Error', 'Stopped'];

/**
 * Derives the state of an execution from what both stores know.
 * @param jobs null when Redis doesn't answer
 */
export function stateOf(facts: ExecutionFacts, jobs: ExecutionJobs | null): ExecutionState {
  const { stored, computed, outbox, setByHand } = facts;
  if (outbox.rows > 0 || jobs?.current || jobs?.nextRunStored) return 'on its way';
  if (computed === null) return setByHand ? 'set by hand' : 'no known tasks';
  const isEqual = stored.status === computed.status && stored.endTime === computed.endTime;
  if (isEqual && !setByHand) return 'up to date';
  if (facts.failure !== null || (jobs !== null && jobs.failed.length > 0)) return 'failed';
  if (setByHand) return 'set by hand';
  // The reconciler's rule: it never changes a final status, whoever stored it.
  const isFinal = FINAL.includes(stored.status ?? '');
  const lacksItsEnd = stored.status === computed.status && stored.endTime === null;
  return isFinal && !lacksItsEnd ? 'left as it is' : 'behind';
}

/** A sentence for the operator and its severity. */
export function explain(state: ExecutionState): {
  readonly level: 'good' | 'warn' | 'bad';
  readonly text: string;
} {
  switch (state) {
    case 'up to date':
      return { level: 'good', text: 'What is stored is what its tasks say.' };
    case 'on its way':
      return { level: 'warn', text: 'A refresh is on its way; see below how far it is.' };
    case 'failed':
      return {
        level: 'bad',
        text: 'What is stored is not what its tasks say, and its last refresh failed. Remove the cause that stands below, then refresh it.',
      };
    case 'behind':
      return {
        level: 'bad',
        text: 'What is stored is behind its tasks, and nobody has asked for a refresh.',
      };
    case 'set by hand':
      return {
        level: 'warn',
        text: 'A person or the host has stored a final status that its tasks do not say. It stays until a task changes or somebody presses “Refresh now”.',
      };
    case 'left as it is':
      return {
        level: 'warn',
        text: 'What is stored is final, and its tasks say something else. Nothing records who stored it: that takes capture. The reconciler never changes a final status; “Refresh now” stores what the tasks say.',
      };
    case 'no known tasks':
      return {
        level: 'warn',
        text: 'None of its tasks has a status that the rule knows, so a refresh writes nothing.',
      };
  }
}
