//! Handing a restored database over to those who asked for it: only after it was proven, to
//! the namespaces that they named, until a stated moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::server::{Login, PodServer};
use crate::drill::checks::sql::ask_value;
use crate::drill::restored::{ConnectError, connect_anywhere};
use crate::kubernetes::cnpg::resources;
use crate::kubernetes::names::SCRATCH_CLUSTER;
use crate::kubernetes::scratch::{self, PlacedSecret};
use crate::kubernetes::{Kube, KubeError, KubeErrorKind, names};

/// PostgreSQL's port.
const PORT: u16 = 5432;
/// How long the operator may take to give the owner its password, and the server to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long one statement may take.
const STATEMENT: Duration = Duration::from_secs(30);

/// As whom people log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LoginRole {
    /// As the owner of the application's database.
    #[default]
    Owner,
    /// As the superuser `postgres`.
    Superuser,
}

impl LoginRole {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Superuser => "superuser",
        }
    }

    /// The end of the name of the operator's Secret.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Owner => "app",
            Self::Superuser => "superuser",
        }
    }
}

/// To whom, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// The request, for labels.
    pub request: Uuid,
    /// The guarded cluster, for labels.
    pub cluster: String,
    /// The run that restored it: its label is on the namespace.
    pub run: Uuid,
    /// The scratch namespace.
    pub namespace: String,
    /// The namespaces whose pods are let in.
    pub from: BTreeSet<String>,
    /// As whom they log in.
    pub role: LoginRole,
    /// Whether their transactions only read, unless a session says otherwise.
    pub read_only: bool,
    /// Namespace and name of a Secret with all that is needed to connect, beside the
    /// operator's own in the scratch namespace.
    pub secret: Option<(String, String)>,
    /// Until when: a sweep removes the namespace then, whatever becomes of walproof.
    pub until: DateTime<Utc>,
}

/// How the restored database is reached. Names of Secrets, never what is in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// Its Service's name in the cluster's DNS.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The application's database.
    pub database: String,
    /// Who logs in.
    pub user: String,
    /// The Secret with `username` and `password`.
    pub secret: String,
    /// The scratch namespace, in which that Secret lies.
    pub namespace: String,
    /// The Secret with the authority of the server's certificate (`ca.crt`).
    pub authority: String,
    /// A copy of all of it in a namespace of who asked, `namespace/name`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub copied_to: Option<String>,
    /// The namespaces whose pods are let in.
    pub namespaces: Vec<String>,
    /// Whether transactions only read, unless a session says otherwise.
    pub read_only: bool,
    /// Whether walproof logged in with these very credentials, through the API server.
    pub tried: bool,
}

/// What was handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandedOver {
    /// How it is reached.
    pub connection: Connection,
    /// The Secret that was made outside of the scratch namespace.
    pub placed: Option<PlacedSecret>,
    /// Until when the scratch namespace was kept.
    pub until: DateTime<Utc>,
}

/// Gives a restored database to who asked for it. It was kept by its drill, and is as confined
/// as that found it: what comes in is let in here, and nothing more goes out. `note` writes
/// down what was made outside of the scratch namespace, before anybody is let in.
///
/// # Errors
///
/// The API or the server does not answer, or refuses. What was opened by then goes with the
/// namespace.
pub async fn hand_over(
    kube: &Kube,
    wish: &HandOver,
    note: impl AsyncFnOnce(PlacedSecret) -> Result<(), KubeError>,
) -> Result<HandedOver, KubeError> {
    let namespace = wish.namespace.as_str();
    let about = Recovered::read(kube, namespace).await?;
    let login =
        until_there(async || Login::read(kube, namespace, wish.role.suffix()).await).await?;
    if wish.read_only {
        let server = about.superuser(kube, wish).await?;
        read_only(&server, &login.user).await?;
    }
    log_in(kube, wish, &about, &login).await?;
    scratch::keep(kube, namespace, wish.run, wish.until).await?;
    let mut connection = Connection {
        host: format!("{SCRATCH_CLUSTER}-rw.{namespace}.svc"),
        port: PORT,
        database: about.database.clone(),
        user: login.user.clone(),
        secret: format!("{SCRATCH_CLUSTER}-{}", wish.role.suffix()),
        namespace: namespace.to_owned(),
        authority: format!("{SCRATCH_CLUSTER}-ca"),
        copied_to: None,
        namespaces: wish.from.iter().cloned().collect(),
        read_only: wish.read_only,
        tried: true,
    };
    let placed = match &wish.secret {
        None => None,
        Some((place, name)) => {
            let labels = BTreeMap::from([
                (names::REQUEST.to_owned(), wish.request.to_string()),
                (names::CLUSTER.to_owned(), names::label_value(&wish.cluster)),
            ]);
            let data = content(&connection, &login);
            let of = (namespace, wish.run);
            let placed = scratch::place_secret(kube, (place, name), of, labels, data).await?;
            connection.copied_to = Some(format!("{place}/{name}"));
            Some(placed)
        }
    };
    let noted = match placed.clone() {
        Some(placed) => note(placed).await,
        None => Ok(()),
    };
    // Last: whoever comes in finds all of it.
    let opened = match noted {
        Ok(()) => scratch::open(kube, namespace, wish.run, &wish.from).await,
        Err(error) => Err(error),
    };
    if let Err(error) = opened {
        if let Some(placed) = &placed {
            // The first trouble is the one to tell of.
            let _ = scratch::remove_secret(kube, placed).await;
        }
        return Err(error);
    }
    Ok(HandedOver {
        connection,
        placed,
        until: wish.until,
    })
}

/// What the recovery Cluster says of itself.
struct Recovered {
    primary: String,
    database: String,
}

impl Recovered {
    async fn read(kube: &Kube, namespace: &str) -> Result<Self, KubeError> {
        let action = format!("read cluster {namespace}/{SCRATCH_CLUSTER}");
        let missing = |what: &str| {
            KubeError::new(
                KubeErrorKind::NotFound,
                &action,
                format!("it has no {what}"),
            )
        };
        let found = resources::read(kube, &resources::cluster(), namespace, SCRATCH_CLUSTER)
            .await?
            .ok_or_else(|| KubeError::new(KubeErrorKind::NotFound, &action, "it is gone"))?;
        let text = |pointer: &str| {
            let text = found.pointer(pointer).and_then(Value::as_str);
            text.map(str::to_owned).ok_or_else(|| missing(pointer))
        };
        Ok(Self {
            primary: text("/status/currentPrimary")?,
            database: text("/spec/bootstrap/recovery/database")?,
        })
    }

    async fn superuser(&self, kube: &Kube, wish: &HandOver) -> Result<PodServer, KubeError> {
        // The major version matters to checks alone.
        PodServer::open(kube, &wish.namespace, &self.primary, 0, wish.run).await
    }
}

/// Asks until there is an answer that is not "there is none", at most a minute.
async fn until_there<T>(
    mut ask: impl AsyncFnMut() -> Result<T, KubeError>,
) -> Result<T, KubeError> {
    let until = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(error) if error.kind == KubeErrorKind::NotFound && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            answer => return answer,
        }
    }
}

fn refused(action: &str, words: impl std::fmt::Display) -> KubeError {
    KubeError::new(KubeErrorKind::Other, action, words.to_string())
}

/// Lets the role's transactions only read, unless a session says otherwise.
async fn read_only(server: &PodServer, role: &str) -> Result<(), KubeError> {
    let action = "make the restored database read only";
    let settings = [("statement_timeout", format!("{}ms", STATEMENT.as_millis()))];
    let mut connection = connect_anywhere(server, &settings)
        .await
        .map_err(|error| refused(action, error))?;
    let role = role.replace('"', "\"\"");
    let sql = format!("ALTER ROLE \"{role}\" SET default_transaction_read_only = on");
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(&mut connection)
        .await
        .map(|_| ())
        .map_err(|error| refused(action, error))
}

/// Logs in as those will who asked, and asks one question.
async fn log_in(
    kube: &Kube,
    wish: &HandOver,
    about: &Recovered,
    login: &Login,
) -> Result<(), KubeError> {
    let action = format!("log in to the restored database as {}", login.user);
    let server =
        PodServer::open_as(kube, &wish.namespace, &about.primary, 0, wish.run, login).await?;
    let settings = [("statement_timeout", format!("{}ms", STATEMENT.as_millis()))];
    let until = Instant::now() + PATIENCE;
    loop {
        match server.log_in(&about.database, &settings).await {
            Ok(mut connection) => {
                let answer = ask_value(&mut connection, "SELECT pg_catalog.pg_is_in_recovery()")
                    .await
                    .map_err(|error| refused(&action, error))?;
                return match answer.as_deref() {
                    Some("f") => Ok(()),
                    _ => Err(refused(&action, "the server is still in recovery")),
                };
            }
            // The operator gives the owner its password when the server is up; until then it
            // is that of the source.
            Err(ConnectError::NotYet(_) | ConnectError::Refused { .. })
                if Instant::now() < until =>
            {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => return Err(refused(&action, error)),
        }
    }
}

/// What the Secret of a person holds: the keys that programs and the operator's own Secrets
/// use.
fn content(connection: &Connection, login: &Login) -> BTreeMap<String, Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut uri = url::Url::parse("postgresql://host").ok();
    if let Some(uri) = uri.as_mut() {
        // Fails only for URLs without a host.
        let _ = uri.set_host(Some(&connection.host));
        let _ = uri.set_port(Some(connection.port));
        let _ = uri.set_username(&login.user);
        let _ = uri.set_password(Some(&login.password));
        uri.set_path(&connection.database);
        uri.set_query(Some("sslmode=require"));
    }
    let mut content = BTreeMap::from([
        ("username".to_owned(), text(&login.user)),
        ("password".to_owned(), text(&login.password)),
        ("host".to_owned(), text(&connection.host)),
        ("port".to_owned(), text(&connection.port.to_string())),
        ("dbname".to_owned(), text(&connection.database)),
        ("ca.crt".to_owned(), login.authority.clone()),
    ]);
    if let Some(uri) = uri {
        content.insert("uri".to_owned(), text(uri.as_str()));
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_persons_secret_holds_all_that_a_program_needs() {
        let connection = Connection {
            host: "drill-rw.walproof-request-orders-1.svc".to_owned(),
            port: PORT,
            database: "app".to_owned(),
            user: "app".to_owned(),
            secret: "drill-app".to_owned(),
            namespace: "walproof-request-orders-1".to_owned(),
            authority: "drill-ca".to_owned(),
            copied_to: None,
            namespaces: vec!["shop".to_owned()],
            read_only: false,
            tried: true,
        };
        let login = Login {
            user: "app".to_owned(),
            password: "p@ss/word".to_owned(),
            authority: b"PEM".to_vec(),
        };
        let content = content(&connection, &login);
        let text = |key: &str| String::from_utf8(content[key].clone()).unwrap();
        assert_eq!(
            text("uri"),
            "postgresql://app:p%40ss%2Fword@drill-rw.walproof-request-orders-1.svc:5432/app?sslmode=require"
        );
        assert_eq!(text("password"), "p@ss/word");
        assert_eq!(text("ca.crt"), "PEM");
        // What is reported of it says nothing of what is in it.
        let shown = serde_json::to_string(&connection).unwrap();
        assert!(!shown.contains("p@ss"), "{shown}");
    }
}
