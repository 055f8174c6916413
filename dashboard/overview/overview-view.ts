import type { RequestHandler } from 'express';
import { joinPoints, type ActivityHistory } from '../../shared/queue/activity-history.ts';
import type { WorkerOnline } from './worker-list.ts';
import { charts, rangeOf } from './charts.ts';
import { ago, counted, duration, moment, number } from '../format.ts';
import { html, type Html } from '../html.ts';
import { OTHER_CAUSES } from '../../shared/queue/failure-causes.ts';
import type { OutboxSummary } from '../../shared/postgres/outbox.ts';
import type { Links } from '../links.ts';
import { longText } from '../long-text.ts';
import { visitorOf } from '../auth.ts';
import { sendPage } from '../page.ts';
import { causeId } from '../repair/cause-id.ts';
import { siteOf } from '../site.ts';
import {
  FAILURES_READ,
  overviewReader,
  type Failures,
  type Overview,
  type OverviewParts,
} from './overview.ts';

const VENDORS_SHOWN = 5;
const LIVE_SECONDS = 5;

/**
 * Handler of `/overview`: who does what, what waits, what failed and why. Answers 503 if a store is
 * unavailable, with what the other one knows.
 */
export function overviewPage(parts: OverviewParts): RequestHandler {
  const readOverview = overviewReader(parts);
  return async (request, response) => {
    const overview = await readOverview(rangeOf(request.query['range']));
    const away = overview.redisIsAway || overview.databaseIsAway;
    sendPage(response, away ? 503 : 200, {
      title: 'Overview',
      here: 'overview',
      liveSeconds: LIVE_SECONDS,
      hasCharts: true,
      body: overviewBody(overview, {
        links: siteOf(response).links,
        mayRepair: visitorOf(response).role === 'operator',
        nowMs: Date.now(),
      }),
    });
  };
}

interface Viewed {
  readonly links: Links;
  readonly mayRepair: boolean;
  readonly nowMs: number;
}

function overviewBody(overview: Overview, viewed: Viewed): Html {
  const { links, nowMs } = viewed;
  return html`<h1 class="hidden">Overview</h1>
    ${notices(overview, links)} ${tiles(overview, links, nowMs)}
    <div class="cards">
      ${overview.history !== null && charts(overview.history, links.overview)}
      ${overview.workers !== null && workersCard(overview.workers, links, nowMs)}
      ${overview.failures !== null && causesCard(overview.failures, viewed)}
      ${reconcilerCard(overview, nowMs)} ${refusedCard(overview.reconciler === undefined)}
    </div>`;
}

function notices(
  { queue, backlogPaused, workers, redisIsAway, databaseIsAway }: Overview,
  links: Links,
): Html {
  const waits = queue !== null && queue.waiting > 0;
  return html`${redisIsAway && html`<p class="notice bad"><strong>Redis does not answer.</strong> Changes are still recorded in Postgres and are refreshed when it is back.</p>`}
  ${databaseIsAway && html`<p class="notice bad"><strong>Postgres does not answer, or schema tally is not installed.</strong> Workers wait, without using up attempts, until it is back.</p>`}
  ${queue?.paused && html`<p class="notice warn"><strong>The queue is paused.</strong> No worker takes jobs until someone resumes it <a href="${links.jobs()}">on the board</a>.</p>`}
  ${backlogPaused && html`<p class="notice warn"><strong>The queue “backlog” is paused.</strong> A backlog drains through the slower express lane until someone resumes it <a href="${links.backlog}">on the board</a>.</p>`}
  ${workers !== null && workers.length === 0 && html`<p class="notice ${waits ? 'bad' : 'warn'}"><strong>No worker is connected.</strong> Start one: tally worker.</p>`}`;
}

function tiles(
  { queue, workers, outbox, backlog, history, failed, disagreements }: Overview,
  links: Links,
  nowMs: number,
): Html {
  const show = (value: number | null | undefined): string =>
    value === null || value === undefined ? '?' : number(value);
  const tile = (name: string, value: string | Html, note: string | Html = ''): Html =>
    html`<div class="tile">
      <dt>${name}</dt>
      <dd>${value} <span class="small">${note}</span></dd>
    </div>`;
  const board = (
    state: Parameters<Links['jobs']>[0],
    count: number | null | undefined,
    look = '',
  ): Html => html`<a class="${look}" href="${links.jobs(state)}">${show(count)}</a>`;
  const oldest = queue?.oldest ?? null;
  return html`<dl class="tiles">
    ${tile('Waiting', board('waiting', queue?.waiting), oldest === null ? '' : `oldest ${duration(oldest * 1_000)}`)}
    ${tile('Running', board('active', queue?.active), workers === null ? '' : `on ${counted(workers.length, 'worker')}`)}
    ${tile('Delayed', board('delayed', queue?.delayed), queue?.delayed ? 'will be tried again' : '')}
    ${tile('Failed', board('failed', failed, failed ? 'bad' : ''), failed ? needsPerson(failed) : '')}
    ${tile('Disagree', html`<a href="${links.stuck}">${disagreements === null ? '…' : `${number(disagreements.count)}${disagreements.isComplete ? '' : '+'}`}</a>`, disagreements === null ? 'being counted' : `counted ${ago(disagreements.countedMs, nowMs)}`)}
    ${tile('Outbox', show(outbox?.rows), outbox?.rows ? outboxNote(outbox) : '')}
    ${tile('Backlog', html`<a href="${links.backlog}">${show(backlog)}</a>`, backlog !== null && backlog > 0 && history !== null ? draining(backlog, rateOf(history)) : '')}
  </dl>`;
}

function outboxNote({ unsent, oldestSeconds }: OutboxSummary): string {
  const oldest = oldestSeconds === null ? '' : `oldest ${duration(oldestSeconds * 1_000)}, `;
  return `${oldest}${number(unsent)} not yet sent`;
}

// Refreshes per second, averaged over the last minute: ten seconds fluctuate too much.
function rateOf({ recent }: ActivityHistory): number {
  const { express, backlog, seconds } = joinPoints(recent);
  return (express.refreshed + backlog.refreshed) / seconds;
}

function draining(rows: number, rate: number): string {
  if (rate < 1) return 'nothing drains it';
  return `draining ${number(rate)}/s, about ${duration((rows / rate) * 1_000)} left`;
}

function needsPerson(count: number): string {
  return count === 1 ? 'needs a person' : 'need a person';
}

function workersCard(workers: readonly WorkerOnline[], links: Links, nowMs: number): Html {
  if (workers.length === 0) return html``;
  return html`<section class="card wide" data-key="workers">
    <h2>Workers <span class="quiet">${number(workers.length)}</span></h2>
    <table class="stack">
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col">Running since</th>
          <th scope="col">In hand</th>
          <th scope="col">Longest in hand</th>
        </tr>
      </thead>
      <tbody>
        ${workers.map(
          (worker) =>
            html`<tr data-key="${worker.name}">
              <td data-label="Name" class="mono">${worker.name}</td>
              <td data-label="Since"><span>${moment(worker.since, nowMs)}</span></td>
              <td data-label="In hand">
                <span
                  >${number(worker.active)}${worker.concurrency !== null && html` <span class="quiet">of ${number(worker.concurrency)}</span>`}</span
                >
              </td>
              <td data-label="Longest">
                ${worker.longest === null ? html`<span class="none">nothing</span>` : html`<span><a class="mono" href="${links.job(worker.longest.jobId)}">${shortJob(worker.longest.jobId)}</a> <span class="ago">for ${duration(Math.max(0, nowMs - Date.parse(worker.longest.since)))}</span></span>`}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
  </section>`;
}

function causesCard({ causes, more }: Failures, { links, mayRepair, nowMs }: Viewed): Html {
  if (causes.length === 0) {
    return html`<section class="card" data-key="causes">
      <h2>Failures by cause</h2>
      <p class="quiet">Nothing has failed for good.</p>
    </section>`;
  }
  return html`<section class="card wide" data-key="causes">
    <h2>
      Failures by cause
      ${more && html`<span class="quiet">the newest ${number(FAILURES_READ)}</span>`}
    </h2>
    <table class="stack causes">
      <thead>
        <tr>
          <th scope="col">Number</th>
          <th scope="col">Error</th>
          <th scope="col">Vendors</th>
          <th scope="col">Last</th>
          <th scope="col">For example</th>
          <th scope="col">Repair</th>
        </tr>
      </thead>
      <tbody>
        ${causes.map(
          ({ error, count, vendors, last, examples }) =>
            html`<tr data-key="${error}">
              <td data-label="Number" class="nowrap"><strong>${number(count)}</strong></td>
              <td data-label="Error">${longText(error)}</td>
              <td data-label="Vendors" class="small">${vendorList(vendors)}</td>
              <td data-label="Last" class="ago">
                ${duration(Math.max(0, nowMs - Date.parse(last)))} ago
              </td>
              <td data-label="Example">
                <span
                  >${examples.map(({ identity, jobId }) => html`<a class="mono" href="${identity === null ? links.job(jobId) : links.execution(identity.split(':', 1)[0] ?? '')}">${identity?.split(':', 1)[0] ?? jobId}</a> `)}</span
                >
              </td>
              <td data-label="Repair">
                ${error !== OTHER_CAUSES && html`<a href="${links.failures(causeId(error))}">Show${mayRepair && (more ? ' and retry all' : ` and retry ${count === 1 ? 'it' : `these ${number(count)}`}`)}</a>`}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
    <p class="actions">
      <a class="button" href="${links.allFailures}"
        >${mayRepair ? 'Retry all failures…' : 'All failures'}</a
      >
    </p>
  </section>`;
}

function vendorList(vendors: readonly string[]): string {
  const more = vendors.length - VENDORS_SHOWN;
  const shown = vendors.slice(0, VENDORS_SHOWN).join(', ');
  return more > 0 ? `${shown} and ${number(more)} more` : shown;
}

function reconcilerCard({ reconciler }: Overview, nowMs: number): Html {
  if (reconciler === undefined) return html``;
  return html`<section class="card" data-key="disagreements">
    <h2>Disagreements</h2>
    <p>
      ${counted(reconciler.found, 'execution')} found behind
      ${reconciler.found === 1 ? 'its' : 'their'} tasks so far; a refresh of each was recorded.
    </p>
    <p class="small quiet">Last look: ${moment(reconciler.lastPassAt, nowMs)}</p>
  </section>`;
}

// Full width unless the reconciler's card stands beside it.
function refusedCard(wide: boolean): Html {
  return html`<section class="card${wide && ' wide'}" data-key="refused">
    <h2>What the board refuses</h2>
    <details>
      <summary>Emptying, editing, and removing jobs that wait or run</summary>
      <ul class="small">
        <li>
          <em>Empty</em>, <em>Obliterate</em> and removing waiting jobs would lose refreshes that
          were put straight on the queue. The others would come back: their outbox rows are sent
          again.
        </li>
        <li>Removing a running job would drop the next run that is stored behind it.</li>
        <li>Edited data would not fit the execution that the queue knows the job by.</li>
        <li>Failed jobs can be removed; retrying is safe at any time, also again and again.</li>
      </ul>
    </details>
  </section>`;
}

function shortJob(jobId: string): string {
  return jobId.split(':').slice(0, 2).join(':');
}
