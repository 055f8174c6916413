import { ago, moment, number } from '../format.ts';
import { html, type Html } from '../html.ts';
import type { Links } from '../links.ts';
import { longText } from '../long-text.ts';
import { ROWS, type ExecutionPage, type ListedExecution } from './execution-list.ts';
import { filterQuery, STATES, type ListFilter, type ListState } from './list-filter.ts';

/** What the list of executions shows. */
export interface ListView {
  readonly filter: ListFilter;
  readonly page: ExecutionPage;
  /** About how many there are in all; null if Postgres has no estimate. */
  readonly total: number | null;
  /** Failures that need a person; null if that isn't known now. */
  readonly failed: number | null;
  /** Whether the visitor may refresh executions. */
  readonly mayRefresh: boolean;
  /** How many refreshes the visitor has just requested. */
  readonly asked: number;
  readonly nowMs: number;
  readonly links: Links;
}

const NAMES: Readonly<Record<ListState, string>> = {
  all: 'All',
  stuck: 'Stuck',
  failed: 'Failed',
  waiting: 'Waiting',
  'by-hand': 'Set by hand',
  running: 'Running',
  final: 'Final',
  Success: 'Success',
  Error: 'Error',
  Stopped: 'Stopped',
};

const MEANINGS: Readonly<Record<ListState, string>> = {
  all: 'Newest first.',
  stuck:
    'Final by their tasks but not as stored, with no refresh on its way. Oldest first. The reconciler finds them too.',
  failed: 'Their refresh failed for good and needs a person. Newest failure first.',
  waiting: 'A refresh of them is requested and not done yet. Newest execution first.',
  'by-hand':
    'A person or the host stored a final status that their tasks do not say, and it stands. Known where capture recorded it. Newest first.',
  running: 'Stored as not final. Newest first.',
  final: 'Stored as Success, Error or Stopped. Newest first.',
  Success: 'Stored as Success. Newest first.',
  Error: 'Stored as Error. Newest first.',
  Stopped: 'Stored as Stopped. Newest first.',
};

const AGE_NAMES = [
  ['', 'any age'],
  ['over-1h', 'over an hour old'],
  ['over-1d', 'over a day old'],
  ['over-7d', 'over a week old'],
] as const;

/** Body of the list of executions: filters, a page of rows, and where it goes on. */
export function listBody(view: ListView): Html {
  const { filter, links, mayRefresh, page, asked } = view;
  const canSelect = mayRefresh && page.rows.length > 0;
  return html`<div class="head">
      <h1>Executions</h1>
      ${view.total !== null && html`<span class="quiet">about ${number(view.total)} in all, as Postgres estimates</span>`}
    </div>
    ${asked > 0 && html`<p class="notice good">${asked === 1 ? '1 refresh was' : `${number(asked)} refreshes were`} put on the queue.</p>`}
    <nav class="states" aria-label="State">
      ${STATES.map((state) => html`<a href="${links.executions}${filterQuery(filter, { state })}" ${state === filter.state && html`aria-current="true"`}>${NAMES[state]}${state === 'failed' && view.failed !== null && html` <span class="count">${number(view.failed)}</span>`}</a>`)}
    </nav>
    ${filter.state === 'stuck' && mayRefresh && page.rows.length > 0 && html`<p><a class="button" href="${links.stuck}">Refresh all stuck…</a></p>`}
    ${filter.state === 'failed' && mayRefresh && page.rows.length > 0 && html`<p><a class="button" href="${links.allFailures}">Retry all failures…</a></p>`}
    <section class="card" data-key="list">
      ${filterForm(filter, links)}
      <p class="quiet small">${MEANINGS[filter.state]}</p>
      ${
        page.rows.length === 0
          ? nothing(view)
          : canSelect
            ? html`<form action="${links.refreshSelected}">
                ${table(view, true)}
                <p class="actions"><button>Refresh selected…</button></p>
              </form>`
            : table(view, false)
      }
      ${pager(view)}
    </section>`;
}

function filterForm({ state, vendor, age }: ListFilter, links: Links): Html {
  return html`<form class="filters" action="${links.executions}">
    ${state !== 'all' && html`<input type="hidden" name="state" value="${state}" />`}
    <label
      >Vendor <input name="vendor" value="${vendor}" placeholder="any" size="18" autocomplete="off"
    /></label>
    <label
      >Age
      <select name="age">
        ${AGE_NAMES.map(([value, name]) => html`<option value="${value}" ${value === age && html`selected`}>${name}</option>`)}
      </select></label
    >
    <button>Filter</button>
    ${(vendor !== '' || age !== '') && html`<a href="${links.executions}${filterQuery({ state, vendor: '', age: '', from: '' })}">Clear</a>`}
  </form>`;
}

function nothing({ page, filter }: ListView): Html {
  return html`<p class="empty">
    ${page.next === undefined && filter.from === '' ? 'There are none.' : page.next === undefined ? 'There are no more.' : html`None among the ${number(page.examined)} examined for this page.`}
  </p>`;
}

function table({ page, filter, links, nowMs }: ListView, canSelect: boolean): Html {
  const note =
    filter.state === 'failed' ? 'Error' : comparesTasks(filter.state) ? 'Its tasks say' : 'Ended';
  return html`<table class="stack executions">
    <thead>
      <tr>
        ${canSelect && html`<th scope="col"><span class="hidden">Select</span></th>`}
        <th scope="col">Execution</th>
        <th scope="col" class="vendor">Vendor</th>
        <th scope="col">Stored</th>
        <th scope="col">Started</th>
        <th scope="col">${note}</th>
      </tr>
    </thead>
    <tbody>
      ${page.rows.map(
        (row) =>
          html`<tr data-key="${row.executionId}">
            ${canSelect && html`<td data-label="Select"><input type="checkbox" name="id" value="${row.executionId}" aria-label="Select execution ${row.executionId}" /></td>`}
            <td data-label="Execution">
              <a class="mono" href="${links.execution(row.executionId)}">${row.executionId}</a>
            </td>
            <td data-label="Vendor">${row.vendor}</td>
            <td data-label="Stored">${statusTag(row.status)}</td>
            <td data-label="Started">${since(row.startTime, nowMs)}</td>
            <td data-label="${note}">${noteOf(row, filter.state, nowMs)}</td>
          </tr>`,
      )}
    </tbody>
  </table>`;
}

function comparesTasks(state: ListState): boolean {
  return state === 'stuck' || state === 'by-hand';
}

function noteOf(row: ListedExecution, state: ListState, nowMs: number): Html {
  if (state === 'failed')
    return row.error ? longText(row.error) : html`<span class="none">no message</span>`;
  if (comparesTasks(state)) return statusTag(row.computed);
  return since(row.endTime, nowMs);
}

function since(iso: string | null, nowMs: number): Html {
  if (iso === null) return html`<span class="none">–</span>`;
  const ms = Date.parse(iso);
  if (Number.isNaN(ms)) return html`${moment(iso, nowMs)}`;
  return html`<time datetime="${iso}" title="${iso}">${ago(ms, nowMs)}</time>`;
}

/** A stored or computed status, with a dot in its colour. */
function statusTag(status: string | null): Html {
  const look = { Success: 'good', Error: 'bad', Stopped: 'quiet', Running: 'warn' }[status ?? ''];
  return html`<span class="status ${look ?? 'quiet'}">${status ?? 'none'}</span>`;
}

function pager({ filter, page, links }: ListView): Html {
  const to = (from: string): string => `${links.executions}${filterQuery(filter, { from })}`;
  const isFull = page.rows.length >= ROWS;
  return html`<p class="pager">
    ${filter.from !== '' && html`<a href="${to('')}">First page</a>`}
    ${page.next !== undefined && html`<a href="${to(page.next)}" rel="next">${isFull ? 'Next page' : 'Look further'}</a>`}
    <span class="quiet small"
      >${number(page.rows.length)} shown of ${number(page.examined)} examined</span
    >
  </p>`;
}
