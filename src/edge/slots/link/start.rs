//! Starting a run: a shim if there is none, a cgroup, and the word to go.
//!
//! What fails before that word was given is told as a start that failed; what follows it is the shim's to tell.

use super::Link;
use crate::edge::clock;
use crate::edge::command::User;
use crate::edge::slots::talk::{self, Shim};
use crate::edge::slots::{Prepare, Unready, cgroup, spawn, users};
use crate::model::template::Limits;
use crate::model::worker::{SlotState, StartOrder};
use crate::shim::wire::{self, Command, Go};

impl Link {
    pub(super) async fn start(&mut self, order: StartOrder) {
        if order.user.is_some() {
            return self.prepare(order.incarnation, Box::new(move || Ok(order))).await;
        }
        let incarnation = order.incarnation;
        let begun = self.try_start(order, None).await;
        self.not_started(incarnation, begun);
    }

    /// Who a user is, and what is in a file, may be asked of another machine, which may take its time.
    pub(super) async fn prepare(&mut self, incarnation: u64, prepare: Prepare) {
        let look_up = move || -> Result<_, Unready> {
            let order = prepare()?;
            let account = order.user.as_deref().map(users::account).transpose()?;
            Ok((order, account))
        };
        let begun = match self.shared.lookups.run(&self.slot.pool, look_up).await {
            Ok((order, account)) => self.try_start(order, account).await,
            Err(unready) => Err(unready),
        };
        self.not_started(incarnation, begun);
    }

    /// Tell why, unless it was.
    fn not_started(&mut self, incarnation: u64, begun: Result<(), Unready>) {
        let Err(why) = begun else { return };
        if self.seen.state != SlotState::Unknown {
            // Before it: who hears of the failure alone takes the slot for vacant.
            self.tell(self.seen.clone());
        }
        self.start_failed(incarnation, why);
    }

    async fn try_start(&mut self, order: StartOrder, account: Option<User>) -> Result<(), Unready> {
        self.taken()?;
        let limits = order.limits;
        let mut go = self.go(order, account);
        let incarnation = go.incarnation;
        if Command::Go(Box::new(go.clone())).encode().len() > wire::MESSAGE_MAX - libc::PATH_MAX.unsigned_abs() as usize {
            return Err("the command and its environment are too long (E2BIG)".to_owned().into());
        }
        let new = self.shim.is_none();
        if new {
            let permit = self.shared.spawns.acquire().await.map_err(|e| e.to_string())?;
            let (shared, slot) = (self.shared.clone(), self.slot.clone());
            let spawned = tokio::task::spawn_blocking(move || spawn::shim(&shared, &slot)).await;
            drop(permit);
            let (child, stream) = spawned.map_err(|e| e.to_string())??;
            let pid = i32::try_from(child.id()).ok();
            let stream = talk::nonblocking(stream).map_err(|e| e.to_string())?;
            self.shim = Some(Shim::new(stream, pid));
            self.child = Some(child);
        }
        match self.place(limits, (new, !go.stdin.is_empty())).await {
            Ok(cgroup) => go.cgroup = cgroup.into_bytes(),
            Err(why) => {
                if new {
                    self.dismiss().await;
                }
                return Err(why.into());
            }
        }
        let command = Command::Go(Box::new(go)).encode();
        (self.cpu_ms, self.cpu_at, self.refreshed, self.asked_at, self.memory) = (0, None, None, None, None);
        self.seen.state = SlotState::Starting { incarnation, since: clock::now().mono };
        self.begun = incarnation;
        // What the run before it owed is over with that one.
        self.owed = None;
        if !self.send_bytes(&command).await {
            self.cut_off().await;
        }
        Ok(())
    }

    /// The cgroup for a run. To make one anew costs more than a short task: the next task goes where the one before ended by
    /// itself and left it as it was, unless its limits are to be counted from zero.
    async fn place(&mut self, limits: Option<Limits>, (new, task): (bool, bool)) -> Result<String, String> {
        let again = task && !new && limits.is_none();
        if let Some(mut clean) = self.clean.take().filter(|_| again)
            && let Some(cgroup) = clean.as_made().map(str::to_owned)
        {
            self.clean = Some(clean);
            return Ok(cgroup);
        }
        let pid = self.shim.as_ref().and_then(|shim| shim.pid);
        let cgroup = self.shared.config.driver.place(&self.slot, pid, limits).await?;
        self.clean = (task && limits.is_none()).then(|| cgroup::Clean::of(&cgroup));
        Ok(cgroup)
    }

    fn go(&self, order: StartOrder, account: Option<User>) -> Go {
        let mut env: Vec<Vec<u8>> = order.env.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        env.push(self.shared.mark(&self.slot).into_bytes());
        Go {
            incarnation: order.incarnation,
            tag: order.template,
            argv: order.command.into_iter().map(String::into_bytes).collect(),
            env,
            dir: order.working_dir.unwrap_or_default().into_bytes(),
            user: account.as_ref().map(|account| (account.uid, account.gid)),
            groups: account.map(|account| account.groups).unwrap_or_default(),
            umask: order.umask,
            nofile: self.shared.nofile,
            log_size: order.logs.max_size,
            log_files: order.logs.max_files,
            stdin: order.stdin.unwrap_or_default().into_bytes(),
            log: order.log.unwrap_or_default().into_bytes(),
            log_rate: order.logs.max_rate,
            cgroup: Vec::new(),
        }
    }
}
