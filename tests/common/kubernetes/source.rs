//! Clusters under load whose history of rows is known to the microsecond.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::store::{Store, secret};
use super::{Lab, Namespace};
use crate::common::process::{self, Server};
use crate::common::s3::{ADMIN, READER};
use crate::common::scratch;

/// How a Cluster archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Through the Barman Cloud plugin and an ObjectStore.
    Plugin,
    /// Through the operator, `spec.backup.barmanObjectStore`.
    InTree,
    /// As the plugin form, on volumes that can be copied by snapshots.
    Snapshot,
}

/// A row of the history, by the server's own record of its commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Rows are numbered from 1, without gaps, in the order of their commits.
    pub number: u64,
    /// The commit's time as it stands in WAL, which recovery targets are held against.
    pub committed: DateTime<Utc>,
}

/// A moment between two commits.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The moment.
    pub at: DateTime<Utc>,
    /// The last row before it: rows 1 to this one are there at that moment, no others.
    pub rows: u64,
}

/// A Cluster `orders` in a namespace of its own, archiving into a folder of its own.
#[derive(Debug)]
pub struct Source {
    lab: &'static Lab,
    /// Its namespace.
    pub namespace: Namespace,
    /// Where it archives.
    pub store: &'static Store,
    /// How it archives.
    pub form: Form,
    log: tempfile::TempDir,
    load: Mutex<Option<Server>>,
}

/// Inserts a row every 50 ms, each its own transaction, and ends a WAL segment every 10 s.
const LOAD: &str = "do $$ begin loop \
    for i in 1 .. 200 loop \
        insert into history (note) values (repeat(md5(random()::text), 20)); \
        commit; \
        perform pg_sleep(0.05); \
    end loop; \
    perform pg_switch_wal(); \
end loop; end $$";

impl Source {
    /// The name of the Cluster, and of its folder in the bucket.
    pub const CLUSTER: &'static str = "orders";
    /// The application's database, and its owner.
    pub const DATABASE: &'static str = "shop";
    /// The Secret with credentials that may write.
    pub const WRITER: &'static str = "store-writer";
    /// The Secret with credentials that may only read.
    pub const READER: &'static str = "store-reader";
    /// The ObjectStore of the plugin form.
    pub const OBJECT_STORE: &'static str = "store";

    /// The shared source in the plugin form, with a base backup and archived WAL after it.
    pub fn plugin(lab: &'static Lab) -> &'static Self {
        static SOURCE: OnceLock<Source> = OnceLock::new();
        SOURCE.get_or_init(|| Self::under_load(lab, Form::Plugin))
    }

    /// The same in the in-tree form; `None`, loudly, with an operator that has it no more.
    pub fn in_tree(lab: &'static Lab) -> Option<&'static Self> {
        static SOURCE: OnceLock<Source> = OnceLock::new();
        if !lab.in_tree {
            super::shout("the in-tree form: NOT TESTED, this CloudNativePG has it no more");
            return None;
        }
        Some(SOURCE.get_or_init(|| Self::under_load(lab, Form::InTree)))
    }

    /// The same with a backup by volume snapshots beside the one in the store; `None`,
    /// loudly, where the cluster has no snapshots.
    pub fn snapshot(lab: &'static Lab) -> Option<&'static Self> {
        static SOURCE: OnceLock<Source> = OnceLock::new();
        if lab.snapshots.is_none() {
            super::shout("volume snapshots: NOT TESTED, this cluster has none");
            return None;
        }
        Some(SOURCE.get_or_init(|| Self::under_load(lab, Form::Snapshot)))
    }

    /// A source of the test's own: load, one base backup, some archived WAL after it.
    pub fn under_load(lab: &'static Lab, form: Form) -> Self {
        let source = Self::idle(lab, form);
        source.start_load();
        source.backup("first", form);
        source.wait_for_rows(50);
        source.archive();
        source
    }

    /// A source of the test's own: a Cluster that is ready and archives, with an empty
    /// history, and no backup.
    pub fn idle(lab: &'static Lab, form: Form) -> Self {
        let store = Store::first(lab);
        let name = match form {
            Form::Plugin => "plugin",
            Form::InTree => "intree",
            Form::Snapshot => "snapshot",
        };
        let source = Self {
            lab,
            namespace: lab.namespace(name),
            store,
            form,
            log: scratch::directory(),
            load: Mutex::new(None),
        };
        let namespace = source.name();
        let mut objects = vec![
            secret(namespace, Self::WRITER, ADMIN),
            secret(namespace, Self::READER, READER),
        ];
        if form != Form::InTree {
            objects.push(
                json!({"apiVersion": "barmancloud.cnpg.io/v1", "kind": "ObjectStore",
                "metadata": {"name": Self::OBJECT_STORE, "namespace": namespace},
                "spec": {"configuration": source.configuration()}}),
            );
        }
        objects.push(source.manifest());
        lab.apply(&objects);
        let cluster = format!("cluster/{}", Self::CLUSTER);
        lab.wait(
            namespace,
            &cluster,
            "condition=Ready",
            Duration::from_mins(10),
        );
        source.sql("create table history (n bigint generated always as identity primary key, note text not null); alter table history owner to shop");
        source.archive();
        source
    }

    /// Its namespace's name.
    pub fn name(&self) -> &str {
        &self.namespace.name
    }

    /// The folder in the bucket below which the server's folder lies.
    pub fn folder(&self) -> &str {
        self.name()
    }

    /// The repository's URL.
    pub fn url(&self) -> String {
        format!("s3://{}/{}/{}", Store::BUCKET, self.folder(), Self::CLUSTER)
    }

    /// The ObjectStore's `configuration`, or the `barmanObjectStore`.
    pub fn configuration(&self) -> Value {
        let key = |key: &str| json!({"name": Self::WRITER, "key": key});
        json!({
            "destinationPath": format!("s3://{}/{}/", Store::BUCKET, self.folder()),
            "endpointURL": self.store.endpoint(),
            "s3Credentials": {
                "accessKeyId": key("ACCESS_KEY_ID"),
                "secretAccessKey": key("SECRET_ACCESS_KEY"),
            },
            "wal": {"compression": "gzip"},
            "data": {"compression": "gzip", "immediateCheckpoint": true},
        })
    }

    fn manifest(&self) -> Value {
        let mut spec = json!({
            "instances": 1,
            "imageName": self.lab.postgres_image,
            "storage": {"size": "1Gi"},
            "bootstrap": {"initdb": {"database": Self::DATABASE, "owner": Self::DATABASE,
                "dataChecksums": true}},
            "postgresql": {"parameters": {
                "track_commit_timestamp": "on",
                "max_connections": "80",
            }},
            "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}},
        });
        match self.form {
            Form::InTree => {
                spec["backup"] = json!({"barmanObjectStore": self.configuration()});
            }
            Form::Plugin | Form::Snapshot => {
                spec["plugins"] = json!([{"name": "barman-cloud.cloudnative-pg.io",
                    "isWALArchiver": true,
                    "parameters": {"barmanObjectName": Self::OBJECT_STORE}}]);
            }
        }
        if self.form == Form::Snapshot {
            let (storage, snapshots) = self.lab.snapshots.clone().unwrap();
            spec["storage"]["storageClass"] = json!(storage);
            spec["backup"] = json!({"volumeSnapshot": {"className": snapshots, "online": true,
                "onlineConfiguration": {"immediateCheckpoint": true}}});
        }
        json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster",
            "metadata": {"name": Self::CLUSTER, "namespace": self.name()}, "spec": spec})
    }

    /// What a query gives, as `psql -qAt` prints it.
    #[track_caller]
    pub fn sql(&self, query: &str) -> String {
        self.psql(Self::DATABASE, query)
    }

    #[track_caller]
    fn psql(&self, database: &str, query: &str) -> String {
        let pod = format!("{}-1", Self::CLUSTER);
        self.lab.ask(&[
            "-n",
            self.name(),
            "exec",
            &pod,
            "-c",
            "postgres",
            "--",
            "psql",
            "-X",
            "-qAt",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
            "-c",
            query,
        ])
    }

    /// Begins to write, until the test binary ends or [`Self::stop_load`].
    pub fn start_load(&self) {
        let pod = format!("{}-1", Self::CLUSTER);
        let server = Server::start(
            &self.lab.kubectl,
            &[
                "--kubeconfig",
                self.lab.kubeconfig.to_str().unwrap(),
                "-n",
                self.name(),
                "exec",
                &pod,
                "-c",
                "postgres",
                "--",
                "env",
                "PGAPPNAME=load",
                "psql",
                "-X",
                "-qAt",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                Self::DATABASE,
                "-c",
                LOAD,
            ],
            &[],
            false,
            "KILL",
            &self.log.path().join("load"),
        );
        *self.load.lock().unwrap() = Some(server);
        self.wait_for_rows(1);
    }

    /// Ends the writing, for good when this returns.
    pub fn stop_load(&self) {
        *self.load.lock().unwrap() = None;
        self.sql("select pg_terminate_backend(pid, 10000) from pg_stat_activity where application_name = 'load'");
    }

    /// Waits until so many more rows are there.
    pub fn wait_for_rows(&self, more: u64) {
        let begin = self.rows();
        process::wait_until(Duration::from_mins(3), "rows", || {
            if let Some(load) = &mut *self.load.lock().unwrap() {
                assert!(
                    !load.ended(),
                    "the load ended by itself: {}",
                    std::fs::read_to_string(self.log.path().join("load")).unwrap_or_default()
                );
            }
            self.rows() >= begin + more
        });
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.sql("select coalesce(max(n), 0) from history")
            .parse()
            .unwrap()
    }

    /// Every row with the time of its commit.
    pub fn history(&self) -> Vec<Row> {
        let text = self.sql(
            "select n, (extract(epoch from pg_xact_commit_timestamp(xmin)) * 1000000)::bigint \
             from history order by n",
        );
        text.lines()
            .map(|line| {
                let (number, micros) = line.split_once('|').unwrap();
                Row {
                    number: number.parse().unwrap(),
                    committed: DateTime::from_timestamp_micros(micros.parse().unwrap()).unwrap(),
                }
            })
            .collect()
    }

    /// A moment between two neighbouring commits, after the newest base backup, with archived
    /// WAL on both of its sides. Which one: `choice` between 0 and 1.
    pub fn moment(&self, choice: f64) -> Moment {
        self.wait_for_rows(20);
        let begin = self.newest_backup_end();
        let history = self.history();
        self.archive();
        let pairs: Vec<(Row, Row)> = history
            .windows(2)
            .map(|pair| (pair[0], pair[1]))
            .filter(|(earlier, later)| {
                earlier.committed > begin
                    && later.committed - earlier.committed > chrono::TimeDelta::milliseconds(10)
            })
            .collect();
        assert!(pairs.len() > 5, "too few rows since {begin}");
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a choice among a few hundred"
        )]
        let index = (choice.clamp(0.0, 1.0) * (pairs.len() - 1) as f64) as usize;
        let (earlier, later) = pairs[index];
        Moment {
            at: earlier.committed + (later.committed - earlier.committed) / 2,
            rows: earlier.number,
        }
    }

    /// When the newest completed Backup ended.
    pub fn newest_backup_end(&self) -> DateTime<Utc> {
        let text = self
            .lab
            .ask(&["-n", self.name(), "get", "backups", "-o", "json"]);
        let list: Value = serde_json::from_str(&text).unwrap();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|backup| backup["status"]["phase"] == "completed")
            .filter_map(|backup| backup["status"]["stoppedAt"].as_str())
            .map(|at| at.parse::<DateTime<Utc>>().unwrap())
            .max()
            .expect("no backup is completed")
    }

    /// Ends the segment that is being written, and waits until it is in the archive. Gives
    /// its name.
    pub fn archive(&self) -> String {
        // An empty segment would not be ended.
        let segment = self.sql(
            "select pg_logical_emit_message(false, 'test', 'end of segment'); \
             select pg_walfile_name(pg_switch_wal())",
        );
        let segment = segment.lines().last().unwrap().to_owned();
        let query = format!(
            "select coalesce(last_archived_wal >= '{segment}', false) from pg_stat_archiver"
        );
        process::wait_until(Duration::from_mins(4), "the archive", || {
            self.sql(&query) == "t"
        });
        segment
    }

    /// Takes a backup with this form's method and waits until the operator calls it
    /// completed. Gives the `Backup`.
    pub fn backup(&self, name: &str, form: Form) -> Value {
        let mut spec = json!({"cluster": {"name": Self::CLUSTER}});
        match form {
            Form::Plugin => {
                spec["method"] = json!("plugin");
                spec["pluginConfiguration"] = json!({"name": "barman-cloud.cloudnative-pg.io"});
            }
            Form::InTree => spec["method"] = json!("barmanObjectStore"),
            Form::Snapshot => spec["method"] = json!("volumeSnapshot"),
        }
        self.lab.apply(&[
            json!({"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup",
            "metadata": {"name": name, "namespace": self.name()}, "spec": spec}),
        ]);
        let object = format!("backup/{name}");
        self.lab.wait(
            self.name(),
            &object,
            "jsonpath={.status.phase}=completed",
            Duration::from_mins(5),
        );
        self.lab.get(self.name(), &object).unwrap()
    }
}
