import { html, type Html } from './html.ts';
import { shortened } from '../shared/errors.ts';

// In characters. More would make the page slow; nobody reads it to the end.
const TEXT_MAX = 20_000;
const BEGIN = 240;
const BEGIN_LINES = 4;

/**
 * A text of any length from outside, such as an error: whole if it is short; otherwise its
 * beginning, which opens to the rest.
 */
export function longText(text: string): Html {
  const begin = text.split('\n', BEGIN_LINES).join('\n').slice(0, BEGIN);
  if (begin.length === text.length) return html`<span class="mono text">${text}</span>`;
  // Don't cut a surrogate pair in half.
  const shown = begin.replace(/[\uD800-\uDBFF]$/, '');
  return html`<details class="long">
    <summary><span class="mono text">${shown}…</span></summary>
    <pre class="mono text" tabindex="0">${shortened(text, TEXT_MAX)}</pre>
  </details>`;
}
