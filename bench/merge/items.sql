-- Two tables of the same items, one per statement.
CREATE TABLE classic_item (id int PRIMARY KEY, att jsonb) WITH (fillfactor = 60);
CREATE TABLE walrank_item (id int PRIMARY KEY, att jsonb) WITH (fillfactor = 60);
INSERT INTO classic_item SELECT n, map(n, all_keys(), '2026-01-01') FROM generate_series(0, :items - 1) n;
INSERT INTO walrank_item SELECT id, walrank.merge(NULL, att) FROM classic_item;
VACUUM ANALYZE classic_item, walrank_item;
