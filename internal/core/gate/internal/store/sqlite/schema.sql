CREATE TABLE head (
  id INTEGER PRIMARY KEY CHECK (id = 1), schema INTEGER NOT NULL, cell TEXT NOT NULL, epoch TEXT NOT NULL,
  leader_epoch INTEGER NOT NULL, revision INTEGER NOT NULL, time INTEGER NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL
) STRICT;
-- A live record is its newest history row.
CREATE TABLE record (
  kind TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, revision INTEGER NOT NULL,
  PRIMARY KEY (kind, tenant, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE history (
  revision INTEGER PRIMARY KEY CHECK (revision > 0), kind TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,
  action TEXT NOT NULL, actor TEXT NOT NULL, request TEXT NOT NULL, time INTEGER NOT NULL, seq INTEGER NOT NULL, data BLOB
) STRICT;
CREATE INDEX history_of ON history (kind, tenant, name, revision);
CREATE TABLE leaf (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE node (id INTEGER PRIMARY KEY, hash BLOB NOT NULL) STRICT;
-- What the leaves commit to; deleting a row here erases it and leaves every proof valid.
CREATE TABLE payload (
  seq INTEGER PRIMARY KEY, salts BLOB NOT NULL, tenant BLOB, actor BLOB, name BLOB,
  old INTEGER NOT NULL, new INTEGER NOT NULL, reason BLOB, context BLOB
) STRICT;
CREATE TABLE reply (
  actor TEXT NOT NULL, key TEXT NOT NULL, epoch TEXT NOT NULL, hash BLOB NOT NULL, time INTEGER NOT NULL, results TEXT NOT NULL,
  PRIMARY KEY (actor, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX reply_time ON reply (time);
CREATE TABLE session (
  hash BLOB PRIMARY KEY, kind TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL, epoch TEXT NOT NULL,
  created INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
