//! Which Kubernetes a command works with.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{Context, Failure};
use crate::config::Config;
use crate::kubernetes::Access;
use crate::operation::secrets::access_of;

/// Which Kubernetes; wins over the configuration.
#[derive(Args, Clone, Debug, Default)]
pub struct AccessArgs {
    /// A kubeconfig file [default: the configuration's, else KUBECONFIG, else
    /// ~/.kube/config, else the pod's ServiceAccount]
    #[arg(help_heading = "Kubernetes", long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context in it [default: the configuration's, else the current one]
    #[arg(help_heading = "Kubernetes", long, value_name = "NAME")]
    pub context: Option<String>,
}

impl AccessArgs {
    /// Puts them over the configuration.
    pub fn apply(&self, config: &mut Config) {
        if self.kubeconfig.is_some() {
            config.kubernetes.kubeconfig.clone_from(&self.kubeconfig);
        }
        if self.context.is_some() {
            config.kubernetes.context.clone_from(&self.context);
        }
    }

    /// The access that holds: what is said here wins over the configuration.
    pub fn access(&self, context: &Context) -> Result<Access, Failure> {
        let mut config = context.config()?;
        self.apply(&mut config);
        Ok(access_of(&config.kubernetes))
    }
}
