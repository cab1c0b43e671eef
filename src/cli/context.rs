//! What every command is given.

use std::path::{Path, PathBuf};

use super::{Failure, GlobalArgs, Interrupt, Output, Palette, Progress};
use crate::config::{self, Config, StateUrl};

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
    ) -> Self {
        Self {
            output,
            progress,
            error_palette,
            interrupt,
            config_file: global.config.clone(),
            state: global.state.clone(),
        }
    }

    /// The configuration file that holds here: `--config`, else `./walproof.yaml`, else
    /// `/etc/walproof/walproof.yaml`, else none.
    pub fn config_file(&self) -> Option<PathBuf> {
        self.config_file.clone().or_else(|| {
            ["walproof.yaml", "/etc/walproof/walproof.yaml"]
                .into_iter()
                .map(Path::new)
                .find(|path| path.exists())
                .map(Path::to_owned)
        })
    }

    /// The configuration, or what holds without one. `--state` wins over what it says.
    pub fn config(&self) -> Result<Config, Failure> {
        let mut config = match self.config_file() {
            Some(file) => config::load(&file)?,
            None => Config::default(),
        };
        if let Some(state) = &self.state {
            config.state = state.clone();
        }
        Ok(config)
    }
}
