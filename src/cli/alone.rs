//! `--alone`: proof from one copy while the others cannot be reached.

use clap::{Args, ValueEnum};

use crate::config::AloneSetting;
use crate::operation::alone::asked_by;
use crate::repository::AloneAsked;

/// What a copy that answers means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AloneArg {
    /// It was no proof from one copy alone.
    Required,
    /// It is recorded.
    Report,
    /// Nobody asks.
    No,
}

/// Whether the other copies must be out of reach.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct AloneArgs {
    /// Prove it from this copy alone: ask every other copy of the cluster before and after,
    /// and leave it unproven if one answers; with report only record what they say
    #[arg(
        long,
        value_name = "WHAT",
        num_args = 0..=1,
        default_missing_value = "required",
        require_equals = true,
        hide_possible_values = true
    )]
    pub alone: Option<AloneArg>,
}

impl AloneArgs {
    /// What is asked: as the command line says, else as the definition does.
    pub fn over(self, setting: AloneSetting) -> AloneAsked {
        match self.alone {
            Some(AloneArg::Required) => AloneAsked::Required,
            Some(AloneArg::Report) => AloneAsked::Report,
            Some(AloneArg::No) => AloneAsked::No,
            None => asked_by(setting),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins_over_the_definition() {
        let over = |alone, setting| AloneArgs { alone }.over(setting);
        assert_eq!(over(None, AloneSetting::Required), AloneAsked::Required);
        assert_eq!(over(None, AloneSetting::No), AloneAsked::No);
        let no = Some(AloneArg::No);
        assert_eq!(over(no, AloneSetting::Required), AloneAsked::No);
        let report = Some(AloneArg::Report);
        assert_eq!(over(report, AloneSetting::Required), AloneAsked::Report);
        let required = Some(AloneArg::Required);
        assert_eq!(over(required, AloneSetting::Report), AloneAsked::Required);
    }
}
