import { until } from './wait.ts';

/** A worker, producer or dashboard, in this process or in its own. */
interface Speaker {
  said(text: RegExp): Promise<string>;
}

/** Waits until a process listens. @returns the address of its health pages */
export async function healthAddress(speaker: Speaker): Promise<string> {
  const line = await speaker.said(/"msg":"(worker|producer|dashboard)\b.*http:/);
  return /http:\S+?:\d+/.exec(line)?.[0] ?? '';
}

export async function readyStatus(speaker: Speaker): Promise<number> {
  return (await fetch(`${await healthAddress(speaker)}/readyz`)).status;
}

/** Waits until a process is ready; on a busy machine a store may be slower than a single look allows. */
export async function untilReady(speaker: Speaker): Promise<void> {
  await until('it to be ready', async () => (await readyStatus(speaker)) === 200);
}

export async function metricsOf(speaker: Speaker): Promise<string> {
  return (await fetch(`${await healthAddress(speaker)}/metrics`)).text();
}

/** How many attempts a worker has used up. */
export async function attemptsUsed(worker: Speaker): Promise<number> {
  return Number(/outcome="failed"\} (\d+)/.exec(await metricsOf(worker))?.[1] ?? 0);
}
