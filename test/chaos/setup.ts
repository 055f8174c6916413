import type { Random } from './random.ts';

/** What differs from run to run. */
export interface Setup {
  readonly seed: number;
  readonly minutes: number;
  readonly attempts: number;
  readonly reconciler: boolean;
  /** Whether Redis comes back with its data after it was killed. */
  readonly persistence: boolean;
  readonly producers: number;
}

export const WORKERS = 3;

/** Draws what wasn't chosen. The draws don't depend on the choices, so a seed means the same faults in any of them. */
export function drawSetup(
  random: Random,
  given: Partial<Setup> & Pick<Setup, 'seed' | 'minutes'>,
): Setup {
  const drawn = {
    attempts: random.pick([1, 5]),
    reconciler: random.chance(50),
    persistence: random.chance(50),
    producers: random.pick([1, 2]),
  };
  return { ...drawn, ...given };
}

/** The settings of Tally's processes: the times are short, so that a fault and its repair fit into seconds. */
export function environmentOf(setup: Setup): Record<string, string> {
  return {
    QUEUE_PREFIX: 'chaos',
    PRODUCER_PORT: '0',
    JOB_ATTEMPTS: String(setup.attempts),
    RECONCILE_INTERVAL_MS: setup.reconciler ? '2000' : '0',
    LOCK_DURATION_MS: '5000',
    STALLED_INTERVAL_MS: '2500',
    RESEND_AFTER_MS: '10000',
    SHUTDOWN_GRACE_MS: '5000',
  };
}

export function describeSetup(setup: Setup): string {
  return [
    `seed ${setup.seed}`,
    `${setup.minutes} minutes`,
    `${WORKERS} workers`,
    `${setup.producers} producer${setup.producers === 1 ? '' : 's'}`,
    `${setup.attempts} attempt${setup.attempts === 1 ? '' : 's'}`,
    `reconciler ${setup.reconciler ? 'on' : 'off'}`,
    `Redis ${setup.persistence ? 'with' : 'without'} persistence`,
  ].join(', ');
}
