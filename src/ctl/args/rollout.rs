//! What can be typed about rollouts and drains, as data.
//! Which revisions are kept is for the daemon to say.

use clap::{Args, Subcommand};

use crate::model::time::Span;

/// `rollout`
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Wait until all workers run the current template and are ready
    #[command(after_help = "Examples:\n  ctl rollout status pool/web\n  ctl rollout status pool/web --timeout 2m")]
    Status {
        /// pool/NAME
        #[arg(required = true, value_name = "POOL")]
        names: Vec<String>,
        /// Give up after this time, as 2m; 0s waits for ever
        #[arg(long, default_value = "0s")]
        timeout: Span,
    },
    /// Start all workers again, as the update strategy says
    #[command(after_help = "Examples:\n  ctl rollout restart pool/web && ctl rollout status pool/web")]
    Restart {
        /// pool/NAME
        #[arg(required = true, value_name = "POOL")]
        names: Vec<String>,
    },
    /// Show what the document said before, the newest last
    #[command(
        after_help = "Examples:\n  ctl rollout history pool/web\n  ctl rollout history policy/guard --revision 3\n  ctl rollout history pool/web -o json"
    )]
    History(History),
    /// Let the document say again what it said before
    #[command(
        after_help = "Examples:\n  ctl rollout undo pool/web\n  ctl rollout undo pool/web --to-revision 3 --dry-run\n  ctl rollout undo policy/guard\n\n\
        The document's text is put back into its file as it was, comments too, and of a pool the number of workers. Where the document is refused \
        now, its last good text comes back."
    )]
    Undo(Undo),
}

/// `rollout history`
#[derive(Debug, Args)]
pub struct History {
    /// pool/NAME or policy/NAME
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub names: Vec<String>,
    /// Show the whole text of this one
    #[arg(long, value_name = "N")]
    pub revision: Option<u64>,
    /// json, in place of the table
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"])]
    pub output: Option<String>,
}

/// `rollout undo`
#[derive(Debug, Args)]
pub struct Undo {
    /// pool/NAME or policy/NAME
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub names: Vec<String>,
    /// The revision to go back to [default: the one before the present one]
    #[arg(long, value_name = "N")]
    pub to_revision: Option<u64>,
    /// Only show what would change
    #[arg(long)]
    pub dry_run: bool,
    /// Write over a text that no revision holds: it is lost then
    #[arg(long)]
    pub force: bool,
}

/// `drain`
#[derive(Debug, Args)]
pub struct Drain {
    /// worker/NAME or pool/NAME
    #[arg(required = true, value_name = "TYPE/NAME")]
    pub names: Vec<String>,
    /// Do not wait until it is done
    #[arg(long)]
    pub no_wait: bool,
    /// Wait no longer than this, as 10m; 0s waits for ever
    #[arg(long, default_value = "0s")]
    pub timeout: Span,
}
