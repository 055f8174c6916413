/** One line of a chart. */
export interface Line {
  readonly title: string;
  readonly color: string;
  readonly points: readonly (readonly [x: number, y: number])[];
}

const WIDTH = 760;
const HEIGHT = 340;
const LEFT = 56;
const RIGHT = 16;
const TOP = 44;
const BOTTOM = 44;

/** Draws lines over a common pair of axes that begin at 0, as an SVG that needs nothing else. */
export function lineChart(
  title: string,
  xTitle: string,
  yTitle: string,
  lines: readonly Line[],
): string {
  const points = lines.flatMap((line) => line.points);
  const xTicks = ticks(Math.max(1, ...points.map(([x]) => x)));
  const yTicks = ticks(Math.max(1, ...points.map(([, y]) => y)));
  const scale = (value: number, all: readonly number[], size: number): number =>
    (value / (all.at(-1) ?? 1)) * size;
  const x = (value: number): number => LEFT + scale(value, xTicks, WIDTH - LEFT - RIGHT);
  const y = (value: number): number =>
    HEIGHT - BOTTOM - scale(value, yTicks, HEIGHT - TOP - BOTTOM);
  const parts = [
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(LEFT, 18, title, 'font-weight="600" font-size="14"'),
    ...yTicks.map((tick) => rule(LEFT, y(tick), WIDTH - RIGHT, y(tick))),
    ...yTicks.map((tick) => text(LEFT - 8, y(tick) + 4, String(tick), 'text-anchor="end"')),
    ...xTicks.map((tick) =>
      text(x(tick), HEIGHT - BOTTOM + 18, String(tick), 'text-anchor="middle"'),
    ),
    text((LEFT + WIDTH) / 2, HEIGHT - 8, xTitle, 'text-anchor="middle"'),
    text(8, TOP - 8, yTitle, ''),
    ...lines.map(({ color, points: all }) => {
      const path = all.map(([px, py]) => `${x(px).toFixed(1)},${y(py).toFixed(1)}`).join(' ');
      return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="2"/>`;
    }),
    ...lines.flatMap(({ title: name, color }, index) => {
      const left = LEFT + 90 + index * Math.min(210, (WIDTH - RIGHT - LEFT - 90) / lines.length);
      return [
        `<rect x="${left}" y="${TOP - 17}" width="18" height="4" fill="${color}"/>`,
        text(left + 24, TOP - 10, name, ''),
      ];
    }),
  ];
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escape(title)}" ` +
    `font-family="system-ui, sans-serif" font-size="12" fill="#333">\n  ${parts.join('\n  ')}\n</svg>\n`
  );
}

/** Round numbers from 0 to the first one that isn't below the largest value. */
function ticks(largest: number): number[] {
  const magnitude = 10 ** Math.floor(Math.log10(largest / 4));
  const step = [1, 2, 5, 10].map((n) => n * magnitude).find((n) => n * 6 >= largest) ?? largest;
  return Array.from({ length: Math.ceil(largest / step) + 1 }, (_, nth) =>
    Number((nth * step).toPrecision(6)),
  );
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escape(content)}</text>`;
}

function rule(x1: number, y1: number, x2: number, y2: number): string {
  return `<line x1="${x1}" y1="${y1.toFixed(1)}" x2="${x2}" y2="${y2.toFixed(1)}" stroke="#ddd"/>`;
}

function escape(content: string): string {
  return content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;');
}
