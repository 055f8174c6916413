import { expect } from 'vitest';
import type { Identity } from '../../shared/execution.ts';
import { until } from './wait.ts';

/** Asks the API for refreshes until they are accepted: again whenever Postgres was too slow for it, as a client has to. */
export async function requestRefreshes(
  url: string,
  refreshes: readonly Identity[],
  headers: Readonly<Record<string, string>> = {},
): Promise<void> {
  await until('the refreshes to be accepted', async () => {
    const { status } = await fetch(`${url}/v1/refreshes`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ refreshes }),
    });
    if (status !== 503) expect(status).toBe(202);
    return status === 202;
  });
}
