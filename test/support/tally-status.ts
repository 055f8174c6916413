import { expect } from 'vitest';
import { runTally } from './processes.ts';
import { until } from './wait.ts';

/** What `tally status --json` prints, as far as tests look at it. */
export interface TallyStatus {
  readonly outbox: { readonly rows: number };
  readonly workers: readonly { readonly name: string }[];
  readonly failures: number;
  readonly disagreements: number;
}

/**
 * Runs `tally status` until both stores have answered it: on a busy machine one may take longer than it waits, and those
 * of `tally start` may still be starting.
 */
export async function statusOf(
  environment: Readonly<Record<string, string>>,
  ...options: string[]
): Promise<TallyStatus> {
  return until('tally status to have asked both stores', async () => {
    const { code, output } = await runTally(['status', '--json', ...options], environment);
    if (/is still starting|can't be asked/.test(output)) return undefined;
    expect(code).toBe(0);
    return JSON.parse(output) as TallyStatus;
  });
}
