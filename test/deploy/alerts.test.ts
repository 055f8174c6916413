import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { newFolder } from '../support/new-folder.ts';
import { HEALTHY, SCENARIOS, type Scenario } from './alert-scenarios.ts';
import { runProgram } from './programs.ts';

const folder = newFolder();
afterAll(() => rmSync(folder, { recursive: true }));

const RULES = 'deploy/alerts.yml';
const rulesFile = z.object({
  groups: z.array(z.object({ rules: z.array(z.record(z.string(), z.unknown())) })),
});
const alertRule = z.object({
  alert: z.string(),
  labels: z.object({ severity: z.enum(['critical', 'warning']) }),
  annotations: z.object({
    summary: z.string().regex(/\.$/),
    description: z.string().regex(/\.$/),
    runbook_url: z.string(),
  }),
});
const alerts = rulesFile
  .parse(parse(readFileSync(RULES, 'utf8')))
  .groups.flatMap(({ rules }) => rules)
  .filter((rule) => 'alert' in rule)
  .map((rule) => alertRule.parse(rule));

/** The scenario as `promtool test rules` reads it: JSON is YAML. */
function unitTest({ series, without, minute, firing }: Scenario): unknown {
  const healthy = Object.entries(HEALTHY).filter(
    ([name]) => without === undefined || !name.startsWith(without),
  );
  const all = Object.entries({ ...Object.fromEntries(healthy), ...series });
  return {
    rule_files: [resolve(RULES)],
    evaluation_interval: '1m',
    tests: [
      {
        interval: '1m',
        input_series: all.map(([name, values]) => ({ series: name, values })),
        promql_expr_test: [
          {
            expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
            eval_time: `${minute}m`,
            exp_samples: firing.map((alertname) => ({
              labels: `{alertname="${alertname}"}`,
              value: 1,
            })),
          },
        ],
      },
    ],
  };
}

describe(RULES, () => {
  it('is valid, and free of what promtool warns of', async () => {
    await runProgram('promtool', 'check', 'rules', '--lint=all', '--lint-fatal', RULES);
  });

  it.each(SCENARIOS.map((scenario) => [scenario.title, scenario] as const))(
    '%s: the alerts that fire are the right ones, and no others',
    async (title, scenario) => {
      const file = join(folder, `${title.replaceAll(/\W+/g, '-')}.json`);
      writeFileSync(file, JSON.stringify(unitTest(scenario)));
      await runProgram('promtool', 'test', 'rules', file);
    },
  );

  it('every alert fires in one of the scenarios', () => {
    const fired = new Set(SCENARIOS.flatMap(({ firing }) => firing));
    expect([...fired].toSorted()).toEqual(alerts.map(({ alert }) => alert).toSorted());
  });

  it.each(alerts)('$alert leads to its section of the documentation', ({ alert, annotations }) => {
    expect(annotations.runbook_url).toBe(`docs/operations.md#${alert.toLowerCase()}`);
    expect(readFileSync('docs/operations.md', 'utf8')).toContain(`\n### ${alert}\n`);
  });
});
