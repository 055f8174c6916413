import { UsageError } from '../shared/errors.ts';
import { isLoopback, type Config } from '../shared/process/config.ts';

/** @throws UsageError when the dashboard would listen beyond this machine without a password */
export function refuseUnprotected(config: Config): void {
  if (isLoopback(config.HTTP_HOST) || config.DASHBOARD_PASSWORD !== undefined) return;
  throw new UsageError(
    `HTTP_HOST=${config.HTTP_HOST} would show the dashboard to other machines, where anyone could change jobs; set DASHBOARD_PASSWORD, or HTTP_HOST=127.0.0.1`,
  );
}
