import { contenderTable, measureContenders } from './contenders-command.ts';
import type { Servers } from './servers.ts';

/** A refresh too many is allowed by the contract (at least once), but not as a habit. */
const DOUBLED_SHARE = 0.01;

/**
 * Runs Tally from outbox rows and from a filled queue, and checks the result.
 * @returns the exit code: 1 when an execution was lost or is wrong, or many were refreshed twice
 */
export async function smallRun(servers: Servers, executions: number): Promise<number> {
  const measured = await measureContenders(servers, {
    executions,
    tasks: 7,
    rounds: 1,
    only: ['tally-2', 'tally-queue-1'],
    warmUp: false,
  });
  console.log(contenderTable(measured));
  const bad = measured.flatMap(({ contender, rounds }) =>
    rounds.flatMap(({ verdict }) => {
      if (verdict === undefined) return [`${contender.name}: not checked`];
      const { lost, disagreements, doubled } = verdict;
      if (lost === 0 && disagreements === 0 && doubled <= executions * DOUBLED_SHARE) return [];
      return [`${contender.name}: ${lost} lost, ${disagreements} wrong, ${doubled} doubled`];
    }),
  );
  for (const line of bad) console.error(`bench: ${line}`);
  return bad.length === 0 ? 0 : 1;
}
