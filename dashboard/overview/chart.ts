import { html, type Html } from '../html.ts';

const WIDTH = 720;
const HEIGHT = 132;
const PADDING = 14;

/** One line of a chart; null where no value is known. */
interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
}

/** What `chart` draws. */
export interface Chart {
  readonly title: string;
  /** The newest values, in words. */
  readonly now: Html | string;
  /** The first is drawn in the accent colour; a single series has its area filled. */
  readonly series: readonly Series[];
  /** The scale reaches at least this value, so that a quiet hour looks quiet. */
  readonly atLeast: number;
  readonly show: (value: number) => string;
  /** Candidates for the top of the scale where powers of ten aren't round, as with times. */
  readonly tops?: readonly number[];
  /** Tooltip labels: the end of the interval that each value covers. */
  readonly labels: readonly string[];
  readonly from: string;
  readonly to: string;
}

/** Renders a small line chart as SVG. The pages run no script, so values are read from tooltips. */
export function chart({ title, now, series, atLeast, show, tops, labels, from, to }: Chart): Html {
  const known = series.flatMap(({ values }) => values.filter((value) => value !== null));
  const largest = Math.max(atLeast, ...known);
  const top = tops?.find((round) => round >= largest) ?? niceTop(largest);
  const count = Math.max(1, labels.length);
  const x = (at: number): number => round((WIDTH * (at + 0.5)) / count);
  const y = (value: number): number => round(HEIGHT - (value / top) * (HEIGHT - PADDING));
  const paths = series.map(({ values }) => linePath(values, x, y));
  const first = series[0];
  const area =
    series.length === 1 && first !== undefined ? areaPath(first.values, x, y) : undefined;
  const step = WIDTH / count;
  return html`<figure class="card" data-key="${title}">
    <figcaption>
      <h2>${title}</h2>
      ${series.length > 1 && series.map(({ name }, n) => html`<span class="key small${n > 0 && ' second'}">${name}</span>`)}
      <span class="now small quiet">${now}</span>
    </figcaption>
    <div class="plot">
      <span class="top">${show(top)}</span>
      <svg
        viewBox="0 0 ${WIDTH} ${HEIGHT}"
        preserveAspectRatio="none"
        role="img"
        aria-label="${title}"
      >
        <path
          class="grid"
          d="M0 ${PADDING}H${WIDTH}M0 ${round((HEIGHT + PADDING) / 2)}H${WIDTH}M0 ${HEIGHT - 0.5}H${WIDTH}"
          vector-effect="non-scaling-stroke"
        />
        ${area !== undefined && html`<path class="area" d="${area}" />`}
        ${paths.map((path, n) => html`<path class="${n === 0 ? 'line' : 'line2'}" d="${path}" vector-effect="non-scaling-stroke" />`)}
        ${labels.map((label, at) => {
          const said = series.map(({ name, values }) => {
            const value = values[at];
            return value === null || value === undefined ? '' : ` ${name} ${show(value)}`;
          });
          // No tooltip where no value is known.
          return (
            said.some((text) => text !== '') &&
            html`<rect class="hit" x="${round(at * step)}" width="${round(step)}" height="${HEIGHT}"
              ><title>${label}:${said}</title></rect
            >`
          );
        })}
      </svg>
    </div>
    <div class="axis"><span>${from}</span><span>${to}</span></div>
  </figure>`;
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

function areaPath(values: readonly (number | null)[], x: Scale, y: Scale): string {
  const points = values.map((value, at) => `L${x(at)} ${y(value ?? 0)}`).join('');
  return `M${x(0)} ${HEIGHT}${points}L${x(values.length - 1)} ${HEIGHT}Z`;
}

/** The smallest of 1, 2 or 5 times a power of ten that reaches `value`. */
function niceTop(value: number): number {
  const power = 10 ** Math.floor(Math.log10(value));
  const found = [1, 2, 5, 10].find((step) => step * power >= value) ?? 10;
  return found * power;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
