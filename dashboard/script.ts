import { readFileSync } from 'node:fs';
import type { RequestHandler } from 'express';

const FILES = ['live.js', 'morph.js'];

/**
 * Serves the scripts of our own pages, as compiled from `dashboard/browser/`.
 * @throws an error if the project hasn't been built
 */
export function serveScripts(): RequestHandler<{ file: string }> {
  const scripts = new Map(FILES.map((file) => [file, readScript(file)]));
  return (request, response, next) => {
    const script = scripts.get(request.params.file);
    if (script === undefined) next();
    else response.type('js').send(script);
  };
}

function readScript(file: string): string {
  // From dist/dashboard they are beside this file; from dashboard/ in the build.
  const folder = import.meta.url.endsWith('.ts') ? '../dist/dashboard/browser/' : './browser/';
  return readFileSync(new URL(`${folder}${file}`, import.meta.url), 'utf8');
}
