import {
  isLogarithmic,
  LAG_MIN_MS,
  quantity,
  timeOf,
  type ChartData,
} from '../browser/chart-data.ts';
import { duration } from '../format.ts';
import { html, type Html } from '../html.ts';

const WIDTH = 720;
const HEIGHT = 180;
const PADDING = 14;

/** What `chart` draws. */
export interface Chart {
  readonly title: string;
  /** Beside the title. */
  readonly note?: Html | string | false;
  readonly data: ChartData;
  /** How long the newest point is, in seconds. */
  readonly newestSeconds: number;
  /** What the table has, newest first: at most some dozens of rows. */
  readonly rows: readonly {
    readonly endMs: number;
    readonly values: readonly (number | null)[];
  }[];
}

/**
 * Renders a chart in three forms: a drawing for a browser without scripts, the data from which the
 * script `charts.js` draws one that can be read by mouse, touch and keyboard, and a table.
 */
export function chart({ title, note, data, newestSeconds, rows }: Chart): Html {
  return html`<figure class="card chart" data-key="${title}" data-chart="${JSON.stringify(data)}">
    <figcaption>
      <h2>${title}</h2>
      <span class="small">${note}</span>
      <span class="at small quiet" data-owned="${title}"
        >last ${duration(newestSeconds * 1_000)}</span
      >
    </figcaption>
    <ul class="keys small">
      ${data.series.map(
        ({ name, look, values }) =>
          html`<li class="${look}">
            ${name}
            <span class="value" data-owned>${quantity(data.unit, values.at(-1) ?? null)}</span>
          </li>`,
      )}
    </ul>
    <div class="interactive" data-owned></div>
    ${drawing(title, data)}
    <details>
      <summary class="small">As a table</summary>
      <div class="scroll" tabindex="0" role="group" aria-label="${title}, as a table">
        <table class="values small">
          <thead>
            <tr>
              <th scope="col">Until (UTC)</th>
              ${data.series.map(({ name }) => html`<th scope="col">${name}</th>`)}
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              ({ endMs, values }) =>
                html`<tr>
                  <th scope="row">${timeOf(endMs / 1_000)}</th>
                  ${values.map((value) => html`<td>${quantity(data.unit, value)}</td>`)}
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
    </details>
  </figure>`;
}

/** A drawing without scripts. */
function drawing(title: string, { unit, ends, series, atLeast }: ChartData): Html {
  const known = series.flatMap(({ values }) => values.filter((value) => value !== null));
  const top = Math.max(atLeast, ...known);
  const count = Math.max(1, ends.length);
  const x = (at: number): number => round((WIDTH * (at + 0.5)) / count);
  const part = (value: number): number =>
    isLogarithmic(unit)
      ? Math.log(Math.max(1, value / LAG_MIN_MS)) / Math.log(top / LAG_MIN_MS)
      : value / top;
  const y = (value: number): number => round(HEIGHT - part(value) * (HEIGHT - PADDING));
  const from = ends[0];
  return html`<div class="plot">
      <span class="top">${quantity(unit, top)}</span>
      <svg
        viewBox="0 0 ${WIDTH} ${HEIGHT}"
        preserveAspectRatio="none"
        role="img"
        aria-label="${title}"
      >
        <path
          class="grid"
          d="M0 ${PADDING}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}"
          vector-effect="non-scaling-stroke"
        />
        ${series.map(({ look, values }) => html`<path class="${look}" d="${linePath(values, x, y)}" vector-effect="non-scaling-stroke" />`)}
      </svg>
    </div>
    <div class="axis">
      <span>${from === undefined ? '' : `${timeOf(from)} UTC`}</span><span>now</span>
    </div>`;
}

type Scale = (value: number) => number;

function linePath(values: readonly (number | null)[], x: Scale, y: Scale): string {
  let pen = false;
  return values
    .map((value, at) => {
      const command = pen ? 'L' : 'M';
      pen = value !== null;
      // A lone point becomes a line of length zero, which is still visible.
      return value === null ? '' : `${command}${x(at)} ${y(value)}${command === 'M' ? 'h0' : ''}`;
    })
    .join('');
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
