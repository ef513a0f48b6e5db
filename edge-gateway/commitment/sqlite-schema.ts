/**
 * The tables of storage commitments: requests, the instances that they name, and the packs that have to be archived first.
 * References go when their commitment has ended; its row stays a while, for who looks what became of it. Migrations are only added to.
 */

export const commitmentMigrations: readonly string[] = [
  `
  CREATE TABLE commitment (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    requestor TEXT NOT NULL,
    transaction_uid TEXT NOT NULL,
    state TEXT NOT NULL,
    reference_count INTEGER NOT NULL,
    -- SHA-256 of the references: a request that comes again is told from another one under the same Transaction UID.
    fingerprint TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    decided_at_ms INTEGER,
    failed_count INTEGER NOT NULL DEFAULT 0,
    ended_at_ms INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    refusals INTEGER NOT NULL DEFAULT 0,
    last_error TEXT
  ) STRICT;
  CREATE UNIQUE INDEX commitment_active ON commitment (requestor, transaction_uid)
    WHERE state IN ('undecided', 'decided');
  CREATE INDEX commitment_by_state ON commitment (state, requestor, id);
  CREATE INDEX commitment_ended ON commitment (ended_at_ms) WHERE ended_at_ms IS NOT NULL;

  CREATE TABLE reference (
    commitment_id INTEGER NOT NULL REFERENCES commitment (id),
    position INTEGER NOT NULL,
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    -- Whether the packs that it waits for are known.
    located INTEGER NOT NULL DEFAULT 0,
    -- 0: committed; else a Failure Reason; NULL: not decided.
    reason INTEGER,
    PRIMARY KEY (commitment_id, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX reference_undecided ON reference (commitment_id) WHERE reason IS NULL;
  CREATE INDEX reference_unlocated ON reference (commitment_id, position) WHERE reason IS NULL AND located = 0;

  -- Packs that somebody waits for, and who does.
  CREATE TABLE pack (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    pack_id TEXT NOT NULL UNIQUE
  ) STRICT;
  CREATE TABLE wait (
    pack INTEGER NOT NULL REFERENCES pack (id),
    commitment_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (pack, commitment_id, position)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX wait_by_reference ON wait (commitment_id, position);
  `,
];
