import type { Page } from 'playwright-core';

/** Executions that fail for the first cause, which the operator removes; all others fail for the second. */
export const REPAIRED = 150;

/**
 * After which step somebody looks: all have failed, the page of the first cause is open, its failures are retried, the
 * overview is open again.
 */
type Step = 'failed' | 'cause' | 'retried' | 'repaired';

export interface TwoCauses {
  /** The overview, open. */
  readonly page: Page;
  readonly database: { query(sql: string): Promise<unknown> };
  readonly ids: readonly number[];
  /** Asks for a refresh of all of them. */
  readonly request: () => Promise<void>;
  readonly look: (step: Step) => Promise<void>;
}

/**
 * A round of an operator: executions fail for two causes, which comes to the open overview by itself; the operator removes
 * one cause and retries, by keyboard, exactly those that failed for it.
 */
export async function repairOneOfTwoCauses({
  page,
  database,
  ids,
  request,
  look,
}: TwoCauses): Promise<void> {
  const refuse = async (name: string, error: string, some: readonly number[]): Promise<void> => {
    await database.query(
      `CREATE FUNCTION public.${name}() RETURNS trigger LANGUAGE plpgsql AS
       $$ BEGIN RAISE EXCEPTION '${error}', NEW.id; END $$`,
    );
    await database.query(
      `CREATE TRIGGER ${name} BEFORE UPDATE ON execution FOR EACH ROW
         WHEN (OLD.id = ANY ('{${some.join(',')}}')) EXECUTE FUNCTION public.${name}()`,
    );
  };
  await refuse('quota', 'the quota of project % is used up', ids.slice(0, REPAIRED));
  await refuse('lock', 'project % is locked', ids.slice(REPAIRED));
  await request();
  const failed = page.locator('.tile', { hasText: 'Failed' }).locator('a');
  await failed.getByText(String(ids.length), { exact: true }).waitFor();
  await look('failed');

  await database.query('DROP FUNCTION public.quota CASCADE');
  await page.getByRole('link', { name: `Show and retry these ${REPAIRED}` }).click();
  const button = page.getByRole('button', { name: `Retry these ${REPAIRED}` });
  await button.waitFor();
  await look('cause');
  await button.focus();
  await page.keyboard.press('Enter');
  await page.getByText(`Asked for ${REPAIRED} refreshes`).waitFor();
  await page.getByText('None of the newest failures has this cause any more.').waitFor();
  await look('retried');

  await page.getByRole('link', { name: 'Overview' }).click();
  await failed.getByText(String(ids.length - REPAIRED), { exact: true }).waitFor();
  await look('repaired');
}
