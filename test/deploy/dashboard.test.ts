import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { z } from 'zod';
import { freePort } from '../../cli/embedded/ports.ts';
import { createExecutions } from '../support/executions.ts';
import { healthAddress } from '../support/health.ts';
import { newFolder } from '../support/new-folder.ts';
import { startProducer, startWorker, type TallyProcess } from '../support/processes.ts';
import { failRefreshes } from '../support/sabotage.ts';
import { createStores } from '../support/stores.ts';
import { until } from '../support/wait.ts';
import { runProgram } from './programs.ts';

const { database, environment } = await createStores({ settings: { JOB_ATTEMPTS: '1' } });

const dashboard = z
  .object({
    uid: z.literal('tally-overview'),
    schemaVersion: z.literal(41),
    panels: z.array(
      z.object({
        id: z.number(),
        title: z.string(),
        description: z.string().regex(/\.$/),
        datasource: z.object({ type: z.literal('prometheus'), uid: z.literal('${datasource}') }),
        gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
        targets: z.array(z.object({ refId: z.string(), expr: z.string() })),
      }),
    ),
  })
  .parse(JSON.parse(readFileSync('deploy/grafana/tally.json', 'utf8')));

// What Grafana puts in place of its variables, with a range that a short run can fill.
const expressions = dashboard.panels.flatMap(({ targets }) =>
  targets.map(({ expr }) =>
    expr
      .replaceAll('$__rate_interval', '5m')
      .replaceAll('$namespace', '.*')
      .replaceAll(/\[(?:5m|1h)\]/g, '[15s]'),
  ),
);

// They have series only once what they count has happened.
const RARE = /source="marker"|tally_malformed_markers_total|tally_unknown_status_tasks/;

const answerSchema = z.object({
  status: z.string(),
  error: z.string().optional(),
  data: z.object({ result: z.array(z.unknown()) }).optional(),
});

/** A Prometheus that scrapes these processes every second, with the rules of deploy/alerts.yml. */
async function startPrometheus(targets: readonly string[]): Promise<string> {
  const folder = newFolder();
  const address = `127.0.0.1:${await freePort(undefined)}`;
  const config = join(folder, 'prometheus.json');
  const every = { scrape_interval: '1s', evaluation_interval: '1s' };
  const scrape = { job_name: 'tally', static_configs: [{ targets }] };
  const rules = [resolve('deploy/alerts.yml')];
  writeFileSync(
    config,
    JSON.stringify({ global: every, rule_files: rules, scrape_configs: [scrape] }),
  );
  const child = spawn(
    'prometheus',
    [
      `--config.file=${config}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=${address}`,
    ],
    { stdio: 'ignore' },
  );
  const ended = once(child, 'exit');
  onTestFinished(async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true });
  });
  return `http://${address}`;
}

async function query(prometheus: string, expression: string) {
  const url = `${prometheus}/api/v1/query?query=${encodeURIComponent(expression)}`;
  return answerSchema.parse(await (await fetch(url)).json());
}

async function addressOf(process: TallyProcess): Promise<string> {
  return new URL(await healthAddress(process)).host;
}

it('every expression of the dashboard has an answer from a running Tally, and no rule fails', async () => {
  const processes = [
    await startWorker(environment),
    await startProducer({ ...environment, PRODUCER_PORT: '0' }),
  ];
  const prometheus = await startPrometheus(await Promise.all(processes.map(addressOf)));
  const ids = await createExecutions(database, 20);
  await failRefreshes(database, 'refused by the test', { ids: ids.slice(0, 1) });
  const refresh = () =>
    database.query(
      `INSERT INTO tally.outbox (execution_id, vendor, source)
       SELECT id, 'REPLICATION', 'api' FROM unnest($1::bigint[]) AS id`,
      [ids],
    );
  const unanswered = async () => {
    await refresh();
    const answers = await Promise.all(
      expressions
        .filter((expression) => !RARE.test(expression))
        .map(async (expression) => ({ expression, ...(await query(prometheus, expression)) })),
    );
    return answers
      .filter(({ status, data }) => status !== 'success' || data?.result.length === 0)
      .map(({ expression, error }) => `${expression} ${error ?? ''}`);
  };
  let left: string[] = expressions;
  await until('Prometheus to be ready', () =>
    fetch(`${prometheus}/-/ready`).then(
      ({ ok }) => ok,
      () => false,
    ),
  );
  await until(
    () => `Prometheus to answer\n${left.join('\n')}`,
    async () => {
      left = await unanswered();
      return left.length === 0;
    },
  );
  for (const expression of expressions.filter((text) => RARE.test(text))) {
    expect(await query(prometheus, expression)).toMatchObject({ status: 'success' });
  }
  const rules = z
    .object({
      data: z.object({
        groups: z.array(
          z.object({ rules: z.array(z.object({ lastError: z.string().optional() })) }),
        ),
      }),
    })
    .parse(await (await fetch(`${prometheus}/api/v1/rules`)).json());
  const errors = rules.data.groups.flatMap((group) =>
    group.rules.map(({ lastError }) => lastError),
  );
  expect(errors.filter(Boolean)).toEqual([]);
  expect(errors.length).toBeGreaterThan(10);
});

it('every metric that rules and dashboard name is documented, as one that is exposed', () => {
  const documented = readFileSync('docs/metrics.md', 'utf8');
  const text = `${readFileSync('deploy/alerts.yml', 'utf8')}${expressions.join('\n')}`;
  const names = new Set([...text.matchAll(/\btally_\w+/g)].map(([name]) => name));
  const plain = [...names].map((name) => name.replace(/_bucket$/, ''));
  expect(plain.length).toBeGreaterThan(14);
  expect(plain.filter((name) => !documented.includes(`\`${name}\``))).toEqual([]);
});

it('no two panels of the dashboard overlap or share an id, and none is wider than the page', () => {
  const { panels } = dashboard;
  expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
  const cells = panels.flatMap(({ title, gridPos: { x, y, w, h } }) =>
    Array.from({ length: w * h }, (_, at) => ({
      title,
      cell: `${x + (at % w)},${y + Math.floor(at / w)}`,
      column: x + (at % w),
    })),
  );
  expect(new Set(cells.map(({ cell }) => cell)).size).toBe(cells.length);
  expect(cells.filter(({ column }) => column > 23)).toEqual([]);
});

const SECRETS = {
  POSTGRES_PASSWORD: 'a1b2c3d4e5',
  DASHBOARD_PASSWORD: 'b1b2c3d4e5',
  API_TOKEN: 'c1b2c3d4e5',
};

it('the compose file is valid, monitoring is off unless asked for, and what it mounts is there', async () => {
  const folder = newFolder();
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'env');
  writeFileSync(
    file,
    Object.entries(SECRETS)
      .map(([name, value]) => `${name}=${value}\n`)
      .join(''),
  );
  const compose = (...args: string[]) =>
    runProgram('docker-compose', '--file', 'docker-compose.yml', '--env-file', file, ...args);
  const config = await compose('--profile', 'monitoring', 'config');
  const { services } = z
    .object({
      services: z.record(z.string(), z.object({ profiles: z.array(z.string()).optional() })),
    })
    .parse(parse(config));
  const monitoring = Object.keys(services).filter((name) => services[name]?.profiles !== undefined);
  expect(monitoring.toSorted()).toEqual(['grafana', 'prometheus']);
  const mounts = [...config.matchAll(/(\/\S+\/deploy\/\S+?):\/etc/g)].map(([, path]) => path ?? '');
  expect(mounts.length).toBe(4);
  expect(mounts.filter((path) => !existsSync(path))).toEqual([]);
});

it('the compose file hands every setting of .env.example on, or fixes it', () => {
  const settings = readFileSync('.env.example', 'utf8').matchAll(/^(?:# )?([A-Z_]+)=/gm);
  const text = readFileSync('docker-compose.yml', 'utf8');
  const missing = [...settings].filter(([, name]) => !text.includes(`  ${name}: `));
  expect(missing.map(([, name]) => name)).toEqual([]);
});

it("Prometheus' configuration of the compose profile is valid", async () => {
  await runProgram('promtool', 'check', 'config', 'deploy/prometheus.yml');
});
