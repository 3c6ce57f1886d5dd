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
    /// policy/NAME, and the mode, the profile, or KEY=VALUE for each limit or threshold
    #[arg(required = true, num_args = 1.., value_name = "policy/NAME VALUE")]
    pub words: Vec<String>,
}

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SetField {
    /// Whether limits are moved
    Mode,
    /// When and how far they are moved
    Profile,
    /// The limits to hold from now on: cpu=, memory=, tasks=, reason=; what is left out stays held, an empty value lets go
    Manual,
    /// At what percentage of a limit it is moved: scaleUp.cpu=, scaleDown.memory=, pressure.io=, …
    Thresholds,
}

impl SetField {
    /// Its word in the API.
    pub const fn key(self) -> &'static str {
        match self {
            SetField::Mode => "mode",
            SetField::Profile => "profile",
            SetField::Manual => "manual",
            SetField::Thresholds => "thresholds",
        }
    }
}

/// `policy`
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Every change that was made or failed, the newest last
    #[command(after_help = "Examples:\n  ctl policy history policy/web\n  ctl policy history web --limit 10 -o json")]
    History {
        /// policy/NAME
        #[arg(required = true, value_name = "POLICY")]
        names: Vec<String>,
        /// So many at most
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: u32,
        /// json, yaml or jsonpath=TEMPLATE
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<String>,
    },
    /// What is expected of a policy's target, and how right that was before
    #[command(after_help = "Examples:\n  ctl policy forecast policy/web\n  ctl policy forecast web -o jsonpath='{.memory.high}'")]
    Forecast {
        /// policy/NAME
        #[arg(required = true, value_name = "POLICY")]
        names: Vec<String>,
        /// json, yaml or jsonpath=TEMPLATE
        #[arg(short, long, value_name = "FORMAT")]
        output: Option<String>,
    },
    /// Let a policy go on whose last change failed
    #[command(after_help = "Examples:\n  ctl policy reset policy/web")]
    Reset {
        /// policy/NAME
        #[arg(required = true, value_name = "POLICY")]
        names: Vec<String>,
    },
}
