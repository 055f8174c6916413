import { createHash, timingSafeEqual } from 'node:crypto';
import basicAuth from 'basic-auth';
import type { RequestHandler } from 'express';

/** Asks for user and password (HTTP basic), compared in constant time. */
export function requirePassword(user: string, password: string): RequestHandler {
  const expectedUser = digest(user);
  const expectedPassword = digest(password);
  return (request, response, next) => {
    const given = basicAuth(request);
    // Both are compared whatever the first says, so that the time tells nothing.
    const userIsRight = timingSafeEqual(digest(given?.name ?? ''), expectedUser);
    const passwordIsRight = timingSafeEqual(digest(given?.pass ?? ''), expectedPassword);
    if (userIsRight && passwordIsRight) {
      next();
      return;
    }
    response
      .status(401)
      .setHeader('WWW-Authenticate', 'Basic realm="Tally", charset="UTF-8"')
      .type('text/plain')
      .send('Tally: user and password, please (DASHBOARD_USER, DASHBOARD_PASSWORD).\n');
  };
}

/**
 * Refuses changes that another site's page makes a browser send: browsers tell with Sec-Fetch-Site or Origin where a request
 * comes from. Programs send neither and pass.
 */
export const refuseCrossSite: RequestHandler = (request, response, next) => {
  const changes = !['GET', 'HEAD', 'OPTIONS'].includes(request.method);
  if (changes && !isSameOrigin(request.headers)) {
    response.status(403).json({ error: 'refused: this request comes from another site' });
    return;
  }
  next();
};

function isSameOrigin(headers: Readonly<Record<string, string | string[] | undefined>>): boolean {
  const site = headers['sec-fetch-site'];
  if (site !== undefined) return site === 'same-origin' || site === 'none';
  const origin = headers['origin'];
  if (typeof origin !== 'string') return true;
  return URL.canParse(origin) && new URL(origin).host === headers['host'];
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
