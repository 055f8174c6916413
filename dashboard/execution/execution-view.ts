import type { ExecutionFacts } from './execution-facts.ts';
import type { CurrentJob, ExecutionJobs } from './execution-jobs.ts';
import { explain, type ExecutionState } from './execution-state.ts';
import { moment, number } from '../format.ts';
import { html, type Html } from '../html.ts';
import type { Links } from '../links.ts';
import { longText } from '../long-text.ts';

/** What the page of one execution shows. */
export interface ExecutionView {
  readonly facts: ExecutionFacts;
  /** Null when Redis doesn't answer. */
  readonly jobs: ExecutionJobs | null;
  readonly state: ExecutionState;
  /** Whether the visitor may refresh it. */
  readonly mayRefresh: boolean;
  /** The visitor has just requested a refresh with this page's button. */
  readonly justAsked: boolean;
  readonly nowMs: number;
  readonly links: Links;
}

/** Body of an execution's page: what is stored, what its tasks say, and where its refresh is. */
export function executionBody(view: ExecutionView): Html {
  const { facts, jobs, state } = view;
  const { level, text } = explain(state);
  return html` <div class="head">
      <h1>Execution ${facts.executionId}</h1>
      <span class="tag">${facts.vendor}</span>
      ${view.mayRefresh && jobs !== null && html`<form method="post" action="${view.links.refreshExecution(facts.executionId)}"><button class="main">Refresh now</button></form>`}
    </div>
    ${view.justAsked && html`<p class="notice good">The refresh was put on the queue.</p>`}
    ${jobs === null && html`<p class="notice bad">Redis does not answer: what the queue holds for this execution is not known now.</p>`}
    <p class="notice ${level}">
      <strong class="${level}">${firstLetterLarge(state)}.</strong> ${text}
    </p>
    <div class="cards">
      ${statusCard(view)}
      <div class="column">
        ${tasksCard(facts)} ${jobs === null ? false : queueCard(jobs, view)} ${outboxCard(view)}
      </div>
      ${failedCard(view)}
    </div>`;
}

function statusCard({ facts, state, nowMs }: ExecutionView): Html {
  const { stored, computed } = facts;
  const row = (name: string, left: Html | string, right: Html | string, same: boolean): Html =>
    html`<tr>
      <th scope="row">${name}</th>
      <td data-label="Stored">${left}</td>
      <td data-label="Its tasks say" class="${same ? '' : 'bad'}">${right}</td>
    </tr>`;
  const unknown = html`<span class="none">nothing</span>`;
  return html`<section class="card" data-key="status">
    <h2>Status</h2>
    <table class="stack">
      <thead>
        <tr>
          <th></th>
          <th scope="col">Stored</th>
          <th scope="col">Its tasks say</th>
        </tr>
      </thead>
      <tbody>
        ${row('Status', stored.status ?? html`<span class="none">none</span>`, computed?.status ?? unknown, computed === null || computed.status === stored.status)}
        ${row('End time', moment(stored.endTime, nowMs), computed === null ? unknown : moment(computed.endTime, nowMs), computed === null || computed.endTime === stored.endTime)}
        <tr>
          <th scope="row">Revision</th>
          <td data-label="Stored">${stored.revision ?? html`<span class="none">none</span>`}</td>
          <td></td>
        </tr>
        <tr>
          <th scope="row">Last written</th>
          <td data-label="Stored" colspan="2">${moment(stored.updateTime, nowMs)}</td>
        </tr>
        <tr>
          <th scope="row">Started</th>
          <td data-label="Stored" colspan="2">
            ${moment(facts.startTime, nowMs)}, ${facts.trigger}
          </td>
        </tr>
      </tbody>
    </table>
    ${facts.setByHand && state !== 'set by hand' && html`<p>Set by hand: a person or the host stored this status, and refreshes of earlier changes leave it.</p>`}
    <p class="small quiet">
      Times are UTC. A refresh writes revision and time even when the status stays as it is; the
      host may write them too.
    </p>
  </section>`;
}

function tasksCard({ tasks }: ExecutionFacts): Html {
  const total = tasks.reduce((sum, { count }) => sum + count, 0);
  if (total === 0)
    return html`<section class="card" data-key="tasks">
      <h2>Tasks</h2>
      <p class="quiet">It has none.</p>
    </section>`;
  return html`<section class="card" data-key="tasks">
    <h2>Tasks <span class="quiet">${number(total)}</span></h2>
    <table>
      <tbody>
        ${tasks.map(
          ({ status, count, known }) =>
            html`<tr>
              <th scope="row">
                ${status}${known ? false : html` <span class="warn small">unknown to the rule</span>`}
              </th>
              <td class="right">${number(count)}</td>
              <td class="half">
                <svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
                  <rect width="${((100 * count) / total).toFixed(1)}" height="8" />
                </svg>
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
  </section>`;
}

function queueCard({ current, nextRunStored }: ExecutionJobs, view: ExecutionView): Html {
  return html`<section class="card" data-key="queue">
    <h2>On the queue</h2>
    ${current === null ? html`<p class="quiet">No job waits, runs or is delayed.</p>` : currentJob(current, view)}
    ${nextRunStored && html`<p>One more run is stored: something was asked for while this one runs.</p>`}
  </section>`;
}

function currentJob(job: CurrentJob, { links, nowMs }: ExecutionView): Html {
  const since = job.state === 'running' ? job.startedAt : job.addedAt;
  return html`<table>
    <tbody>
      <tr>
        <th scope="row">State</th>
        <td><strong>${job.state}</strong>, since ${moment(since, nowMs)}</td>
      </tr>
      ${
        job.worker !== null &&
        html`<tr>
          <th scope="row">Worker</th>
          <td class="mono">${job.worker}</td>
        </tr>`
      }
      ${
        job.nextTryAt !== null &&
        html`<tr>
          <th scope="row">Next try</th>
          <td>${moment(job.nextTryAt, nowMs)}</td>
        </tr>`
      }
      ${
        job.attempts > 0 &&
        html`<tr>
          <th scope="row">Failed tries</th>
          <td>${job.attempts}</td>
        </tr>`
      }
      ${
        job.error !== null &&
        html`<tr>
          <th scope="row">Last error</th>
          <td>${longText(job.error)}</td>
        </tr>`
      }
      <tr>
        <th scope="row">Job</th>
        <td><a class="mono" href="${links.job(job.jobId)}">${job.jobId}</a></td>
      </tr>
    </tbody>
  </table>`;
}

function outboxCard({ facts, nowMs }: ExecutionView): Html {
  const { rows, unsent, oldest, due, sources } = facts.outbox;
  if (rows === 0) {
    return html`<section class="card" data-key="outbox">
      <h2>In the outbox</h2>
      <p class="quiet">Nothing: every change that was recorded has been seen.</p>
    </section>`;
  }
  return html`<section class="card" data-key="outbox">
    <h2>In the outbox</h2>
    <table>
      <tbody>
        <tr>
          <th scope="row">Rows</th>
          <td>
            ${number(rows)},
            ${unsent === 0 ? 'all sent to the queue' : `${number(unsent)} not yet sent`}
          </td>
        </tr>
        <tr>
          <th scope="row">Oldest</th>
          <td>${moment(oldest, nowMs)}</td>
        </tr>
        ${
          due !== null &&
          Date.parse(due) > nowMs &&
          html`<tr>
            <th scope="row">Due</th>
            <td>${moment(due, nowMs)}</td>
          </tr>`
        }
        <tr>
          <th scope="row">Asked by</th>
          <td>${sources.join(', ')}</td>
        </tr>
      </tbody>
    </table>
  </section>`;
}

function failedCard(view: ExecutionView): Html {
  const { facts, jobs, state, nowMs } = view;
  const failures = failuresShown(facts, jobs);
  if (failures.length === 0) return html``;
  // Nobody need do anything about a failure of an execution that is right again.
  if (state === 'up to date') {
    return html`<section class="card wide" data-key="failed">
      <h2>Failed earlier</h2>
      <details>
        <summary>The execution is right again; what failed before</summary>
        ${failuresTable(failures, view)}
      </details>
    </section>`;
  }
  const { failure } = facts;
  return html`<section class="card wide" data-key="failed">
    <h2>
      Failed for good
      ${failure !== null && failure.times > 1 && html`<span class="quiet">${number(failure.times)} times since ${moment(failure.firstFailedAt, nowMs)}</span>`}
    </h2>
    ${failuresTable(failures, view)}
  </section>`;
}

function failuresTable(
  failures: readonly ShownFailure[],
  { jobs, links, nowMs }: ExecutionView,
): Html {
  return html`<table class="stack failed">
    <thead>
      <tr>
        <th scope="col">When</th>
        <th scope="col">Tries</th>
        <th scope="col">Error</th>
        <th scope="col">Job</th>
      </tr>
    </thead>
    <tbody>
      ${failures.map(
        ({ jobId, failedAt, attempts, error, isThere }) =>
          html`<tr data-key="${jobId}">
            <td data-label="When">${moment(failedAt, nowMs)}</td>
            <td data-label="Tries">${attempts ?? '?'}</td>
            <td data-label="Error">${longText(error)}</td>
            <td data-label="Job">
              ${isThere ? html`<a class="mono" href="${links.job(jobId)}">${jobId}</a>` : html`<span class="mono">${jobId}</span>${jobs !== null && html` <span class="quiet">not in Redis any more</span>`}`}
            </td>
          </tr>`,
      )}
    </tbody>
  </table>`;
}

interface ShownFailure {
  readonly jobId: string;
  readonly failedAt: string | null;
  readonly attempts: number | null;
  readonly error: string;
  /** Whether Redis still has the job. */
  readonly isThere: boolean;
}

/**
 * The failed jobs in Redis, preceded by the record in Postgres if Redis lost its job or doesn't
 * answer.
 */
function failuresShown(
  { failure }: ExecutionFacts,
  jobs: ExecutionJobs | null,
): readonly ShownFailure[] {
  const kept = (jobs?.failed ?? []).map((job) => ({ ...job, isThere: true }));
  if (failure === null || kept.some(({ jobId }) => jobId === failure.jobId)) return kept;
  return [{ ...failure, error: failure.error ?? '', isThere: false }, ...kept];
}

function firstLetterLarge(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
