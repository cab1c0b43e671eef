//! What every command is given.

use std::path::{Path, PathBuf};

use super::{Failure, GlobalArgs, Interrupt, Output, Palette, Progress};
use crate::config::{self, Config, StateUrl};
use crate::daemon::{Overlay, merge};
use crate::state::{self, State};

/// What every command is given.
#[derive(Clone, Debug)]
pub struct Context {
    /// Standard output.
    pub output: Output,
    /// Progress on standard error.
    pub progress: Progress,
    /// The colours of standard error.
    pub error_palette: Palette,
    /// Becomes true when walproof is asked to stop.
    pub interrupt: Interrupt,
    pub(super) config_file: Option<PathBuf>,
    pub(super) state: Option<StateUrl>,
}

impl Context {
    pub(super) fn new(
        global: &GlobalArgs,
        output: Output,
        error_palette: Palette,
        progress: Progress,
        interrupt: Interrupt,
    ) -> Result<Self, Failure> {
        // Parsed here and not by clap, which repeats a value that it refuses: there may be
        // a password in it.
        let state = global
            .state
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(|error: crate::config::ParseStateUrlError| {
                Failure::usage(format_args!("--state: {error}"))
            })?;
        Ok(Self {
            output,
            progress,
            error_palette,
            interrupt,
            config_file: global.config.clone(),
            state,
        })
    }

    /// The configuration file that holds here: `--config`, else `./walproof.yaml`, else
    /// `/etc/walproof/walproof.yaml`, else none.
    pub fn config_file(&self) -> Option<PathBuf> {
        config_file(self.config_file.as_deref())
    }

    /// The configuration, or what holds without one. `--state` wins over what it says.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = match self.config_file() {
            Some(file) => config::load(&file)?,
            None => Config::default(),
        };
        if let Some(state) = &self.state {
            config.state = state.clone().in_place_of(&config.state);
        }
        Ok(config)
    }

    /// The configuration with what custom resources add to it, where a controller is configured:
    /// as the daemon told the state last. For answers about everything: what cannot be read is an
    /// error, for a cluster that is left out of such an answer would pass for a healthy one.
    pub async fn whole_config(&self) -> Result<Config, Failure> {
        let config = self.config()?;
        if config.kubernetes.controller.is_none() {
            return Ok(config);
        }
        Ok(match declared(&config).await? {
            Some(overlay) => merge(&config, &overlay).config,
            None => config,
        })
    }

    /// The same for work on what is named: where the state does not answer, what the file declares
    /// is enough for its own clusters, and a note says what is not known.
    pub async fn known_config(&self) -> Result<Config, Failure> {
        let config = self.config()?;
        match self.whole_config().await {
            Ok(whole) => Ok(whole),
            Err(failure) => {
                self.progress.print(&format!(
                    "{} without what custom resources declare: {}\n",
                    self.error_palette.yellow("note:"),
                    failure.message
                ));
                Ok(config)
            }
        }
    }

    /// The configuration in which a source is looked up: with what custom resources add to it,
    /// unless it is a URL, or a cluster of the file.
    pub async fn config_for(&self, source: &str) -> Result<Config, Failure> {
        let config = self.config()?;
        if source.contains("://") || config.cluster(source).is_some() {
            return Ok(config);
        }
        self.known_config().await
    }

    /// The state that the configuration names.
    pub async fn state(&self, config: &Config) -> Result<State, Failure> {
        Ok(State::open(&config.state).await?)
    }
}

/// What the controller kept in the state.
async fn declared(config: &Config) -> Result<Option<Overlay>, Failure> {
    let Some(body) = state::declared(&config.state).await? else {
        return Ok(None);
    };
    let overlay = serde_json::from_value(body);
    overlay.map(Some).map_err(|error| {
        Failure::unproven(format_args!(
            "what the daemon kept of custom resources is of another version: {error}"
        ))
        .with_hint("use the version of walproof that the daemon is, as in its own pod")
    })
}

/// The configuration file that holds here, by what `--config` says.
pub(super) fn config_file(given: Option<&Path>) -> Option<PathBuf> {
    given.map(Path::to_owned).or_else(|| {
        ["walproof.yaml", "/etc/walproof/walproof.yaml"]
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists())
            .map(Path::to_owned)
    })
}
