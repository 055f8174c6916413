import type { Failure } from '../../shared/queue/failure-causes.ts';
import { ago, counted, duration, moment, number } from '../format.ts';
import { html, type Html } from '../html.ts';
import type { Links } from '../links.ts';
import { longText } from '../long-text.ts';
import type { DisagreementCount } from '../overview/disagreement-count.ts';
import { nameOf, type Repair } from './repairs.ts';

const SHOWN = 100;

/** What every page of a repair shows of it. */
export interface RepairView {
  /** The repair of this page that runs or ended last. */
  readonly repair: Repair | undefined;
  /** One of another page, which runs. */
  readonly other: Repair | undefined;
  readonly mayRepair: boolean;
  readonly links: Links;
  readonly nowMs: number;
}

interface CauseView extends RepairView {
  readonly id: string;
  readonly cause: string;
  /** Newest first. */
  readonly failures: readonly Failure[];
  /** There are older failures, which weren't read. */
  readonly more: boolean;
}

/** Body of the page of one cause: what a retry does, how far it is, and what failed. */
export function causeBody(view: CauseView): Html {
  const { id, cause, failures, more, links } = view;
  const these = more ? 'all with this cause' : `these ${number(failures.length)}`;
  return html`<div class="head">
      <h1>Failures of one cause</h1>
      ${failures.length > 0 && button(view, links.retryFailures(id), `Retry ${these}`)}
    </div>
    <div class="column">
      <section class="card" data-key="cause">
        <h2>Cause</h2>
        <div class="paragraph">${longText(cause)}</div>
        <p class="quiet">
          Retrying puts each of these executions on the queue again, with all its attempts. One that
          fails again comes back to this page; nothing is lost. If the cause still exists, remove it
          first. The same on the command line: tally retry --error.
        </p>
      </section>
      ${progressCard(view)} ${failuresCard(view)}
    </div>`;
}

function failuresCard({ failures, more, links, nowMs }: CauseView): Html {
  if (failures.length === 0) {
    return html`<p class="notice good">None of the newest failures has this cause any more.</p>`;
  }
  const shown = failures.slice(0, SHOWN);
  const rest = failures.length - shown.length;
  return html`<section class="card" data-key="failures">
    <h2>
      What failed
      <span class="quiet"
        >${number(failures.length)}${more && ' of the newest; older ones may follow'}</span
      >
    </h2>
    <table class="stack">
      <thead>
        <tr>
          <th scope="col">Execution</th>
          <th scope="col">Vendor</th>
          <th scope="col">Error</th>
          <th scope="col">Failed (UTC)</th>
        </tr>
      </thead>
      <tbody>
        ${shown.map(
          ({ jobId, identity, error, failedAtMs }) =>
            html`<tr data-key="${jobId}">
              <td data-label="Execution">
                ${identity === undefined ? html`<a class="mono" href="${links.job(jobId)}">no refresh</a>` : html`<a class="mono" href="${links.execution(identity.executionId)}">${identity.executionId}</a>`}
              </td>
              <td data-label="Vendor">
                ${identity?.vendor ?? html`<span class="none">none</span>`}
              </td>
              <td data-label="Error">${longText(error)}</td>
              <td data-label="Failed">
                <span>${moment(new Date(failedAtMs).toISOString(), nowMs)}</span>
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
    ${rest > 0 && html`<p class="quiet">and ${number(rest)} more</p>`}
  </section>`;
}

/** Body of the page of all failures: how many there are, what a retry does, and how far it is. */
export function allFailuresBody(view: RepairView & { readonly count: number | null }): Html {
  const { count, links } = view;
  return html`<div class="head">
      <h1>All failures</h1>
      ${count !== 0 && button(view, links.retryAllFailures, 'Retry all failures')}
    </div>
    <div class="column">
      <section class="card" data-key="failures">
        <h2>What failed</h2>
        <p>
          ${count === null ? 'Postgres does not answer, so they can’t be counted now.' : count === 0 ? 'No execution has failed for good, or each has been refreshed since.' : html`The refresh of <a href="${links.failedExecutions}">${counted(count, 'execution')}</a> failed for good and ${count === 1 ? 'needs' : 'need'} a person.`}
        </p>
        <p class="quiet">
          Retrying puts each of these executions on the queue again, with all its attempts, whatever
          it failed for. One that fails again comes back; nothing is lost. The overview has the
          failures by cause, to retry only those whose cause is removed. Retry all on the board does
          this too, and so does the command line: tally retry --all.
        </p>
      </section>
      ${progressCard(view)}
    </div>`;
}

/** Body of the page of what is stuck: what it means, how many there are, and how far a repair is. */
export function stuckBody(view: RepairView & { readonly count: DisagreementCount | null }): Html {
  const { count, links, nowMs } = view;
  const found =
    count === null
      ? html`They are being counted.`
      : html`${count.isComplete ? '' : 'At least '}${counted(count.count, 'execution')}${count.count === 1 ? ' is' : ' are'}
        stuck, counted ${ago(count.countedMs, nowMs)}.`;
  return html`<div class="head">
      <h1>Stuck executions</h1>
      ${button(view, links.refreshStuck, 'Refresh all that are stuck')}
    </div>
    <div class="column">
      <section class="card" data-key="stuck">
        <h2>Disagreements</h2>
        <p>${found}</p>
        <p class="quiet">
          An execution is stuck if all its tasks have ended, its stored status says that it is still
          running, and no refresh of it is on its way. The reconciler finds them by itself, once in
          RECONCILE_INTERVAL_MS. The button doesn't wait for it: it goes through all executions and
          records a refresh of each that is stuck. Statuses that somebody stored by hand stay, and
          what failed for good has a page of its own. The same on the command line: tally reconcile.
        </p>
      </section>
      ${progressCard(view)}
    </div>`;
}

function button(
  { mayRepair, repair, other }: RepairView,
  action: string,
  text: string,
): Html | false {
  const runs = other !== undefined || (repair !== undefined && repair.endedMs === undefined);
  return (
    mayRepair &&
    !runs &&
    html`<form method="post" action="${action}"><button class="main">${text}</button></form>`
  );
}

function progressCard({ repair, other, nowMs }: RepairView): Html {
  if (other !== undefined) {
    return html`<p class="notice warn">
      This dashboard is at work on ${nameOf(other.subject)}; one repair runs at a time.
    </p>`;
  }
  if (repair === undefined) return html``;
  const { progress, beganMs, endedMs, problem, user } = repair;
  const who = user === null ? '' : `, asked for by ${user}`;
  const done = counted(progress.done, 'refresh', 'refreshes');
  const left =
    progress.left > 0 &&
    html` ${counted(progress.left, 'failed job')} ${progress.left === 1 ? 'is' : 'are'} no refresh
    and stayed.`;
  if (endedMs === undefined) {
    return html`<section class="card" data-key="progress" role="status">
      <h2>At work</h2>
      <progress
        max="${Math.max(progress.total, progress.seen, 1)}"
        value="${progress.seen}"
        aria-label="Examined"
      ></progress>
      <p>Asked for ${done} in ${duration(nowMs - beganMs)}${who}.${left}</p>
    </section>`;
  }
  const when = html`<span class="quiet"
    >${ago(endedMs, nowMs)}, after ${duration(endedMs - beganMs)}${who}</span
  >`;
  return problem === undefined
    ? html`<p class="notice good" role="status" data-key="progress">
        <strong>Done.</strong> Asked for ${done}.${left} ${when}
      </p>`
    : html`<p class="notice bad" role="status" data-key="progress">
        <strong>It ended early:</strong> ${problem}. Asked for ${done}; begin it again for the rest.
        ${when}
      </p>`;
}
