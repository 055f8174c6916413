import { Registry } from 'prom-client';
import { expect, it, onTestFinished } from 'vitest';
import { createRefreshMetrics } from '../../../shared/process/metrics.ts';
import { createLogger } from '../../../shared/process/logger.ts';
import { loadConfig } from '../../../shared/process/config.ts';
import { ActivityLog } from '../../../workers/activity-log.ts';
import { Recorder } from '../../../workers/recorder.ts';

/** A recorder and what each of its listeners has heard. */
function listenTo() {
  const registry = new Registry();
  const messages: string[] = [];
  const history: string[] = [];
  const log = new ActivityLog(
    createLogger(loadConfig([], {}), 'worker', (line) =>
      messages.push((JSON.parse(line) as { msg: string }).msg),
    ),
  );
  onTestFinished(() => log.close());
  const recorder = new Recorder({
    metrics: createRefreshMetrics(registry),
    log,
    history: {
      refreshed: (lane, lagMs) => history.push(`${lane}: refreshed ${lagMs}`),
      failed: () => history.push('failed'),
    },
  });
  const heard = async () => {
    log.close();
    const text = await registry.metrics();
    return { metrics: text.split('\n').filter((line) => /^tally_.* [1-9]/.test(line)), messages };
  };
  return { recorder, history, heard };
}

it('a refresh reaches metrics, log and overview alike', async () => {
  const { recorder, history, heard } = listenTo();
  recorder.claimed(2);
  recorder.batch(2);
  recorder.statement(3);
  recorder.refreshed('backlog', {
    vendor: 'SCAN',
    outcome: 'changed',
    source: 'api',
    lagsMs: [7, null],
  });
  const { metrics, messages } = await heard();
  expect(messages).toEqual(['claimed 2', 'refreshed 2: 2 changed, 0 unchanged, 0 failed, 3 ms']);
  expect(history).toEqual(['backlog: refreshed 7', 'backlog: refreshed null']);
  expect(metrics).toContain('tally_refreshes_total{vendor="SCAN",outcome="changed"} 2');
  expect(metrics).toContain('tally_refresh_lag_seconds_count{source="api"} 1');
  expect(metrics).toContain('tally_batch_size_sum 2');
});

it('so is a failed attempt, also of a job that names no vendor', async () => {
  const { recorder, history, heard } = listenTo();
  recorder.failed('SCAN');
  recorder.failed(undefined);
  const { metrics, messages } = await heard();
  expect(messages).toEqual(['refreshed 2: 0 changed, 0 unchanged, 2 failed, 0 ms']);
  expect(history).toEqual(['failed', 'failed']);
  expect(metrics).toEqual([
    'tally_refreshes_total{vendor="SCAN",outcome="failed"} 1',
    'tally_refreshes_total{vendor="invalid",outcome="failed"} 1',
  ]);
});

it('and a job that was taken back from a lost worker', async () => {
  const { recorder, heard } = listenTo();
  recorder.recovered();
  expect(await heard()).toEqual({
    metrics: ['tally_stalled_total 1'],
    messages: ['recovered 1 stalled jobs'],
  });
});
