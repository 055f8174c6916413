import { TestRunner } from 'vitest';

/** What a test injected, as the report of the fault suite shows it. */
export interface FaultRecord {
  /** The number in the catalogue of faults. */
  readonly fault: number;
  readonly injected: string;
  /** From the end of the fault until all was right again; missing if nothing had to recover. */
  readonly recoveryMs?: number;
}

declare module 'vitest' {
  interface TaskMeta {
    faults?: FaultRecord[];
  }
}

/** A fault that the running test has injected, and its clock. */
export interface InjectedFault {
  /** Starts the clock anew: the cause, which lasted for a while, is gone. */
  over(): void;
  /** Stops the clock: the test has seen that all is right. */
  recovered(): void;
}

/**
 * Says in a test which fault of the catalogue it injects, and starts the clock. A fault that is a
 * moment, such as a kill, recovers from here; one that lasts, from `over`.
 * @param injected what is really done, in a few words
 */
export function injectFault(fault: number, injected: string): InjectedFault {
  const meta = TestRunner.getCurrentTest()?.meta;
  if (meta === undefined) throw new Error('only a running test injects a fault');
  const records = (meta.faults ??= []);
  const at = records.push({ fault, injected }) - 1;
  let beganMs = performance.now();
  return {
    over: () => {
      beganMs = performance.now();
    },
    recovered: () => {
      records[at] = { fault, injected, recoveryMs: Math.round(performance.now() - beganMs) };
    },
  };
}
