import type { UIConfig } from '@bull-board/api/typings/app';
import type { Site } from './site.ts';

const POLL_SECONDS = 5;

type Palette = NonNullable<NonNullable<UIConfig['theme']>['light']>;

const FONTS: Palette = {
  'font-sans': 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif',
  'font-mono': 'ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace',
};

// The colours of our own pages (page-style.ts) under Bull Board's names.
const LIGHT: Palette = {
  ...FONTS,
  background: '#f5f6f8',
  foreground: '#1c2430',
  card: '#ffffff',
  'card-foreground': '#1c2430',
  popover: '#ffffff',
  primary: '#2563eb',
  'primary-foreground': '#ffffff',
  'muted-foreground': '#5b6776',
  accent: '#dbe6fd',
  'accent-foreground': '#1c2430',
  destructive: '#b42318',
  border: '#e2e6eb',
  input: '#e2e6eb',
  ring: '#2563eb',
  sidebar: '#ffffff',
  'sidebar-foreground': '#1c2430',
  'sidebar-border': '#e2e6eb',
};
const DARK: Palette = {
  ...FONTS,
  background: '#12161c',
  foreground: '#e4e8ee',
  card: '#1a2028',
  'card-foreground': '#e4e8ee',
  popover: '#1a2028',
  primary: '#7aa7ff',
  'primary-foreground': '#12161c',
  'muted-foreground': '#98a4b3',
  accent: '#22345a',
  'accent-foreground': '#e4e8ee',
  destructive: '#ff8a7d',
  border: '#2b333e',
  input: '#2b333e',
  ring: '#7aa7ff',
  sidebar: '#1a2028',
  'sidebar-foreground': '#e4e8ee',
  'sidebar-border': '#2b333e',
};

/** Bull Board in Tally's name, version, logo and colours, with the menu of our own pages. */
export function boardLook({ links, version, environment }: Site): UIConfig {
  return {
    boardTitle: `Tally ${version}`,
    boardLogo: { path: links.logo, width: 20, height: 20 },
    favIcon: { default: links.logo, alternative: links.logo },
    ...(environment === undefined
      ? {}
      : { environment: { label: environment, color: '#92600a', textColor: '#ffffff' } }),
    theme: { light: LIGHT, dark: DARK },
    // Each poll of an open tab costs about 35 Redis commands.
    pollingInterval: { showSetting: true, forceInterval: POLL_SECONDS },
    hideDocsLink: true,
    miscLinks: [
      { text: 'Overview', url: links.overview },
      { text: 'Executions', url: links.executions },
    ],
  };
}
