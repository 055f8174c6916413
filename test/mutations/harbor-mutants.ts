import type { Mutant } from './mutant.ts';

const TRANSFER = 'shared/harbor/transfer.ts';
const INTAKE_KILLED_TEST = 'test/faults/marker-intake-killed.test.ts';

/** Of what moves Harbor's markers in and out. */
export const HARBOR_MUTANTS: readonly Mutant[] = [
  {
    name: 'removes markers before their rows are committed',
    breaks: 'no lost refresh',
    file: TRANSFER,
    edits: [
      [
        '    await this.#record(session, identities);\n    // A process',
        '    await remove(names);\n    await this.#record(session, identities);\n    // A process',
      ],
    ],
    test: [INTAKE_KILLED_TEST, 'any of its steps loses no marker, and the next one finds the rest'],
  },
  {
    name: 'refreshes at once for a marker, whose change is not committed yet',
    breaks: 'no lost refresh: one that was asked for before its change committed',
    file: TRANSFER,
    edits: [["identities, 'marker', this.#delayMs)", "identities, 'marker', 0)"]],
    test: [INTAKE_KILLED_TEST, 'is covered by a row due a full delay later'],
  },
  {
    name: 'forgets markers that Harbor skipped while a removal took long',
    breaks: 'no lost refresh',
    file: TRANSFER,
    edits: [['      await this.settleDoubts(session);\n', '']],
    test: [INTAKE_KILLED_TEST, 'of more than a second is covered by a row written after it'],
  },
  {
    name: 'commits pages although another process holds the lease',
    breaks: 'no lost refresh: two intakes remove markers that neither has recorded',
    file: 'shared/postgres/lease.ts',
    edits: [
      [
        'transaction([{ sql, values }, check], settings)',
        'transaction([{ sql, values }], settings)',
      ],
    ],
    test: [
      'test/integration/shared/postgres/lease.test.ts',
      'a holder whose lease was taken over commits nothing more',
    ],
  },
  {
    name: 'removes exported rows before their markers are written',
    breaks: 'no lost refresh',
    file: 'shared/harbor/export.ts',
    edits: [
      [
        "    await writeMarkers(harbor, format, rows);\n    await session.query('DELETE FROM tally.outbox WHERE id = ANY ($1)', [rows.map(({ id }) => id)]);",
        "    await session.query('DELETE FROM tally.outbox WHERE id = ANY ($1)', [rows.map(({ id }) => id)]);\n    await writeMarkers(harbor, format, rows);",
      ],
    ],
    test: ['test/faults/harbor-export-killed.test.ts', 'any of its steps loses nothing'],
  },
];
