import type { Express, Response } from 'express';
import type { Config } from '../shared/process/config.ts';
import { readVersion } from '../shared/process/installation.ts';
import { linksBelow, type Links } from './links.ts';

/** What is the same on every page of one dashboard. */
export interface Site {
  readonly links: Links;
  readonly version: string;
  /** Label that tells installations apart, for example `production`. */
  readonly environment: string | undefined;
}

/** The site that these settings describe. */
export function siteFor(config: Config): Site {
  return {
    links: linksBelow(config.BASE_PATH),
    version: readVersion(),
    environment: config.DASHBOARD_ENVIRONMENT,
  };
}

/** Makes the site known to every page of an application. */
export function setSite(app: Express, site: Site): void {
  app.locals['site'] = site;
}

/** The site that a response belongs to. */
export function siteOf(response: Response): Site {
  return response.app.locals['site'] as Site;
}
