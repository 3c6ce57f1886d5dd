//! Any unit: where its cgroup is, what may be set on it while it runs, and a restart of it.
