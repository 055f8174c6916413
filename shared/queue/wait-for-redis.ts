import type { Redis } from 'ioredis';
import { TallyError } from '../errors.ts';
import {
  adviceOnSilence,
  explainRedisError,
  isLostConnection,
  type RedisSettings,
} from './redis-errors.ts';
import { NOT_READY, settingsOf } from './redis.ts';
import { versionProblem } from './redis-server.ts';

/**
 * Waits until a connection is usable, for commands that run once and exit.
 * @param variable the setting that named the server
 * @throws TallyError REDIS_AWAY after `timeoutMs` milliseconds, with the cause and what to do
 * @throws TallyError REDIS_TOO_OLD
 */
export async function waitForRedis(
  redis: Redis,
  timeoutMs: number,
  variable: RedisSettings['variable'] = 'REDIS_URL',
): Promise<void> {
  await untilReady(redis, timeoutMs, variable);
  // Harbor's Redis may be older: its markers need nothing new.
  const problem = variable === 'REDIS_URL' ? await versionProblem(redis) : undefined;
  if (problem !== undefined) throw new TallyError('REDIS_TOO_OLD', problem);
}

async function untilReady(
  redis: Redis,
  timeoutMs: number,
  variable: RedisSettings['variable'],
): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    let cause: unknown;
    const remember = (error: unknown): void => {
      // That a connection was lost doesn't say why; another attempt may have said it.
      if (cause === undefined || !isLostConnection(error)) cause = error;
    };
    const finish = (settle: () => void): void => {
      clearTimeout(timer);
      redis.off('ready', onReady);
      redis.off('error', remember);
      settle();
    };
    const onReady = (): void => finish(resolve);
    const timer = setTimeout(() => {
      if (redis.status === 'connect') cause = NOT_READY;
      const settings = settingsOf(redis, undefined, variable);
      const why =
        cause === undefined
          ? `does not answer; ${adviceOnSilence(settings)}`
          : `can't be used: ${withAdvice(explainRedisError(cause, settings), settings)}`;
      const error = new TallyError('REDIS_AWAY', `Redis at ${placeOf(redis)} ${why}`, { cause });
      finish(() => reject(error));
    }, timeoutMs);
    redis.on('ready', onReady);
    redis.on('error', remember);
  });
}

/** Most explanations say what to do; the others get advice that always helps. */
function withAdvice(explanation: string, settings: RedisSettings): string {
  if (explanation.includes('; ')) return explanation;
  return `${explanation}; ${adviceOnSilence(settings)}`;
}

function placeOf({ options }: Redis): string {
  const { sentinels, name, path } = options;
  if (path) return path;
  if (!sentinels) return `${options.host}:${options.port}`;
  return `${sentinels.map(({ host, port }) => `${host}:${port}`).join(', ')} (master ${name})`;
}
