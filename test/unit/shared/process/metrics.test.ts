import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  createBacklogMetrics,
  createJanitorMetrics,
  createReconcilerMetric,
  createRefreshMetrics,
  createRegistry,
} from '../../../../shared/process/metrics.ts';

const registry = createRegistry();
createRefreshMetrics(registry);
createJanitorMetrics(registry);
createBacklogMetrics(registry, async () => undefined);
createReconcilerMetric(registry);
const metrics = await registry.getMetricsAsJSON();

// What `promtool check metrics` of Prometheus refuses: https://prometheus.io/docs/practices/naming/
it.each(metrics.map((metric) => [metric.name, metric] as const))(
  'the name of %s and its help are what Prometheus expects',
  (name, { help, type }) => {
    expect(help.trim()).not.toBe('');
    expect(name).toMatch(/^[a-z_][a-z0-9_]*$/);
    expect(name.endsWith('_total')).toBe(String(type) === 'counter');
    expect(name).not.toMatch(/_(milliseconds|minutes|hours|count|sum|bucket|gauge|histogram)(_|$)/);
  },
);

it('every process has metrics of ours and those of Node.js', () => {
  const names = metrics.map(({ name }) => name);
  expect(names).toContain('tally_failed_removed_total');
  expect(names).toContain('nodejs_eventloop_lag_p99_seconds');
  expect(names).toContain('nodejs_active_handles');
});

describe('deploy/alerts.yml', () => {
  const rules = readFileSync('deploy/alerts.yml', 'utf8');
  const runbook = readFileSync('docs/operations.md', 'utf8');

  it('asks only for metrics that there are', () => {
    const series = metrics.flatMap(({ name }) => [name, `${name}_bucket`]);
    const asked = [...rules.matchAll(/\btally_\w+/g)].map(([name]) => name);
    expect(asked.length).toBeGreaterThan(10);
    expect(asked.filter((name) => !series.includes(name))).toEqual([]);
  });

  it.each([...rules.matchAll(/alert: (\w+)/g)].map(([, name = '']) => name))(
    '%s has its entry in the runbook',
    (name) => {
      expect(runbook).toContain(`\n### ${name}\n`);
    },
  );
});
