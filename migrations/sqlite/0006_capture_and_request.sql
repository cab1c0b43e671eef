-- New kinds of jobs, schedules and runs: definitions captured, and requests of people. A CHECK
-- constraint can only be changed in the schema's own text, which is safe because every row that
-- was allowed is allowed still (SQLite manual, "ALTER TABLE", 7).
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
SET sql = replace(sql,
    '''verify'', ''replicate'', ''drill'', ''report'', ''sweep''',
    '''verify'', ''replicate'', ''drill'', ''report'', ''sweep'', ''capture'', ''request''')
WHERE type = 'table' AND name IN ('jobs', 'schedules');
UPDATE sqlite_schema
SET sql = replace(sql,
    '''replicate'', ''compare'', ''expire''',
    '''replicate'', ''compare'', ''expire'', ''capture'', ''request''')
WHERE type = 'table' AND name = 'runs';
PRAGMA writable_schema = RESET;
