import basicAuth from 'basic-auth';
import type { RequestHandler, Response } from 'express';
import type { Config } from '../shared/process/config.ts';
import { isSameSecret, limitWrong } from '../shared/http/credentials.ts';
import type { Logger } from '../shared/process/logger.ts';

/** A viewer sees everything; an operator may also change it. */
type Role = 'operator' | 'viewer';

interface Account {
  readonly user: string;
  readonly password: string;
  readonly role: Role;
}

/** Who sent a request. `user` is null where the dashboard has no password. */
export interface Visitor {
  readonly user: string | null;
  readonly role: Role;
}

/** The visitor that `requirePassword` let in. Without a password, everyone is an operator. */
export function visitorOf(response: Response): Visitor {
  const visitor = response.locals['visitor'] as Visitor | undefined;
  return visitor ?? { user: null, role: 'operator' };
}

/** The accounts from the settings; empty without DASHBOARD_PASSWORD. */
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
 * Requires HTTP basic authentication and compares in constant time. Wrong credentials get 401, and
 * 429 after ten wrong ones within a minute from one address. Correct credentials always get in.
 */
export function requirePassword(accounts: readonly Account[], log: Logger): RequestHandler {
  const limit = limitWrong('passwords for the dashboard', log, (response, message) =>
    response.type('text/plain').send(`Tally: ${message}.\n`),
  );
  return (request, response, next) => {
    const given = basicAuth(request);
    let visitor: Visitor | undefined;
    // Compare with every account, even after a match, so that timing reveals nothing.
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
    // A browser's first request carries no credentials; it must not count as a wrong password.
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

/**
 * Whether a request with this method can change anything. GET changes nothing on any path of the
 * dashboard.
 */
export function isChange(method: string): boolean {
  return !['GET', 'HEAD', 'OPTIONS'].includes(method);
}

/** Refuses a viewer's changes, on every path. */
export const refuseViewersChanges: RequestHandler = (request, response, next) => {
  if (isChange(request.method) && visitorOf(response).role === 'viewer') {
    refuse(response, 'this user can look at everything and change nothing');
    return;
  }
  next();
};

// Content types that another site's page can send without a CORS preflight (a "simple" request).
const FORM_TYPES = ['application/x-www-form-urlencoded', 'multipart/form-data', 'text/plain'];

/**
 * Refuses requests that another site's page makes a browser send.
 *
 * Browsers name the source of a request in Sec-Fetch-Site or, without HTTPS, in Origin or Referer.
 * Cross-site reads are refused as well, because each costs the stores something; only a page that a
 * person opens through a link is served. Programs send none of these headers and pass, unless they
 * send a change with a body type that an old browser's form could have sent.
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

// `ownHost` is the host that the browser asked for, also behind a trusted proxy.
function sourceOf(headers: Headers, ownHost: string | undefined): 'own' | 'elsewhere' | 'unknown' {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin' || site === 'none' ? 'own' : 'elsewhere';
  const from = headers['origin'] ?? headers['referer'];
  if (from === undefined) return 'unknown';
  const isOwn = typeof from === 'string' && URL.canParse(from) && new URL(from).host === ownHost;
  return isOwn ? 'own' : 'elsewhere';
}

// A chat or a wiki may link to a page, never to data. Browsers that don't send these headers get
// the benefit of the doubt.
function isOpenedByLink(headers: Headers, path: string): boolean {
  // Express finds a route in capital letters too.
  if (/^\/(?:metrics|board\/api)(?:\/|$)/i.test(path)) return false;
  const { 'sec-fetch-mode': mode = 'navigate', 'sec-fetch-dest': destination = 'document' } =
    headers;
  return mode === 'navigate' && destination === 'document';
}

function refuse(response: Response, message: string): void {
  // Bull Board's UI shows "message"; other clients read "error".
  response.status(403).json({ error: `refused: ${message}`, message: `Refused: ${message}.` });
}
