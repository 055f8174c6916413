import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

// What uPlot needs to place its layers.
const UPLOT = readFileSync(
  createRequire(import.meta.url).resolve('uplot/dist/uPlot.min.css'),
  'utf8',
);

/**
 * Style of the charts. The colours of lines have a contrast of at least 3 to the card that they
 * stand on, light and dark; each line also differs in its dashes, for those who see no colours.
 */
export const CHART_STYLE = `${UPLOT}
:root { --express: #2563eb; --express-half: #60779a; --backlog: #0f766e; --failures: #b42318; }
@media (prefers-color-scheme: dark) {
  :root { --express: #7aa7ff; --express-half: #8fa3c4; --backlog: #4fd1c5; --failures: #ff8a7d; }
}
.ranges { display: flex; gap: 0; margin: 0 0 -4px auto; border: 1px solid var(--line); border-radius: 8px; overflow: hidden; background: var(--card); font-size: 13px; }
.ranges a { padding: 4px 14px; border-radius: 0; color: var(--quiet); }
.ranges a + a { border-left: 1px solid var(--line); }
.ranges a:hover { color: var(--text); }
.ranges a[aria-current] { background: var(--accent-soft); color: var(--accent-strong); box-shadow: none; font-weight: 600; }
.ranges a:focus-visible { outline-offset: -2px; }
figure { margin: 0; }
figcaption { display: flex; flex-wrap: wrap; align-items: baseline; gap: 2px 14px; margin-bottom: 4px; }
figcaption h2 { margin: 0; }
figcaption .at { margin-left: auto; white-space: nowrap; }
.keys { display: flex; flex-wrap: wrap; gap: 2px 14px; margin: 0 0 10px; padding: 0; list-style: none; color: var(--quiet); }
.keys li::before { content: ""; display: inline-block; width: 16px; height: 0; margin-right: 6px; vertical-align: middle; border-top: 2px solid; }
.keys .express::before { border-color: var(--express); }
.keys .express-half::before { border-color: var(--express-half); border-top-style: dashed; }
.keys .backlog::before { border-color: var(--backlog); border-top-width: 3px; }
.keys .failures::before { border-color: var(--failures); border-top-style: dotted; }
.keys .value { display: inline-block; min-width: 3.4em; color: var(--text); font-weight: 600; }
.plot { position: relative; }
.plot svg { display: block; width: 100%; height: 158px; }
.plot .top { position: absolute; top: 2px; left: 0; color: var(--quiet); font-size: 12px; line-height: 1; background: var(--card); padding-right: 4px; }
.axis { display: flex; justify-content: space-between; color: var(--quiet); font-size: 12px; padding-top: 4px; height: 22px; }
.plot path { fill: none; stroke-width: 1.75; stroke-linejoin: round; stroke-linecap: round; }
.plot .grid { stroke: var(--line); stroke-width: 1; }
.plot .express { stroke: var(--express); }
.plot .express-half { stroke: var(--express-half); stroke-dasharray: 6 4; }
.plot .backlog { stroke: var(--backlog); stroke-width: 2.25; }
.plot .failures { stroke: var(--failures); stroke-dasharray: 1 5; stroke-width: 2.25; }
.interactive { border-radius: 6px; }
.interactive:not(:empty) ~ .plot, .interactive:not(:empty) ~ .axis { display: none; }
.interactive:empty { display: none; }
.interactive .u-over { touch-action: pan-y; cursor: crosshair; }
.interactive .u-cursor-x { border-right: 1px solid var(--quiet) !important; }
.chart details { margin-top: 8px; }
.scroll { max-height: 15rem; overflow: auto; margin-top: 6px; }
.values th, .values td { padding: 3px 14px 3px 0; text-align: right; white-space: nowrap; font-size: 13px; }
.values tr > :first-child { text-align: left; }
@media (max-width: 640px) { .ranges { margin: 0; } .ranges a { flex: 1; padding: 8px; text-align: center; } }
`;
