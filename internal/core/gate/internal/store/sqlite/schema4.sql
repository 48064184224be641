-- Where a session was opened from, by which proof, and whether by two factors.
-- Older sessions are the machine's: nothing else opened any for the command line.
ALTER TABLE session ADD COLUMN source TEXT NOT NULL DEFAULT '';
ALTER TABLE session ADD COLUMN proof TEXT NOT NULL DEFAULT 'machine';
ALTER TABLE session ADD COLUMN mfa INTEGER NOT NULL DEFAULT 0;
