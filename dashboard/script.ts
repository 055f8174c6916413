import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import type { RequestHandler } from 'express';

const FILES = ['live.js', 'morph.js', 'charts.js', 'chart-data.js', 'quantities.js'];

/**
 * Serves the scripts of our own pages, as compiled from `dashboard/browser/`, and uPlot.
 * @throws an error if the project hasn't been built
 */
export function serveScripts(): RequestHandler<{ file: string }> {
  const scripts = new Map(FILES.map((file) => [file, readScript(file)]));
  scripts.set('uplot.js', readUplot());
  return (request, response, next) => {
    const script = scripts.get(request.params.file);
    if (script === undefined) next();
    else response.type('js').send(script);
  };
}

// Its licence has to go with each copy.
function readUplot(): string {
  const read = (file: string): string =>
    readFileSync(createRequire(import.meta.url).resolve(`uplot/${file}`), 'utf8');
  return `/*!\n${read('LICENSE')}\n*/\n${read('dist/uPlot.iife.min.js')}`;
}

function readScript(file: string): string {
  // From dist/dashboard they are beside this file; from dashboard/ in the build.
  const folder = import.meta.url.endsWith('.ts') ? '../dist/dashboard/browser/' : './browser/';
  return readFileSync(new URL(`${folder}${file}`, import.meta.url), 'utf8');
}
