/**
 * Style sheet of our own pages, served as `/tally.css`: system fonts, light or dark as the system
 * is set.
 */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --text: #1c2430; --quiet: #5b6776; --line: #e2e6eb;
  --accent: #2563eb; --accent-soft: #dbe6fd; --accent-strong: #1d4ed8; --good: #15803d; --bad: #b42318; --bad-soft: #fdecea;
  --warn: #92600a; --warn-soft: #fdf3dc; --second: #7c8aa0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161c; --card: #1a2028; --text: #e4e8ee; --quiet: #98a4b3; --line: #2b333e;
    --accent: #7aa7ff; --accent-soft: #22345a; --accent-strong: #a9c6ff; --good: #5fce8b; --bad: #ff8a7d; --bad-soft: #3a1f1d;
    --warn: #f0c062; --warn-soft: #362b14; --second: #7c8aa0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  font-variant-numeric: tabular-nums;
}
a { color: var(--accent); text-decoration: none; }
a:hover { text-decoration: underline; }
p a:not(.button) { text-decoration: underline; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }

header {
  display: flex; flex-wrap: wrap; align-items: center; gap: 8px 20px;
  padding: 10px max(16px, calc((100% - 1120px) / 2)); background: var(--card); border-bottom: 1px solid var(--line);
}
nav { display: flex; align-items: center; gap: 18px; }
nav a { color: var(--quiet); padding: 4px 0; }
nav a[aria-current] { color: var(--text); font-weight: 600; box-shadow: 0 2px 0 var(--accent); }
.brand { display: flex; align-items: center; gap: 8px; color: var(--text); font-weight: 700; font-size: 17px; letter-spacing: -0.01em; }
.brand:hover { text-decoration: none; }
.environment { padding: 1px 10px; border-radius: 99px; background: var(--warn-soft); color: var(--warn); font-size: 13px; font-weight: 600; }
footer { max-width: 1152px; margin: 0 auto; padding: 0 16px 24px; color: var(--quiet); font-size: 13px; }
nav a:hover { color: var(--text); text-decoration: none; }
.search { display: flex; gap: 6px; margin-left: auto; }
.who { color: var(--quiet); font-size: 13px; }
input, button {
  font: inherit; color: inherit; padding: 5px 12px; border: 1px solid var(--line); border-radius: 8px;
  background: var(--page); min-width: 0;
}
button { background: var(--card); cursor: pointer; font-weight: 500; }
button:hover { border-color: var(--accent); }
button.main { background: var(--accent); border-color: var(--accent); color: var(--card); }
button.main:hover { filter: brightness(1.08); }

main { max-width: 1152px; margin: 0 auto; padding: 24px 16px 48px; }
h1 { margin: 0; font-size: 24px; line-height: 1.25; letter-spacing: -0.015em; overflow-wrap: anywhere; }
h2 { margin: 0 0 12px; font-size: 15px; font-weight: 600; }
.head { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 16px; margin-bottom: 20px; }
.head form { margin-left: auto; }
.tag {
  display: inline-block; padding: 1px 9px; border-radius: 99px; background: var(--accent-soft); color: var(--accent-strong);
  font-size: 13px; font-weight: 500; overflow-wrap: anywhere;
}
.cards { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); margin-bottom: 16px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px; min-width: 0; }
.wide { grid-column: 1 / -1; }
.column { display: grid; gap: 16px; align-content: start; min-width: 0; }
.nowrap { white-space: nowrap; }
.half { width: 50%; }
.quiet, .ago, .none { color: var(--quiet); }
.ago { font-size: 13px; white-space: nowrap; }
.small { font-size: 13px; }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); }
p, .paragraph { margin: 0 0 10px; } p:last-child { margin-bottom: 0; }
.notice { color: var(--text); padding: 11px 16px; border-radius: 10px; border: 1px solid var(--line); background: var(--card); margin: 0 0 16px; }
#connection { position: sticky; top: 0; z-index: 1; margin: 0; padding: 10px 16px; background: var(--warn-soft); color: var(--text); text-align: center; }
#connection:empty { padding: 0; }
.notice.bad { background: var(--bad-soft); border-color: transparent; }
.notice.warn { background: var(--warn-soft); border-color: transparent; }

h1 + .notice { margin-top: 16px; }

.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); margin: 0 0 16px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 12px 16px; }
.tile dt { color: var(--quiet); font-size: 13px; }
.tile dd { margin: 2px 0 0; font-size: 22px; white-space: nowrap; line-height: 1.2; font-weight: 600; letter-spacing: -0.01em; }
.tile a { color: inherit; } .tile a.bad { color: var(--bad); }
.tile .small { display: block; white-space: normal; color: var(--quiet); font-weight: 400; letter-spacing: 0; min-height: 1.5em; }

table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: baseline; padding: 8px 12px 8px 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; padding-top: 0; color: var(--quiet); font-weight: 500; font-size: 13px; }
tbody th { font-weight: 500; color: var(--quiet); white-space: nowrap; }
td { overflow-wrap: anywhere; }
td:last-child, th:last-child { padding-right: 0; }
.right { text-align: right; }
.bar { display: block; width: 100%; min-width: 60px; height: 8px; margin-top: 8px; border-radius: 4px; background: var(--page); fill: var(--accent); }
code, .mono { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace; overflow-wrap: anywhere; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; }
pre.text { max-height: 24rem; overflow: auto; margin: 8px 0 0; padding: 10px 12px; border-radius: 8px; background: var(--page); }
details.long summary { color: inherit; }

details summary { cursor: pointer; color: var(--quiet); }
details ul { margin: 10px 0 0; padding-left: 20px; }

@media (min-width: 641px) {
  table.causes, table.failed { table-layout: fixed; }
  .causes th:nth-child(1) { width: 6.5rem; } .causes th:nth-child(3) { width: 22%; }
  .causes th:nth-child(4) { width: 8rem; } .causes th:nth-child(5) { width: 7.5rem; }
  .failed th:nth-child(1) { width: 14rem; } .failed th:nth-child(2) { width: 4rem; } .failed th:nth-child(4) { width: 22%; }
}
@media (max-width: 640px) {
  main { padding-top: 16px; }
  .search { order: 3; margin-left: 0; width: 100%; } .search input { flex: 1; }
  .who { margin-left: auto; }
  .head form { margin-left: 0; width: 100%; } .head form button { width: 100%; padding: 9px; }
  .card { padding: 14px 16px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  table.stack thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table.stack tr { display: block; padding: 10px 0; border-top: 1px solid var(--line); }
  table.stack tbody tr:first-child { border-top: 0; padding-top: 0; }
  table.stack th, table.stack td { display: block; position: relative; border: 0; padding: 2px 0; }
  table.stack td { padding-left: 104px; min-height: 1.6em; }
  table.stack td:empty { display: none; }
  table.stack td::before {
    content: attr(data-label); position: absolute; left: 0; color: var(--quiet);
    font: 13px/1.7 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
  }
  table.stack tbody th { color: var(--text); }
  .nowrap { white-space: normal; }
  td.nowrap { white-space: nowrap; }
}
`;
