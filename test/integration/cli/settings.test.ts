import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { runTally, startTally } from '../../support/processes.ts';
import { createStores } from '../../support/stores.ts';

const { environment } = await createStores();

it('a worker runs beside Kubernetes services named worker and tally-worker, and logs them once', async () => {
  const worker = startTally(['worker'], {
    ...environment,
    WORKER_PORT: 'tcp://10.0.0.1:3002',
    WORKER_SERVICE_HOST: '10.0.0.1',
    WORKER_PORT_3002_TCP: 'tcp://10.0.0.1:3002',
    TALLY_WORKER_PORT: 'tcp://10.0.0.1:3002',
  });
  await worker.said('taking jobs');
  expect(worker.lines.filter((line) => line.includes('made up by the platform'))).toEqual([
    expect.stringMatching(/"level":"info".*WORKER_PORT=tcp:/),
  ]);
});

it('commands take URLs from files, and say in one line when a file is missing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tally-settings-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { DATABASE_URL, REDIS_URL, ...others } = environment;
  const files = {
    DATABASE_URL_FILE: join(folder, 'database'),
    REDIS_URL_FILE: join(folder, 'redis'),
  };
  writeFileSync(files.DATABASE_URL_FILE, `${DATABASE_URL}\n`);
  const without = await runTally(['status', '--json'], { ...others, ...files });
  expect(without).toEqual({
    code: 2,
    output: `tally: REDIS_URL_FILE: ${files.REDIS_URL_FILE} can't be read (ENOENT); check the path and that this user may read it`,
  });
  writeFileSync(files.REDIS_URL_FILE, `${REDIS_URL}\n`);
  const { code, output } = await runTally(['status', '--json'], { ...others, ...files });
  expect({ code, status: JSON.parse(output) as unknown }).toMatchObject({
    code: 0,
    status: { outbox: { rows: 0 }, queue: { waiting: 0 } },
  });
});
