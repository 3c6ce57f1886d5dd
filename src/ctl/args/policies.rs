//! What can be typed about policies, as data.
//!
//! Whether a name or a word means anything is for the daemon to say.

use clap::{Args, Subcommand, ValueEnum};

/// `set`
#[derive(Debug, Args)]
pub struct SetArgs {
    /// What is set
    #[arg(value_enum)]
    pub field: SetField,
    /// policy/NAME, and the value: Enabled, Manual, Disabled; Conservative, Balanced, Aggressive
    #[arg(required = true, num_args = 2..=3, value_name = "policy/NAME VALUE")]
    pub words: Vec<String>,
}

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SetField {
    /// Whether limits are moved
    Mode,
    /// When and how far they are moved
    Profile,
}

impl SetField {
    /// Its key below `spec`.
    pub const fn key(self) -> &'static str {
        match self {
            SetField::Mode => "mode",
            SetField::Profile => "profile",
        }
    }
}

/// `policy`
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Every change that was made or failed, the newest last
    History {
        /// policy/NAME
        #[arg(required = true, value_name = "POLICY")]
        names: Vec<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
    },
    /// Let a policy go on whose last change failed
    Reset {
        /// policy/NAME
        #[arg(required = true, value_name = "POLICY")]
        names: Vec<String>,
    },
}
