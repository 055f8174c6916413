import { it } from 'vitest';
import { Children } from '../../../../cli/start/children.ts';
import { silentLogger } from '../../../../shared/process/logger.ts';
import { until } from '../../../support/wait.ts';

it("a process that can't be started is reported with its role, and stopping is immediate", async () => {
  const givenUp: string[] = [];
  const children = new Children({
    // No system takes one variable as long as this.
    environment: { TOO_LONG: 'x'.repeat(4_000_000) },
    log: silentLogger(),
    onLine: () => undefined,
    onFigures: () => undefined,
    onHopeless: (role) => givenUp.push(role),
  });
  void children.start('producer', async () => ({}));
  await until('the producer is given up', () => givenUp.includes('producer'));
  // An hour: a stop that waited for the process that never began would outlast the test.
  await children.stop(3_600_000);
});
