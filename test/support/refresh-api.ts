import { expect } from 'vitest';
import { until } from './wait.ts';

/**
 * Asks a producer for refreshes, once.
 * @param url of its API
 * @param body one refresh, or a list in `refreshes`
 */
export function askForRefreshes(
  url: string,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<Response> {
  return fetch(`${url}/v1/refreshes`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...headers },
    body: JSON.stringify(body),
  });
}

/**
 * As {@link askForRefreshes} asks, until they are accepted. 503 is the documented answer of an API that gives Postgres
 * only a moment, on a machine that stands still for longer; what it refused may be recorded all the same.
 */
export function askUntilAccepted(
  ...request: Parameters<typeof askForRefreshes>
): Promise<Response> {
  return until('refreshes to be accepted', async () => {
    const answer = await askForRefreshes(...request);
    if (answer.status === 503) return undefined;
    expect(answer.status).toBe(202);
    return answer;
  });
}
