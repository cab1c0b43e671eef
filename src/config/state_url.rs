//! The URL of the state database: a SQLite file, or a database in PostgreSQL.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretError, SecretSource, default_state_directory};

/// The URL of the state database: `sqlite:///absolute/path`, `sqlite://relative/path` or
/// `postgres://user@host:port/database?sslmode=verify-full`. Never with a password: with
/// PostgreSQL it knows where the password is found, and which directory on this machine
/// holds the files that are kept beside the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StateUrl(StateDatabase);

/// Which database a [`StateUrl`] names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateDatabase {
    /// The one in this file.
    Sqlite(PathBuf),
    /// One in PostgreSQL.
    Postgres(Box<PostgresState>),
}

/// A state database in PostgreSQL. What is `None` is left to the environment (`PGHOST` and
/// so on), as libpq does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresState {
    text: String,
    /// The server's name or address.
    pub host: Option<String>,
    /// The directory of its Unix socket.
    pub socket: Option<PathBuf>,
    /// Its port.
    pub port: Option<u16>,
    /// The role.
    pub user: Option<String>,
    /// The database.
    pub database: String,
    /// What is asked of TLS.
    pub tls: Option<StateTls>,
    /// The file with the certificates of the authority that is trusted.
    pub root_certificate: Option<PathBuf>,
    /// The file with our own certificate.
    pub certificate: Option<PathBuf>,
    /// The file with its key.
    pub key: Option<PathBuf>,
    /// The directory on this machine for records as files, logs of drills and the like.
    pub directory: PathBuf,
    password: Option<SecretSource>,
}

/// What is asked of TLS; the words of libpq's `sslmode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateTls {
    /// Without it.
    Disable,
    /// With it if the server has it.
    Prefer,
    /// With it, whoever the server is.
    Require,
    /// With a certificate of the authority that is trusted.
    VerifyCa,
    /// With one for the host's name.
    VerifyFull,
}

impl StateTls {
    fn from_word(word: &str) -> Option<Self> {
        Some(match word {
            "disable" => Self::Disable,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => return None,
        })
    }
}

impl PostgresState {
    /// The password, where one is named. It is read anew at every call, so that one that
    /// was replaced is found.
    pub fn password(&self) -> Result<Option<String>, SecretError> {
        self.password
            .as_ref()
            .map(|source| source.read("state_password"))
            .transpose()
    }

    /// Where the password is found, if a place is named.
    pub const fn password_source(&self) -> Option<&SecretSource> {
        self.password.as_ref()
    }

    /// The URL, without a password.
    pub fn url(&self) -> &str {
        &self.text
    }

    fn same_role(&self, other: &Self) -> bool {
        (&self.host, &self.socket, self.port, &self.user)
            == (&other.host, &other.socket, other.port, &other.user)
    }
}

impl StateUrl {
    /// The database in this file.
    pub fn sqlite(path: impl Into<PathBuf>) -> Self {
        Self(StateDatabase::Sqlite(path.into()))
    }

    /// Which database it is.
    pub const fn database(&self) -> &StateDatabase {
        &self.0
    }

    /// The directory of this machine with records and logs: the one that holds the SQLite
    /// file, or the one that was named for a database in PostgreSQL.
    pub fn directory(&self) -> &Path {
        match &self.0 {
            StateDatabase::Postgres(state) => &state.directory,
            StateDatabase::Sqlite(path) => match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            },
        }
    }

    /// The same with relative paths taken below `base`.
    #[must_use]
    pub fn below(mut self, base: &Path) -> Self {
        match &mut self.0 {
            StateDatabase::Sqlite(path) => *path = base.join(&*path),
            StateDatabase::Postgres(state) => {
                let files = [
                    &mut state.root_certificate,
                    &mut state.certificate,
                    &mut state.key,
                ];
                for file in files.into_iter().flatten() {
                    *file = base.join(&*file);
                }
            }
        }
        self
    }

    /// The same with another directory for files, if the database is in PostgreSQL.
    #[must_use]
    pub fn with_directory(mut self, directory: impl Into<PathBuf>) -> Self {
        if let StateDatabase::Postgres(state) = &mut self.0 {
            state.directory = directory.into();
        }
        self
    }

    /// The same with a place where the password is found, if the database is in PostgreSQL.
    #[must_use]
    pub fn with_password(mut self, password: SecretSource) -> Self {
        if let StateDatabase::Postgres(state) = &mut self.0 {
            state.password = Some(password);
        }
        self
    }

    /// The same in place of what a configuration names: the directory for files stays, and
    /// so does the password, if it is for the same role of the same server.
    #[must_use]
    pub fn in_place_of(mut self, configured: &Self) -> Self {
        if let (StateDatabase::Postgres(state), StateDatabase::Postgres(configured)) =
            (&mut self.0, &configured.0)
        {
            state.directory.clone_from(&configured.directory);
            if state.same_role(configured) {
                state.password.clone_from(&configured.password);
            }
        }
        self
    }
}

impl fmt::Display for StateUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            StateDatabase::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            StateDatabase::Postgres(state) => f.write_str(&state.text),
        }
    }
}

/// A text that is no URL of a state database. Never repeats the text, which may hold a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} (expected sqlite:///absolute/path/state.sqlite or postgres://user@host:port/database?sslmode=verify-full)"
)]
pub struct ParseStateUrlError(&'static str);

impl FromStr for StateUrl {
    type Err = ParseStateUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self(StateDatabase::Postgres(Box::new(postgres(text)?))));
        }
        let Some(path) = text.strip_prefix("sqlite://") else {
            return Err(ParseStateUrlError("not the URL of a state database"));
        };
        if path.is_empty() || path.ends_with('/') || path.contains(['?', '#']) {
            return Err(ParseStateUrlError("the URL must end with a file's name"));
        }
        Ok(Self::sqlite(path))
    }
}

fn postgres(text: &str) -> Result<PostgresState, ParseStateUrlError> {
    const PASSWORD: ParseStateUrlError = ParseStateUrlError(
        "a password does not go into the URL; name it under `state_password` in the configuration, or use PGPASSWORD or ~/.pgpass",
    );
    let url = url::Url::parse(text).map_err(|_| ParseStateUrlError("not a URL"))?;
    if url.password().is_some() {
        return Err(PASSWORD);
    }
    // A password with `/`, `?` or `#` in it that was not encoded shows up behind those.
    if url.fragment().is_some() || url.path().contains('@') {
        return Err(ParseStateUrlError(
            "the URL has a part that does not belong there",
        ));
    }
    let database = decoded(url.path().trim_start_matches('/'))?;
    if database.is_empty() || database.contains('/') {
        return Err(ParseStateUrlError(
            "the URL must end with a database's name",
        ));
    }
    let mut state = PostgresState {
        text: url.to_string(),
        host: None,
        socket: None,
        port: url.port(),
        user: Some(decoded(url.username())?).filter(|user| !user.is_empty()),
        database,
        tls: None,
        root_certificate: None,
        certificate: None,
        key: None,
        directory: default_state_directory(),
        password: None,
    };
    if let Some(host) = url.host_str().filter(|host| !host.is_empty()) {
        place(&mut state, &decoded(host)?)?;
    }
    for (name, value) in url.query_pairs() {
        let file = || Some(PathBuf::from(&*value)).filter(|path| !path.as_os_str().is_empty());
        match &*name {
            "sslmode" => {
                let mode = StateTls::from_word(&value).ok_or(ParseStateUrlError(
                    "sslmode is one of disable, prefer, require, verify-ca, verify-full",
                ))?;
                state.tls = Some(mode);
            }
            "sslrootcert" => state.root_certificate = file(),
            "sslcert" => state.certificate = file(),
            "sslkey" => state.key = file(),
            "host" => place(&mut state, &value)?,
            "password" | "sslpassword" | "passfile" => return Err(PASSWORD),
            _ => {
                return Err(ParseStateUrlError(
                    "the URL has an unknown parameter; known are host, sslmode, sslrootcert, sslcert, sslkey",
                ));
            }
        }
    }
    Ok(state)
}

/// A host as libpq takes it: a path is the directory of a Unix socket.
fn place(state: &mut PostgresState, host: &str) -> Result<(), ParseStateUrlError> {
    if host.contains([',', '@']) {
        return Err(ParseStateUrlError(
            "one host is named; several take turns behind one name or address",
        ));
    }
    if host.starts_with('/') {
        state.socket = Some(PathBuf::from(host));
        state.host = None;
    } else {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        state.host = Some(bare.unwrap_or(host).to_owned());
        state.socket = None;
    }
    Ok(())
}

/// The text behind percent signs.
fn decoded(text: &str) -> Result<String, ParseStateUrlError> {
    let wrong = || ParseStateUrlError("the URL has a % that is not followed by two digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let (high, low) = digit(rest.next())
            .zip(digit(rest.next()))
            .ok_or_else(wrong)?;
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| wrong())?);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

impl TryFrom<String> for StateUrl {
    type Error = ParseStateUrlError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StateUrl> for String {
    fn from(url: StateUrl) -> Self {
        url.to_string()
    }
}

impl JsonSchema for StateUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StateUrl".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^(sqlite://.*[^/]|postgres(ql)?://.+)$",
            "description": "sqlite:///absolute/path/state.sqlite (a relative path is taken from this file's directory) or postgres://user@host:port/database?sslmode=verify-full, without a password.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str) -> PostgresState {
        let url: StateUrl = text.parse().unwrap();
        match url.database() {
            StateDatabase::Postgres(state) => (**state).clone(),
            StateDatabase::Sqlite(_) => panic!("{text}"),
        }
    }

    #[test]
    fn files_are_read_and_written_alike() {
        let url: StateUrl = "sqlite:///var/lib/walproof/state.sqlite".parse().unwrap();
        assert_eq!(
            *url.database(),
            StateDatabase::Sqlite("/var/lib/walproof/state.sqlite".into())
        );
        assert_eq!(url.directory(), Path::new("/var/lib/walproof"));
        assert_eq!(url.to_string(), "sqlite:///var/lib/walproof/state.sqlite");
        let relative: StateUrl = "sqlite://state.sqlite".parse().unwrap();
        assert_eq!(relative.directory(), Path::new("."));
        assert_eq!(
            relative.below(Path::new("/etc/walproof")),
            StateUrl::sqlite("/etc/walproof/state.sqlite")
        );
    }

    #[test]
    fn servers_are_read_as_libpq_reads_them() {
        let text =
            "postgres://walproof@db.example:6432/state?sslmode=verify-full&sslrootcert=ca.pem";
        let state = server(text);
        assert_eq!(state.host.as_deref(), Some("db.example"));
        assert_eq!(state.port, Some(6432));
        assert_eq!(state.user.as_deref(), Some("walproof"));
        assert_eq!(state.database, "state");
        assert_eq!(state.tls, Some(StateTls::VerifyFull));
        let url: StateUrl = text.parse().unwrap();
        assert_eq!(url.to_string(), text);
        let StateDatabase::Postgres(state) = url.below(Path::new("/etc/walproof")).0 else {
            panic!("another database");
        };
        assert_eq!(
            state.root_certificate.as_deref(),
            Some(Path::new("/etc/walproof/ca.pem"))
        );

        for (text, socket) in [
            ("postgres:///state?host=/run/postgresql", "/run/postgresql"),
            (
                "postgresql://me@%2Frun%2Fpostgresql/state",
                "/run/postgresql",
            ),
        ] {
            let state = server(text);
            assert_eq!(state.socket.as_deref(), Some(Path::new(socket)), "{text}");
            assert_eq!(state.host, None, "{text}");
        }
        let bare = server("postgres:///a%20b");
        assert_eq!((bare.host, bare.user, bare.port), (None, None, None));
        assert_eq!(bare.database, "a b");
        let six = server("postgres://me@[::1]/state");
        assert_eq!(six.host.as_deref(), Some("::1"));
    }

    #[test]
    fn refusals_never_repeat_what_may_be_secret() {
        for text in [
            "postgres://me:hush@db/state",
            "postgres://me:hush@db",
            "postgres://me:5432/hush@db/state",
            "postgres://me:5432#hush@db/state",
            "postgres://me:5432?hush@db/state",
            "postgres://me:hu/sh@db/hush",
            "postgres://db/state?password=hush",
            "postgres://db/state?sslpassword=hush",
            "postgres://db/state?hush=1",
            "postgres://db/state?sslmode=hush",
            "postgres://a,b/hush",
            "postgres://db",
            "postgres://db/",
            "postgres://db/%zzhush",
            "mysql://me:hush@db",
            "sqlite://",
        ] {
            let error = text.parse::<StateUrl>().expect_err(text).to_string();
            assert!(!error.contains("hush"), "{error}");
            assert!(error.contains("postgres://user@host"), "{error}");
        }
        let error = "postgres://me:hush@db/state"
            .parse::<StateUrl>()
            .unwrap_err();
        assert!(error.to_string().contains("state_password"), "{error}");
    }

    #[test]
    fn another_url_takes_over_what_fits() {
        let password = SecretSource {
            env: Some("STATE_PASSWORD".to_owned()),
            ..SecretSource::default()
        };
        let configured = "postgres://me@db/state".parse::<StateUrl>().unwrap();
        let configured = configured
            .with_directory("/srv/walproof")
            .with_password(password.clone());
        let taken = |text: &str| {
            let url: StateUrl = text.parse().unwrap();
            match url.in_place_of(&configured).0 {
                StateDatabase::Postgres(state) => (state.directory.clone(), state.password),
                StateDatabase::Sqlite(path) => (path, None),
            }
        };
        let files = || PathBuf::from("/srv/walproof");
        assert_eq!(taken("postgres://me@db/other"), (files(), Some(password)));
        // A password is told to nobody else.
        assert_eq!(taken("postgres://me@elsewhere/state"), (files(), None));
        assert_eq!(taken("postgres://you@db/state"), (files(), None));
        assert_eq!(taken("sqlite:///x"), (PathBuf::from("/x"), None));
    }
}
