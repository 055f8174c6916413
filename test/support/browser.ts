import { existsSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { chromium, type BrowserContext, type Page } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/**
 * A name that the browser finds at 127.0.0.1. To a browser it is an ordinary host, while it trusts localhost as if
 * it had TLS.
 */
export const OTHER_HOST = 'tally.test';

/**
 * Starts a system Chromium with a new profile.
 * @param user what it answers when a page asks for a password
 * @throws when there is none: the set-up of the tests installs it
 */
export async function openBrowser(user?: {
  readonly user: string;
  readonly password: string;
}): Promise<BrowserContext> {
  const profile = mkdtempSync(join(tmpdir(), 'tally-browser-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env['CHROMIUM_PATH'] ?? findChromium(),
    headless: true,
    viewport: { width: 1280, height: 800 },
    ...(user === undefined
      ? {}
      : { httpCredentials: { username: user.user, password: user.password } }),
    args: [
      '--no-sandbox',
      `--host-resolver-rules=MAP ${OTHER_HOST} 127.0.0.1`,
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  // Chromium's helpers write for a moment longer than it lives; what they leave is a folder of the system's temporary ones.
  context.on('close', () => {
    rm(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }).catch(
      () => undefined,
    );
  });
  return context;
}

/**
 * Opens a page that notes what must not happen: an error in its console, a request to another host, a script of
 * somebody else that asks something.
 */
export async function openPage(
  browser: BrowserContext,
  url: string,
): Promise<{ readonly page: Page; readonly problems: readonly string[] }> {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  const problems: string[] = [];
  page.on('console', (message) => {
    // A busy machine has a 503 now and then: an update that took too long, which the page tries again.
    if (message.type() === 'error' && !message.text().includes('status of 503')) {
      problems.push(message.text());
    }
  });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('request', (request) => {
    const asked = request.url();
    if (!asked.startsWith(url) && !asked.startsWith('data:')) problems.push(asked);
  });
  page.on('dialog', (dialog) => {
    problems.push(`a script ran: ${dialog.message()}`);
    void dialog.dismiss();
  });
  return { page, problems };
}

function findChromium(): string {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const found = folders
    .flatMap((folder) => NAMES.map((name) => join(folder, name)))
    .find((path) => existsSync(path));
  if (found === undefined) {
    throw new Error('no Chromium on PATH; run the tests with: npm test (or set CHROMIUM_PATH)');
  }
  return found;
}
