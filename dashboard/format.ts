import { duration, number } from './browser/quantities.ts';
import { html, type Html } from './html.ts';

// The charts show them in the browser as the pages do.
export { duration, number };

/** A point in time, in UTC, with how long ago or how far ahead it is; "none" for null. */
export function moment(iso: string | null, nowMs: number): Html {
  if (iso === null) return html`<span class="none">none</span>`;
  const ms = Date.parse(iso);
  const shown = iso.slice(0, 19).replace('T', ' ');
  return html`<time datetime="${iso}">${shown}</time
    >${Number.isNaN(ms) ? false : html` <span class="ago">${ago(ms, nowMs)}</span>`}`;
}

/** Time relative to `nowMs`: `3 min 5 s ago`, `in 2.0 s`. */
export function ago(ms: number, nowMs: number): string {
  const passed = nowMs - ms;
  return passed >= 0 ? `${duration(passed)} ago` : `in ${duration(-passed)}`;
}

/** `1 job`, `2 jobs`. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${number(count)} ${count === 1 ? one : many}`;
}
