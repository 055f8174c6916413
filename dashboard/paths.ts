import { Router, type RequestHandler } from 'express';
import { BOARD_PATH, type Links } from './links.ts';

/**
 * Middleware that takes BASE_PATH off the address of each request. A proxy may pass the path on as
 * it is or remove BASE_PATH itself, so addresses without it are served too.
 */
export function withoutBasePath(basePath: string): RequestHandler {
  return (request, _response, next) => {
    const { url } = request;
    const rest = url.slice(basePath.length);
    if (basePath !== '' && url.startsWith(basePath) && /^(?:[/?]|$)/.test(rest)) {
      request.url = rest.startsWith('/') ? rest : `/${rest}`;
    }
    next();
  };
}

/**
 * Middleware that serves the board's API at the path it had while the board was the root, so that
 * scripts needn't follow redirects. It comes before every guard, so they know only the new path.
 */
export const formerApi: RequestHandler = (request, _response, next) => {
  if (/^\/api\//i.test(request.url)) request.url = `${BOARD_PATH}${request.url}`;
  next();
};

/** Redirects links from the time when the board was the root and the overview had its own path. */
export function redirectFormerPages(links: Links): Router {
  const router = Router();
  router.get('/overview', (_request, response) => response.redirect(308, links.overview));
  router.get(['/queue/*rest', '/static/*rest'], (request, response) => {
    response.redirect(308, `${links.board}${request.url}`);
  });
  return router;
}
