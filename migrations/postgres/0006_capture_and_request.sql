-- New kinds of jobs, schedules and runs: definitions captured, and requests of people.
ALTER TABLE jobs
    DROP CONSTRAINT jobs_kind_check,
    ADD CONSTRAINT jobs_kind_check CHECK (kind IN
        ('verify', 'replicate', 'drill', 'report', 'sweep', 'capture', 'request'));
ALTER TABLE schedules
    DROP CONSTRAINT schedules_kind_check,
    ADD CONSTRAINT schedules_kind_check CHECK (kind IN
        ('verify', 'replicate', 'drill', 'report', 'sweep', 'capture', 'request'));
ALTER TABLE runs
    DROP CONSTRAINT runs_kind,
    ADD CONSTRAINT runs_kind CHECK (kind IN
        ('verify', 'drill', 'restore', 'backup', 'replicate', 'compare', 'expire', 'capture',
         'request'));
