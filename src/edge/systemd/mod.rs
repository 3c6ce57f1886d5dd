//! The door to systemd: its D-Bus interface, of the system's manager or of a user's.
//!
//! | file | what |
//! |---|---|
//! | `bus` | one connection, made when it is needed and again when it was lost; calls with an end |
//! | `names` | what units are called |
//! | `scopes` | scopes for processes that are there already |
//! | `units` | any unit: its cgroup, its limits, a restart of it |

mod bus;
mod names;
mod scopes;
mod units;

pub use bus::{Manager, Which};
pub use names::Names;
pub use scopes::{Scope, is_in};
pub use units::{AllUnits, own_manager};
