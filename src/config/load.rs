//! Reading configuration files: every mistake at once, or a value that can be relied on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::Mistake;
use super::tree::Node;
use super::{
    Cluster, ConfigErrors, ConfigFile, Credentials, DaemonConfig, DrillDefinition,
    KubernetesConfig, Notifications, RequestsConfig, Schedule, SecretSource, StateUrl, Telemetry,
    Tier, Zone, check, cross, cross_schedule, default_state_directory, schema, suggest, tree,
};

/// A configuration file is at most this long, in bytes.
const LIMIT: u64 = 4 << 20;

/// A drill definition and the file it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedDrill {
    /// The file.
    pub file: PathBuf,
    /// What it says.
    pub definition: DrillDefinition,
}

/// A configuration without mistakes. Paths in it are absolute or relative to where
/// walproof runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file it came from; `None` when there is none.
    pub file: Option<PathBuf>,
    /// Where walproof keeps its state.
    pub state: StateUrl,
    /// What groups of clusters promise.
    pub tiers: BTreeMap<String, Tier>,
    /// The guarded clusters, in the order of the file.
    pub clusters: Vec<Cluster>,
    /// The drill definitions, by file name.
    pub drills: Vec<LoadedDrill>,
    /// The zone of schedules and blackouts that name none.
    pub time_zone: Zone,
    /// What the daemon runs, in the order of the file.
    pub schedules: Vec<Schedule>,
    /// How the daemon works.
    pub daemon: DaemonConfig,
    /// Who is told when something is wrong; nobody when it is left out.
    pub notifications: Option<Notifications>,
    /// Where traces of the work go.
    pub telemetry: Telemetry,
    /// How the API of Kubernetes is reached.
    pub kubernetes: KubernetesConfig,
    /// For how long what people ask to have back stays.
    pub requests: RequestsConfig,
}

impl Default for Config {
    /// What holds without a configuration file: no clusters, state in its default place.
    fn default() -> Self {
        Self {
            file: None,
            state: StateUrl::sqlite(default_state_directory().join("state.sqlite")),
            tiers: BTreeMap::new(),
            clusters: Vec::new(),
            drills: Vec::new(),
            time_zone: Zone::UTC,
            schedules: Vec::new(),
            daemon: DaemonConfig::default(),
            notifications: None,
            telemetry: Telemetry::default(),
            kubernetes: KubernetesConfig::default(),
            requests: RequestsConfig::default(),
        }
    }
}

impl Config {
    /// The cluster of this name.
    pub fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.clusters.iter().find(|cluster| cluster.name == name)
    }

    /// The objectives of a cluster; empty when it has no tier.
    pub fn tier_of(&self, cluster: &Cluster) -> Tier {
        cluster
            .tier
            .as_ref()
            .and_then(|name| self.tiers.get(name))
            .cloned()
            .unwrap_or_default()
    }

    /// The drill of this name.
    pub fn drill(&self, name: &str) -> Option<&LoadedDrill> {
        self.drills
            .iter()
            .find(|drill| drill.definition.name == name)
    }

    /// The drills that are defined for a cluster.
    pub fn drills_of(&self, cluster: &str) -> impl Iterator<Item = &LoadedDrill> {
        self.drills
            .iter()
            .filter(move |drill| drill.definition.clusters.iter().any(|name| name == cluster))
    }

    /// Where every secret that this configuration needs is found.
    pub fn secret_sources(&self) -> Vec<&SecretSource> {
        let mut sources: Vec<&SecretSource> = Vec::new();
        for cluster in &self.clusters {
            for (_, copy) in cluster.copies() {
                let credentials = copy.credentials.as_ref();
                sources.extend(
                    credentials
                        .into_iter()
                        .flat_map(Credentials::sources)
                        .map(|(_, source)| source),
                );
            }
        }
        if let Some(notifications) = &self.notifications {
            sources.extend(notifications.secret_sources());
        }
        if let Some(otlp) = &self.telemetry.otlp {
            sources.extend(otlp.headers.values());
        }
        sources
    }

    /// The name that was probably meant, for "unknown cluster".
    pub fn cluster_like(&self, name: &str) -> Option<&str> {
        suggest::nearest(
            name,
            self.clusters.iter().map(|cluster| cluster.name.as_str()),
        )
    }
}

/// A checked document: what it says and where.
pub(super) struct Document<T> {
    pub(super) file: PathBuf,
    pub(super) tree: Node,
    pub(super) content: T,
}

/// The files of a configuration, as far as they can be told: the main one, and behind it
/// those with drill definitions, whether they have mistakes or not. Where the main file
/// cannot be read at all, those that a configuration without `drills` has.
pub fn files(file: &Path) -> Vec<PathBuf> {
    let base = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut mistakes = Vec::new();
    let drills = match shape(file, &schema::config(), &mut mistakes) {
        Some((tree, value)) => drill_files(file, &tree, value.get("drills"), &base, &mut mistakes),
        None => expand(&base, "drills/*.yaml").unwrap_or_default(),
    };
    std::iter::once(file.to_owned()).chain(drills).collect()
}

/// Reads a configuration with the drill definitions that it names. Reports every mistake
/// in all of these files at once.
pub fn load(file: &Path) -> Result<Config, ConfigErrors> {
    let mut mistakes = Vec::new();
    let Some((tree, value)) = shape(file, &schema::config(), &mut mistakes) else {
        return Err(found(mistakes, file));
    };
    let main_is_whole = mistakes.is_empty();
    let base = file.parent().unwrap_or(Path::new("")).to_owned();
    let mut drills: Vec<Document<DrillDefinition>> = Vec::new();
    for path in drill_files(file, &tree, value.get("drills"), &base, &mut mistakes) {
        drills.extend(read(&path, &schema::drill(), &mut mistakes));
    }
    if !main_is_whole {
        for drill in &drills {
            cross::check_drill(drill, &mut mistakes);
        }
        return Err(found(mistakes, file));
    }
    let Some(mut main) = document::<ConfigFile>(file, tree, value, &mut mistakes) else {
        return Err(found(mistakes, file));
    };
    cross::check(&main, &drills, &mut mistakes);
    cross_schedule::check(&main, &drills, &mut mistakes);
    if let Some(errors) = ConfigErrors::from_mistakes(mistakes) {
        return Err(errors);
    }
    for cluster in &mut main.content.clusters {
        let site = cluster.kubernetes.as_mut();
        if let Some(kubeconfig) = site
            .and_then(|kubernetes| kubernetes.disaster_site.as_mut())
            .and_then(|site| site.kubeconfig.as_mut())
        {
            *kubeconfig = base.join(&*kubeconfig);
        }
        let replicas = cluster.replicas.iter_mut();
        for repository in std::iter::once(&mut cluster.primary).chain(replicas) {
            if let Some(ca_file) = &mut repository.ca_file {
                *ca_file = base.join(&*ca_file);
            }
            if let Some(file) = repository.ca.as_mut().and_then(|ca| ca.file.as_mut()) {
                *file = base.join(&*file);
            }
            if let Some(credentials) = &mut repository.credentials {
                credentials.resolve_paths(&base);
            }
        }
    }
    let mut content = main.content;
    if let Some(notifications) = &mut content.notifications {
        notifications.resolve_paths(&base);
    }
    if let Some(telemetry) = &mut content.telemetry {
        telemetry.resolve_paths(&base);
    }
    if let Some(kubeconfig) = content
        .kubernetes
        .as_mut()
        .and_then(|kubernetes| kubernetes.kubeconfig.as_mut())
    {
        *kubeconfig = base.join(&*kubeconfig);
    }
    if let Some(template) = content
        .daemon
        .kubernetes
        .as_mut()
        .and_then(|kubernetes| kubernetes.template.as_mut())
    {
        *template = base.join(&*template);
    }
    Ok(Config {
        file: Some(file.to_owned()),
        state: state_of(
            content.state,
            content.state_password,
            content.state_directory,
            &base,
        ),
        tiers: content.tiers,
        clusters: content.clusters,
        drills: drills
            .into_iter()
            .map(|drill| LoadedDrill {
                file: drill.file,
                definition: drill.content,
            })
            .collect(),
        time_zone: content.time_zone.unwrap_or_default(),
        schedules: content.schedules,
        daemon: content.daemon,
        notifications: content.notifications,
        telemetry: content.telemetry.unwrap_or_default(),
        kubernetes: content.kubernetes.unwrap_or_default(),
        requests: content.requests,
    })
}

/// The state database with what belongs to it, paths taken below `base`.
fn state_of(
    url: Option<StateUrl>,
    password: Option<SecretSource>,
    directory: Option<PathBuf>,
    base: &Path,
) -> StateUrl {
    let mut state = url.map_or_else(|| Config::default().state, |state| state.below(base));
    if let Some(mut password) = password {
        password.file = password.file.map(|file| base.join(file));
        state = state.with_password(password);
    }
    if let Some(directory) = directory {
        state = state.with_directory(base.join(directory));
    }
    state
}

/// Reads one drill definition that stands on its own.
pub fn load_drill(file: &Path) -> Result<LoadedDrill, ConfigErrors> {
    let mut mistakes = Vec::new();
    let document: Option<Document<DrillDefinition>> = read(file, &schema::drill(), &mut mistakes);
    if let Some(document) = &document {
        cross::check_drill(document, &mut mistakes);
    }
    match (document, ConfigErrors::from_mistakes(mistakes)) {
        (Some(document), None) => Ok(LoadedDrill {
            file: document.file,
            definition: document.content,
        }),
        (_, Some(errors)) => Err(errors),
        (None, None) => Err(found(Vec::new(), file)),
    }
}

fn found(mistakes: Vec<Mistake>, file: &Path) -> ConfigErrors {
    ConfigErrors::from_mistakes(mistakes)
        .unwrap_or_else(|| Mistake::new(file, None, "the file could not be read").into())
}

/// Reads and checks one file along its schema. With a mistake of shape the content is not
/// complete, so there is none.
fn read<T: DeserializeOwned>(
    file: &Path,
    schema: &Value,
    mistakes: &mut Vec<Mistake>,
) -> Option<Document<T>> {
    let before = mistakes.len();
    let (tree, value) = shape(file, schema, mistakes)?;
    if mistakes.len() > before {
        return None;
    }
    document(file, tree, value, mistakes)
}

/// The same for what is in hand as a tree.
pub(super) fn parsed<T: DeserializeOwned>(
    file: &Path,
    tree: Node,
    schema: &Value,
    mistakes: &mut Vec<Mistake>,
) -> Option<Document<T>> {
    let (value, found) = check::check(file, &tree, schema);
    if !found.is_empty() {
        mistakes.extend(found);
        return None;
    }
    document(file, tree, value, mistakes)
}

/// The tree of a file and what was right in it.
fn shape(file: &Path, schema: &Value, mistakes: &mut Vec<Mistake>) -> Option<(Node, Value)> {
    let parsed = read_text(file).and_then(|text| tree::parse(file, &text));
    match parsed {
        Ok(tree) => {
            let (value, found) = check::check(file, &tree, schema);
            mistakes.extend(found);
            Some((tree, value))
        }
        Err(mistake) => {
            mistakes.push(mistake);
            None
        }
    }
}

fn document<T: DeserializeOwned>(
    file: &Path,
    tree: Node,
    value: Value,
    mistakes: &mut Vec<Mistake>,
) -> Option<Document<T>> {
    match serde_json::from_value(value) {
        Ok(content) => Some(Document {
            file: file.to_owned(),
            tree,
            content,
        }),
        Err(error) => {
            mistakes.push(Mistake::new(file, None, error.to_string()));
            None
        }
    }
}

fn read_text(file: &Path) -> Result<String, Mistake> {
    use std::io::Read as _;

    let wrong = |message: String| Mistake::new(file, None, message);
    let mut text = String::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(LIMIT + 1).read_to_string(&mut text))
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => wrong("there is no such file".to_owned())
                .with_help("`walproof init` writes a commented starter"),
            std::io::ErrorKind::InvalidData => wrong("not text (UTF-8)".to_owned()),
            _ => wrong(format!("cannot be read: {error}")),
        })?;
    if text.len() as u64 > LIMIT {
        return Err(wrong(format!("larger than {LIMIT} bytes")));
    }
    Ok(text)
}

/// The files with drill definitions: those named under `drills`, else `drills/*.yaml`.
fn drill_files(
    file: &Path,
    tree: &Node,
    patterns: Option<&Value>,
    base: &Path,
    mistakes: &mut Vec<Mistake>,
) -> Vec<PathBuf> {
    let Some(patterns) = patterns.and_then(Value::as_array) else {
        return expand(base, "drills/*.yaml").unwrap_or_default();
    };
    let mut files = Vec::new();
    for (index, pattern) in patterns.iter().enumerate() {
        // What is no text has been named as a mistake.
        let Some(pattern) = pattern.as_str() else {
            continue;
        };
        let path = [tree::Step::Key("drills"), tree::Step::Index(index)];
        let mistake = |what: &str| {
            Mistake::new(
                file,
                Some(tree.place_of(&path)),
                format!("`drills[{index}]`: {pattern:?}{what}"),
            )
        };
        match expand(base, pattern) {
            Ok(found) if !found.is_empty() => files.extend(found),
            Ok(_) => mistakes.push(
                mistake(" matches no file")
                    .with_help(format!("looked below {}", shown(base).display())),
            ),
            Err(cause) => mistakes.push(mistake(&format!(": {cause}"))),
        }
    }
    files.sort();
    files.dedup();
    files
}

fn shown(base: &Path) -> &Path {
    if base.as_os_str().is_empty() {
        Path::new(".")
    } else {
        base
    }
}

/// The files that a pattern names, sorted. A directory stands for its `*.yaml`; `*` is
/// allowed once, in the file's name.
fn expand(base: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = base.join(pattern);
    let (directory, name) = if path.is_dir() {
        (path, "*.yaml".to_owned())
    } else {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Err("not a file's name".to_owned());
        };
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        (directory, name.to_owned())
    };
    if directory.to_string_lossy().contains('*') {
        return Err("`*` is allowed in the file's name only".to_owned());
    }
    let Some((begin, end)) = name.split_once('*') else {
        let file = directory.join(name);
        return Ok(if file.is_file() {
            vec![file]
        } else {
            Vec::new()
        });
    };
    if end.contains('*') {
        return Err("`*` is allowed once".to_owned());
    }
    let entries = match std::fs::read_dir(shown(&directory)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| error.to_string())?.file_name();
        let Some(name) = name.to_str() else { continue };
        let matches = name.len() >= begin.len() + end.len()
            && name.starts_with(begin)
            && name.ends_with(end)
            && !name.starts_with('.');
        if matches {
            files.push(directory.join(name));
        }
    }
    files.sort();
    Ok(files)
}
