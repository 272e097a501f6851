-- What the trace `sqlite` is of: a database in memory, with inserts, joins, updates and sorting.
PRAGMA temp_store = MEMORY;
CREATE TABLE owner(id INTEGER PRIMARY KEY, name TEXT, balance REAL);
CREATE TABLE event(id INTEGER PRIMARY KEY, owner INTEGER, at INTEGER, kind TEXT, body BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
INSERT INTO owner SELECT i, 'owner ' || (i * 7919 % 1000), i * 1.5 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
INSERT INTO event SELECT i, 1 + i * 7919 % 500, i * 104729 % 1000000, 'kind ' || (i % 13), zeroblob(20 + i % 300) FROM n;
CREATE INDEX event_owner ON event(owner, at);
CREATE INDEX event_kind ON event(kind);
SELECT kind, count(*), sum(length(body)) FROM event GROUP BY kind ORDER BY 2 DESC, 1;
SELECT name, count(*) FROM owner JOIN event ON event.owner = owner.id GROUP BY name ORDER BY 2 DESC, name LIMIT 20;
SELECT group_concat(name, ',') FROM (SELECT DISTINCT name FROM owner ORDER BY name);
UPDATE event SET kind = upper(kind) || ' ' || at WHERE at % 7 = 0;
DELETE FROM event WHERE at % 3 = 1;
SELECT count(*), max(length(kind)), min(at) FROM event WHERE kind LIKE 'KIND%';
SELECT e.kind, f.kind FROM event e JOIN event f ON f.id = e.id + 1 WHERE e.kind < f.kind ORDER BY e.at, f.at LIMIT 1000;
SELECT json_group_array(json_object('id', id, 'kind', kind)) FROM event WHERE id < 3000;
