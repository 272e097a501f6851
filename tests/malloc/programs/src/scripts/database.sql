-- A table of words and numbers: filled, indexed, joined, updated, deleted from, and checked.
PRAGMA journal_mode = OFF;
PRAGMA cache_size = -65536;
CREATE TABLE entry (id INTEGER PRIMARY KEY, word TEXT, weight REAL, body BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
INSERT INTO entry SELECT i, printf('%08x', i * 2654435761 % 4294967296), i % 1000 / 7.0, zeroblob(i % 300) FROM n;
CREATE INDEX by_word ON entry (word);
CREATE INDEX by_weight ON entry (weight, word);
SELECT count(*), sum(length(body)), min(word), max(word) FROM entry;
SELECT substr(word, 1, 2) AS start, count(*), round(avg(weight), 6), group_concat(id % 10, '') FROM entry
    WHERE id % 37 = 0 GROUP BY start ORDER BY 2 DESC, start LIMIT 10;
UPDATE entry SET word = upper(word), body = body || word WHERE id % 3 = 0;
DELETE FROM entry WHERE id % 5 = 0;
SELECT count(*) FROM entry a JOIN entry b ON b.word = lower(a.word) AND a.id % 11 = 1;
SELECT id, word, length(body) FROM entry ORDER BY weight DESC, word LIMIT 5;
VACUUM;
PRAGMA integrity_check;
