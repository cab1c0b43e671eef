//! The configuration of a restored server: walproof's own, never the one that came with
//! the backup. Everything here is pure: facts in, text out.

mod conf_file;
mod kept;
mod preload;
mod server;

pub use conf_file::{ConfSetting, parse_conf, quote_value};
pub use kept::{KeptSettings, SetAsideSetting, SettingsReview, review_settings};
pub use preload::{PreloadReview, review_preload};
pub use server::{
    ClientAccess, RecoveryAction, RecoverySettings, ServerSettings, pg_hba_conf, postgresql_conf,
};
