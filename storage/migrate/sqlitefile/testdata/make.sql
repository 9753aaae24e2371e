-- sqlite3 tree.db <make.sql: small pages, so that a small file has trees of
-- three levels and rows on many pages.
PRAGMA page_size=512;
CREATE TABLE `things` (`id` integer NOT NULL PRIMARY KEY AUTOINCREMENT, "a, (b" text DEFAULT ('x,)'), [n] bigint NULL, real_ real, `blob` blob, CONSTRAINT c CHECK (n <> 7));
CREATE INDEX by_n ON things (n);
WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE i<300)
INSERT INTO things (id, "a, (b", n, real_, blob)
SELECT i*3, CASE i%4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN 'text ' || i ELSE replace(hex(zeroblob(i*2)), '00', 'ä' || (i%10)) END,
  CASE i%7 WHEN 0 THEN NULL WHEN 1 THEN i WHEN 2 THEN -i*100 WHEN 3 THEN i*100000 WHEN 4 THEN -9223372036854775807 WHEN 5 THEN i*10000000000 ELSE i%2 END,
  CASE i%3 WHEN 0 THEN i/8.0 WHEN 1 THEN NULL ELSE -i END, x'00ff10' FROM c;
ALTER TABLE things ADD COLUMN later text DEFAULT 'none';
UPDATE things SET later='set' WHERE id=300;
CREATE TABLE empty (x);
CREATE TABLE plain (name text, UNIQUE (name));
INSERT INTO plain VALUES ('one'), ('two');
DELETE FROM plain WHERE name='one';
