//! Load that makes every kind of WAL record we speak about.

use super::server::Server;

/// Tables, indexes of every kind, bulk loads, large objects, subtransactions, two-phase
/// transactions, tablespaces, records far longer than a page, restore points, switches.
pub(crate) fn mixed(server: &Server) {
    shrink(server);
    server.sql(
        "create table bulk as select g as id, md5(g::text) as word, repeat('x', 200) as pad
             from generate_series(1, 20000) g;
         create index on bulk using btree (word);
         create index on bulk using hash (word);
         create index on bulk using brin (id);
         create table shapes (p point, words tsvector, r int4range);
         create index on shapes using gist (r);
         create index on shapes using spgist (p);
         create index on shapes using gin (words);
         insert into shapes select point(g, g), to_tsvector('simple', md5(g::text)),
             int4range(g, g + 5) from generate_series(1, 3000) g;
         create sequence s; select setval('s', 50) \\g /dev/null
         create unlogged table fleeting as select 1;
         select pg_create_restore_point('before the drop') \\g /dev/null
         create table doomed (id int, t text); insert into doomed values (1, repeat('y', 5000));
         begin; truncate doomed; insert into doomed values (2, 'z'); commit;
         drop table doomed;
         begin; create table never (id int); insert into never values (1); rollback;
         begin; insert into bulk values (-1, 'a', 'b'); savepoint one;
             insert into bulk values (-2, 'a', 'b'); savepoint two; delete from bulk where id < 10;
             rollback to two; release one; commit;
         begin; insert into bulk values (-3, 'two', 'phase'); prepare transaction 'pay-1';
         begin; create table t2 (id int); prepare transaction 'pay-2';
         begin; drop table shapes; prepare transaction 'pay-3';
         commit prepared 'pay-1'; rollback prepared 'pay-2'; commit prepared 'pay-3';
         create table waiting (id int);
         begin; insert into waiting values (1); prepare transaction 'left open';
         select lo_from_bytea(0, convert_to(repeat('large object ', 20000), 'utf8')) \\g /dev/null
         create tablespace here location ''; create table there (id int) tablespace here;
         insert into there select generate_series(1, 100); drop table there; drop tablespace here;
         create database other; drop database other;
         create tablespace here location ''; create database moved;
         alter database moved set tablespace here; drop database moved; drop tablespace here;
         create table loaded (id int); copy loaded from program 'seq 1 30000';
         vacuum full pg_class; vacuum full pg_database;
         vacuum full bulk; vacuum freeze bulk;
         select pg_logical_emit_message(false, 'test', repeat('long ', 700000)) \\g /dev/null
         select pg_switch_wal() \\g /dev/null
         select pg_create_restore_point('quarter''s end') \\g /dev/null
         select pg_switch_wal() \\g /dev/null
         select pg_logical_emit_message(true, 'test', repeat('m', 20)) \\g /dev/null",
    );
}

/// A table whose end VACUUM gives back, which it does when nobody looks on.
fn shrink(server: &Server) {
    server.sql(
        "create table shrinking as select g as id, repeat('s', 500) as pad
             from generate_series(1, 3000) g;
         delete from shrinking where id > 20;",
    );
    for _ in 0..100 {
        server.sql("vacuum shrinking");
        if server.sql("select pg_relation_size('shrinking') < 100000") == "t" {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("VACUUM gave nothing back");
}

/// What only a server with `wal_level=logical` writes, and what only some majors do.
pub(crate) fn logical(server: &Server) {
    server.sql(
        "create table parent (id serial primary key); insert into parent default values;
         create table child (id int references parent);
         truncate parent restart identity cascade; truncate child;",
    );
    if server.installation().major >= 15 {
        server.sql("create database copied strategy file_copy; drop database copied;");
    }
}

/// Small transactions, with page images compressed by every method in turn.
pub(crate) fn transactions(server: &Server) {
    server.pgbench(&["-i", "-q", "-s", "2"]);
    // Methods have names since 15; builds without zstd know fewer.
    let methods = server.sql(
        "select coalesce(array_to_string(enumvals, ' '), 'on off')
         from pg_settings where name = 'wal_compression'",
    );
    for method in methods.split(' ') {
        server.sql(&format!("alter system set wal_compression = '{method}'"));
        server.sql("select pg_reload_conf()");
        server.sql("checkpoint");
        server.pgbench(&["-n", "-c", "4", "-j", "2", "-t", "150"]);
    }
}
