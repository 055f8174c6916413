import * as fs from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { openEngine, type Engine } from './engine.ts';
import { runProgram, tryProgram, type Environment } from './shell.ts';
import { provideBaseImages } from './stand-ins.ts';

/** What docker-compose.yml and the chart call the image. */
const NAME = 'tally-refresh';
/** The image that was built for the tests. What Compose builds meanwhile gets the tag `latest`. */
export const IMAGE = `${NAME}:test`;

/** What is built from, and where the documented commands run. */
export interface BuiltImage {
  readonly environment: Environment;
  /** A copy of the project without what isn't in a clone. */
  readonly project: string;
}

declare module 'vitest' {
  interface ProvidedContext {
    image: BuiltImage;
  }
}

const LEFT_OUT = new Set(['.git', '.env', '.tally', 'dist', 'node_modules']);

/** Runs once before all files: an engine, the base images, the image. */
export default async function buildImage(project: TestProject): Promise<() => Promise<void>> {
  const say = (line: string): void => void process.stdout.write(`test:image: ${line}\n`);
  const engine = await openEngine(say);
  const undo: (() => Promise<unknown>)[] = [() => engine.close()];
  const close = async (): Promise<void> => {
    for (const act of undo.toReversed()) await act();
  };
  try {
    undo.push(await provideBaseImages(engine, say));
    const folder = join(engine.folder, 'tally');
    fs.cpSync('.', folder, {
      recursive: true,
      filter: (path) => !path.split('/').some((name) => LEFT_OUT.has(name)),
    });
    undo.push(await keepTags(engine));
    const startMs = performance.now();
    // The host's network: the engine's own has no way out of a sandbox. A REVISION, to look for it.
    const build = ['build', '--network', 'host', '--build-arg', 'REVISION=abc123'];
    const tags = ['--tag', IMAGE, '--tag', NAME];
    await runProgram(['docker', ...build, ...tags, folder], { env: engine.environment });
    say(`built in ${Math.round((performance.now() - startMs) / 1_000)} s`);
    project.provide('image', { environment: engine.environment, project: folder });
    return close;
  } catch (error) {
    // Vitest ends without the teardown then.
    await close();
    throw error;
  }
}

/** An image that somebody else has under this name gets it back. @returns removes those that were built */
async function keepTags({ environment: env }: Engine): Promise<() => Promise<unknown>> {
  const inspect = ['docker', 'image', 'inspect', '--format', '{{.Id}}', NAME];
  const { code, stdout } = await tryProgram(inspect, { env });
  return async () => {
    await tryProgram(['docker', 'image', 'rm', '--force', IMAGE, NAME], { env });
    if (code === 0) await runProgram(['docker', 'tag', stdout.trim(), NAME], { env });
  };
}
