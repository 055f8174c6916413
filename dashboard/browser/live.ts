import { morph } from './morph.ts';

const ANSWER_LIMIT_MS = 10_000;

// Page frame: what the server sends on every page (page.ts).
const main = document.querySelector('main');
const connection = document.querySelector('#connection');
const seconds = Number(document.body.dataset['liveSeconds']);

let timer: number | undefined;
let isAsking = false;
let lostSince: Date | undefined;

/** Asks for this page again and updates what has changed. Never rejects. */
async function update(): Promise<void> {
  if (isAsking || main === null) return;
  isAsking = true;
  try {
    const fresh = await askForMain();
    const focused = document.activeElement;
    morph(main, fresh);
    // Moving an element to another place takes the focus from it.
    if (focused !== document.activeElement && focused instanceof HTMLElement) {
      focused.focus({ preventScroll: true });
    }
    lostSince = undefined;
    say('');
    document.dispatchEvent(new Event('tally:updated'));
  } catch (error) {
    lostSince ??= new Date();
    const reason = error instanceof Refused ? ` (${error.message})` : '';
    say(
      `Connection to Tally lost at ${lostSince.toLocaleTimeString()}${reason}. The figures are from before; this page keeps trying.`,
    );
  } finally {
    isAsking = false;
  }
}

class Refused extends Error {}

async function askForMain(): Promise<Element> {
  const asked = location.href;
  const address = new URL(location.href);
  // What was asked for with a button is said once.
  address.searchParams.delete('asked');
  const response = await fetch(address, {
    headers: { accept: 'text/html' },
    signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
  });
  const text = await response.text();
  const fresh = new DOMParser().parseFromString(text, 'text/html').querySelector('main');
  // A page that says what is unavailable comes with an error's status, but it is a page.
  if (fresh === null) throw new Refused(`answer ${response.status}`);
  // Something else was chosen meanwhile, for example another range of the charts.
  return location.href === asked ? fresh : askForMain();
}

function say(text: string): void {
  if (connection !== null && connection.textContent !== text) connection.textContent = text;
}

async function updateAndWait(): Promise<void> {
  clearTimeout(timer);
  await update();
  clearTimeout(timer);
  // A hidden tab costs nothing; it updates as soon as it is looked at.
  if (!document.hidden) timer = setTimeout(() => void updateAndWait(), seconds * 1_000);
}

if (seconds > 0) {
  timer = setTimeout(() => void updateAndWait(), seconds * 1_000);
  document.addEventListener('tally:update', () => void updateAndWait());
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (!document.hidden) void updateAndWait();
  });
}
