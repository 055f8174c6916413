import { UsageError } from '../shared/errors.ts';
import { isLoopback, type Config } from '../shared/process/config.ts';

/**
 * Refuses to show the dashboard to other machines without a password.
 * @throws UsageError if HTTP_HOST isn't a loopback address and DASHBOARD_PASSWORD is unset
 */
export function refuseUnprotected(config: Config): void {
  if (isLoopback(config.HTTP_HOST) || config.DASHBOARD_PASSWORD !== undefined) return;
  throw new UsageError(
    `HTTP_HOST=${config.HTTP_HOST} would show the dashboard to other machines, where anyone could change jobs; set DASHBOARD_PASSWORD, or HTTP_HOST=127.0.0.1`,
  );
}
