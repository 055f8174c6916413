/** Style of the list of executions and of repairs; served with the page style. */
export const LIST_STYLE = `
.states { display: flex; flex-wrap: wrap; gap: 6px; margin: 0 0 16px; }
.states a { padding: 5px 14px; border-radius: 99px; border: 1px solid var(--line); background: var(--card); color: var(--text); }
.states a:hover { border-color: var(--accent); }
.states a[aria-current] { background: var(--accent-soft); border-color: transparent; color: var(--accent-strong); box-shadow: none; }
.states .count { font-size: 13px; font-weight: 600; color: var(--bad); }
.filters { display: flex; flex-wrap: wrap; align-items: center; gap: 8px 16px; margin-bottom: 12px; }
.filters label { display: flex; align-items: center; gap: 8px; color: var(--quiet); }
.filters label input { color: var(--text); }
select { font: inherit; color: var(--text); padding: 5px 8px; border: 1px solid var(--line); border-radius: 8px; background: var(--page); }
input[type="checkbox"] { width: 18px; height: 18px; margin: 0; accent-color: var(--accent); vertical-align: middle; }
.status { display: inline-flex; align-items: center; gap: 7px; }
.status::before { content: ""; width: 8px; height: 8px; border-radius: 50%; background: currentColor; }
.pager { display: flex; flex-wrap: wrap; align-items: baseline; gap: 8px 18px; margin-top: 14px; }
.pager span { margin-left: auto; }
.actions { margin-top: 14px; }
.empty { padding: 28px 0; text-align: center; color: var(--quiet); }
.executions tbody tr:hover { background: var(--page); }
a.button { display: inline-block; padding: 3px 12px; border: 1px solid var(--line); border-radius: 8px; background: var(--card); color: var(--text); font-weight: 500; white-space: nowrap; }
a.button:hover { border-color: var(--accent); text-decoration: none; }
.actions { display: flex; align-items: center; gap: 16px; }
.selected { columns: 3 14rem; margin: 0 0 12px; padding-left: 20px; }
progress { width: 100%; height: 10px; margin: 12px 0; accent-color: var(--accent); }
@media (min-width: 641px) {
  table.executions { table-layout: fixed; }
  .executions th { width: 13%; } .executions th.vendor { width: 19%; } .executions th:last-child { width: auto; }
  .executions th:has(.hidden) { width: 2.5rem; }
}
`;
