-- A live record is its newest history row, which history_of finds: a table of
-- their revisions said nothing more and cost every write a second tree of names.
DROP TABLE record;
