import basicAuth from 'basic-auth';
import type { RequestHandler, Response } from 'express';
import type { Config } from '../shared/process/config.ts';
import { isSameSecret, limitWrong } from '../shared/http/credentials.ts';
import type { Logger } from '../shared/process/logger.ts';

/** What a user of the dashboard may do: see everything, or change it as well. */
type Role = 'operator' | 'viewer';

interface Account {
  readonly user: string;
  readonly password: string;
  readonly role: Role;
}

/** Who asks; `user` is null where the dashboard has no password. */
export interface Visitor {
  readonly user: string | null;
  readonly role: Role;
}

/** The visitor of a request that passed `requirePassword`; without a password everyone may change things. */
export function visitorOf(response: Response): Visitor {
  const visitor = response.locals['visitor'] as Visitor | undefined;
  return visitor ?? { user: null, role: 'operator' };
}

/** The accounts that the settings name; none without DASHBOARD_PASSWORD. */
export function accountsOf(config: Config): readonly Account[] {
  const accounts: Account[] = [];
  if (config.DASHBOARD_PASSWORD === undefined) return accounts;
  accounts.push({
    user: config.DASHBOARD_USER,
    password: config.DASHBOARD_PASSWORD,
    role: 'operator',
  });
  if (config.DASHBOARD_VIEWER_PASSWORD !== undefined) {
    accounts.push({
      user: config.DASHBOARD_VIEWER_USER,
      password: config.DASHBOARD_VIEWER_PASSWORD,
      role: 'viewer',
    });
  }
  return accounts;
}

/**
 * Asks for user and password (HTTP basic), compared in constant time. Wrong ones get 401, and 429 after
 * ten of them within a minute from one address; a right one always gets in.
 */
export function requirePassword(accounts: readonly Account[], log: Logger): RequestHandler {
  const limit = limitWrong('passwords for the dashboard', log, (response, message) =>
    response.type('text/plain').send(`Tally: ${message}.\n`),
  );
  return (request, response, next) => {
    const given = basicAuth(request);
    let visitor: Visitor | undefined;
    // All are compared, whatever the first say, so that the time tells nothing.
    for (const { user, password, role } of accounts) {
      const userIsRight = isSameSecret(given?.name ?? '', user);
      const passwordIsRight = isSameSecret(given?.pass ?? '', password);
      if (userIsRight && passwordIsRight) visitor = { user, role };
    }
    if (visitor !== undefined) {
      response.locals['visitor'] = visitor;
      next();
      return;
    }
    // A browser's first request has no password yet; that isn't a wrong one.
    if (request.headers.authorization === undefined) askForPassword(response);
    else void limit(request, response, () => askForPassword(response));
  };
}

function askForPassword(response: Response): void {
  response
    .status(401)
    .setHeader('WWW-Authenticate', 'Basic realm="Tally", charset="UTF-8"')
    .type('text/plain')
    .send('Tally: user and password, please (DASHBOARD_USER, DASHBOARD_PASSWORD).\n');
}

/** Whether a request can change anything. No path of the dashboard changes something on a GET. */
export function isChange(method: string): boolean {
  return !['GET', 'HEAD', 'OPTIONS'].includes(method);
}

/** Refuses every change of a user who may only look, whatever path it has. */
export const refuseViewersChanges: RequestHandler = (request, response, next) => {
  if (isChange(request.method) && visitorOf(response).role === 'viewer') {
    refuse(response, 'this user can look at everything and change nothing');
    return;
  }
  next();
};

// What a page of another site can send without the browser asking first (a "simple" request).
const FORM_TYPES = ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain'];

/**
 * Refuses what another site's page makes a browser send: browsers tell with Sec-Fetch-Site or, where the page isn't on
 * HTTPS, with Origin or Referer where a request comes from. Reads are refused, too, because each costs the stores
 * something, except for a page that a person opens by a link. Programs send none of these and pass, except for a
 * change with a body of a kind that an old browser's form could have sent.
 */
export const refuseCrossSite: RequestHandler = (request, response, next) => {
  const { headers, host, method, path } = request;
  const change = isChange(method);
  const source = sourceOf(headers, host);
  if (source === 'own' || (!change && source === 'elsewhere' && isOpenedByLink(headers, path)))
    next();
  else if (source === 'elsewhere') refuse(response, 'this request comes from another site');
  else if (change && request.is(FORM_TYPES))
    refuse(response, 'send the header Content-Type: application/json');
  else next();
};

type Headers = Readonly<Record<string, string | string[] | undefined>>;

// The host as a trusted proxy was asked for it, if there is one.
function sourceOf(headers: Headers, ownHost: string | undefined): 'own' | 'elsewhere' | 'unknown' {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin' || site === 'none' ? 'own' : 'elsewhere';
  const from = headers['origin'] ?? headers['referer'];
  if (from === undefined) return 'unknown';
  const isOwn = typeof from === 'string' && URL.canParse(from) && new URL(from).host === ownHost;
  return isOwn ? 'own' : 'elsewhere';
}

// A chat or a wiki may link to a page, never to data. Browsers that don't tell what they ask for get the benefit of
// the doubt for pages.
function isOpenedByLink(headers: Headers, path: string): boolean {
  if (path === '/metrics' || path.startsWith('/api/')) return false;
  const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-dest': destination = 'document' } =
    headers;
  return mode === 'navigate' && destination === 'document';
}

function refuse(response: Response, message: string): void {
  // Bull Board's page shows "message"; "error" is for everyone else.
  response.status(403).json({ error: `refused: ${message}`, message: `Refused: ${message}.` });
}
