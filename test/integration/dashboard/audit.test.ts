import express from 'express';
import { prettyFactory } from 'pino-pretty';
import { expect, it, onTestFinished } from 'vitest';
import { logChanges } from '../../../dashboard/audit.ts';
import { listen } from '../../../shared/http/server.ts';
import { createLogger, TERMINAL_FORMAT } from '../../../shared/process/logger.ts';
import {
  login,
  OPERATOR,
  serveDashboard,
  VIEWER,
  WITH_PASSWORDS,
} from '../../support/dashboard.ts';
import { createStores } from '../../support/stores.ts';
import { until } from '../../support/wait.ts';

const stores = await createStores();
const { url, lines } = await serveDashboard(stores, WITH_PASSWORDS);

const audited = async (part: string): Promise<Record<string, unknown>> =>
  until(`an audit line with ${part}`, () =>
    lines.find(({ audit, msg }) => audit === true && String(msg).includes(part)),
  );

it('the audit log says who did what to which job, done or refused, without passwords', async () => {
  const put = (path: string, who: typeof VIEWER): Promise<Response> =>
    fetch(`${url}${path}`, { method: 'PUT', headers: login(who) });
  await put(`/board/api/queues/refresh/${encodeURIComponent('7:SCAN:abc')}/clean`, OPERATOR);
  expect(await audited('7:SCAN:abc')).toMatchObject({
    user: 'admin',
    userRole: 'operator',
    from: '127.0.0.1',
    action: 'clean',
    job: '7:SCAN:abc',
    status: 404,
    result: 'refused',
  });
  await put('/api/queues/pause', VIEWER);
  expect(await audited('viewer from 127.0.0.1: pause')).toMatchObject({ result: 'refused' });
  await fetch(`${url}/board/api/queues/refresh/add`, {
    method: 'POST',
    headers: { ...login(OPERATOR), 'content-type': 'application/json' },
    body: JSON.stringify({ name: 'x', data: { executionId: 8, vendor: 'SCAN' }, options: {} }),
  });
  expect(await audited('8:SCAN')).toMatchObject({ action: 'add', job: '8:SCAN', result: 'done' });
  expect(JSON.stringify(lines)).not.toMatch(/-word/);
});

it('the audit log repeats no key, and a line break in an address begins no line', async () => {
  const written: string[] = [];
  const log = createLogger(stores.config, 'dashboard', (line) => void written.push(line));
  const app = express().use(logChanges(log));
  const server = await listen(app, '127.0.0.1', 0, 'DASHBOARD_PORT');
  onTestFinished(() => server.close());
  const forged = encodeURIComponent('42\n[09:00:00] INFO: dashboard: audit: admin\u202e');
  await fetch(`http://127.0.0.1:${server.port}/executions/${forged}/refresh`, { method: 'POST' });
  const line = await until('the line', () => written[0]);
  expect(line.match(/"role":/g)).toHaveLength(1);
  expect(JSON.parse(line)).toMatchObject({ role: 'dashboard', userRole: 'operator' });
  expect(line).not.toContain('\u202e');
  const shown = prettyFactory({ ...TERMINAL_FORMAT, colorize: false })(line);
  expect(shown).toContain('42\\u{a}[09:00:00]');
  expect(shown).not.toMatch(/^\[09:00:00\]/m);
});
