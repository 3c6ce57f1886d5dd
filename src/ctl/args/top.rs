//! What can be typed about what is used, as data.
//! Which pools and workers there are is for the daemon to say.

use clap::{Args, ValueEnum};

/// `top`
#[derive(Debug, Args)]
pub struct Top {
    /// pools or workers, with names; or TYPE/NAME
    #[arg(required = true, value_name = "TYPE[/NAME]")]
    pub what: Vec<String>,
    /// Show it again until ended: rows as they come and go, figures every two seconds
    #[arg(short, long)]
    pub watch: bool,
    /// Label selector: app=web,tier!=back,env in (a,b)
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    pub selector: String,
    /// The largest first
    #[arg(long, value_enum)]
    pub sort_by: Option<TopBy>,
    /// Leave out the head of the table
    #[arg(long)]
    pub no_headers: bool,
    /// json, in place of the table
    #[arg(short, long, value_name = "FORMAT", value_parser = ["json"])]
    pub output: Option<String>,
}

impl Top {
    /// Whether it is for a program.
    pub fn json(&self) -> bool {
        self.output.is_some()
    }
}

/// What is sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopBy {
    /// CPU
    Cpu,
    /// Memory
    Memory,
    /// Processes and threads
    Tasks,
}

impl TopBy {
    /// The one of these three.
    pub fn of<T>(self, cpu: T, memory: T, tasks: T) -> T {
        match self {
            TopBy::Cpu => cpu,
            TopBy::Memory => memory,
            TopBy::Tasks => tasks,
        }
    }
}
