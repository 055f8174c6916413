import type { Response } from 'express';
import { contentSecurityPolicy } from 'helmet';
import { visitorOf } from './auth.ts';
import { html, type Html } from './html.ts';
import { siteOf } from './site.ts';

const ANSWER_LIMIT_MS = 2_500;

/**
 * Content security policy of our own pages: scripts, style sheet, forms and data are our own, and
 * nothing stands in the page itself.
 */
export const pagePolicy = contentSecurityPolicy({
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    connectSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", 'data:'],
    formAction: ["'self'"],
    baseUri: ["'none'"],
    frameAncestors: ["'none'"],
  },
});

/** What varies between our own pages. */
export interface Page {
  readonly title: string;
  readonly here?: 'overview' | 'executions';
  /** Text in the search field. */
  readonly search?: string;
  /** How often the page updates itself, in seconds; it doesn't without. */
  readonly liveSeconds?: number;
  readonly hasCharts?: boolean;
  readonly body: Html;
}

/** Sends a page inside the frame that all of ours share: menu, search, who is logged in. */
export function sendPage(response: Response, status: number, page: Page): void {
  const { user, role } = visitorOf(response);
  const { links, version, environment } = siteOf(response);
  const who =
    user === null
      ? false
      : html`<span class="who">${user}${role === 'viewer' ? ' (read only)' : false}</span>`;
  const current = (here: Page['here']): Html | false =>
    page.here === here && html` aria-current="page"`;
  const document = html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="robots" content="noindex" />
        <title>${page.title} · Tally${environment !== undefined && ` (${environment})`}</title>
        <link rel="icon" href="${links.logo}" />
        <link rel="stylesheet" href="${links.styleSheet}" />
        ${page.liveSeconds !== undefined && html`<script type="module" src="${links.script}"></script>`}
        ${page.hasCharts === true && links.chartScripts.map((src, n) => html`<script ${n === 0 ? 'defer' : html`type="module"`} src="${src}"></script>`)}
      </head>
      <body ${page.liveSeconds !== undefined && html` data-live-seconds="${page.liveSeconds}"`}>
        <header>
          <a class="brand" href="${links.overview}"
            ><img src="${links.logo}" width="20" height="20" alt="" />Tally</a
          >
          ${environment !== undefined && html`<span class="environment">${environment}</span>`}
          <nav aria-label="Main">
            <a href="${links.overview}" ${current('overview')}>Overview</a>
            <a href="${links.executions}" ${current('executions')}>Executions</a>
            <a href="${links.jobs()}">Jobs</a>
          </nav>
          <form class="search" action="${links.executions}" role="search">
            <label class="hidden" for="id">Execution</label>
            <input
              id="id"
              name="id"
              placeholder="42 or 42:REPLICATION"
              value="${page.search}"
              required
              autocomplete="off"
              inputmode="text"
              size="22"
            />
            <button>Find</button>
          </form>
          ${who}
        </header>
        <p id="connection" role="status"></p>
        <main>${page.body}</main>
        <footer>
          Tally ${version}
          ${page.liveSeconds !== undefined && html`<noscript>· Without scripts this page shows what was true when it was loaded: reload it.</noscript>`}
        </footer>
      </body>
    </html> `;
  response.status(status).type('html').send(document.text);
}

/** What can't be shown or done, and why. */
export interface Problem {
  readonly status: number;
  readonly title: string;
  readonly text: string;
  /** Text in the search field. */
  readonly search?: string;
}

/** Sends a page that says only what can't be shown or done. */
export function sendProblem(
  response: Response,
  { status, title, text, search = '' }: Problem,
): void {
  sendPage(response, status, {
    title,
    search,
    body: html`<h1>${title}</h1>
      <p class="notice bad">${text}</p>`,
  });
}

/** What a store answered, or why it didn't. */
export type Answer<T> = { readonly value: T } | { readonly problem: unknown };

/** Resolves within 2.5 s and never rejects, so that a page can always show what is known. */
export async function inTime<T>(asked: Promise<T>): Promise<Answer<T>> {
  const signal = AbortSignal.timeout(ANSWER_LIMIT_MS);
  const late = new Promise<Answer<T>>((resolve) => {
    signal.addEventListener('abort', () => resolve({ problem: new Error('no answer in time') }), {
      once: true,
    });
  });
  const answered = asked.then(
    (value): Answer<T> => ({ value }),
    (problem: unknown): Answer<T> => ({ problem }),
  );
  return Promise.race([answered, late]);
}
