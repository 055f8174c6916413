import { writeFileSync } from 'node:fs';
import { BASE_FILE, kustomizeBase } from './kustomize.ts';

writeFileSync(BASE_FILE, await kustomizeBase());
